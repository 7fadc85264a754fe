/** What the tests of the queues share. */
import { assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { KeelsonError } from "../../lib/base/error.ts";
import type { Errand } from "./queue_worker.ts";

const ROOT = new URL("../..", import.meta.url);

/** The code of the error that `fn` throws, whose message matches. */
export function refusal(fn: () => unknown, message: RegExp = /^Cannot /): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  return error.codeName;
}

/** A Deno process that runs `script` on this checkout; its output when it has ended. */
export async function run(script: string, flags = ["-A"]): Promise<string> {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, script.replaceAll("$ROOT/", ROOT.href));
  const { stdout, stderr, code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-lock", ...flags, file],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  await Deno.remove(file);
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** A Worker on an errand, and its answer. */
export function send(errand: Errand): { worker: Worker; answer: Promise<unknown> } {
  const worker = new Worker(new URL("./queue_worker.ts", import.meta.url), { type: "module" });
  const answer = new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
  });
  worker.postMessage(errand);
  return { worker, answer };
}

/** Checks that "index:number" texts of each index come in rising order, and counts them. */
export function countInOrder(records: readonly string[]): number {
  const last = new Map<string, number>();
  for (const record of records) {
    const [index, number] = record.split(":");
    const before = last.get(index) ?? -1;
    if (Number(number) <= before) throw new Error(`${record} after ${before}`);
    last.set(index, Number(number));
  }
  return records.length;
}

/** A small random number generator: the same for the same seed. */
export function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = Math.imul(state ^ state >>> 15, state | 1);
    state = (state + Math.imul(state ^ state >>> 7, state | 61)) ^ state;
    state = (state + 0x6d2b79f5) | 0;
    return ((state ^ state >>> 14) >>> 0) % below;
  };
}
