/**
 * `run`'s side of the checker process.
 *
 * @module
 */
import type { Child } from "./child.ts";
import { Failure } from "./failure.ts";
import {
  type CheckNote,
  decodeJson,
  decodeNumbers,
  encodeNumbers,
  FRAME,
  type Frame,
} from "./frames.ts";
import type { LocalNode } from "./local_node.ts";
import type { CheckTask } from "./roles/check.ts";

/** How long the verdict may take, once all acknowledgements are known: the checker's own patience for
 * records that do not come, and time to read what is there. */
const VERDICT_SILENCE_MS = 15_000;

const NOTHING: CheckNote = {
  delivered: 0,
  lost: 0,
  duplicates: 0,
  outOfOrder: 0,
  judged: [],
  publishToDeliverMicros: { p50: null, p99: null, p999: null },
};

/** Speaks with the checker. */
export class RunChecker {
  readonly #child: Child;
  readonly #waiting = new Map<number, (known: boolean) => void>();
  #latest: CheckNote = NOTHING;
  /** What checkers that died had found wrong. */
  #before: CheckNote = NOTHING;
  #verdict = Promise.withResolvers<CheckNote>();
  #heardAt = performance.now();
  #finishing = false;

  /** `task` is asked at each start; `onRestart` makes the publishers say their sessions anew. */
  constructor(
    node: LocalNode,
    task: (judged: ReadonlyMap<number, number>) => CheckTask,
    onRestart: () => void,
  ) {
    this.#child = node.add({
      name: "checker",
      role: "check",
      // What an earlier checker has judged is in its counts, and is not judged again.
      task: () => task(new Map(this.#latest.judged)),
      onFrame: (frame) => this.#hear(frame),
      onStart: (restarts) => {
        if (restarts === 0) return;
        this.#before = this.latest;
        this.#latest = { ...NOTHING, judged: this.#latest.judged };
        for (const resolve of this.#waiting.values()) resolve(false);
        this.#waiting.clear();
        if (this.#finishing) this.#child.send(FRAME.finish);
        onRestart();
      },
    });
    this.#child.start();
  }

  /** What it has found so far, earlier checkers included. */
  get latest(): CheckNote {
    return this.#sum(this.#latest);
  }

  /** Makes it watch a session from record `first` on. False when it died before it said that it does. */
  know(session: number, first: number): Promise<boolean> {
    const known = new Promise<boolean>((resolve) => this.#waiting.set(session, resolve));
    this.#child.send(FRAME.know, encodeNumbers(session, first));
    return known;
  }

  /** Passes on what a publisher said. */
  async relay({ kind, payload }: Frame): Promise<void> {
    await this.#child.send(kind, payload);
  }

  /** Says that nothing more will come, and waits for the verdict. */
  async finish(): Promise<CheckNote> {
    this.#finishing = true;
    this.#heardAt = performance.now();
    const timer = setInterval(() => {
      if (performance.now() - this.#heardAt < VERDICT_SILENCE_MS) return;
      this.#verdict.reject(new Failure("the checker gives no verdict; nothing can be said"));
    }, 1000);
    try {
      await this.#child.send(FRAME.finish);
      return this.#sum(await this.#verdict.promise);
    } finally {
      clearInterval(timer);
    }
  }

  #hear({ kind, payload }: Frame): void {
    this.#heardAt = performance.now();
    if (kind === FRAME.known) {
      const [session] = decodeNumbers(payload);
      this.#waiting.get(session)?.(true);
      this.#waiting.delete(session);
    } else if (kind === FRAME.statistics) {
      this.#latest = decodeJson(payload);
    } else if (kind === FRAME.verdict) {
      this.#latest = decodeJson(payload);
      this.#verdict.resolve(this.#latest);
    }
  }

  #sum(note: CheckNote): CheckNote {
    const { lost, duplicates, outOfOrder } = this.#before;
    return {
      ...note,
      delivered: Math.max(note.delivered, this.#before.delivered),
      lost: note.lost + lost,
      duplicates: note.duplicates + duplicates,
      outOfOrder: note.outOfOrder + outOfOrder,
    };
  }
}
