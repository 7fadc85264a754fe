/**
 * Tasks of which some must come before others, run by the Workers of a pool.
 *
 * @module
 */
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";
import { readError, ValueReader, ValueWriter } from "./task_value.ts";
import type { WorkerPool } from "./worker_pool.ts";

/** Options for {@linkcode TaskGraph}. */
export interface TaskGraphOptions {
  /** The most tasks it can hold, 1 to 2^20. @default {65536} */
  tasks?: number;
  /** The most dependencies it can hold, 1 to 2^23. @default {262144} */
  dependencies?: number;
}

/** Options for {@linkcode TaskGraph.add}. */
export interface TaskOptions {
  /** Tasks that come before this one, already added; it is given their results. @default {[]} */
  after?: Iterable<string>;
}

/** Options for {@linkcode TaskGraph.run}. */
export interface TaskGraphRunOptions {
  /** Nothing is begun any more once it is aborted; the run then ends by itself. @default {never} */
  signal?: AbortSignal;
}

/** What became of a task: see {@linkcode TaskGraphOutcome.state}. */
export type TaskState = "waiting" | "done" | "failed" | "skipped" | "cancelled";

const STATES: readonly TaskState[] = ["waiting", "done", "failed", "skipped", "cancelled"];
const TASKS = 65_536;
const DEPENDENCIES = 262_144;
const OUTCOME_BYTES = 24;
const RESULT_BYTES = 4096;
const NONE = 0xffff_ffff;
/** Tasks of a cycle that a message names. */
const CYCLE_SHOWN = 12;

/** How a run of a {@linkcode TaskGraph} ended. Ask before the next run. */
export interface TaskGraphOutcome {
  /** Tasks that returned. */
  readonly done: number;
  /** Tasks that threw, or whose Worker ended. */
  readonly failed: number;
  /** Tasks behind one that did not succeed: they were never begun. */
  readonly skipped: number;
  /** Tasks that could have begun when the run was aborted, and were not. */
  readonly cancelled: number;
  /** The name of the task that failed first. */
  readonly firstFailed?: string;
  /** What became of a task. */
  state(name: string): TaskState;
  /** What a task returned; throws its error, or why it has none. */
  result<Result = unknown>(name: string): Result;
}

/**
 * A directed acyclic graph of tasks, each a function of the pool's module.
 *
 * A task is called as `fn(value, results)`: the value it was added with, and what the tasks directly
 * before it returned, in the order of `after`. The Worker that ends a task counts down those behind it
 * and goes on with one that is ready; the main program hears of the end only. A graph may be run
 * again and again, also after more was added.
 *
 * A task that throws has failed; all behind it are skipped, everything else runs, and the run ends.
 *
 * Adding a dependency costs as much as the order it turns around (Pearce and Kelly, "A dynamic
 * topological sort algorithm for directed acyclic graphs", JEA 2006), running one a counter.
 *
 * @example
 * ```ts
 * import { TaskGraph, WorkerPool } from "@keelson/keelson";
 *
 * const module = `
 *   export const read = (text) => text.split(" ");
 *   export const count = (_, [words]) => words.length;
 *   export const longest = (_, [words]) => Math.max(...words.map((word) => word.length));
 *   export const report = (_, [count, longest]) => count + " words, " + longest + " letters at most";
 * `;
 * using pool = new WorkerPool(`data:text/javascript,${encodeURIComponent(module)}`, { workers: 2 });
 * using graph = new TaskGraph(pool);
 * graph.add("words", "read", "a few short words");
 * graph.add("count", "count", undefined, { after: ["words"] });
 * graph.add("longest", "longest", undefined, { after: ["words"] });
 * graph.add("report", "report", undefined, { after: ["count", "longest"] });
 * const outcome = await graph.run();
 * console.assert(outcome.result("report") === "4 words, 5 letters at most");
 * ```
 */
export class TaskGraph implements Disposable {
  readonly #pool: WorkerPool;
  readonly #exec: Symbols<"exec">;
  readonly #nodes = new Map<string, number>();
  readonly #names: string[] = [];
  readonly #value = new ValueWriter();
  #handle: number;
  #running = false;

  /**
   * An empty graph.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` with the limit, `KL_ERR_CLOSED` when the pool is
   */
  constructor(pool: WorkerPool, options: TaskGraphOptions = {}) {
    const { tasks = TASKS, dependencies = DEPENDENCIES } = options;
    for (const [name, value] of Object.entries({ tasks, dependencies })) {
      if (!(value >= 1) || value >>> 0 !== value) {
        refuse("open a task graph", `${name} must be a number from 1, not ${value}`);
      }
    }
    this.#pool = pool;
    this.#exec = symbols("exec");
    this.#handle = this.#exec.kl_worker_graph_open(pool.handle, tasks, dependencies);
    if (this.#handle === 0) {
      check(symbols("base").kl_status_detail_code(), "open a task graph");
    }
  }

  /** Tasks that were added. */
  get size(): number {
    return this.#names.length;
  }

  /**
   * Adds a task under a name of its own.
   *
   * @param name what the others call it
   * @param fn an exported function of the pool's module
   * @param value copied now, given to the function in each run
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NOT_FOUND` (in `after`), `KL_ERR_LIMIT`, `KL_ERR_AGAIN` (it
   * is running)
   */
  add(name: string, fn: string, value?: unknown, options: TaskOptions = {}): this {
    const action = `add the task ${quote(name)}`;
    if (this.#nodes.has(name)) {
      throw new KeelsonError(STATUS.KL_ERR_EXISTS, action, {
        detail: "the graph has a task of that name",
      });
    }
    const after = options.after ? [...options.after] : [];
    for (const before of after) this.#node(before, action);
    const writer = this.#value;
    writer.at = 0;
    writer.value(value);
    const node = check(
      this.#exec.kl_worker_graph_add(
        this.#handle,
        this.#pool.functionNumber(fn),
        writer.bytes,
        writer.at,
      ),
      action,
    );
    this.#nodes.set(name, node);
    this.#names.push(name);
    for (const before of after) this.#precede(before, name);
    return this;
  }

  /**
   * Says that `before` must end before `after` begins. Saying it twice is nothing.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when that closes a cycle, which the message names;
   * `KL_ERR_NOT_FOUND`, `KL_ERR_LIMIT`, `KL_ERR_AGAIN` (it is running)
   *
   * @example
   * ```ts
   * import { TaskGraph, WorkerPool } from "@keelson/keelson";
   *
   * using pool = new WorkerPool("data:text/javascript,export const f = () => 1;", { workers: 1 });
   * using graph = new TaskGraph(pool);
   * graph.add("egg", "f").add("hen", "f", undefined, { after: ["egg"] });
   * try {
   *   graph.precede("hen", "egg");
   * } catch (error) {
   *   console.assert(String(error).includes(`"egg" -> "hen" -> "egg"`));
   * }
   * ```
   */
  precede(before: string, after: string): this {
    const action = `put ${quote(before)} before ${quote(after)}`;
    this.#node(before, action);
    this.#node(after, action);
    this.#precede(before, after);
    return this;
  }

  /**
   * Runs every task once, after those before it. Resolves when the run is over, whatever became of
   * the tasks.
   *
   * @throws {KeelsonError} `KL_ERR_AGAIN` when it is running already, `KL_ERR_CLOSED` when the pool or the
   * graph is closed
   */
  async run(options: TaskGraphRunOptions = {}): Promise<TaskGraphOutcome> {
    const { signal } = options;
    const action = "run a task graph";
    signal?.throwIfAborted();
    if (this.#running) {
      throw new KeelsonError(STATUS.KL_ERR_AGAIN, action, { detail: "it is running" });
    }
    const cancel = () => void this.#exec.kl_worker_graph_cancel(this.#handle);
    this.#running = true;
    try {
      await this.#pool.runGraph((token) => {
        check(this.#exec.kl_worker_graph_run(this.#handle, token), action);
        signal?.addEventListener("abort", cancel, { once: true });
      });
    } finally {
      signal?.removeEventListener("abort", cancel);
      this.#running = false;
    }
    this.#pool.handle; // closed meanwhile: that is the error
    return this.#outcome();
  }

  /** Gives the memory back. A run that is on begins nothing more. */
  close(): void {
    if (this.#handle !== 0) this.#exec.kl_worker_graph_close(this.#handle);
    this.#handle = 0;
  }

  /** The same as {@linkcode TaskGraph.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #node(name: string, action: string): number {
    const node = this.#nodes.get(name);
    if (node !== undefined) return node;
    throw new KeelsonError(STATUS.KL_ERR_NOT_FOUND, action, {
      detail: `the graph has no task ${quote(name)}`,
    });
  }

  #precede(before: string, after: string): void {
    const status = this.#exec.kl_worker_graph_precede(
      this.#handle,
      this.#nodes.get(before)!,
      this.#nodes.get(after)!,
    );
    if (status === STATUS.KL_OK) return;
    const action = `put ${quote(before)} before ${quote(after)}`;
    if (status !== STATUS.KL_ERR_ARGUMENT) check(status, action);
    throw new KeelsonError(status, action, { detail: `that is a cycle: ${this.#cycle()}` });
  }

  #cycle(): string {
    const nodes = new Uint32Array(CYCLE_SHOWN);
    const bytes = new Uint8Array(nodes.buffer);
    const count = this.#exec.kl_worker_graph_cycle(this.#handle, bytes, bytes.length);
    const names = Array.from(nodes.subarray(0, Math.min(count, CYCLE_SHOWN)))
      .map((node) => quote(this.#names[node]));
    const more = count > CYCLE_SHOWN ? [`(${count - CYCLE_SHOWN} more)`] : [];
    return [...names, ...more, names[0]].join(" -> ");
  }

  #outcome(): TaskGraphOutcome {
    const bytes = new Uint8Array(OUTCOME_BYTES), view = new DataView(bytes.buffer);
    check(
      this.#exec.kl_worker_graph_outcome(this.#handle, bytes, bytes.length),
      "look at a task graph",
    );
    const first = view.getUint32(16, true);
    return {
      done: view.getUint32(0, true),
      failed: view.getUint32(4, true),
      skipped: view.getUint32(8, true),
      cancelled: view.getUint32(12, true),
      firstFailed: first === NONE ? undefined : this.#names[first],
      state: (name) => this.#state(name),
      result: <Result>(name: string) => this.#result(name) as Result,
    };
  }

  #state(name: string): TaskState {
    const action = `look at the task ${quote(name)}`;
    const node = this.#node(name, action);
    return STATES[check(this.#exec.kl_worker_graph_state(this.#handle, node), action)];
  }

  #result(name: string): unknown {
    const action = `take the result of the task ${quote(name)}`;
    const state = this.#state(name), node = this.#node(name, action);
    if (state !== "done" && state !== "failed") {
      throw new KeelsonError(STATUS.KL_ERR_NOT_FOUND, action, { detail: `it was ${state}` });
    }
    let bytes = new Uint8Array(RESULT_BYTES);
    const read = () =>
      check(this.#exec.kl_worker_graph_result(this.#handle, node, bytes, bytes.length), action);
    let length = read();
    if (length > bytes.length) {
      bytes = new Uint8Array(length);
      length = read();
    }
    const value = new ValueReader(bytes).value(0, length);
    if (state === "done") return value;
    if (length > 0) throw readError(value);
    throw new KeelsonError(STATUS.KL_ERR_STOPPED, action, {
      detail: "its Worker ended in the middle of it",
    });
  }
}

function quote(name: string): string {
  return JSON.stringify(String(name));
}
