/**
 * The queues whose histories are recorded, all as queues of numbers.
 *
 * @module
 */
import { SpscRing } from "../../mod.ts";

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

/** A queue of numbers as this test uses it. */
export interface RecordedQueue extends Disposable {
  push(value: number): boolean;
  pop(): number | undefined;
}

/** The queues that can be recorded: how to make one, and how to open it. */
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
};
