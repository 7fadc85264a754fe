/**
 * Functions of a module, run by name in Workers that share the memory of this process.
 *
 * @module
 */
import type { Worker } from "node:worker_threads";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";
import { waitFor } from "./completion.ts";
import { readError, ValueReader, ValueWriter } from "./task_value.ts";
import type { WorkerOrders } from "./worker_pool_side.ts";

/** Options for {@linkcode WorkerPool}. */
export interface WorkerPoolOptions {
  /** How many Workers, 1 to 64. @default {navigator.hardwareConcurrency} */
  workers?: number;
  /** Tasks that may be under way at once; a power of two from 1024 to 2^22. @default {262144} */
  queue?: number;
  /**
   * Room for results of each Worker on their way; no result may be larger. A power of two from 4096 to
   * 2^30. @default {1048576}
   */
  resultBytes?: number;
  /**
   * Longest time for which a Worker without work looks around before it sleeps. It tunes itself
   * below this. 0 to 1000. @default {20}
   */
  spinMicros?: number;
}

/** Options for {@linkcode WorkerPool.run}. */
export interface RunOptions {
  /**
   * Rejects the promise with its reason. A task that has not begun will not; what has begun goes on,
   * its result is dropped. @default {never}
   */
  signal?: AbortSignal;
}

/** Options for {@linkcode WorkerPool.map}. */
export interface MapOptions extends RunOptions {
  /**
   * Longest list of values that a Worker takes at once; the last lists are short. @default {256}
   */
  chunk?: number;
}

/** What a Worker of a pool has done, as {@linkcode WorkerPool.stat} tells it. */
export interface WorkerPoolStat {
  /** Tasks that it ran. */
  tasks: number;
  /** Tasks that it took from another Worker. */
  stolen: number;
  /** How often it fell asleep. */
  sleeps: number;
  /** How long it looks around before it sleeps, now. */
  spinMicros: number;
  /** Tasks that it takes at once from another, now. */
  stealBatch: number;
}

const WORKERS_MAX = 64;
const QUEUE = 262_144;
const RESULT_BYTES = 1024 * 1024;
const SPIN_MICROS = 20;
const CHUNK = 256;
/** Lists that a `map` is cut into, for each Worker, so that none works alone at the end. */
const LISTS_PER_WORKER = 8;
const COLLECT_BYTES = 256 * 1024;
const TASK_HEADER_BYTES = 12;
const RESULT_HEADER_BYTES = 12;
/** Tasks are handed over at the end of a turn, or when this many bytes of them wait. */
const FLUSH_BYTES = 64 * 1024;
/** When results come faster than this, the main program is not called for each. */
const BUSY_MS = 1;
const QUIET_MICROS = 500;
/** Behind QUIET_MICROS: results that nobody called for. */
const NUDGE_MS = 2;
/** A Worker that ends this often in a row without having served will not come back. */
const FAILED_STARTS_MAX = 3;
const NAME_BYTES_MAX = 255;
const STAT_BYTES = 40;

const OUTCOME = { value: 1, error: 2, died: 3, cancelled: 4, laneGone: 5, graphOver: 6 } as const;

/** What becomes of a task. */
interface Task {
  readonly name: string;
  readonly lists: boolean;
  resolve(value: unknown): void;
  reject(reason: unknown): void;
}

/** A Worker and how it ended. */
interface Hand {
  worker: Worker;
  ready: boolean;
  /** The error that ended it. */
  error?: unknown;
  ended: Promise<void>;
}

const encoder = new TextEncoder();

function workerThreads(): typeof import("node:worker_threads") {
  return (globalThis as unknown as {
    process: { getBuiltinModule(name: string): typeof import("node:worker_threads") };
  }).process.getBuiltinModule("node:worker_threads");
}

/**
 * Workers that run the functions of one module.
 *
 * A task is `{function name, value}`; values may be `undefined`, `null`, booleans, numbers, strings,
 * `Uint8Array`s, and everything `structuredClone` takes but shared memory. They are copied when
 * {@linkcode WorkerPool.run} is called. Tasks wait in one queue in memory that all Workers share; a
 * Worker that is done takes the next by itself, so the main program is asked for nothing in
 * between. Functions may be asynchronous; each Worker runs one task at a time.
 *
 * A task runs at most once. When its Worker ends in the middle of it (an error that nobody catches,
 * `process.exit`, a crash of the Worker), its promise is rejected, another Worker takes the place, and
 * all other tasks go on. A Worker in an endless loop cannot be ended by anyone.
 *
 * The pool keeps the process alive only while a task is under way.
 *
 * Results travel through one single-producer ring for each Worker; idle Workers look around for some
 * microseconds, then sleep on a futex (Blumofe and Leiserson, "Scheduling multithreaded computations
 * by work stealing", JACM 1999, for the lanes behind it).
 *
 * @example
 * ```ts
 * import { WorkerPool } from "@keelson/keelson";
 *
 * const module = `export const square = (n) => n * n;`;
 * using pool = new WorkerPool(`data:text/javascript,${encodeURIComponent(module)}`, { workers: 2 });
 * console.assert(await pool.run("square", 7) === 49);
 * console.assert((await pool.map("square", [1, 2, 3])).join() === "1,4,9");
 * ```
 */
export class WorkerPool implements Disposable, AsyncDisposable {
  /** How many Workers there are. */
  readonly workers: number;
  readonly #module: string;
  readonly #exec: Symbols<"exec">;
  #handle: number;
  readonly #queue: number;
  readonly #hands: Hand[] = [];
  readonly #functions = new Map<string, number>();
  readonly #tasks: (Task | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #graphs = new Map<number, () => void>();
  #pending = 0;
  #graphToken = 0;
  readonly #batch = new ValueWriter();
  #flushing = false;
  #watching = false;
  #collectedAt = -Infinity;
  #results = new Uint8Array(COLLECT_BYTES);
  #reader = new ValueReader(this.#results);
  #waiters: (() => void)[] = [];
  #failedStarts = 0;
  #failure: unknown;

  /**
   * Starts the Workers; they load the module while the first tasks are given.
   *
   * @param module URL of the module whose exported functions are run, absolute or a `URL`
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` with the limit
   */
  constructor(module: string | URL, options: WorkerPoolOptions = {}) {
    const action = "open a pool of Workers";
    const {
      workers = Math.min(navigator.hardwareConcurrency, WORKERS_MAX),
      queue = QUEUE,
      resultBytes = RESULT_BYTES,
      spinMicros = SPIN_MICROS,
    } = options;
    if (!Number.isInteger(workers) || workers < 1 || workers > WORKERS_MAX) {
      refuse(action, `workers must be 1 to ${WORKERS_MAX}, not ${workers}`);
    }
    for (const [name, value] of Object.entries({ queue, resultBytes })) {
      if (!(value >= 1) || value >>> 0 !== value) {
        refuse(action, `${name} must be a power of two, not ${value}`);
      }
    }
    if (!(spinMicros >= 0 && spinMicros <= 1000)) {
      refuse(action, `spinMicros must be 0 to 1000, not ${spinMicros}`);
    }
    const url = String(module);
    if (!URL.canParse(url)) refuse(action, `"${url}" is not an absolute URL of a module`);
    this.#module = url;
    this.workers = workers;
    this.#queue = queue;
    this.#exec = symbols("exec");
    this.#handle = this.#exec.kl_worker_pool_open(workers, queue, resultBytes, spinMicros);
    if (this.#handle === 0) check(symbols("base").kl_status_detail_code(), action);
    for (let lane = 0; lane < workers; lane++) this.#start(lane);
  }

  /**
   * Runs a function of the module in a Worker. Resolves to what it returns.
   *
   * @param name an exported function, or one in the module's default export
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND` (no such function), `KL_ERR_STOPPED` (its Worker ended in the
   * middle), `KL_ERR_CLOSED`, `KL_ERR_AGAIN` (as many tasks as `queue` are under way), `KL_ERR_ARGUMENT`
   * (the result is larger than `resultBytes`); and what the function throws
   *
   * @example
   * ```ts
   * import { WorkerPool } from "@keelson/keelson";
   *
   * const module = `export const shout = (text) => text.toUpperCase() + "!";`;
   * using pool = new WorkerPool(`data:text/javascript,${encodeURIComponent(module)}`, { workers: 1 });
   * console.assert(await pool.run("shout", "hello") === "HELLO!");
   * ```
   */
  run<Result = unknown>(name: string, value?: unknown, options: RunOptions = {}): Promise<Result> {
    const { signal } = options;
    return new Promise<Result>((resolve, reject) => {
      signal?.throwIfAborted();
      const task = { name, lists: false, resolve: resolve as Task["resolve"], reject };
      const token = this.#give(task, (batch) => batch.value(value));
      if (signal) this.#watch(signal, token);
    });
  }

  /**
   * Calls a function for each value, in any order, on all Workers. Resolves to the results in the
   * order of the values; rejects with the first error, and what has not begun will not.
   *
   * Values travel in lists, long ones first and short ones last (Polychronopoulos and Kuck, "Guided
   * self-scheduling", IEEE TC 1987), so tasks of a microsecond are worth their while.
   *
   * @example
   * ```ts
   * import { WorkerPool } from "@keelson/keelson";
   *
   * const module = `export const half = (n) => n / 2;`;
   * await using pool = new WorkerPool(`data:text/javascript,${encodeURIComponent(module)}`);
   * const halves = await pool.map<number>("half", Array.from({ length: 1000 }, (_, n) => n));
   * console.assert(halves[999] === 499.5);
   * ```
   */
  async map<Result = unknown>(
    name: string,
    values: Iterable<unknown>,
    options: MapOptions = {},
  ): Promise<Result[]> {
    const { signal, chunk = CHUNK } = options;
    if (!Number.isInteger(chunk) || chunk < 1) {
      refuse("map", `chunk must be 1 or more, not ${chunk}`);
    }
    signal?.throwIfAborted();
    const all = Array.isArray(values) ? values : [...values];
    const results: Promise<unknown[]>[] = [];
    const abort = new AbortController();
    const stop = signal ? AbortSignal.any([signal, abort.signal]) : abort.signal;
    try {
      for (let from = 0; from < all.length;) {
        const fair = Math.ceil((all.length - from) / (this.workers * LISTS_PER_WORKER));
        const to = from + Math.min(chunk, Math.max(1, fair));
        if (this.#isFull()) await Promise.race([this.ready(), Promise.all(results)]);
        results.push(this.#runList(name, all, from, Math.min(to, all.length), stop));
        from = to;
      }
      return (await Promise.all(results)).flat(1) as Result[];
    } catch (error) {
      for (const result of results) result.catch(() => {}); // one error is told, the others are its echo
      abort.abort(error);
      throw error;
    }
  }

  /** Resolves when there is room for a task: at once, unless `queue` tasks are under way. */
  async ready(): Promise<void> {
    while (this.#isFull()) await this.#nextCollection();
  }

  /** Resolves when no task and no graph is under way. */
  async drain(): Promise<void> {
    while (this.#pending > 0) await this.#nextCollection();
  }

  /** Tasks and graphs that are under way. */
  get pending(): number {
    return this.#pending;
  }

  /** What each Worker has done so far. */
  stat(): WorkerPoolStat[] {
    const bytes = new Uint8Array(STAT_BYTES), view = new DataView(bytes.buffer);
    return Array.from({ length: this.workers }, (_, lane) => {
      check(
        this.#exec.kl_worker_pool_stat(this.#handle, lane, bytes, bytes.length),
        "look at the pool",
      );
      return {
        tasks: Number(view.getBigUint64(0, true)),
        stolen: Number(view.getBigUint64(8, true)),
        sleeps: Number(view.getBigUint64(24, true)),
        spinMicros: view.getUint32(32, true) / 1000,
        stealBatch: view.getUint32(36, true),
      };
    });
  }

  /** Ends the Workers. Promises of tasks under way are rejected with `KL_ERR_CLOSED`. */
  close(): void {
    if (this.#handle === 0) return;
    this.#exec.kl_worker_pool_close(this.#handle);
    this.#handle = 0;
    for (const { worker } of this.#hands) void worker.terminate();
    this.#rejectAll((name) => closed(name));
  }

  /** The same as {@linkcode WorkerPool.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Waits for what is under way, then closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain();
    this.close();
  }

  /** For `TaskGraph`: the pool's handle, or an error. */
  get handle(): number {
    if (this.#handle === 0) throw closed("use the pool");
    if (this.#failure) throw this.#failure;
    return this.#handle;
  }

  /** For `TaskGraph`: the number of a function. */
  functionNumber(name: string): number {
    const known = this.#functions.get(name);
    if (known !== undefined) return known;
    const action = `run ${quote(name)}`;
    const utf8 = encoder.encode(String(name));
    if (utf8.length === 0 || utf8.length > NAME_BYTES_MAX) {
      refuse(action, `the name of a function has 1 to ${NAME_BYTES_MAX} bytes, not ${utf8.length}`);
    }
    const number = check(
      this.#exec.kl_worker_pool_function(this.handle, utf8, utf8.length),
      action,
    );
    this.#functions.set(name, number);
    return number;
  }

  /** For `TaskGraph`: starts a run with a token; resolves when it is over, or the pool is closed. */
  runGraph(start: (token: number) => void): Promise<void> {
    const token = ++this.#graphToken >>> 0;
    start(token);
    return new Promise((resolve) => {
      this.#graphs.set(token, resolve);
      this.#pending++;
      this.#collectLater();
    });
  }

  // ---- giving tasks ----

  #isFull(): boolean {
    return this.#free.length === 0 && this.#tasks.length === this.#queue;
  }

  #runList(
    name: string,
    values: readonly unknown[],
    from: number,
    to: number,
    signal: AbortSignal,
  ): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const task = { name, lists: true, resolve: resolve as Task["resolve"], reject };
      const token = this.#give(task, (batch) => batch.list(values, from, to));
      this.#watch(signal, token);
    });
  }

  /** Puts a task into the batch that goes out at the end of this turn. */
  #give(task: Task, write: (batch: ValueWriter) => void): number {
    if (this.#handle === 0) throw closed(`run ${quote(task.name)}`);
    if (this.#failure) throw this.#failure;
    const number = this.#functions.get(task.name) ?? this.functionNumber(task.name);
    if (this.#isFull()) {
      throw new KeelsonError(STATUS.KL_ERR_AGAIN, `run ${quote(task.name)}`, {
        detail:
          `${this.#queue} tasks are under way, the most this pool takes: await some of them, ` +
          "or pool.ready()",
      });
    }
    const batch = this.#batch, start = batch.at;
    batch.reserve(TASK_HEADER_BYTES);
    batch.at += TASK_HEADER_BYTES;
    try {
      write(batch);
    } catch (error) {
      batch.at = start;
      throw error;
    }
    const token = this.#free.pop() ?? this.#tasks.length;
    this.#tasks[token] = task;
    this.#pending++;
    batch.patch(start, batch.at - start - TASK_HEADER_BYTES);
    batch.patch(start + 4, token);
    batch.patch(start + 8, number);
    batch.pad();
    if (batch.at >= FLUSH_BYTES) this.#flush();
    else this.#flushLater();
    return token;
  }

  #flushLater(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { at, bytes } = this.#batch;
    if (at === 0 || this.#handle === 0) return;
    this.#batch.at = 0;
    check(this.#exec.kl_worker_pool_submit(this.#handle, bytes, at), "give tasks to the pool");
    this.#collectLater();
  }

  /** Rejects a task when the signal says so. */
  #watch(signal: AbortSignal, token: number): void {
    const task = this.#tasks[token]!;
    const { resolve, reject } = task;
    const onAbort = () => {
      this.#flush(); // so that the pool knows it
      if (this.#handle !== 0) this.#exec.kl_worker_pool_cancel(this.#handle, token);
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    task.resolve = (value) => {
      signal.removeEventListener("abort", onAbort);
      resolve(value);
    };
    task.reject = (reason) => {
      signal.removeEventListener("abort", onAbort);
      reject(reason);
    };
  }

  // ---- collecting results ----

  /** Waits for results, in the background, as long as anything is under way. */
  #collectLater(): void {
    if (this.#watching) return;
    this.#watching = true;
    this.#collectAll().catch((error) => {
      this.#fail(error);
    }).finally(() => {
      this.#watching = false;
      if (this.#pending > 0 && this.#handle !== 0) this.#collectLater();
    });
  }

  async #collectAll(): Promise<void> {
    while (this.#pending > 0 && this.#handle !== 0) {
      const busy = performance.now() - this.#collectedAt < BUSY_MS;
      const nudge = busy
        ? setTimeout(() => void this.#exec.kl_worker_pool_nudge(this.#handle), NUDGE_MS)
        : undefined;
      try {
        const status = await waitFor((completion, token) =>
          this.#exec.kl_worker_pool_arm(
            this.#handle,
            completion,
            token,
            busy ? QUIET_MICROS : 0,
          )
        );
        // There already: let timers and others have their turn, too.
        if (status > 0) await new Promise<void>((resolve) => void setImmediate(resolve));
      } finally {
        clearTimeout(nudge);
      }
      this.#collect();
    }
  }

  #collect(): void {
    for (;;) {
      if (this.#handle === 0) return;
      const count = this.#exec.kl_worker_pool_collect(
        this.#handle,
        this.#results,
        this.#results.length,
      );
      if (count === STATUS.KL_ERR_LIMIT) {
        this.#results = new Uint8Array(this.#reader.uint32(0));
        this.#reader = new ValueReader(this.#results);
        continue;
      }
      if (check(count, "collect results") === 0) break;
      this.#read(count);
      this.#collectedAt = performance.now();
    }
    const waiters = this.#waiters;
    if (waiters.length === 0) return;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  #nextCollection(): Promise<void> {
    if (this.#handle === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #read(count: number): void {
    const read = this.#reader;
    for (let at = 0; count > 0; count--) {
      const bytes = read.uint32(at) + 4;
      const token = read.uint32(at + 4), outcome = read.uint32(at + 8);
      const from = at + RESULT_HEADER_BYTES, length = bytes - RESULT_HEADER_BYTES;
      at += (bytes + 3) & ~3;
      if (outcome === OUTCOME.laneGone) {
        this.#restart(token);
        continue;
      }
      if (outcome === OUTCOME.graphOver) {
        const over = this.#graphs.get(token);
        if (this.#graphs.delete(token)) this.#pending--;
        over?.();
        continue;
      }
      const task = this.#tasks[token];
      if (!task) continue; // cannot be: each token gives one result
      this.#tasks[token] = undefined;
      this.#free.push(token);
      this.#pending--;
      if (outcome === OUTCOME.value) {
        task.resolve(task.lists ? read.list(from) : read.value(from, length));
      } else if (outcome === OUTCOME.error) {
        task.reject(readError(read.value(from, length)));
      } else if (outcome === OUTCOME.died) {
        void this.#tellDeath(task);
      } // else cancelled: rejected when its signal said so
    }
  }

  // ---- Workers ----

  #start(lane: number): void {
    const { Worker } = workerThreads();
    const orders: WorkerOrders = { pool: this.#handle, lane, module: this.#module };
    const worker = new Worker(new URL("./worker_pool_side.ts", import.meta.url), {
      workerData: orders,
    });
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const hand: Hand = { worker, ready: false, ended };
    worker.on("message", (message) => {
      if (message !== "ready") {
        hand.error = readError(message);
        return;
      }
      hand.ready = true;
      this.#failedStarts = 0;
    });
    worker.on("error", (error) => hand.error ??= error);
    worker.on("exit", () => {
      resolve();
      if (!hand.ready && this.#hands[lane] === hand) this.#startAgain(lane, hand.error);
    });
    // What is under way keeps the process alive, not the Workers; but one that has not begun to serve
    // must be heard when it cannot.
    worker.unref();
    this.#hands[lane] = hand;
  }

  /** A Worker ended without ever having served. */
  #startAgain(lane: number, error: unknown): void {
    if (this.#handle === 0) return;
    if (++this.#failedStarts < FAILED_STARTS_MAX) return this.#start(lane);
    this.#fail(
      new KeelsonError(STATUS.KL_ERR_STOPPED, `start the Workers of ${this.#module}`, {
        detail: error instanceof Error ? error.message : "they end before they serve",
        cause: error,
      }),
    );
  }

  /** A Worker's lane is free: it ended, in the middle of a task or not. */
  #restart(lane: number): void {
    if (this.#handle === 0) return;
    this.#lastEnded = this.#hands[lane];
    this.#start(lane);
  }

  #lastEnded: Hand | undefined;

  /** Says why, if the Worker did. */
  async #tellDeath(task: Task): Promise<void> {
    await Promise.resolve(); // the lane is named by the next result
    const hand = this.#lastEnded;
    await Promise.race([hand?.ended, new Promise((resolve) => setTimeout(resolve, 1000))]);
    const reason = hand?.error instanceof Error ? `: ${hand.error.message}` : "";
    task.reject(
      new KeelsonError(STATUS.KL_ERR_STOPPED, `run ${quote(task.name)}`, {
        detail: `its Worker ended in the middle of it${reason}`,
        cause: hand?.error,
      }),
    );
  }

  /** The pool cannot go on: everything is rejected, now and later. */
  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#rejectAll(() => error);
  }

  #rejectAll(reason: (action: string) => unknown): void {
    for (const task of this.#tasks) task?.reject(reason(`run ${quote(task.name)}`));
    this.#tasks.length = this.#free.length = this.#pending = 0;
    for (const over of this.#graphs.values()) over();
    this.#graphs.clear();
    this.#batch.at = 0;
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

function closed(action: string): KeelsonError {
  return new KeelsonError(STATUS.KL_ERR_CLOSED, action, { detail: "the pool is closed" });
}

function quote(name: string): string {
  return JSON.stringify(String(name));
}
