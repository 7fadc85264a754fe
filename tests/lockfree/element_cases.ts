/**
 * What the structures of fixed-size elements have in common, as tests: one suite for each of them.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { KeelsonError } from "../../lib/base/error.ts";
import { seededRandom } from "./seeded_random.ts";

/** An open structure. */
export interface Elements extends Disposable {
  readonly name: string;
  readonly capacity: number;
  readonly elementBytes: number;
  readonly size: number;
  push(element: Uint8Array): boolean;
  pop(): Uint8Array | undefined;
  pushWord(word: number): boolean;
  popWord(): number | undefined;
  waitForData(options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<boolean>;
  waitForSpace(options?: { timeoutMs?: number }): Promise<boolean>;
  waitForDataSync(timeoutMs?: number): boolean;
  recover(): number;
  verify(): void;
  close(): void;
}

/** Its class. */
export interface ElementsClass {
  create(name: string, options?: { capacity?: number; elementBytes?: number }): Elements;
  attach(name: string): Elements;
  remove(name: string): void;
}

/** A class under test. */
export interface Subject {
  /** Of the class: `Stack`. */
  name: string;
  /** Its module below the root. */
  module: string;
  type: ElementsClass;
  /** What a plain array does for pop. */
  take: <T>(model: T[]) => T | undefined;
  /** Invariant ids for the names. */
  order: string;
  exact: string;
  elementBytesMax: number;
}

const ROOT = new URL("../..", import.meta.url);

function refusal(fn: () => unknown, message: RegExp = /^Cannot /): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  return error.codeName;
}

/** A module that a Worker or process runs, from source text. */
function moduleUrl(source: string): string {
  return URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
}

/** Defines the tests of one class. */
export function elementCases(subject: Subject): void {
  const { name, type } = subject;
  const fresh = (options?: { capacity?: number; elementBytes?: number }) => {
    const made = type.create(`test-${crypto.randomUUID()}`, options);
    type.remove(made.name);
    return made;
  };
  const source = `import { ${name} } from "${ROOT.href}${subject.module}";`;

  Deno.test(`${subject.order} ${name} behaves like an array, through two objects`, () => {
    const { random, seed } = seededRandom();
    for (const elementBytes of [1, 4, 13, 64]) {
      using mine = type.create(`test-${crypto.randomUUID()}`, { capacity: 20, elementBytes });
      using theirs = type.attach(mine.name);
      type.remove(mine.name);
      const model: Uint8Array[] = [];
      for (let round = 0; round < 3000; round++) {
        const end = random(2) === 0 ? mine : theirs;
        if (random(100) < 52) {
          const element = Uint8Array.from({ length: elementBytes }, () => random(256));
          assertEquals(end.push(element), model.length < 20, `SEED=${seed}`);
          if (model.length < 20) model.push(element);
        } else {
          assertEquals(end.pop(), subject.take(model), `SEED=${seed}`);
        }
        assertEquals(end.size, model.length, `SEED=${seed}`);
      }
      mine.verify();
    }
  });

  Deno.test(`${subject.exact} ${name}.pushWord() carries every 32-bit number and refuses others`, () => {
    using made = fresh({ capacity: 3 });
    const model = [0, 2 ** 31, 2 ** 32 - 1];
    for (const word of model) assert(made.pushWord(word));
    assertEquals(made.pushWord(1), false);
    assertEquals(made.size, 3);
    while (model.length > 0) assertEquals(made.popWord(), subject.take(model));
    assertEquals(made.popWord(), undefined);
    for (const word of [-1, 1.5, 2 ** 32, 2 ** 53, NaN, "1" as unknown as number]) {
      assertEquals(refusal(() => made.pushWord(word)), "KL_ERR_ARGUMENT");
    }
    using bytes = fresh({ elementBytes: 5 });
    assertEquals(refusal(() => bytes.pushWord(1), /have 5/), "KL_ERR_ARGUMENT");
    assertEquals(refusal(() => bytes.popWord(), /have 5/), "KL_ERR_ARGUMENT");
  });

  Deno.test(`${name} refuses bad names, sizes and elements, and says the limit`, () => {
    const unused = `test-${crypto.randomUUID()}`;
    for (const bad of ["", "../x", "a/b", "a\0b", "x".repeat(300), 5 as unknown as string]) {
      assertMatch(refusal(() => type.create(bad)), /KL_ERR_(NAME|ARGUMENT)/);
    }
    for (const value of [0, -1, 1.5, NaN, 2 ** 53, 2 ** 24, "8" as unknown as number]) {
      const code = refusal(() => type.create(unused, { capacity: value }));
      assertEquals(code, "KL_ERR_ARGUMENT");
    }
    for (const value of [0, -1, NaN, subject.elementBytesMax + 1]) {
      const code = refusal(() => type.create(unused, { elementBytes: value }));
      assertEquals(code, "KL_ERR_ARGUMENT");
    }
    assertEquals(refusal(() => type.attach(unused)), "KL_ERR_NOT_FOUND");
    assertEquals(refusal(() => type.remove(unused)), "KL_ERR_NOT_FOUND");
    using made = fresh({ elementBytes: 6 });
    for (const length of [0, 5, 7]) {
      assertEquals(refusal(() => made.push(new Uint8Array(length))), "KL_ERR_ARGUMENT");
    }
    using large = fresh({ capacity: 1, elementBytes: subject.elementBytesMax });
    const element = crypto.getRandomValues(new Uint8Array(subject.elementBytesMax));
    assert(large.push(element));
    assertEquals(large.pop(), element);
  });

  Deno.test(`${name}.create() never takes a name away from a living one`, () => {
    using made = type.create(`test-${crypto.randomUUID()}`);
    assertEquals(refusal(() => type.create(made.name)), "KL_ERR_EXISTS");
    type.remove(made.name);
  });

  Deno.test(`${name}.close() twice is nothing, and later calls throw`, async () => {
    const made = fresh();
    made.close();
    made.close();
    const calls = [() => made.pushWord(1), () => made.pop(), () => made.size, () => made.recover()];
    for (const call of calls) assertEquals(refusal(call), "KL_ERR_HANDLE");
    await assertRejects(() => made.waitForData(), KeelsonError);
  });

  Deno.test(`${name}.waitForData() and waitForSpace() wait for the others`, async () => {
    using made = fresh({ capacity: 1 });
    assertEquals(await made.waitForData({ timeoutMs: 2 }), false);
    assertEquals(made.waitForDataSync(1), false);
    setTimeout(() => made.pushWord(7), 2);
    assertEquals(await made.waitForData(), true);
    assertEquals(made.waitForDataSync(), true);
    assertEquals(await made.waitForSpace({ timeoutMs: 2 }), false);
    setTimeout(() => made.popWord(), 2);
    assertEquals(await made.waitForSpace(), true);
    const waiting = made.waitForData();
    made.close();
    await assertRejects(() => waiting, KeelsonError);
  });

  Deno.test(`${subject.exact} ${name} passes elements between Workers and the main thread`, async () => {
    using made = type.create(`test-${crypto.randomUUID()}`, { capacity: 16 });
    const url = moduleUrl(`${source}
      self.onmessage = ({ data: { name, first, count } }) => {
        using made = ${name}.attach(name);
        for (let word = first; word < first + count;) if (made.pushWord(word)) word++;
        self.postMessage("done");
      };`);
    const count = 3000, seen = new Set<number>();
    const workers = [0, 1].map((index) => {
      const worker = new Worker(url, { type: "module" });
      worker.postMessage({ name: made.name, first: index * count, count });
      return { worker, done: new Promise((resolve) => worker.onmessage = resolve) };
    });
    while (seen.size < 2 * count) {
      const word = made.popWord();
      if (word === undefined) await made.waitForData();
      else assert(!seen.has(word) && seen.add(word) && word < 2 * count);
    }
    for (const { worker, done } of workers) {
      await done;
      worker.terminate();
    }
    URL.revokeObjectURL(url);
    type.remove(made.name);
    assertEquals(made.size, 0);
    made.verify();
  });

  Deno.test(`${subject.exact} ${name} outlives a Worker that is terminated in mid-use`, async () => {
    using made = type.create(`test-${crypto.randomUUID()}`, { capacity: 16 });
    const url = moduleUrl(`${source}
      self.onmessage = ({ data }) => {
        const made = ${name}.attach(data);
        const turn = () => {
          for (let i = 0; i < 100; i++) made.pushWord(1) && i % 2 && made.popWord();
          self.postMessage("turned");
          setTimeout(turn, 0);
        };
        turn();
      };`);
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(url, { type: "module" });
      const turned = new Promise((resolve) => worker.onmessage = resolve);
      worker.postMessage(made.name);
      await turned;
      worker.terminate();
      made.recover();
      while (made.popWord() !== undefined); // empty, or emptied while the thread ends
    }
    URL.revokeObjectURL(url);
    type.remove(made.name);
    while (!made.pushWord(5)) made.popWord();
    assertEquals(made.recover() >= 0, true);
  });

  Deno.test(`${subject.exact} ${name} is whole after another process was killed in mid-use`, async () => {
    using made = type.create(`test-${crypto.randomUUID()}`, { capacity: 50 });
    const file = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.writeTextFile(
      file,
      `${source}
      const made = ${name}.attach(Deno.args[0]);
      for (let word = 0;; word = (word + 1) >>> 0) if (!made.pushWord(word) || word % 3) made.popWord();`,
    );
    for (let round = 0; round < 2; round++) {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "--no-prompt", "--no-lock", "-A", file, made.name],
        cwd: ROOT,
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      assert(await made.waitForData({ timeoutMs: 60_000 }));
      for (let i = 0; i < 1000; i++) made.pushWord(1) && made.popWord(); // beside it
      child.kill("SIGKILL");
      await child.status;
      assert(made.recover() <= 2);
      assertEquals(made.recover(), 0);
      made.verify();
      while (made.popWord() !== undefined);
      for (let word = 0; word < 50; word++) assert(made.pushWord(word)); // all of the capacity
      assertEquals(made.pushWord(50), false);
      while (made.popWord() !== undefined);
    }
    await Deno.remove(file);
    type.remove(made.name);
  });
}
