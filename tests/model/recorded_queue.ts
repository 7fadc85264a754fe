/**
 * The queues and stacks whose histories are recorded, all of numbers.
 *
 * @module
 */
import { MpmcQueue, MpscRing, MsQueue, SpscRing, Stack } from "../../mod.ts";

/** What one thread is to do. */
export interface RecordingOrder {
  queue: keyof typeof QUEUES;
  name: string;
  pushes: boolean;
  /** Producers: the first of its values, which follow each other. */
  first: number;
  /** Producers: how many to push. Consumers: how many all of them pop together. */
  count: number;
  /** Two words: threads that are ready (the last one starts them all); values that were popped. */
  shared: Int32Array<SharedArrayBuffer>;
  threads: number;
}

/** A queue or stack of numbers as these tests use it. */
export interface RecordedQueue extends Disposable {
  push(value: number): boolean;
  pop(): number | undefined;
}

/** How to make one, and how to open it. */
interface Recorded {
  create(name: string): Disposable;
  attach(name: string): RecordedQueue;
  remove(name: string): void;
  capacity: number;
  /** A push or pop that got nowhere does not mean "full" or "empty". @default {false} */
  saysMerelyNotNow?: boolean;
}

/** What can be recorded. */
export const QUEUES: Record<
  "spscRing" | "mpscRing" | "mpmcQueue" | "msQueue" | "stack",
  Recorded
> = {
  spscRing: {
    create: (name: string): Disposable => SpscRing.create(name, { capacityBytes: 64, words: true }),
    attach(name: string): RecordedQueue {
      const ring = SpscRing.attach(name);
      return {
        push: (value) => ring.pushWord(value),
        pop: () => ring.popWord(),
        [Symbol.dispose]: () => ring.close(),
      };
    },
    remove: (name: string) => SpscRing.remove(name),
    capacity: 8,
  },
  msQueue: {
    create: (name: string): Disposable => MsQueue.create(name, { capacity: 8, elementBytes: 4 }),
    attach(name: string): RecordedQueue {
      const queue = MsQueue.attach(name);
      return {
        push: (value) => queue.pushWord(value),
        pop: () => queue.popWord(),
        [Symbol.dispose]: () => queue.close(),
      };
    },
    remove: (name: string) => MsQueue.remove(name),
    capacity: 8,
  },
  stack: {
    create: (name: string): Disposable => Stack.create(name, { capacity: 8, elementBytes: 4 }),
    attach(name: string): RecordedQueue {
      const stack = Stack.attach(name);
      return {
        push: (value) => stack.pushWord(value),
        pop: () => stack.popWord(),
        [Symbol.dispose]: () => stack.close(),
      };
    },
    remove: (name: string) => Stack.remove(name),
    capacity: 8,
  },
  mpmcQueue: {
    create: (name: string): Disposable => MpmcQueue.create(name, { capacity: 8, words: true }),
    attach(name: string): RecordedQueue {
      const queue = MpmcQueue.attach(name);
      return {
        push: (value) => queue.pushWord(value),
        pop: () => queue.popWord(),
        [Symbol.dispose]: () => queue.close(),
      };
    },
    remove: (name: string) => MpmcQueue.remove(name),
    capacity: 8,
    // It also answers so while the next place is in somebody's hands.
    saysMerelyNotNow: true,
  },
  mpscRing: {
    create: (name: string): Disposable => MpscRing.create(name, { capacityBytes: 256 }),
    attach(name: string): RecordedQueue {
      const ring = MpscRing.attach(name);
      const word = new Uint32Array(1), bytes = new Uint8Array(word.buffer);
      return {
        push(value) {
          word[0] = value;
          return ring.push(bytes);
        },
        pop() {
          const record = ring.pop();
          return record && new DataView(record.buffer, record.byteOffset).getUint32(0, true);
        },
        [Symbol.dispose]: () => ring.close(),
      };
    },
    remove: (name: string) => MpscRing.remove(name),
    capacity: Infinity, // in bytes, and padding counts
    saysMerelyNotNow: true,
  },
};
