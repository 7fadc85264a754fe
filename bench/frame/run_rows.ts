/**
 * Runs rows, each in a fresh process: what one leaves in the JIT, in memory or in a file system
 * cache does not speak in the next.
 *
 * @module
 */
import type { RowDefinition, RowResult } from "./row.ts";
import { rowTitle } from "./row.ts";

const SMOKE_LIMIT_SECONDS = 20;
const LIMIT_SECONDS = 300;

/** Rows of the groups (`broker`), or with these words in their full name; all when none is named. */
export function selectRows(rows: readonly RowDefinition[], wanted: string[]): RowDefinition[] {
  if (wanted.length === 0) return [...rows];
  return rows.filter((row) =>
    wanted.some((word) => row.group === word || word.includes("/") && rowTitle(row).includes(word))
  );
}

/** Measures one row in a process of its own. A row that breaks is a result with a problem. */
export async function runRow(row: RowDefinition, smoke: boolean): Promise<RowResult> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      "--no-check",
      "--v8-flags=--expose-gc",
      ...row.flags ?? [],
      new URL("./child.ts", import.meta.url).pathname,
      rowTitle(row),
      smoke ? "smoke" : "full",
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const limit = smoke ? SMOKE_LIMIT_SECONDS : row.limitSeconds ?? LIMIT_SECONDS;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, limit * 1000);
  const { success, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const decoder = new TextDecoder();
  if (success) return JSON.parse(decoder.decode(stdout).trim().split("\n").at(-1)!);
  const words = late ? `it did not end within ${limit} s` : decoder.decode(stderr).trim();
  return broken(row, words || "its process ended without a word");
}

function broken(row: RowDefinition, words: string): RowResult {
  return {
    group: row.group,
    name: row.name,
    unit: row.unit,
    value: NaN,
    better: row.better,
    peers: [],
    ratioToBestPeer: null,
    ratioInterval: null,
    floor: [],
    records: 0,
    durability: "none",
    digest: "",
    seed: 0,
    samples: [],
    also: {},
    notes: [],
    problems: [words],
    seconds: 0,
  };
}
