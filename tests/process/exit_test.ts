import { assertEquals, assertMatch } from "@std/assert";
import { libraryPath } from "../../ffi/library.ts";

/** Each way out is taken this many times, under each grant. */
const ROUNDS = Deno.env.get("KEELSON_LONG") ? 100 : 20;
/** Children that run at the same time: they also disturb each other. */
const AT_ONCE = 4;
const HANG_MS = 10_000;
const CHILD = new URL("./exit_child.ts", import.meta.url).pathname;

const EXITS: [how: string, what: string, code: number, stderr: RegExp][] = [
  ["end", "a normal end", 0, /^$/],
  ["throw", "an uncaught throw", 1, /on purpose/],
  ["exit", "Deno.exit()", 3, /^$/],
  ["terminate", "Worker.terminate(), then more waits", 0, /^$/],
  ["terminateAndExit", "Worker.terminate() and Deno.exit() at once", 3, /^$/],
  ["workerOnlyTerminated", "a library opened only in a Worker that is terminated", 0, /^$/],
  ["workerOnlyClosed", "a library opened only in a Worker that closes itself", 0, /^$/],
  ["exitBesideWorkers", "Deno.exit() beside Workers that wait and wake", 3, /^$/],
];

const GRANTS: Record<string, string[]> = {
  "FFI granted": ["-A"],
  "FFI granted for the library's path only": ["--allow-read", `--allow-ffi=${libraryPath()}`],
};

async function leave(how: string, flags: string[]) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-check", ...flags, CHILD, how],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    child.kill("SIGKILL");
  }, HANG_MS);
  const { code, signal, stderr } = await child.output();
  clearTimeout(timer);
  return { code, signal, hung, stderr: new TextDecoder().decode(stderr) };
}

for (const [how, what, code, words] of EXITS) {
  for (const [grant, flags] of Object.entries(GRANTS)) {
    Deno.test(`${what} with live C threads and pending waits: no crash, no hang; ${grant}`, async () => {
      for (let round = 0; round < ROUNDS; round += AT_ONCE) {
        const children = Array.from({ length: AT_ONCE }, () => leave(how, flags));
        for (const ended of await Promise.all(children)) {
          assertEquals([ended.code, ended.signal, ended.hung], [code, null, false], ended.stderr);
          assertMatch(ended.stderr, words);
        }
      }
    });
  }
}
