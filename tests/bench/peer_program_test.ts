import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { type PeerProgram, peerProgram } from "../../bench/frame/peer_program.ts";
import { ownProgram, peerSide } from "../../bench/frame/program_side.ts";
import { type BenchContext, Missing } from "../../bench/frame/row.ts";

/** glibc's mutex: a peer that every machine with a C compiler has. */
const PTHREAD: PeerProgram = {
  source: "bench/peers/pthread_mutex.c",
  header: "pthread.h",
  package: "libc6-dev",
};

const CONTEXT: BenchContext = { smoke: true, size: ({ smoke }) => smoke, seed: 1, folder: "/tmp" };

Deno.test("peerProgram() says what to install when a peer's header is not there", async () => {
  // A name that was never built: what was built once is used without looking again.
  const flags = [`-DNEVER="${crypto.randomUUID()}"`];
  const absent = { ...PTHREAD, header: "no/such/peer.h", package: "libpeer-dev", flags };
  const error = await assertRejects(() => peerProgram(absent, false), Missing);
  assertStringIncludes(error.message, "apt install libpeer-dev");
});

Deno.test("peerProgram() does not compile C++ in a smoke run", async () => {
  const flags = [`-DNEVER="${crypto.randomUUID()}"`];
  const peer = { ...PTHREAD, source: "bench/peers/tbb_queue.cpp", flags };
  const error = await assertRejects(() => peerProgram(peer, true), Missing);
  assertMatch(error.message, /not compiled in a smoke run|no C\+\+ compiler/);
});

Deno.test("both sides of a program row run the same driver to the same digest", async () => {
  const work = () => ({ args: ["2", "5000"], items: 5000 });
  const own = await ownProgram("bench/sync/mutex_bare.c", work).open(CONTEXT);
  const peer = await peerSide({ name: "pthread", program: PTHREAD }, work).open(CONTEXT);
  const [ours, theirs] = [await own.round(), await peer.round()];
  assertEquals(ours.digest, theirs.digest);
  assertEquals([ours.records, theirs.records], [5000, 5000]);
  for (const { value, also } of [ours, theirs]) {
    assertEquals([value > 0, also!.jain > 0 && also!.jain <= 1], [true, true]);
  }
});

Deno.test("a program that fails is an error with its words, not a figure", async () => {
  const work = () => ({ args: ["not", "the", "arguments"], items: 1 });
  const session = await peerSide({ name: "pthread", program: PTHREAD }, work).open(CONTEXT);
  const error = await assertRejects(async () => await session.round(), Error);
  assertStringIncludes(error.message, "ended with 2");
});
