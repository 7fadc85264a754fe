/**
 * Finds every atomic operation and fence in the C sources, with its order and its name: the unit, the
 * function and its number among the atomics of that function.
 *
 * @module
 */
import { functionLengths } from "./function_lengths.ts";
import { lineAt, type SourceText, withoutComments } from "./source_text.ts";

/** One atomic operation in the source. */
export interface AtomicSite {
  /** `row/unit`, of a header and its sources alike. */
  unit: string;
  /** `function#number`, unique in its unit. */
  place: string;
  path: string;
  /** First and last line of the call. */
  lines: [number, number];
  /** `load`, `store`, `exchange`, `fetch_add` ..., `compare_exchange`, `fence`. */
  operation: string;
  /** The order, and of a compare-exchange the order when it fails. */
  orders: string[];
}

/** One order of a site and the next weaker one, as the explorer tries it. */
export interface Weakening {
  /** Like {@linkcode AtomicSite.operation}, with " that fails" for the second order. */
  operation: string;
  order: string;
  /** Undefined when there is nothing weaker. */
  weaker?: string;
}

const CALL =
  /\batomic_(load|store|exchange|fetch_\w+?|compare_exchange_(?:strong|weak)|flag_test_and_set|flag_clear|thread_fence)(_explicit)?\s*\(/g;

/** The sites of all files of `c/`, by unit and then in the order of the files. */
export function atomicSites(files: SourceText[]): AtomicSite[] {
  const sources = files.filter(({ path }) => /^c\/.*\.[ch]$/.test(path));
  const sites = sources.flatMap(sitesOf);
  const counts = new Map<string, number>();
  for (const site of sites) {
    const key = `${site.unit}:${site.place}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    site.place = `${site.place}#${counts.get(key)}`;
  }
  return sites.sort((a, b) => a.unit < b.unit ? -1 : a.unit > b.unit ? 1 : 0);
}

function sitesOf({ path, text }: SourceText): AtomicSite[] {
  const code = withoutComments(text);
  const functions = functionLengths(path, text);
  const lines = code.split("\n");
  return [...code.matchAll(CALL)].flatMap((match): AtomicSite[] => {
    const end = closingParenthesis(code, match.index + match[0].length);
    const first = lineAt(code, match.index);
    if (/^\s*#\s*define\s+atomic_/.test(lines[first - 1])) return [];
    const within = functions.findLast(({ line, lines: count }) =>
      line <= first && first < line + count
    );
    const words = code.slice(match.index, end).matchAll(/\bmemory_order_(\w+)/g);
    const operation = nameOf(match[1]);
    const orders = match[2] || match[1] === "thread_fence"
      ? [...words].map(([, order]) => order).slice(operation === "compare_exchange" ? -2 : -1)
      : operation === "compare_exchange"
      ? ["seq_cst", "seq_cst"]
      : ["seq_cst"];
    return [{
      unit: path.replace(/^c\//, "").replace(/\.[ch]$/, ""),
      place: within?.name ?? macroAround(lines, first - 1),
      path,
      lines: [first, lineAt(code, end)],
      operation,
      orders,
    }];
  });
}

function nameOf(call: string): string {
  if (call.startsWith("compare_exchange")) return "compare_exchange";
  if (call === "flag_test_and_set") return "exchange";
  return call === "flag_clear" ? "store" : call === "thread_fence" ? "fence" : call;
}

function closingParenthesis(code: string, from: number): number {
  let depth = 1;
  let at = from;
  for (; at < code.length && depth > 0; at++) {
    if (code[at] === "(") depth++;
    if (code[at] === ")") depth--;
  }
  return at;
}

function macroAround(lines: string[], index: number): string {
  while (index >= 0 && !/^\s*#\s*define/.test(lines[index])) index--;
  return /#\s*define\s+(\w+)/.exec(lines[index] ?? "")?.[1] ?? "file";
}

/** What the explorer tries at a site: each order one step weaker. */
export function weakenings({ operation, orders }: AtomicSite): Weakening[] {
  return orders.flatMap((order, which): Weakening[] => {
    const name = which === 1 ? `${operation} that fails` : operation;
    const reads = which === 1 || operation === "load";
    const weaker = order === "acq_rel"
      ? ["acquire", "release"]
      : order !== "seq_cst"
      ? order === "relaxed" ? [] : ["relaxed"]
      : reads
      ? ["acquire"]
      : operation === "store"
      ? ["release"]
      : ["acq_rel"];
    if (weaker.length === 0) return which === 1 ? [] : [{ operation: name, order }];
    return weaker.map((word) => ({ operation: name, order, weaker: word }));
  });
}
