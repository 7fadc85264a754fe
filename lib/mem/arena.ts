/**
 * Memory of this process in whole pages, charged to and placed on the NUMA nodes of a topology.
 *
 * @module
 */
import { type Symbols, symbols } from "../../ffi/library.ts";
import { mappedBuffer } from "../../ffi/mapped_view.ts";
import { check, refuse, STATUS } from "../base/error.ts";
import { handleOf, type Topology } from "./topology.ts";

/** Options for {@linkcode Arena.create}. */
export interface ArenaOptions {
  /** What may be taken from each node, rounded up to pages. At most 2^40 bytes, and 2^22 pages, in all. */
  bytesPerNode: number;
  /** Pages of 2 MiB, if they can be had; {@linkcode Arena.pages} tells. @default {false} */
  hugePages?: boolean;
}

/** Where the pages of a block come from. */
export interface ArenaPlacement {
  /**
   * `local`: the node the caller runs on, then the nearest; `interleave`: round the nodes, page by page;
   * `specific`: that node and no other; `nearest`: that node, then by distance. @default {"local"}
   */
  policy?: "local" | "interleave" | "specific" | "nearest";
  /** For `specific` and `nearest`. @default {0} */
  node?: number;
}

/** A run of pages. */
export interface ArenaBlock {
  /** Its bytes. After it is freed others may have them; after the arena is closed they read as zero. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where it begins in the arena. */
  readonly offset: number;
}

const POLICIES = { local: 0, interleave: 1, specific: 2, nearest: 3 };
const PAGES = ["small", "transparent", "huge"] as const;
const outHandle = new Uint32Array(1);
const outHandleBytes = new Uint8Array(outHandle.buffer);
let mem: Symbols<"mem"> | undefined;

/**
 * Hands out memory by node, with an account of what each node has given. Freeing credits the very nodes that
 * were charged. For one process; memory that processes share is a `Region`. Needs FFI granted without a path.
 *
 * @example
 * ```ts
 * import { Arena, Topology } from "@keelson/keelson";
 *
 * using ring = Topology.simulate({ shape: "ring", nodes: 4 });
 * using arena = Arena.create(ring, { bytesPerNode: 1 << 20 });
 * const block = arena.alloc(3 * arena.pageBytes, { policy: "specific", node: 2 })!;
 * block.bytes[0] = 7;
 * console.assert(arena.usedBytes(2) === 3 * arena.pageBytes);
 * arena.free(block);
 * console.assert(arena.usedBytes(2) === 0);
 * ```
 */
export class Arena implements Disposable {
  /** Bytes of a page. */
  readonly pageBytes: number;
  /** What may be taken from each node. */
  readonly bytesPerNode: number;
  /** `small`, or 2 MiB: `transparent` (where the kernel finds them) or `huge` (from the machine's pool). */
  readonly pages: "small" | "transparent" | "huge";
  #handle: number;
  #mem: Symbols<"mem">;
  #address: bigint;
  #nodeCount: number;

  private constructor(known: Symbols<"mem">, handle: number, nodeCount: number) {
    const range = new BigUint64Array(4);
    check(known.kl_arena_range(handle, new Uint8Array(range.buffer)), "look at the arena");
    this.#mem = known;
    this.#handle = handle;
    this.#address = range[0];
    this.#nodeCount = nodeCount;
    this.bytesPerNode = Number(range[2]);
    this.pageBytes = Number(range[3] & 0xffffffffn);
    this.pages = PAGES[Number(range[3] >> 32n)];
  }

  /**
   * Reserves the addresses. Memory is used as it is touched.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT`, `KL_ERR_MEMORY`
   */
  static create(topology: Topology, options: ArenaOptions): Arena {
    const action = "make an arena";
    const known = mem ??= symbols("mem");
    const { bytesPerNode, hugePages = false } = options;
    if (!Number.isSafeInteger(bytesPerNode) || bytesPerNode <= 0) {
      refuse(action, `bytesPerNode must be 1 to 2^40 bytes, not ${String(bytesPerNode)}`);
    }
    const handle = handleOf(topology);
    check(known.kl_arena_create(handle, bytesPerNode, hugePages ? 1 : 0, outHandleBytes), action);
    return new Arena(known, outHandle[0], topology.nodeCount);
  }

  /**
   * Takes a block of at least `bytes`, zeroed, rounded up to pages. `undefined` when the nodes that the policy
   * allows, or the arena, are too full.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT`, `KL_ERR_UNSUPPORTED` when the system refuses a `specific` placement
   */
  alloc(bytes: number, placement: ArenaPlacement = {}): ArenaBlock | undefined {
    const action = "take a block from the arena";
    const { policy = "local", node = 0 } = placement;
    if (!Number.isSafeInteger(bytes) || bytes <= 0) {
      refuse(action, `a block of ${String(bytes)} bytes: 1 to 2^40`);
    }
    if (!Object.hasOwn(POLICIES, policy)) {
      refuse(action, `policy ${String(policy)}: local, interleave, specific or nearest`);
    }
    if (node >>> 0 !== node || node >= this.#nodeCount) {
      refuse(action, `node ${String(node)}: there are ${this.#nodeCount}`);
    }
    const offset = this.#mem.kl_arena_take(this.#handle, bytes, POLICIES[policy], node);
    if (offset === STATUS.KL_ERR_LIMIT) return undefined;
    check(offset, action);
    const address = this.#address + BigInt(offset);
    return { bytes: new Uint8Array(mappedBuffer(address, bytes)), offset };
  }

  /**
   * Gives a block back.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT` when it is none of this arena's live ones
   */
  free(block: ArenaBlock): void {
    check(this.#mem.kl_arena_give(this.#handle, block.offset), "give a block back to the arena");
  }

  /** What a node has given. */
  usedBytes(node: number): number {
    if (node >>> 0 !== node) refuse("look at the arena", `${String(node)} is not a node`);
    return check(this.#mem.kl_arena_charged(this.#handle, node), "look at the arena");
  }

  /** The node that the page at an offset is charged to; `undefined` when it is free. */
  nodeOf(offset: number): number | undefined {
    const node = this.#mem.kl_arena_charge_of(this.#handle, offset);
    return node === STATUS.KL_ERR_NOT_FOUND ? undefined : check(node, "look at the arena");
  }

  /**
   * Compares the accounts with the blocks, page by page.
   *
   * @throws {KeelsonError} `KL_ERR_CORRUPT`
   */
  verify(): void {
    check(this.#mem.kl_arena_check(this.#handle), "verify the arena");
  }

  /** Frees all blocks. Their bytes read as zero from now on, and writes to them go nowhere. */
  close(): void {
    const handle = this.#handle;
    this.#handle = 0;
    if (handle !== 0) this.#mem.kl_arena_close(handle);
  }

  /** The same as {@linkcode Arena.close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
