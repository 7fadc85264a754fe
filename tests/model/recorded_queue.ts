/**
 * The queues and stacks whose histories are recorded, all of numbers.
 *
 * @module
 */
import { MsQueue, SpscRing, Stack } from "../../mod.ts";

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

/** What can be recorded: how to make one, and how to open it. */
export const QUEUES = {
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
};
