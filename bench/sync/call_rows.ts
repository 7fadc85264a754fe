/**
 * Counters, latest values and locks called from TypeScript, by one thread.
 *
 * @module
 */
import { Counter } from "../../lib/sync/counter.ts";
import { Latest } from "../../lib/sync/latest.ts";
import { Mutex } from "../../lib/sync/mutex.ts";
import type { BenchContext, Contender, RowDefinition, Session } from "../frame/row.ts";

/** Something to call, and what it came to. */
interface Called {
  call(number: number): void;
  digest(): string;
  close?(): void;
}

function session({ size }: BenchContext, full: number, called: Called): Session {
  const calls = size({ smoke: 10_000, full });
  return {
    round() {
      const started = performance.now();
      for (let number = 0; number < calls; number++) called.call(number);
      const seconds = (performance.now() - started) / 1000;
      return {
        value: seconds / calls * 1e9,
        records: calls,
        durability: "none",
        digest: called.digest(),
      };
    },
    close: () => called.close?.(),
  };
}

/** Opens one of its own under a name that nobody else needs. */
function unnamed<Thing>(
  create: (name: string) => Thing,
  remove: (name: string) => void,
): Thing {
  const name = `bench-${crypto.randomUUID()}`;
  const thing = create(name);
  remove(name);
  return thing;
}

function openCounter(context: BenchContext): Session {
  const counter = unnamed(Counter.create, Counter.remove);
  let before = 0;
  return session(context, 3e6, {
    call: () => counter.add(),
    digest: () => String(-before + (before = counter.value)),
    close: () => counter.close(),
  });
}

const SAB_COUNTER: Contender = {
  name: "Atomics.add",
  kind: "peer",
  weaker: "never leaves the process; 32 bits",
  open(context) {
    const words = new Int32Array(new SharedArrayBuffer(4));
    let before = 0;
    return session(context, 3e6, {
      call: () => void Atomics.add(words, 0, 1),
      digest: () => String(-before + (before = Atomics.load(words, 0))),
    });
  },
};

function openLatest(context: BenchContext): Session {
  const latest = unnamed((name) => Latest.create(name, { valueBytes: 64 }), Latest.remove);
  latest.set(new Uint8Array(64).fill(7));
  let sum = 0;
  return session(context, 1e6, {
    call: () => void (sum = (sum + latest.get()![63]) | 0),
    digest() {
      const digest = String(sum);
      sum = 0;
      return digest;
    },
    close: () => latest.close(),
  });
}

function openMutex(context: BenchContext): Session {
  const mutex = unnamed(Mutex.create, Mutex.remove);
  let sum = 0;
  return session(context, 2e6, {
    call() {
      mutex.lock();
      sum++;
      mutex.unlock();
    },
    digest() {
      const digest = String(sum);
      sum = 0;
      return digest;
    },
    close: () => mutex.close(),
  });
}

function callRow(
  name: string,
  unit: string,
  row: Partial<RowDefinition> & Pick<RowDefinition, "own">,
): RowDefinition {
  return {
    group: "sync",
    name,
    unit,
    better: "lower",
    note: "from TypeScript, by one thread",
    rounds: { smoke: 1, full: 15 },
    ...row,
  };
}

/** Rows of calls from TypeScript. */
export const CALL_ROWS: RowDefinition[] = [
  callRow("Counter.add", "ns a call", {
    floors: [{ kind: "absolute", value: 12 }],
    own: { open: openCounter },
    others: [SAB_COUNTER],
  }),
  callRow("Latest.get, 64 B", "ns a call", { own: { open: openLatest } }),
  callRow("Mutex.lock + unlock", "ns a pair", { own: { open: openMutex } }),
];
