import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { WorkDeque, type WorkDequeOptions } from "../../lib/lockfree/work_deque.ts";

preload("base", "sync", "lockfree", "exec");
await preloadCompletion();

const ROOT = new URL("../..", import.meta.url);

/** A deque whose name is gone already. */
function freshDeque(options?: WorkDequeOptions): WorkDeque {
  const deque = WorkDeque.create(`test-${crypto.randomUUID()}`, options);
  WorkDeque.remove(deque.name);
  return deque;
}

function refusal(fn: () => unknown, message: RegExp = /^Cannot /): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  return error.codeName;
}

/** A small generator, so that a failure can be repeated. */
function generator(seed: number): (below: number) => number {
  return (below) => {
    seed = Math.imul(seed ^ seed >>> 15, 0x2c1b3c6d) + 0x9e3779b9 | 0;
    return ((seed ^ seed >>> 13) >>> 0) % below;
  };
}

Deno.test("WorkDeque D1 D4 behaves like an array, of which thieves take half from the front", () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const random = generator(seed);
  for (const capacity of [2, 8, 128]) {
    using deque = freshDeque({ capacity });
    const model: number[] = [];
    for (let step = 0, next = 0; step < 5000; step++) {
      const context = `SEED=${seed} capacity ${capacity} step ${step}`;
      const what = random(6);
      if (what < 2) {
        assertEquals(deque.push(next), model.length < capacity, context);
        if (model.length < capacity) model.push(next++);
      } else if (what === 2) {
        const some = Array.from({ length: random(9) }, () => next++);
        const room = Math.min(some.length, capacity - model.length);
        assertEquals(deque.pushMany(some), room, context);
        model.push(...some.slice(0, room));
      } else if (what < 5) {
        const task = model.pop();
        assertEquals(deque.pop(), task, context);
        assertEquals(deque.current, task, context);
      } else {
        const most = 1 + random(40);
        const count = Math.min(most, 32, Math.ceil(model.length / 2));
        assertEquals(deque.stealMany(most), model.splice(0, count), context);
      }
      assertEquals(deque.length, model.length, context);
    }
    deque.verify();
  }
});

Deno.test("WorkDeque D3 D5 an empty deque says so, however often it is asked", () => {
  using deque = freshDeque({ capacity: 4 });
  for (let i = 0; i < 20; i++) {
    assertEquals([deque.pop(), deque.steal(), deque.trySteal()], [undefined, undefined, "empty"]);
    assertEquals([deque.stealMany(5), deque.length, deque.current], [[], 0, undefined]);
  }
  for (const task of [0, 2 ** 53 - 1]) {
    assert(deque.push(task));
    assertEquals(deque.trySteal(), task);
  }
});

Deno.test("WorkDeque refuses bad names, capacities and tasks, and says the limit", () => {
  const name = `test-${crypto.randomUUID()}`;
  for (const bad of ["", "../x", "a/b", "x".repeat(300)]) {
    assertMatch(refusal(() => WorkDeque.create(bad)), /KL_ERR_(NAME|ARGUMENT)/);
  }
  for (const capacity of [0, 1, 3, -2, NaN, 1.5, 2 ** 29, 2 ** 53]) {
    const code = refusal(() => WorkDeque.create(name, { capacity }), /power of two from 2/);
    assertEquals(code, "KL_ERR_ARGUMENT");
  }
  assertEquals(refusal(() => WorkDeque.attach(name)), "KL_ERR_NOT_FOUND");
  assertEquals(refusal(() => WorkDeque.remove(name)), "KL_ERR_NOT_FOUND");
  const deque = freshDeque({ capacity: 4 });
  for (const task of [-1, 0.5, NaN, Infinity, 2 ** 53, "7" as unknown as number]) {
    const code = refusal(() => {
      if (deque.push(task)) throw new KeelsonError(0, "x");
    }, /2\^53 - 1|Cannot|number/);
    assertEquals(code, "KL_ERR_ARGUMENT", String(task));
  }
  for (const most of [0, -1, NaN, 2 ** 53]) {
    assertEquals(refusal(() => deque.stealMany(most)), "KL_ERR_ARGUMENT");
  }
  assertEquals(deque.pushMany([1, NaN, 2]), 1);
  assertEquals(refusal(() => deque.pushMany([NaN])), "KL_ERR_ARGUMENT");
  deque.close();
  deque.close();
  for (const call of [() => deque.push(1), () => deque.pop(), () => deque.steal()]) {
    assertEquals(refusal(call), "KL_ERR_HANDLE");
  }
});

Deno.test("WorkDeque.waitForWork() resolves when there is something to steal", async () => {
  const deque = freshDeque({ capacity: 4 });
  assertEquals(await deque.waitForWork({ timeoutMs: 2 }), false);
  assertEquals(deque.waitForWorkSync(1), false);
  const woken = deque.waitForWork();
  setTimeout(() => deque.push(7), 2);
  assertEquals(await woken, true);
  assertEquals([await deque.waitForWork(), deque.waitForWorkSync(), deque.steal()], [
    true,
    true,
    7,
  ]);
  const controller = new AbortController();
  const aborted = deque.waitForWork({ signal: controller.signal });
  controller.abort(new Error("enough"));
  assertEquals((await assertRejects(() => aborted, Error)).message, "enough");
  const closed = deque.waitForWork();
  deque.close();
  assertEquals((await assertRejects(() => closed, KeelsonError)).codeName, "KL_ERR_CLOSED");
});

/** Steals until the task `last` is found, and answers what it got. */
const THIEF = `
  import { WorkDeque } from "$ROOT/lib/lockfree/work_deque.ts";
  export function rob(name, last) {
    using deque = WorkDeque.attach(name);
    const tasks = [];
    while (deque.waitForWorkSync(20000)) {
      const some = deque.stealMany(4);
      tasks.push(...some.filter((task) => task !== last));
      if (some.includes(last)) return tasks;
    }
    throw new Error("nothing to steal for 20 s");
  }`.replaceAll("$ROOT/", ROOT.href);

/** Pushes and pops 3000 tasks while others steal, then one last task for each of them. */
async function ownWhile(deque: WorkDeque, robbers: Promise<number[]>[]): Promise<void> {
  const own: number[] = [];
  for (let task = 0; task < 3000;) {
    for (let i = 0; i < 8 && deque.push(task); i++) task++;
    for (let i = 0; i < 3; i++) {
      const popped = deque.pop();
      if (popped !== undefined) own.push(popped);
    }
    if (task % 64 < 8) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  for (let popped = deque.pop(); popped !== undefined; popped = deque.pop()) own.push(popped);
  const last = 2 ** 40;
  while (deque.length > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  for (const _ of robbers) {
    assert(deque.push(last));
    while (deque.length > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const all = [...own, ...(await Promise.all(robbers)).flat()].filter((task) => task < last);
  assertEquals(all.sort((a, b) => a - b), Array.from({ length: all.length }, (_, i) => i));
  assert(all.length >= 3000);
}

Deno.test("WorkDeque D2 two Workers steal from the main thread, each task goes to one", async () => {
  const deque = WorkDeque.create(`test-${crypto.randomUUID()}`, { capacity: 64 });
  const source = THIEF + `
    self.onmessage = ({ data }) => self.postMessage(rob(data, 2 ** 40));
    self.postMessage("ready");`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const workers = [0, 1].map(() => new Worker(url, { type: "module" }));
  const messages = workers.map((worker) => {
    const { promise: ready, resolve: isReady } = Promise.withResolvers<void>();
    const { promise: tasks, resolve, reject } = Promise.withResolvers<number[]>();
    worker.onmessage = ({ data }) => data === "ready" ? isReady() : resolve(data);
    worker.onerror = (event) => (event.preventDefault(), reject(new Error(event.message)));
    return { ready, tasks };
  });
  await Promise.all(messages.map(({ ready }) => ready));
  for (const worker of workers) worker.postMessage(deque.name);
  await ownWhile(deque, messages.map(({ tasks }) => tasks));
  for (const worker of workers) worker.terminate();
  URL.revokeObjectURL(url);
  WorkDeque.remove(deque.name);
  deque.close();
});

Deno.test("WorkDeque D2 another process steals, each task goes to one", async () => {
  const deque = WorkDeque.create(`test-${crypto.randomUUID()}`, { capacity: 64 });
  const file = await Deno.makeTempFile({ suffix: ".js" });
  await Deno.writeTextFile(
    file,
    THIEF + `console.log(JSON.stringify(rob(Deno.args[0], 2 ** 40)));`,
  );
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-prompt", "--no-lock", file, deque.name],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const robbed = child.then(({ stdout, stderr, code }) => {
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    return JSON.parse(new TextDecoder().decode(stdout)) as number[];
  });
  await ownWhile(deque, [robbed]);
  await Deno.remove(file);
  WorkDeque.remove(deque.name);
  deque.close();
});

Deno.test("WorkDeque gives the task of a terminated Worker to the next owner", async () => {
  using deque = WorkDeque.create(`test-${crypto.randomUUID()}`, { capacity: 8 });
  const source = `
    import { WorkDeque } from "${ROOT.href}lib/lockfree/work_deque.ts";
    self.onmessage = ({ data }) => {
      const deque = WorkDeque.attach(data);
      deque.pushMany([1, 2, 3]);
      self.postMessage(deque.pop());
      (function turn() { // never done with it
        for (let i = 0; i < 100; i++) deque.current;
        setTimeout(turn, 0);
      })();
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  const popped = new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
  worker.postMessage(deque.name);
  assertEquals(await popped, 3);
  assertEquals(refusal(() => deque.push(9)), "KL_ERR_LOCKED");
  worker.terminate();
  let task: number | undefined;
  for (let tries = 0; task === undefined && tries < 2000; tries++) {
    try {
      task = deque.pop();
    } catch (error) {
      assertEquals((error as KeelsonError).codeName, "KL_ERR_LOCKED");
      await new Promise((resolve) => setTimeout(resolve, 5)); // the thread ends a little later
    }
  }
  assertEquals([task, deque.current], [3, 3]);
  assertEquals([deque.pop(), deque.pop(), deque.pop()], [2, 1, undefined]);
  deque.verify();
  URL.revokeObjectURL(url);
  WorkDeque.remove(deque.name);
});
