/**
 * `run`'s side of one of its processes: starts it, starts it again when it dies, and speaks frames
 * with it over its standard input and output.
 *
 * @module
 */
import { encodeFrame, FRAME, type Frame, frames } from "./frames.ts";
import { EXIT, Failure } from "./failure.ts";
import { identityOf } from "./process_identity.ts";
import type { NodeChild } from "./node_file.ts";

/** What a child is, and who wants to know what of it. */
export interface ChildSpec {
  /** For messages: "broker 2". */
  name: string;
  role: string;
  /** The task, asked for anew at each start. */
  task: () => unknown;
  /** A promise keeps the next frame waiting. */
  onFrame?: (frame: Frame) => void | Promise<void>;
  /** The process ended by itself with code 0: its work is done. */
  onDone?: () => void;
  /** It was started; after the first time with how often before. */
  onStart?: (restarts: number) => void;
  /** It cannot go on: ended so often, or for a reason that stays. */
  onFailure: (failure: Failure) => void;
}

/** First pause before a process that died is started again; doubles up to the longest. */
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 400;
/** One that lived this long had a good start. */
const GOOD_LIFE_MS = 1000;
/** How many bad starts in a row, not counting those that somebody killed, are too many. */
const BAD_STARTS_MAX = 4;
/** The same when the process itself says why it cannot go on. */
const REFUSALS_MAX = 2;

/** How long the frames of a process that has ended may take to be heard. */
const FRAMES_MS = 3000;
/** Of what a process says only the end is kept. */
const WORDS_MAX = 8192;

/** One process of the node. */
export class Child {
  #process: Deno.ChildProcess | undefined;
  #writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #exited: Promise<void> = Promise.resolve();
  #startedAt = 0;
  #badStarts = 0;
  #quickDeaths = 0;
  #stopping = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #said = "";
  #trouble: Failure | undefined;
  #identity: NodeChild | undefined;
  /** How often it was started again. */
  restarts = -1;

  constructor(readonly spec: ChildSpec) {}

  /** The live process, for `node.json`. */
  get identity(): NodeChild | undefined {
    return this.#identity;
  }

  /** Why it is not up now, when it has just failed to start. */
  get trouble(): Failure | undefined {
    return this.#process ? undefined : this.#trouble;
  }

  /** Starts the process. */
  start(): void {
    if (this.#stopping) return;
    this.restarts++;
    this.#startedAt = performance.now();
    const process = command(this.spec).spawn();
    this.#process = process;
    this.#writer = process.stdin.getWriter();
    this.#writer.closed.catch(() => {}); // a broken pipe is seen as the end of the process
    const identity = identityOf(process.pid);
    this.#identity = identity && { ...identity, name: this.spec.name };
    this.#exited = this.#follow(process);
    this.spec.onStart?.(this.restarts);
  }

  /** Sends a frame. True when the pipe has taken it; false when there is no process to take it. */
  async send(kind: number, payload?: Uint8Array): Promise<boolean> {
    try {
      await this.#writer?.write(encodeFrame(kind, payload));
      return this.#writer !== undefined;
    } catch {
      return false; // it has died; its successor is told anew
    }
  }

  /** Asks it to finish; kills it when it has not within `patienceMs`. Resolves when it has ended. */
  async stop(patienceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.send(FRAME.stop);
    const timer = setTimeout(() => this.kill(), patienceMs);
    // Its last frames may wait for another process, which may not come: then they are left.
    const late = Promise.withResolvers<void>();
    const lateTimer = setTimeout(late.resolve, patienceMs + FRAMES_MS);
    await Promise.race([this.#exited, late.promise]);
    clearTimeout(timer);
    clearTimeout(lateTimer);
  }

  /** Resolves when the process has ended, or at once when there is none. */
  get exited(): Promise<void> {
    return this.#exited;
  }

  /** Ends it now. A child that is not being stopped comes back. */
  kill(): void {
    try {
      this.#process?.kill("SIGKILL");
    } catch { /* it has ended already */ }
  }

  /** Ends it now and for good. */
  destroy(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.kill();
  }

  async #follow(process: Deno.ChildProcess): Promise<void> {
    const [status] = await Promise.all([
      process.status,
      this.#readFrames(process.stdout),
      this.#readWords(process.stderr),
    ]);
    this.#process = this.#identity = undefined;
    await this.#writer?.close().catch(() => {});
    this.#writer = undefined;
    this.#ended(status);
  }

  async #readFrames(stdout: ReadableStream<Uint8Array>): Promise<void> {
    for await (const frame of frames(stdout)) {
      const done = this.spec.onFrame?.(frame);
      if (done) await done;
    }
  }

  async #readWords(stderr: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let words = "";
    const show = Deno.env.get("KEELSON_DEBUG") === "1";
    for await (const chunk of stderr) {
      words = (words + decoder.decode(chunk, { stream: true })).slice(-WORDS_MAX);
      if (show) Deno.stderr.writeSync(chunk);
    }
    if (words.trim()) this.#said = words.trim();
  }

  #ended(status: Deno.CommandStatus): void {
    this.#trouble = undefined;
    if (this.#stopping) return;
    if (status.code === EXIT.ok && !status.signal) return this.spec.onDone?.();
    const life = performance.now() - this.#startedAt;
    if (status.code === EXIT.usage || status.code === EXIT.incomplete) {
      return this.spec.onFailure(new Failure(this.#reason(status), status.code));
    }
    this.#badStarts = life >= GOOD_LIFE_MS || status.signal === "SIGKILL" ? 0 : this.#badStarts + 1;
    this.#quickDeaths = life >= GOOD_LIFE_MS ? 0 : this.#quickDeaths + 1;
    if (this.#badStarts > 0) {
      this.#trouble = new Failure(`${this.spec.name}: ${this.#reason(status)}`);
    }
    const max = status.code === EXIT.environment ? REFUSALS_MAX : BAD_STARTS_MAX;
    if (this.#trouble && this.#badStarts >= max) return this.spec.onFailure(this.#trouble);
    const pause = Math.min(BACKOFF_MS * 2 ** Math.max(0, this.#quickDeaths - 1), BACKOFF_MS_MAX);
    this.#timer = setTimeout(() => this.start(), pause);
  }

  /** The last line the process said. */
  #reason(status: Deno.CommandStatus): string {
    const said = this.#said.split("\n").findLast((line) => line.trim() !== "") ?? "";
    const how = status.signal ? `ended by ${status.signal}` : `ended with code ${status.code}`;
    return said || `${how} right after its start, again and again`;
  }
}

function command({ role, task }: ChildSpec): Deno.Command {
  const cli = new URL("./cli.ts", import.meta.url).href;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-prompt", cli, "role", role, JSON.stringify(task())],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
}
