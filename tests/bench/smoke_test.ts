import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { rows } from "../../bench/rows.ts";
import { rowTitle } from "../../bench/frame/row.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SECONDS_MAX = 90; // 15 on a quiet machine

function bench(...args: string[]) {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", `${ROOT}tools/bench.ts`, ...args],
    stdin: "null",
  }).output();
}

Deno.test("bench --smoke measures every row, and each side did the same work", async () => {
  const started = performance.now();
  const { stdout, stderr } = await bench("--smoke", "--json", "-");
  const seconds = (performance.now() - started) / 1000;
  const words = new TextDecoder().decode(stderr);
  const found = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(found.rows.map(rowTitle), rows.map(rowTitle));
  for (const row of found.rows) {
    assertEquals(row.problems, [], `${rowTitle(row)}\n${words}`);
    assert(row.value > 0 && row.records > 0 && row.digest, rowTitle(row));
    for (const peer of row.peers) assert(peer.missing || peer.value > 0, peer.name);
  }
  assert(found.machine.cores > 0 && found.machine.deno === Deno.version.deno);
  assertEquals(found.smoke, true);
  assert(seconds < SECONDS_MAX, `${seconds.toFixed(1)} s, more than ${SECONDS_MAX}`);
});

Deno.test("bench says which groups there are when it does not know one", async () => {
  const { code, stderr } = await bench("nothing");
  assertEquals(code, 2);
  assertStringIncludes(
    new TextDecoder().decode(stderr),
    "known groups: checksum, ffi, mem, lockfree",
  );
});
