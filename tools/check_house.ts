/**
 * Applies the house rules of `tools/house.ts`: names, twin files, banned texts, and lengths as a
 * ratchet. What is too long today stands in `tools/house_baseline.json` and may only become shorter;
 * `deno run -A tools/check_house.ts --lower` writes it anew and refuses to raise it.
 *
 * @module
 */
import { functionLengths } from "./function_lengths.ts";
import { BANNED_NAMES, BANNED_TEXTS, FILE_LINES_MAX, FUNCTION_LINES_MAX } from "./house.ts";
import {
  lineAt,
  readTree,
  resolve,
  type SourceText,
  withoutComments,
  withoutStrings,
} from "./source_text.ts";

/** Lengths above the limits, by `path` or `path name()`, and units that no test reaches. */
export interface Baseline {
  lines: Record<string, number>;
  untested: string[];
}

/** An empty baseline: every limit holds everywhere. */
export const NO_BASELINE: Baseline = { lines: {}, untested: [] };

const GENERATED = /\/generated\/|^deno\.lock$|^c\/base\/layout_hash\.h$/;

/** One line per violation, each naming file, line and what to do instead. */
export function checkHouse(files: SourceText[], baseline: Baseline): string[] {
  const own = files.filter((file) => !GENERATED.test(file.path));
  return [
    ...own.flatMap(checkName),
    ...own.flatMap(checkTexts),
    ...own.flatMap(checkOpening),
    ...checkTwins(own),
    ...checkUntested(own, baseline),
    ...checkLengths(own, baseline),
  ];
}

function checkName({ path }: SourceText): string[] {
  const problems: string[] = [];
  if (BANNED_NAMES.test(path)) problems.push(`${path}: name the concept; a drawer has no name`);
  const base = path.replace(/^.*\//, "");
  if (/^(c|lib|ffi|tools)\//.test(path) && /[A-Z-]/.test(base) && !/\.(md|json|html)$/.test(base)) {
    problems.push(`${path}: files are named in snake_case`);
  }
  return problems;
}

function checkTexts({ path, text }: SourceText): string[] {
  const code = /\.([ch]|ts)$/.test(path) ? withoutStrings(withoutComments(text)) : text;
  return BANNED_TEXTS.flatMap(({ pattern, within, except, inComments, instead }) => {
    if (!within.test(path) || except?.test(path) || path === "tools/house.ts") return [];
    const global = new RegExp(pattern.source, `${pattern.flags}g`);
    return [...(inComments ? text : code).matchAll(global)].map((match) =>
      `${path}:${lineAt(text, match.index)}: ${match[0].trim()}: ${instead}`
    );
  });
}

/** A header tells what it is before anything else. */
function checkOpening({ path, text }: SourceText): string[] {
  const unit = /^c\/.*\/(\w+)\.h$/.exec(path)?.[1];
  if (!unit || new RegExp(`^(#.*\\n|\\s)*/\\* (\\w+/)*${unit}(\\.h)?:`).test(text)) return [];
  return [
    `${path}:1: a header opens with "/* ${unit}: what it is", its writers and what always holds`,
  ];
}

/** `c/x/unit.c` has `c/x/unit.h`, or is a part of a unit: `unit_part.c`. */
function checkTwins(files: SourceText[]): string[] {
  const headers = files.map((file) => file.path).filter((path) => /^c\/.*\.h$/.test(path));
  return files.map((file) => file.path).filter((path) => /^c\/.*\.c$/.test(path)).filter((path) => {
    const stem = path.replace(/\.c$/, "");
    return !headers.some((header) => {
      const unit = header.replace(/\.h$/, "");
      return stem === unit || stem.startsWith(`${unit}_`);
    });
  }).map((path) =>
    `${path}: has no header ${path.replace(/c$/, "h")}; a part of a unit is unit_part.c`
  );
}

/** Units of `c/` and `lib/` that no test reaches: neither by name, nor by using them or a unit of their
 * folder that does. What only other folders use is still somebody's to test. */
function untestedUnits(files: SourceText[]): string[] {
  const reached = reachedByTests(files);
  const units = files.filter((file) => /^(c\/.*\.c|lib\/.*\.ts)$/.test(file.path));
  return units.map((file) => file.path).filter((path) => {
    let stem = path.replace(/\.\w+$/, "");
    while (!reached.has(stem)) { // a part of a unit, unit_part, is tested with its unit
      if (!stem.replace(/^.*\//, "").includes("_")) return true;
      stem = stem.replace(/_[^_]*$/, "");
    }
    return false;
  });
}

/** Stems of units (`c/log/ring`, `lib/log/ring`) that a test names, includes, imports or runs, with the
 * units of the same folder behind them, and the C units whose functions those call. */
function reachedByTests(files: SourceText[]): Set<string> {
  const behind = new Map<string, string[]>();
  const declaredIn = exportedFunctions(files);
  const reached = new Set<string>();
  for (const { path, text } of files) {
    const used = [...text.matchAll(/^[ \t]*#[ \t]*include[ \t]*"([^"]+)\.[ch]"/gm)]
      .map(([, name]) => `c/${name}`);
    if (path.startsWith("tests/")) {
      const mirror = /^tests\/(?:c\/)?(.*)_test\.(c|ts)$/.exec(path);
      if (mirror) used.push(`${mirror[2] === "c" ? "c" : "lib"}/${mirror[1]}`);
      for (const [, name] of text.matchAll(/\b(lib\/[\w/]+)\.ts\b/g)) used.push(name);
      for (const name of used) reached.add(name);
    } else if (/^(c|lib)\//.test(path)) {
      for (const [, name] of text.matchAll(/"(\.{1,2}\/[^"]+)\.ts"/g)) {
        used.push(resolve(path, name));
      }
      const folder = path.split("/").slice(0, 2).join("/") + "/";
      const stem = path.replace(/\.\w+$/, "");
      const own = used.filter((name) => name.startsWith(folder));
      for (const [name] of path.endsWith(".ts") ? text.matchAll(/\bkl_\w+/g) : []) {
        const unit = declaredIn.get(name);
        if (unit) own.push(unit);
      }
      behind.set(stem, [...behind.get(stem) ?? [], ...own]);
    }
  }
  for (const stem of reached) { // grows while it is walked; bounded by the units there are
    for (const name of behind.get(stem) ?? []) reached.add(name);
  }
  return reached;
}

/** Each function of the FFI border with the stem of the header that declares it. */
function exportedFunctions(files: SourceText[]): Map<string, string> {
  const declaredIn = new Map<string, string>();
  for (const { path, text } of files.filter((file) => /^c\/.*\.h$/.test(file.path))) {
    for (const [, name] of text.matchAll(/^KL_API [^;(]*?\b(kl_\w+)\s*\(/gm)) {
      declaredIn.set(name, path.replace(/\.h$/, ""));
    }
  }
  return declaredIn;
}

function checkUntested(files: SourceText[], baseline: Baseline): string[] {
  return untestedUnits(files).filter((path) => !baseline.untested.includes(path))
    .map((path) => `${path}: no test reaches it`);
}

/** Everything longer than its limit, as measured now. */
function longThings(files: SourceText[]): Map<string, { lines: number; place: string }> {
  const long = new Map<string, { lines: number; place: string }>();
  for (const { path, text } of files) {
    const limit = FILE_LINES_MAX.find((rule) => rule.within.test(path))?.lines;
    if (limit === undefined) continue;
    const lines = text.split("\n").length - 1;
    if (lines > limit) {
      long.set(path, { lines, place: `${path}: the file has ${lines} of ${limit}` });
    }
    if (path.startsWith("tests/")) continue;
    for (const item of functionLengths(path, text)) {
      if (item.lines <= FUNCTION_LINES_MAX) continue;
      const place =
        `${path}:${item.line}: ${item.name}() has ${item.lines} of ${FUNCTION_LINES_MAX}`;
      long.set(`${path} ${item.name}()`, { lines: item.lines, place });
    }
  }
  return long;
}

function checkLengths(files: SourceText[], baseline: Baseline): string[] {
  return [...longThings(files)].filter(([key, { lines }]) => lines > (baseline.lines[key] ?? 0))
    .map(([, { place }]) => `${place} lines; is there a unit hiding in it?`);
}

/** The baseline that the files have earned: nothing higher than before, nothing new. */
export function lowered(files: SourceText[], before: Baseline): Baseline {
  const own = files.filter((file) => !GENERATED.test(file.path));
  const lines: Record<string, number> = {};
  for (const [key, thing] of [...longThings(own)].sort()) {
    if (key in before.lines) lines[key] = Math.min(thing.lines, before.lines[key]);
  }
  const untested = untestedUnits(own).filter((path) => before.untested.includes(path)).sort();
  return { lines, untested };
}

/** The baseline of a checkout. */
export async function readBaseline(root: string): Promise<Baseline> {
  const path = `${root}/tools/house_baseline.json`;
  return { ...NO_BASELINE, ...JSON.parse(await Deno.readTextFile(path).catch(() => "{}")) };
}

async function main(args: string[]): Promise<number> {
  const root = import.meta.dirname!.replace(/\/tools$/, "");
  const files = await readTree(root);
  const baseline = await readBaseline(root);
  if (args.includes("--lower")) {
    const text = JSON.stringify(lowered(files, baseline), null, 2) + "\n";
    await Deno.writeTextFile(`${root}/tools/house_baseline.json`, text);
  }
  const problems = checkHouse(files, baseline);
  for (const problem of problems) console.error(problem);
  return problems.length > 0 ? 1 : 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
