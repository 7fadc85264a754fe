/**
 * Locks that are taken in an order, and the checker that reports when they are not.
 *
 * @module
 */
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, refuse, STATUS } from "../base/error.ts";
import { openShared, quote, removeShared, type WaitOptions, waitTimeout } from "./shared_object.ts";

/** Options for {@linkcode OrderedLock.create}. */
export interface OrderedLockOptions {
  /** What the lock is for; locks of one class are alike. 1 to 63 bytes. @default {its name} */
  className?: string;
  /**
   * A thread may lock only what is of higher rank than all it holds: 1 to 2^32 - 1, or 0 for no rank.
   * @default {0}
   */
  rank?: number;
  /** Orders the locks of one class: they are locked by growing key. 0 to 2^53. @default {0} */
  key?: number;
}

/** A rule of the order, by what breaks it. */
export type OrderRule = "rank" | "equal" | "key" | "again" | "cycle" | "depth";

/** A lock in a report: its class, its key, and the line where it was locked. */
export interface OrderedSite {
  /** Its class. */
  className: string;
  /** Its place among those of its class. */
  key: number;
  /** As in a stack trace; `"?"` when it is not known. */
  site: string;
}

/** What {@linkcode OrderedLock.violations} reports. */
export interface OrderViolation {
  /**
   * `rank`: lower than a held one; `equal`: the rank of a held one of another class; `key`: not above a held
   * one of its class; `again`: held already; `cycle`: the other order was met before; `depth`: more than 16 held.
   */
  rule: OrderRule;
  /** What was held. */
  held: OrderedSite;
  /** What was locked then. */
  acquired: OrderedSite;
  /** Of a cycle: where the other order was met, the lock held then and the one locked after it. */
  earlier?: { heldSite: string; acquiredSite: string };
}

/** What the checker of this process has seen. */
export interface OrderCounts {
  /** Locks that were had, by lock and tryLock. */
  acquired: number;
  /** Of these by tryLock. */
  tried: number;
  /** Unlocks. */
  released: number;
  /** Pairs of classes seen one after the other. */
  edges: number;
  /** Classes of locks. */
  classes: number;
  /** The most that one thread held at a time. */
  depthMax: number;
  /** Pairs of a held lock and one locked then that broke a rule, all of them. */
  violations: Record<OrderRule, number>;
}

const RULES = ["rank", "equal", "key", "again", "cycle", "depth"] as const;
const SITE_WANTED = 2;
const CHECKED = 4;
const ABOUT_BYTES = 80;
const REPORT_BYTES = 4096;
const STACK_LINES = 6;

/** Locks that this isolate locked while the checker was on, and where. */
const held: { handle: number; where?: Error }[] = [];
const encoder = new TextEncoder();
const decoder = new TextDecoder();
let sync: Symbols<"sync"> | undefined;

/**
 * A {@linkcode Mutex} with a place in an order, so that a program whose threads lock several of them cannot
 * deadlock, or is told so.
 *
 * The checker is off until {@linkcode OrderedLock.checkOrder} turns it on for the whole process, all
 * Workers included; off it costs nothing. On, it looks at each lock before the thread blocks, and reports
 * ({@linkcode OrderedLock.violations}) what breaks the order, even when nothing deadlocked: an inversion is
 * found by the first run in which both orders occur. It never changes what a lock does. tryLock breaks no
 * rule, since it does not wait.
 *
 * Rank and key lie with the lock, and hold between processes; cycles are found within one. The death of an
 * owner is as with {@linkcode Mutex}. After Linux's lockdep and FreeBSD's witness(4).
 *
 * @example
 * ```ts
 * import { OrderedLock } from "@keelson/keelson";
 *
 * const id = crypto.randomUUID();
 * using account = OrderedLock.create(`account-${id}`, { className: "account" });
 * using journal = OrderedLock.create(`journal-${id}`, { className: "journal" });
 * OrderedLock.checkOrder(true);
 * account.lock(), journal.lock(), journal.unlock(), account.unlock();
 * journal.lock(), account.lock(), account.unlock(), journal.unlock();
 * const [violation] = OrderedLock.violations();
 * console.assert(violation.rule === "cycle" && violation.held.className === "journal");
 * OrderedLock.checkOrder(false);
 * for (const lock of [account, journal]) OrderedLock.remove(lock.name);
 * ```
 */
export class OrderedLock implements Disposable {
  /** What it was created or attached as. */
  readonly name: string;
  /** What it is for. */
  readonly className: string;
  /** Its rank, 0: none. */
  readonly rank: number;
  /** Its place among those of its class. */
  readonly key: number;
  #handle: number;
  #sync: Symbols<"sync">;
  #ownerDied = false;

  private constructor(known: Symbols<"sync">, handle: number, name: string) {
    this.#sync = known;
    this.#handle = handle;
    this.name = name;
    const about = new Uint8Array(ABOUT_BYTES);
    check(known.kl_ordered_lock_about(handle, about), this.#action("look at"));
    const view = new DataView(about.buffer);
    this.rank = view.getUint32(0, true);
    this.key = view.getFloat64(8, true);
    this.className = decoder.decode(about.subarray(16, 16 + view.getUint32(4, true)));
  }

  /**
   * Makes a free lock. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS` (also when the class has another rank), `KL_ERR_NAME`,
   * `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`, `KL_ERR_LIMIT` (128 classes in one process)
   */
  static create(name: string, options: OrderedLockOptions = {}): OrderedLock {
    const action = `create the lock ${quote(name)}`;
    const { rank = 0, key = 0, className = String(name).slice(0, 63) } = options;
    if (rank >>> 0 !== rank) refuse(action, `rank must be 0 to 2^32 - 1, not ${String(rank)}`);
    if (typeof key !== "number") refuse(action, `key must be 0 to 2^53, not ${String(key)}`);
    const text = encoder.encode(className);
    const known = sync ??= symbols("sync");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) =>
        known.kl_ordered_lock_create(utf8, bytes, rank >>> 0, key, text, text.length, out),
    );
    return new OrderedLock(known, handle, name);
  }

  /**
   * Opens a lock that another has created, with its class, rank and key.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is of something else,
   * `KL_ERR_NAME`
   */
  static attach(name: string): OrderedLock {
    const known = sync ??= symbols("sync");
    const action = `attach to the lock ${quote(name)}`;
    return new OrderedLock(known, openShared(action, name, known.kl_ordered_lock_attach), name);
  }

  /**
   * Takes the name away. Whoever has the lock open keeps it.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   */
  static remove(name: string): void {
    const known = sync ??= symbols("sync");
    removeShared(`remove the lock ${quote(name)}`, name, known.kl_ordered_lock_remove);
  }

  /** Turns the checker of this process on or off. What is held at that moment is not known to it. */
  static checkOrder(on: boolean): void {
    const known = sync ??= symbols("sync");
    known.kl_order_turn(on ? 1 : 0);
    held.length = 0;
  }

  /**
   * The violations of this process, the oldest first: the first of each rule and pair of classes, and of
   * them the 64 newest.
   */
  static violations(): OrderViolation[] {
    const known = sync ??= symbols("sync");
    const reports: OrderViolation[] = [];
    const bytes = new Uint8Array(REPORT_BYTES);
    const count = known.kl_order_told();
    for (let index = Math.max(0, count - 64); index < count; index++) {
      const length = known.kl_order_tell(index, bytes, REPORT_BYTES);
      if (length === STATUS.KL_ERR_NOT_FOUND) continue;
      check(length, "report a violation of the lock order");
      reports.push(parseReport(decoder.decode(bytes.subarray(0, length))));
    }
    return reports;
  }

  /** What the checker of this process has counted since it was first turned on. */
  static counts(): OrderCounts {
    const known = sync ??= symbols("sync");
    const numbers = new Float64Array(6 + RULES.length);
    const out = new Uint8Array(numbers.buffer);
    check(known.kl_order_counts_to(out, out.length), "count locks");
    const [acquired, tried, released, edges, classes, depthMax] = numbers;
    const violations = Object.fromEntries(RULES.map((rule, i) => [rule, numbers[6 + i]]));
    return {
      acquired,
      tried,
      released,
      edges,
      classes,
      depthMax,
      violations: violations as Record<OrderRule, number>,
    };
  }

  /** Whether the owner before the last lock of this end died holding it: repair what it guards. */
  get ownerDied(): boolean {
    return this.#ownerDied;
  }

  /** Locks if nobody living holds it. `false`: somebody does, perhaps this very thread. */
  tryLock(): boolean {
    const status = this.#sync.kl_ordered_lock_try(this.#handle, 0);
    if (status === STATUS.KL_ERR_AGAIN || status === STATUS.KL_ERR_LOCKED) return false;
    return this.#locked(status);
  }

  /**
   * Locks, blocking the thread meanwhile: for Workers, as it stops the event loop. `false` after the
   * timeout.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` when this thread holds it already, `KL_ERR_CLOSED` when this end
   * is closed meanwhile
   */
  lock({ timeoutMs }: Pick<WaitOptions, "timeoutMs"> = {}): boolean {
    const limitMs = timeoutMs === undefined ? -1 : waitTimeout(this.#action("lock"), timeoutMs);
    let status = this.#sync.kl_ordered_lock_take_within(this.#handle, limitMs, 0);
    if (status === SITE_WANTED) {
      for (const one of held) giveSite(this.#sync, one);
      const site = siteNumber(this.#sync, whereNow());
      status = this.#sync.kl_ordered_lock_take_within(this.#handle, limitMs, site);
    }
    return status === STATUS.KL_ERR_TIMEOUT ? false : this.#locked(status);
  }

  /**
   * Lets the next one in.
   *
   * @throws {KeelsonError} `KL_ERR_LOCKED` when this thread does not hold it through this end
   */
  unlock(): void {
    const status = this.#sync.kl_ordered_lock_give(this.#handle);
    if (status < 0) check(status, this.#action("unlock"));
    if (held.length > 0) this.#forget();
  }

  /** Gives up this end; a lock that it holds goes to the next one as if this owner had died. */
  close(): void {
    const handle = this.#handle;
    if (handle === 0) return;
    this.#forget();
    this.#handle = 0;
    check(this.#sync.kl_ordered_lock_close(handle), this.#action("close"));
  }

  /** As {@linkcode OrderedLock.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #locked(status: number): boolean {
    if (status < 0) check(status, this.#action("lock"));
    this.#ownerDied = (status & ~CHECKED) === STATUS.KL_OWNER_DEAD;
    if (status & CHECKED) held.push({ handle: this.#handle, where: whereNow() });
    return true;
  }

  #forget(): void {
    const at = held.findLastIndex(({ handle }) => handle === this.#handle);
    if (at >= 0) held.splice(at, 1);
  }

  #action(verb: string): string {
    return `${verb} the lock ${quote(this.name)}`;
  }
}

/** An unread stack: reading it is what costs. */
function whereNow(): Error {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = STACK_LINES;
  const where = new Error();
  Error.stackTraceLimit = before;
  return where;
}

/** The first line of a stack outside of this file, as a number for C; 0 when there is none. */
function siteNumber(known: Symbols<"sync">, where: Error): number {
  const lines = (where.stack ?? "").split("\n").slice(1);
  const line = lines.find((text) => !text.includes(import.meta.url)) ?? "";
  const text = encoder.encode(line.trim().replace(/^at /, "").slice(-400) || "?");
  return Math.max(0, known.kl_order_site(text, text.length));
}

/** Tells C where a held lock was locked, once. */
function giveSite(known: Symbols<"sync">, one: { handle: number; where?: Error }): void {
  if (!one.where) return;
  known.kl_ordered_lock_set_site(one.handle, siteNumber(known, one.where));
  one.where = undefined;
}

function parseReport(text: string): OrderViolation {
  const [kind, heldClass, heldSite, heldKey, className, site, key, earlierHeld, earlierAcquired] =
    text.split("\n");
  const report: OrderViolation = {
    rule: RULES[Number(kind)],
    held: { className: heldClass, key: Number(heldKey), site: heldSite },
    acquired: { className, key: Number(key), site },
  };
  if (earlierHeld !== "") {
    report.earlier = { heldSite: earlierHeld, acquiredSite: earlierAcquired };
  }
  return report;
}
