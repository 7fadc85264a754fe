/**
 * Who may do what: 64 permission bits for each key, delegated and revoked, shared by all Workers and processes.
 *
 * @module
 */
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";
import { openShared, quote, removeShared } from "../sync/shared_object.ts";

/** Options for {@linkcode CapabilityTable.create}. */
export interface CapabilityTableOptions {
  /** Capabilities it is made for, 1 to 2^19. @default {1000} */
  capacity?: number;
}

/** The number of one capability, from the table it was made in. It is never given to another one. */
export type Capability = number & { readonly unit: "capability" };

/** 64 permission bits: a bigint, or a whole number from 0 to 2^53 - 1. */
export type Permissions = bigint | number;

const CAPACITY = 1000;
const ALL = (1n << 64n) - 1n;

let lockfree: Symbols<"lockfree"> | undefined;

/**
 * A table of capabilities in shared memory. Each has a key (a whole number from 0 to 2^53 - 1, say a user and a
 * file), 64 permission bits, and perhaps a parent that it was delegated from.
 *
 * A capability permits only what all it came from permit, too: whoever ends one, or takes bits from it, does so
 * for all its descendants in the same instant, also for one that another thread is delegating at that moment. Bits
 * that were taken do not come back to descendants when they are granted again above.
 *
 * A check takes a few nanoseconds in C and waits for nobody; so do lookups. Whoever dies in the middle of a call
 * leaves a table in which the call happened or did not.
 *
 * @example
 * ```ts
 * import { CapabilityTable } from "@keelson/keelson";
 *
 * const READ = 1, WRITE = 2;
 * const name = `example-${crypto.randomUUID()}`;
 * using table = CapabilityTable.create(name);
 * const owner = table.insert(1, READ | WRITE);
 * const guest = table.delegate(owner, 2, READ);
 * console.assert(table.check(guest, READ) && !table.check(guest, WRITE));
 * table.end(owner);
 * console.assert(!table.check(guest, READ));
 * CapabilityTable.remove(name);
 * ```
 */
export class CapabilityTable implements Disposable {
  /** Capabilities it was made for. */
  readonly capacity: number;
  /** What it was created or attached as. */
  readonly name: string;
  #handle: number;
  #lockfree: Symbols<"lockfree">;
  #mask = new BigUint64Array(1);
  #maskBytes = new Uint8Array(this.#mask.buffer);

  private constructor(lockfree: Symbols<"lockfree">, handle: number, name: string) {
    this.#lockfree = lockfree;
    this.#handle = handle;
    this.name = name;
    this.capacity = lockfree.kl_capability_table_capacity(handle);
  }

  /**
   * Makes an empty table. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`, `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_NO_SPACE`
   *
   * @example
   * ```ts
   * import { CapabilityTable } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using table = CapabilityTable.create(name, { capacity: 50 });
   * console.assert(table.capacity === 50);
   * CapabilityTable.remove(name);
   * ```
   */
  static create(name: string, options: CapabilityTableOptions = {}): CapabilityTable {
    const action = `create the capability table ${quote(name)}`;
    const { capacity = CAPACITY } = options;
    if (capacity >>> 0 !== capacity) {
      refuse(action, `capacity must be from 1 to 2^19, not ${String(capacity)}`);
    }
    const known = lockfree ??= symbols("lockfree");
    const handle = openShared(
      action,
      name,
      (utf8, bytes, out) => known.kl_capability_table_create(utf8, bytes, capacity, out),
    );
    return new CapabilityTable(known, handle, name);
  }

  /**
   * Opens a table that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_FOREIGN` when the name is not a table's, `KL_ERR_NAME`
   */
  static attach(name: string): CapabilityTable {
    const known = lockfree ??= symbols("lockfree");
    const action = `attach to the capability table ${quote(name)}`;
    const handle = openShared(action, name, known.kl_capability_table_attach);
    return new CapabilityTable(known, handle, name);
  }

  /**
   * Takes the name away. Whoever has the table open keeps it; the memory is freed with the last.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`, `KL_ERR_NAME`
   */
  static remove(name: string): void {
    const known = lockfree ??= symbols("lockfree");
    const action = `remove the capability table ${quote(name)}`;
    removeShared(action, name, known.kl_capability_table_remove);
  }

  /**
   * Makes a capability that comes from no other.
   *
   * @throws {KeelsonError} `KL_ERR_EXISTS` when the key has a live one, `KL_ERR_LIMIT` when there is no room for the
   * key, `KL_ERR_ARGUMENT`
   *
   * @example
   * ```ts
   * import { CapabilityTable } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using table = CapabilityTable.create(name);
   * const all = table.insert(7, 2n ** 64n - 1n);
   * console.assert(table.lookup(7) === all);
   * CapabilityTable.remove(name);
   * ```
   */
  insert(key: number, permissions: Permissions): Capability {
    const action = "make a capability in";
    const mask = this.#split(permissions, action);
    this.#number(key, action);
    const { low, high } = mask;
    return this.#made(
      this.#lockfree.kl_capability_table_add(this.#handle, key, low, high),
      action,
    );
  }

  /**
   * Makes a child of `parent` under a key of its own, with some of its permissions.
   *
   * @throws {KeelsonError} `KL_ERR_PERMISSION` for bits that the parent does not have, `KL_ERR_NOT_FOUND` when
   * the parent is not live, `KL_ERR_LIMIT` after 16 delegations in a row, and as {@linkcode insert}
   */
  delegate(parent: Capability, key: number, permissions: Permissions): Capability {
    const action = "delegate in";
    const { low, high } = this.#split(permissions, action);
    this.#number(key, action);
    this.#number(parent, action);
    return this.#made(
      this.#lockfree.kl_capability_table_derive(this.#handle, parent, key, low, high),
      action,
    );
  }

  /** The live capability of a key, `undefined` when it has none. */
  lookup(key: number): Capability | undefined {
    this.#number(key, "look a key up in");
    const capability = this.#lockfree.kl_capability_table_lookup(this.#handle, key);
    if (capability === STATUS.KL_ERR_NOT_FOUND) return undefined;
    return this.#made(capability, "look a key up in");
  }

  /**
   * Whether the capability is live and permits all of these bits.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` for what is no number; any number that is no live capability is `false`
   */
  check(capability: Capability, permissions: Permissions): boolean {
    if (typeof permissions === "number" && permissions >>> 0 === permissions) {
      this.#number(capability, "ask");
      const status = this.#lockfree.kl_capability_table_permits(
        this.#handle,
        capability,
        permissions,
        0,
      );
      return (status < 0 ? this.#check(status, "ask") : status) === 1;
    }
    const { low, high } = this.#split(permissions, "ask");
    this.#number(capability, "ask");
    return this.#check(
      this.#lockfree.kl_capability_table_permits(this.#handle, capability, low, high),
      "ask",
    ) === 1;
  }

  /** What the capability permits now; `undefined` when it is not live. */
  permissions(capability: Capability): bigint | undefined {
    this.#number(capability, "ask");
    const status = this.#lockfree.kl_capability_table_mask(
      this.#handle,
      capability,
      this.#maskBytes,
    );
    if (status === STATUS.KL_ERR_NOT_FOUND) return undefined;
    this.#check(status, "ask");
    return this.#mask[0];
  }

  /**
   * Adds bits to a capability.
   *
   * @throws {KeelsonError} `KL_ERR_PERMISSION` for bits that its parent does not have, `KL_ERR_NOT_FOUND`
   */
  grant(capability: Capability, permissions: Permissions): void {
    const { low, high } = this.#split(permissions, "grant permissions in");
    this.#number(capability, "grant permissions in");
    this.#check(
      this.#lockfree.kl_capability_table_give(this.#handle, capability, low, high),
      "grant permissions in",
    );
  }

  /**
   * Takes bits from a capability and all its descendants.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`
   *
   * @example
   * ```ts
   * import { CapabilityTable } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using table = CapabilityTable.create(name);
   * const parent = table.insert(1, 3);
   * const child = table.delegate(parent, 2, 3);
   * table.revoke(parent, 2);
   * table.grant(parent, 2);
   * console.assert(table.permissions(child) === 1n); // for good
   * CapabilityTable.remove(name);
   * ```
   */
  revoke(capability: Capability, permissions: Permissions): void {
    const { low, high } = this.#split(permissions, "revoke permissions in");
    this.#number(capability, "revoke permissions in");
    this.#check(
      this.#lockfree.kl_capability_table_take(this.#handle, capability, low, high),
      "revoke permissions in",
    );
  }

  /**
   * Ends a capability and all its descendants; their keys are free again.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`
   */
  end(capability: Capability): void {
    this.#number(capability, "end a capability in");
    this.#check(
      this.#lockfree.kl_capability_table_drop(this.#handle, capability),
      "end a capability in",
    );
  }

  /** Live capabilities. Looks at every slot. */
  get size(): number {
    return this.#check(this.#lockfree.kl_capability_table_size(this.#handle), "count");
  }

  /**
   * Checks every entry. Right only while nobody changes the table.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    this.#check(this.#lockfree.kl_capability_table_audit(this.#handle), "verify");
  }

  /** Gives up this end. The table stays, for others and under its name. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) this.#lockfree.kl_capability_table_close(handle);
  }

  /** The same as {@linkcode CapabilityTable.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #split(permissions: Permissions, doing: string): { low: number; high: number } {
    if (typeof permissions === "number" && Number.isSafeInteger(permissions) && permissions >= 0) {
      return { low: permissions >>> 0, high: Math.floor(permissions / 2 ** 32) };
    }
    if (typeof permissions !== "bigint" || permissions < 0n || permissions > ALL) {
      refuse(
        this.#action(doing),
        `permissions ${String(permissions)}: a bigint of 64 bits, or a number from 0 to 2^53 - 1`,
      );
    }
    return { low: Number(permissions & 0xffffffffn), high: Number(permissions >> 32n) };
  }

  #number(value: number, doing: string): void {
    if (typeof value !== "number") refuse(this.#action(doing), `${String(value)} is not a number`);
  }

  #made(capability: number, doing: string): Capability {
    if (capability >= 0) return capability as Capability;
    this.#check(capability, doing);
    throw new KeelsonError(STATUS.KL_ERR_BUG, this.#action(doing));
  }

  #action(doing: string): string {
    return `${doing} the capability table ${quote(this.name)}`;
  }

  #check(status: number, doing: string): number {
    return check(status, () => this.#action(doing));
  }
}
