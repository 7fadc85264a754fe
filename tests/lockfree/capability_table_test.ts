import { assert, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import {
  type Capability,
  CapabilityTable,
  type CapabilityTableOptions,
} from "../../lib/lockfree/capability_table.ts";

preload("base", "sync", "lockfree");

const ROOT = new URL("../..", import.meta.url);
const READ = 1, WRITE = 2, HIGH = 1n << 63n;

/** A table whose name is gone already. */
function freshTable(options?: CapabilityTableOptions): CapabilityTable {
  const table = CapabilityTable.create(`test-${crypto.randomUUID()}`, options);
  CapabilityTable.remove(table.name);
  return table;
}

function refusal(fn: () => unknown, message: RegExp = /^Cannot /): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  return error.codeName;
}

Deno.test("CapabilityTable C1 permits what was given, and to children no more than to parents", () => {
  using table = freshTable();
  const root = table.insert(1, HIGH | 3n);
  const child = table.delegate(root, 2, HIGH | 1n);
  assertEquals([table.lookup(1), table.lookup(2), table.lookup(3)], [root, child, undefined]);
  assert(table.check(root, HIGH) && table.check(root, READ | WRITE) && table.check(child, HIGH));
  assert(!table.check(child, WRITE) && !table.check(child, 3n) && !table.check(root, 4));
  assertEquals(table.permissions(child), HIGH | 1n);
  assertEquals(refusal(() => table.delegate(child, 4, WRITE)), "KL_ERR_PERMISSION");
  assertEquals(refusal(() => table.insert(2, 0)), "KL_ERR_EXISTS");
  table.grant(child, WRITE);
  table.revoke(root, HIGH);
  table.grant(root, HIGH);
  assertEquals(table.permissions(child), 3n);
  assertEquals(table.permissions(root), HIGH | 3n);
  table.verify();
  table.end(root);
  assertEquals([table.permissions(child), table.size], [undefined, 0]);
  assert(!table.check(child, 0));
  assertEquals(refusal(() => table.end(root)), "KL_ERR_NOT_FOUND");
});

Deno.test("CapabilityTable C1 behaves like a map of parents and masks", () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  let state = seed;
  const random = (below: number) => {
    state = Math.imul(state ^ state >>> 15, 0x2c1b3c6d) + 0x9e3779b9 | 0;
    return ((state ^ state >>> 13) >>> 0) % below;
  };
  using table = freshTable({ capacity: 64 });
  const model = new Map<number, { number: Capability; mask: number; parent?: number }>();
  const isUnder = (key: number | undefined, top: number): boolean =>
    key !== undefined && (key === top || isUnder(model.get(key)?.parent, top));
  for (let step = 0; step < 4000; step++) {
    const context = `SEED=${seed} step ${step}`;
    const key = random(50), mask = random(256), known = model.get(key);
    if (!known) {
      const parent = random(50), above = model.get(parent);
      const allowed = above ? mask & above.mask : mask;
      const number = above ? table.delegate(above.number, key, allowed) : table.insert(key, mask);
      model.set(key, { number, mask: allowed, parent: above && parent });
    } else if (random(3) === 0) {
      table.end(known.number);
      for (const under of [...model.keys()].filter((at) => isUnder(at, key))) model.delete(under);
    } else if (random(2) === 0) {
      table.revoke(known.number, mask);
      for (const [at, entry] of model) if (isUnder(at, key)) entry.mask &= ~mask;
    } else {
      const above = known.parent === undefined ? 255 : model.get(known.parent)!.mask;
      table.grant(known.number, mask & above);
      known.mask |= mask & above;
    }
    const probe = random(50), entry = model.get(probe);
    assertEquals(table.lookup(probe), entry?.number, context);
    if (entry) {
      assertEquals(table.permissions(entry.number), BigInt(entry.mask), context);
      assertEquals(table.check(entry.number, mask), (entry.mask & mask) === mask, context);
    }
  }
  assertEquals(table.size, model.size);
  table.verify();
});

Deno.test("CapabilityTable refuses bad names, sizes and numbers, and says the limit", () => {
  const name = `test-${crypto.randomUUID()}`;
  for (const bad of ["", "../x", "a/b", "x".repeat(300)]) {
    assertMatch(refusal(() => CapabilityTable.create(bad)), /KL_ERR_(NAME|ARGUMENT)/);
  }
  for (const capacity of [0, -1, NaN, 1.5, 2 ** 19 + 1, 2 ** 53]) {
    const code = refusal(() => CapabilityTable.create(name, { capacity }), /from 1 to/);
    assertEquals(code, "KL_ERR_ARGUMENT");
  }
  assertEquals(refusal(() => CapabilityTable.attach(name)), "KL_ERR_NOT_FOUND");
  assertEquals(refusal(() => CapabilityTable.remove(name)), "KL_ERR_NOT_FOUND");
  const table = freshTable();
  const root = table.insert(1, 1);
  const text = "7" as unknown as number;
  for (const number of [-1, 0.5, NaN, Infinity, 2 ** 53, text]) {
    assertEquals(refusal(() => table.insert(number, 1)), "KL_ERR_ARGUMENT");
    assertEquals(refusal(() => table.insert(9, number)), "KL_ERR_ARGUMENT");
    assertEquals(refusal(() => table.check(number as Capability, 1)), "KL_ERR_ARGUMENT");
    assertEquals(refusal(() => table.delegate(root, number, 1)), "KL_ERR_ARGUMENT");
  }
  for (const mask of [-1n, 1n << 64n]) {
    assertEquals(refusal(() => table.grant(root, mask)), "KL_ERR_ARGUMENT");
  }
  assertEquals(table.check(0 as Capability, 0), false);
  assertEquals(table.check(2 ** 53 - 1 as Capability, 0), false);
  table.close();
  table.close();
  for (const call of [() => table.check(root, 1), () => table.insert(3, 1), () => table.size]) {
    assertEquals(refusal(call), "KL_ERR_HANDLE");
  }
});

/** Delegates from the capability of key 1 until it is ended; answers what it made. */
const GUEST = `
  import { CapabilityTable } from "$ROOT/lib/lockfree/capability_table.ts";
  export function delegateOn(name, first) {
    using table = CapabilityTable.attach(name);
    const parent = table.lookup(1), made = [];
    for (let key = first;; key = first + (key - first + 1) % 100) {
      try {
        made.push(table.delegate(parent, key, 1));
        if (made.length % 50 === 0) table.end(made.at(-1));
      } catch (error) {
        if (error.codeName === "KL_ERR_NOT_FOUND") return made;
        if (error.codeName !== "KL_ERR_EXISTS" && error.codeName !== "KL_ERR_LIMIT") throw error;
      }
    }
  }`.replaceAll("$ROOT/", ROOT.href);

Deno.test("CapabilityTable C1 two Workers delegate while it is ended: no child stays live", async () => {
  const table = CapabilityTable.create(`test-${crypto.randomUUID()}`, { capacity: 300 });
  const root = table.insert(1, 3);
  const source = GUEST + `
    self.onmessage = ({ data: [name, first] }) => self.postMessage(delegateOn(name, first));
    self.postMessage("ready");`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const workers = [1000, 2000].map((first) => {
    const worker = new Worker(url, { type: "module" });
    const { promise, resolve, reject } = Promise.withResolvers<Capability[]>();
    worker.onmessage = ({ data }) =>
      data === "ready" ? worker.postMessage([table.name, first]) : resolve(data);
    worker.onerror = (event) => (event.preventDefault(), reject(new Error(event.message)));
    return { worker, made: promise };
  });
  while (table.lookup(1050) === undefined || table.lookup(2050) === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  table.end(root);
  const made = (await Promise.all(workers.map(({ made }) => made))).flat();
  assert(made.length >= 100);
  for (const child of made) assert(!table.check(child, 0));
  assertEquals(table.size, 0);
  table.verify();
  for (const { worker } of workers) worker.terminate();
  URL.revokeObjectURL(url);
  CapabilityTable.remove(table.name);
  table.close();
});

Deno.test("CapabilityTable C1 another process delegates until it is killed, and breaks nothing", async () => {
  const table = CapabilityTable.create(`test-${crypto.randomUUID()}`, { capacity: 300 });
  const root = table.insert(1, 3);
  const file = await Deno.makeTempFile({ suffix: ".js" });
  await Deno.writeTextFile(file, GUEST + `delegateOn(Deno.args[0], 1000);`);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-prompt", "--no-lock", file, table.name],
    cwd: ROOT,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  while (table.lookup(1050) === undefined) await new Promise((resolve) => setTimeout(resolve, 2));
  child.kill("SIGKILL");
  await child.status;
  const found = table.lookup(1020)!;
  assert(table.check(found, READ) && !table.check(found, WRITE));
  table.revoke(root, READ);
  assert(!table.check(found, READ));
  table.verify();
  table.end(root);
  assertEquals(table.size, 0);
  await Deno.remove(file);
  CapabilityTable.remove(table.name);
  table.close();
});
