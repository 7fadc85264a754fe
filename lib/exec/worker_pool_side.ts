/**
 * The Worker's half of a pool: asks for a task, calls the function, gives the result back with the
 * call that asks for the next.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, KeelsonError, STATUS, statusText } from "../base/error.ts";
import { tellError, ValueReader, ValueWriter } from "./task_value.ts";

/** What the main program says to a Worker that it starts. */
export interface WorkerOrders {
  /** The pool's handle. */
  pool: number;
  /** Which lane of it to serve. */
  lane: number;
  /** Where the functions are. */
  module: string;
}

const ORDER_BYTES = 64 * 1024;
const ORDER_HEADER_BYTES = 12;
/** In front of a result, for the pool to write on. */
const HEADROOM_BYTES = 8;
const NOTHING = 0;
const VALUE = 1;
const ERROR = 2;
/** Longest time without a look at the event loop while nothing comes. */
const WAIT_MS = 50;
/** Longest time without one while tasks come; the clock is asked every so many tasks. */
const BUSY_MS = 20;
const TASKS_PER_LOOK = 16;

type TaskFunction = (value: unknown, results?: unknown[]) => unknown;

/**
 * Calls a function of the module. The only place that does, and one that V8 knows to call different
 * functions: else it would copy the one function that a Worker runs into the loop around it, where it
 * stays half optimized (a task of 8 us then takes 14 us).
 */
function invoke(fn: TaskFunction, value: unknown, results?: unknown[]): unknown {
  return fn(value, results);
}
invoke(() => 0, 0);
invoke((value) => value, 0);

const yieldToLoop = () => new Promise<void>((resolve) => void setImmediate(resolve));

class Lane {
  readonly #handle: number;
  readonly #exec: Symbols<"exec">;
  readonly #module: Record<string, unknown>;
  readonly #functions: (TaskFunction | undefined)[] = [];
  readonly #result = new ValueWriter();
  #order = new Uint8Array(ORDER_BYTES);
  #read = new ValueReader(this.#order);
  #outcome = NOTHING;

  constructor(exec: Symbols<"exec">, handle: number, module: Record<string, unknown>) {
    this.#exec = exec;
    this.#handle = handle;
    this.#module = module;
  }

  /** Until the pool is closed. */
  async serve(): Promise<void> {
    let waitMs = 0, tasks = 0, lookedAt = performance.now();
    for (;;) {
      const status = this.#turn(waitMs);
      if (status === STATUS.KL_OK) {
        waitMs = 0;
        const running = this.#call();
        if (running) await running;
        if (++tasks % TASKS_PER_LOOK !== 0) continue;
        const now = performance.now();
        if (now - lookedAt < BUSY_MS) continue;
        lookedAt = now;
        await yieldToLoop();
      } else if (status === STATUS.KL_ERR_AGAIN) {
        await yieldToLoop(); // before it sleeps, and between two sleeps
        lookedAt = performance.now();
        waitMs = WAIT_MS;
      } else if (status === STATUS.KL_ERR_CLOSED || status === STATUS.KL_ERR_HANDLE) {
        return;
      } else {
        check(status, "work for the pool");
      }
    }
  }

  #turn(waitMs: number): number {
    for (;;) {
      const outcome = this.#outcome;
      const status = this.#exec.kl_worker_lane_turn(
        this.#handle,
        outcome,
        this.#result.bytes,
        outcome === NOTHING ? 0 : this.#result.at - HEADROOM_BYTES,
        this.#order,
        this.#order.length,
        waitMs,
      );
      if (status === STATUS.KL_ERR_ARGUMENT && outcome === VALUE) {
        this.#end(ERROR, tellError(refusal(status, "give the result back")));
        continue;
      }
      this.#outcome = NOTHING;
      if (status !== STATUS.KL_ERR_LIMIT) return status;
      this.#order = new Uint8Array(this.#read.uint32(0));
      this.#read = new ValueReader(this.#order);
    }
  }

  /** Calls the function of the order; a promise when that has not ended. */
  #call(): Promise<void> | undefined {
    const read = this.#read, parts = read.uint32(8);
    try {
      const fn = this.#function(read.uint32(4));
      if (parts === 0 && read.isList(ORDER_HEADER_BYTES)) {
        return this.#callEach(fn, read.list(ORDER_HEADER_BYTES));
      }
      const returned = parts === 0
        ? invoke(fn, read.value(ORDER_HEADER_BYTES, read.uint32(0) - ORDER_HEADER_BYTES))
        : this.#callNode(fn, parts);
      if (isPromise(returned)) return this.#settle(returned);
      this.#end(VALUE, returned);
    } catch (error) {
      this.#end(ERROR, tellError(error));
    }
  }

  #callNode(fn: TaskFunction, parts: number): unknown {
    const values = new Array<unknown>(parts);
    let at = ORDER_HEADER_BYTES;
    for (let index = 0; index < parts; index++) {
      const bytes = this.#read.uint32(at);
      values[index] = this.#read.value(at + 4, bytes);
      at += 4 + ((bytes + 3) & ~3);
    }
    return invoke(fn, values[0], values.slice(1));
  }

  /** One value after the other, like separate tasks; the first error ends all of it. */
  #callEach(fn: TaskFunction, values: unknown[]): Promise<void> | undefined {
    for (let index = 0; index < values.length; index++) {
      const returned = invoke(fn, values[index]);
      if (isPromise(returned)) return this.#awaitEach(fn, values, index, returned);
      values[index] = returned;
    }
    this.#endList(values);
  }

  async #awaitEach(
    fn: TaskFunction,
    values: unknown[],
    from: number,
    first: PromiseLike<unknown>,
  ): Promise<void> {
    try {
      values[from] = await first;
      for (let index = from + 1; index < values.length; index++) {
        values[index] = await invoke(fn, values[index]);
      }
      this.#endList(values);
    } catch (error) {
      this.#end(ERROR, tellError(error));
    }
  }

  async #settle(returned: PromiseLike<unknown>): Promise<void> {
    try {
      this.#end(VALUE, await returned);
    } catch (error) {
      this.#end(ERROR, tellError(error));
    }
  }

  #end(outcome: number, value: unknown): void {
    this.#result.at = HEADROOM_BYTES;
    this.#result.value(value);
    this.#outcome = outcome;
  }

  #endList(values: unknown[]): void {
    this.#result.at = HEADROOM_BYTES;
    this.#result.list(values, 0, values.length);
    this.#outcome = VALUE;
  }

  #function(number: number): TaskFunction {
    const known = this.#functions[number];
    if (known) return known;
    const bytes = new Uint8Array(255);
    const length = this.#exec.kl_worker_lane_function(this.#handle, number, bytes, bytes.length);
    const name = new TextDecoder().decode(bytes.subarray(0, check(length, "find a function")));
    const inDefault = this.#module.default as Record<string, unknown> | undefined;
    const found = Object.hasOwn(this.#module, name)
      ? this.#module[name]
      : inDefault && typeof inDefault === "object" && Object.hasOwn(inDefault, name)
      ? inDefault[name]
      : undefined;
    if (typeof found !== "function") {
      throw new KeelsonError(STATUS.KL_ERR_NOT_FOUND, `run ${JSON.stringify(name)}`, {
        detail: "the pool's module exports no function of that name",
      });
    }
    return this.#functions[number] = found as TaskFunction;
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null &&
    typeof (value as { then?: unknown }).then === "function";
}

/** The status with the detail that C left, as an error that is not thrown. */
function refusal(status: number, action: string): Error {
  try {
    check(status, action);
  } catch (error) {
    return error as Error;
  }
  return new Error(statusText(status));
}

async function serve(orders: WorkerOrders): Promise<void> {
  const exec = symbols("exec");
  const module = await import(orders.module) as Record<string, unknown>;
  const handle = exec.kl_worker_lane_open(orders.pool, orders.lane);
  if (handle === 0) check(symbols("base").kl_status_detail_code(), "join the pool");
  parentPort!.postMessage("ready");
  await new Lane(exec, handle, module).serve();
  exec.kl_worker_lane_close(handle);
  // The pool was closed and terminates this Worker: an exit at the same moment leaves its thread
  // spinning for ever, half of the times (Deno 2.9.6).
  await new Promise(() => {});
}

// Modules that look at `self` expect a Worker.
(globalThis as { self?: unknown }).self ??= globalThis;
// When it cannot serve it ends, whatever the module left running.
serve(workerData as WorkerOrders).catch((error) => parentPort!.postMessage(tellError(error)))
  .finally(() => (globalThis as unknown as { process: { exit(): void } }).process.exit());
