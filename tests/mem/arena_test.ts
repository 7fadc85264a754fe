import { assert, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { Arena, type ArenaBlock, type ArenaPlacement } from "../../lib/mem/arena.ts";
import { Topology } from "../../lib/mem/topology.ts";

preload("base", "mem");

function refusal(fn: () => unknown, message: RegExp = /^Cannot /): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  return error.codeName;
}

function newArena(pages: number): Arena {
  using ring = Topology.simulate({ shape: "ring", nodes: 4 });
  return Arena.create(ring, { bytesPerNode: pages * 4096 });
}

const usedPages = (arena: Arena) => [0, 1, 2, 3].map((node) => arena.usedBytes(node) / 4096);

Deno.test("Arena N3 follows its policies", () => {
  using arena = newArena(10);
  const take = (pages: number, placement: ArenaPlacement) => arena.alloc(pages * 4096, placement);
  assert(take(8, { policy: "specific", node: 2 }));
  assertEquals(take(3, { policy: "specific", node: 2 }), undefined);
  assertEquals(usedPages(arena), [0, 0, 8, 0]);
  const block = take(4, { policy: "nearest", node: 2 })!;
  assertEquals([0, 1, 2, 3].map((page) => arena.nodeOf(block.offset + page * 4096)), [2, 2, 1, 1]);
  assert(take(7, { policy: "interleave" }));
  assertEquals(usedPages(arena), [3, 4, 10, 2]);
  assert(take(21, { policy: "nearest", node: 3 }));
  assertEquals([take(1, {}), usedPages(arena)], [undefined, [10, 10, 10, 10]]);
  arena.verify();
});

Deno.test("Arena N4 credits the node that was charged, over random allocations", () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  let state = seed;
  const random = (below: number) => {
    state = Math.imul(state ^ state >>> 15, 0x2c1b3c6d) + 0x9e3779b9 | 0;
    return ((state ^ state >>> 13) >>> 0) % below;
  };
  using arena = newArena(50);
  const live: ArenaBlock[] = [];
  const policies = ["local", "interleave", "specific", "nearest"] as const;
  for (let step = 0; step < 2000; step++) {
    if (live.length > 0 && random(2) === 0) {
      const [block] = live.splice(random(live.length), 1);
      assertEquals(block.bytes[0], 1);
      arena.free(block);
    } else {
      const bytes = 1 + random(9 * 4096);
      const block = arena.alloc(bytes, { policy: policies[random(4)], node: random(4) });
      if (!block) continue;
      assertEquals([block.bytes.length, block.bytes[0], block.bytes.at(-1)], [bytes, 0, 0]);
      block.bytes.fill(1);
      live.push(block);
    }
    const pages = live.reduce((sum, { bytes }) => sum + Math.ceil(bytes.length / 4096), 0);
    assertEquals(usedPages(arena).reduce((a, b) => a + b), pages, `SEED=${seed} step ${step}`);
  }
  arena.verify();
  for (const block of live) arena.free(block);
  assertEquals(usedPages(arena), [0, 0, 0, 0]);
});

Deno.test("Arena says which pages it got, and keeps views of a closed one harmless", () => {
  using machine = Topology.detect();
  const arena = Arena.create(machine, { bytesPerNode: 1 << 21, hugePages: true });
  assert(["small", "transparent", "huge"].includes(arena.pages));
  assertEquals([arena.pageBytes, arena.bytesPerNode], [1 << 21, 1 << 21]);
  const block = arena.alloc(100)!;
  block.bytes.fill(9);
  arena.close();
  arena.close();
  assertEquals(block.bytes[99], 0);
  block.bytes.fill(9);
  assertEquals(refusal(() => arena.alloc(1)), "KL_ERR_HANDLE");
  assertEquals(refusal(() => arena.free(block)), "KL_ERR_HANDLE");
});

Deno.test("Arena refuses sizes, policies and blocks that cannot be", () => {
  using ring = Topology.simulate({ shape: "ring" });
  for (const bytesPerNode of [0, -1, NaN, 0.5, 2 ** 39, 2 ** 53]) {
    assertEquals(refusal(() => Arena.create(ring, { bytesPerNode })), "KL_ERR_ARGUMENT");
  }
  using arena = newArena(4);
  for (const bytes of [0, -1, NaN, 0.5, 2 ** 41, 2 ** 53]) {
    assertEquals(refusal(() => arena.alloc(bytes)), "KL_ERR_ARGUMENT");
  }
  const policy = "toString" as "local";
  assertEquals(refusal(() => arena.alloc(1, { policy })), "KL_ERR_ARGUMENT");
  for (const node of [-1, 4, NaN]) {
    assertEquals(refusal(() => arena.alloc(1, { policy: "nearest", node })), "KL_ERR_ARGUMENT");
  }
  const block = arena.alloc(5000)!;
  const shifted = { ...block, offset: block.offset + 4096 };
  assertEquals(refusal(() => arena.free(shifted)), "KL_ERR_ARGUMENT");
  arena.free(block);
  assertEquals(refusal(() => arena.free(block)), "KL_ERR_ARGUMENT");
  const closed = Topology.simulate({ shape: "ring" });
  closed.close();
  assertEquals(refusal(() => Arena.create(closed, { bytesPerNode: 1 })), "KL_ERR_HANDLE");
});
