/**
 * A child's side of the pipes to `run`: frames in on standard input, frames out on standard output.
 * When the input ends without a word, `run` is gone, and the child goes too.
 *
 * @module
 */
import { complain } from "./failure.ts";
import { encodeFrame, FRAME, type Frame, frames } from "./frames.ts";

/** How often a child looks whether its parent is still the one it was born to. */
const PARENT_CHECK_MS = 750;

/** The link of this process to `run`. */
export class ParentLink {
  readonly #writes: Uint8Array[] = [];
  #writing: Promise<void> | undefined;
  #stop!: () => void;
  #wakeSleeper: () => void = () => {};

  /** Resolves when `run` asks to finish. */
  readonly stopRequested: Promise<void> = new Promise((resolve) => this.#stop = resolve);
  /** Whether {@linkcode stopRequested} has resolved. */
  stopping = false;

  /** `onFrame` may be asynchronous: then the next frame waits in the pipe until it is done. */
  constructor(onFrame: (frame: Frame) => void | Promise<void>) {
    // A Ctrl-C in a terminal goes to the whole group; only `run` decides what it means.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      Deno.addSignalListener(signal, () => {});
    }
    const parent = Deno.ppid;
    setInterval(() => Deno.ppid === parent || Deno.exit(0), PARENT_CHECK_MS);
    this.#read(onFrame);
  }

  /** Waits, but not longer than until `run` asks to finish. One sleeper at a time. */
  sleep(ms: number): Promise<void> {
    if (this.stopping) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeSleeper = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Queues a frame for `run`. */
  send(kind: number, payload?: Uint8Array): void {
    this.#writes.push(encodeFrame(kind, payload));
    this.#writing ??= this.#write();
  }

  /** Resolves when everything sent so far lies in the pipe. */
  async flushed(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  /** Ends the process with the one line of an error, after what was sent. */
  async fail(error: unknown): Promise<never> {
    const code = complain(error, "");
    return await this.exit(code);
  }

  /** Sends what is queued and ends the process. */
  async exit(code: number): Promise<never> {
    await this.flushed();
    Deno.exit(code);
  }

  async #read(onFrame: (frame: Frame) => void | Promise<void>): Promise<void> {
    try {
      for await (const frame of frames(Deno.stdin.readable)) {
        if (frame.kind === FRAME.stop) {
          this.stopping = true;
          this.#stop();
          this.#wakeSleeper();
        } else {
          const done = onFrame(frame);
          if (done) await done;
        }
      }
    } finally {
      Deno.exit(0);
    }
  }

  async #write(): Promise<void> {
    try {
      while (this.#writes.length > 0) {
        const next = this.#writes.length === 1 ? this.#writes[0] : joined(this.#writes);
        this.#writes.length = 0;
        for (let at = 0; at < next.length;) at += await Deno.stdout.write(next.subarray(at));
      }
    } catch {
      Deno.exit(0); // nobody reads: `run` is gone
    }
    this.#writing = undefined;
  }
}

function joined(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Lets timers and pipes have their turn in a loop that never waits by itself. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
