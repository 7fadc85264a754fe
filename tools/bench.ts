/**
 * Benchmarks with their peers and floors: `deno task bench [group ...] [--json FILE] [--check]
 * [--smoke] [--list]`. A group is a folder (`broker`) or a part of a row's full name with a slash
 * (`broker/publish`). What the rows mean: docs/benchmarks.md.
 *
 * @module
 */
import { describeMachine, machineLine } from "../bench/frame/machine.ts";
import { complaints } from "../bench/frame/judge.ts";
import { closingLines, rowLines } from "../bench/frame/report.ts";
import { type RowResult, rowTitle } from "../bench/frame/row.ts";
import { runRow, selectRows } from "../bench/frame/run_rows.ts";
import { rows } from "../bench/rows.ts";
import { ensureLibrary } from "./build.ts";

const SMOKE_ROWS_AT_ONCE = 3;

/** What was asked for. */
export interface BenchArguments {
  groups: string[];
  /** File for the results; `-` is the standard output, which then holds nothing else. */
  json?: string;
  check: boolean;
  smoke: boolean;
  list: boolean;
}

/** Reads the command line; a word it does not know is an error that names the known ones. */
export function parseBenchArguments(words: string[]): BenchArguments {
  const parsed: BenchArguments = { groups: [], check: false, smoke: false, list: false };
  for (let at = 0; at < words.length; at++) {
    const word = words[at];
    if (word === "--check" || word === "--smoke" || word === "--list") {
      parsed[word.slice(2) as "check" | "smoke" | "list"] = true;
    } else if (word === "--json" || word.startsWith("--json=")) {
      parsed.json = word === "--json" ? words[++at] : word.slice("--json=".length);
      if (!parsed.json) throw new Error("--json wants a file to write to (- for the output)");
    } else if (word.startsWith("-")) {
      throw new Error(`${word} is not known; known: --json FILE, --check, --smoke, --list`);
    } else {
      parsed.groups.push(word);
    }
  }
  return parsed;
}

/** Runs the rows and prints them; answers the exit code. */
export async function bench(wanted: BenchArguments): Promise<number> {
  const chosen = selectRows(rows, wanted.groups);
  if (chosen.length === 0) {
    console.error(`No row is called ${wanted.groups.join(" or ")}; known groups: ${groupNames()}`);
    return 2;
  }
  if (wanted.list) {
    for (const row of chosen) console.log(rowTitle(row));
    return 0;
  }
  const say = wanted.json === "-" ? console.error : console.log;
  const library = Deno.env.get("KEELSON_LIBRARY");
  if (!library) await ensureLibrary("release");
  const machine = await describeMachine();
  say(machineLine(machine));
  const results: RowResult[] = [];
  const waiting = [...chosen.entries()];
  const runNext = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [at, row] = next;
      results[at] = await runRow(row, wanted.smoke);
      say(`\n${rowLines(results[at]).join("\n")}`);
    }
  };
  const together = wanted.smoke ? SMOKE_ROWS_AT_ONCE : 1; // its figures mean nothing
  await Promise.all(Array.from({ length: together }, runNext));
  say(`\n${closingLines(results).join("\n")}`);
  if (wanted.json) {
    const text = JSON.stringify({ machine, smoke: wanted.smoke, rows: results }, null, 2) + "\n";
    if (wanted.json === "-") await Deno.stdout.write(new TextEncoder().encode(text));
    else await Deno.writeTextFile(wanted.json, text);
  }
  const broken = results.some(({ problems }) => problems.length > 0);
  return broken || wanted.check && results.some((one) => complaints(one).length > 0) ? 1 : 0;
}

function groupNames(): string {
  return [...new Set(rows.map(({ group }) => group))].join(", ");
}

if (import.meta.main) {
  try {
    Deno.exit(await bench(parseBenchArguments(Deno.args)));
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : error}`);
    Deno.exit(2);
  }
}
