/** What the place a node runs on does to it: a disk that fails, little shared memory, nothing to do. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { needs } from "../allowed_skips.ts";
import {
  debugLibrary,
  type Ended,
  keelson,
  KeelsonProcess,
  nodeOf,
  pause,
  reportOf,
  TestFolder,
} from "./keelson_process.ts";

const COUNT = 800_000;
const LINES = Array.from({ length: COUNT }, (_, n) => `line ${n} ${"x".repeat(n % 160)}\n`).join(
  "",
);

function argsOf(data: string, input: string): string[] {
  return ["run", "--data", data, "--input", input, "--brokers", "2", "--no-dashboard", "--json"];
}

const FAULTS: [string, string, RegExp][] = [["sync", "EIO", /Input\/output/], [
  "write",
  "ENOSPC",
  /No space/,
]];

for (const [call, error, words] of FAULTS) {
  Deno.test(`run on a disk whose ${call} fails says so, loses nothing, and goes on later`, async () => {
    using folder = new TestFolder();
    const input = folder.file("input", LINES);
    let data = "", failed: Ended = { code: 0, stdout: new Uint8Array(), stderr: "" };
    // Debug builds only; each broker process has a disk that fails for ever from its nth call on. A
    // slow disk sees fewer and larger groups.
    for (const nth of [40, 28, 20, 16, 12]) {
      data = `${folder.path}/data-${nth}`;
      const env = await debugLibrary({ KEELSON_FAULT_IO: `${call}:${nth}:${error}:forever` });
      failed = await keelson(argsOf(data, input), { env });
      if (failed.code !== 0) break;
    }
    const args = argsOf(data, input);
    assertEquals(failed.code, 4, failed.stderr);
    assertMatch(failed.stderr, words);
    assertMatch(failed.stderr, /^keelson: [^\n]*broker-\d[^\n]*\n$/, "one line, with the file");
    assertEquals((await keelson(["verify", data])).code, 0);
    const { published, durable, lost, duplicates, outOfOrder, inputComplete } = reportOf(
      await keelson(args),
    );
    assertEquals(
      { published, durable, lost, duplicates, outOfOrder, inputComplete },
      {
        published: COUNT,
        durable: COUNT,
        lost: 0,
        duplicates: 0,
        outOfOrder: 0,
        inputComplete: true,
      },
    );
    const printed = await keelson(["sub", "lines", "--data", data]);
    assertEquals(new TextDecoder().decode(printed.stdout) === LINES, true);
  });
}

Deno.test(
  needs(
    "root",
    "run with too little shared memory says how much it wants, and leaves nothing",
    async () => {
      using folder = new TestFolder();
      const data = `${folder.path}/data`;
      const cli = new URL("../../lib/app/cli.ts", import.meta.url).pathname;
      const script = `mount -t tmpfs -o size=20m tmpfs /dev/shm &&
    "$0" run -A --quiet "$1" run --data "$2" --no-dashboard --for 1s; code=$?;
    find /dev/shm -type f | wc -l; exit $code`;
      const { code, stdout, stderr } = await new Deno.Command("unshare", {
        args: ["-m", "sh", "-c", script, Deno.execPath(), cli, data],
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      }).output();
      assertEquals(code, 4);
      assertMatch(
        new TextDecoder().decode(stderr),
        /^keelson: [^\n]*needs 38\.5 MiB, but \/dev\/shm has [^\n]* free of 20 MiB[^\n]*\n$/,
      );
      assertEquals(new TextDecoder().decode(stdout).trim(), "0");
    },
  ),
);

/** Ticks (1/100 s) that these processes have worked. */
function ticks(pids: number[]): number {
  let sum = 0;
  for (const pid of pids) {
    const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1].split(" ");
    sum += Number(fields[11]) + Number(fields[12]);
  }
  return sum;
}

Deno.test("run --rate 0 with nobody publishing uses at most 2 % of one core", async () => {
  using folder = new TestFolder();
  const data = `${folder.path}/data`;
  await using run = new KeelsonProcess(["run", "--data", data, "--rate", "0", "--port", "0"]);
  const node = await nodeOf(data, (it) => it.pid === run.pid && it.children.length >= 6);
  await pause(2000); // the start is over
  const pids = [run.pid, ...node.children.map((it) => it.pid)];
  const before = ticks(pids);
  await pause(5000);
  const share = (ticks(pids) - before) / 500;
  assert(share <= 0.02, `${(100 * share).toFixed(1)} % of a core`);
  run.kill("SIGTERM");
});
