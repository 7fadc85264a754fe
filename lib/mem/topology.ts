/**
 * Which processors and how much memory belong together, and how far apart the rest is.
 *
 * @module
 */
import { type Symbols, symbols } from "../../ffi/library.ts";
import { check, refuse } from "../base/error.ts";

/** A machine that is not this one, for {@linkcode Topology.simulate}. */
export interface SimulatedTopology {
  /**
   * `uniform`: one node; `two-sockets`: two, at distance 20; `ring`: neighbours at 20, 10 more for each step,
   * so that four nodes have 10, 20, 30, 20.
   */
  shape: "uniform" | "two-sockets" | "ring";
  /** Nodes of a ring, 1 to 32. @default {4} */
  nodes?: number;
  /** Processors of each node, 1 to 64. @default {1} */
  cpusPerNode?: number;
  /** Memory of each node. @default {2 ** 30} */
  bytesPerNode?: number;
}

const SHAPES = { "uniform": 1, "two-sockets": 2, "ring": 3 };
const CPUS_MAX = 4096;
const encoder = new TextEncoder();
const outHandle = new Uint32Array(1);
const outHandleBytes = new Uint8Array(outHandle.buffer);
let mem: Symbols<"mem"> | undefined;

/** Where the handle of a topology is kept from users, for `arena.ts`. */
const handles = new WeakMap<Topology, number>();

/** The handle of an open topology; 0 when it was closed. */
export function handleOf(topology: Topology): number {
  return handles.get(topology) ?? 0;
}

/**
 * The NUMA nodes of a machine: read once, never changing but for the load that is noted on them. Nodes are
 * numbered from 0 without gaps.
 *
 * @example
 * ```ts
 * import { Topology } from "@keelson/keelson";
 *
 * using machine = Topology.detect();
 * console.assert(machine.nodeCount >= 1);
 * using ring = Topology.simulate({ shape: "ring", nodes: 4, cpusPerNode: 2 });
 * console.assert(ring.distance(0, 2) === 30);
 * console.assert(ring.nodeOfCpu(5) === 2);
 * console.assert(ring.nearest(2).join() === "2,1,3,0");
 * ```
 */
export class Topology implements Disposable {
  /** How many nodes there are. */
  readonly nodeCount: number;
  #mem: Symbols<"mem">;
  #cpus: number[][] = [];
  #nodeOfCpu: number[] = [];
  #distances: number[][] = [];
  #nearest: number[][] = [];
  #bytes: number[] = [];

  private constructor(known: Symbols<"mem">, handle: number) {
    this.#mem = known;
    handles.set(this, handle);
    this.nodeCount = known.kl_numa_nodes(handle);
    const list = new Uint16Array(CPUS_MAX);
    const nodes = Array.from({ length: this.nodeCount }, (_, node) => node);
    for (const node of nodes) {
      const count = known.kl_numa_cpus(handle, node, new Uint8Array(list.buffer), CPUS_MAX);
      this.#cpus.push(Array.from(list.subarray(0, count)));
      for (const cpu of this.#cpus[node]) this.#nodeOfCpu[cpu] = node;
      this.#distances.push(nodes.map((to) => known.kl_numa_far(handle, node, to)));
      this.#nearest.push(nodes.map((rank) => known.kl_numa_near(handle, node, rank)));
      this.#bytes.push(known.kl_numa_node_bytes(handle, node));
    }
  }

  /**
   * Reads this machine, or a tree of files that looks like its `/sys`.
   *
   * @param root a folder that holds `devices/system/cpu` and `devices/system/node`
   * @throws {KeelsonError} `KL_ERR_CORRUPT`, `KL_ERR_NOT_FOUND`, `KL_ERR_LIMIT` (64 nodes, 4096 processors), each with
   * one line that names the file
   */
  static detect(root?: string): Topology {
    const action = root === undefined ? "read the topology" : `read the topology in ${root}`;
    const known = mem ??= symbols("mem");
    if (root !== undefined && (typeof root !== "string" || root === "")) {
      refuse(action, "root is the path of a folder");
    }
    const utf8 = encoder.encode(root ?? "");
    check(known.kl_numa_open(0, 0, 0, 0, utf8, utf8.length, outHandleBytes), action);
    return new Topology(known, outHandle[0]);
  }

  /**
   * A topology that this machine does not have, for tests. Nothing is bound to it.
   *
   * @throws {KeelsonError} `KL_ERR_ARGUMENT`
   */
  static simulate(machine: SimulatedTopology): Topology {
    const action = "simulate a topology";
    const known = mem ??= symbols("mem");
    const { shape, nodes = 4, cpusPerNode = 1, bytesPerNode = 2 ** 30 } = machine;
    if (!Object.hasOwn(SHAPES, shape)) {
      refuse(action, `shape ${String(shape)}: uniform, two-sockets or ring`);
    }
    for (const count of [nodes, cpusPerNode]) {
      if (count >>> 0 !== count) {
        refuse(action, `${String(count)} is not a number of nodes or cpus`);
      }
    }
    if (!Number.isSafeInteger(bytesPerNode)) {
      refuse(action, `bytesPerNode must be a whole number, not ${String(bytesPerNode)}`);
    }
    check(
      known.kl_numa_open(
        SHAPES[shape],
        nodes,
        cpusPerNode,
        bytesPerNode,
        new Uint8Array(),
        0,
        outHandleBytes,
      ),
      action,
    );
    return new Topology(known, outHandle[0]);
  }

  /** The processors of a node, rising. */
  cpusOfNode(node: number): number[] {
    return this.#of(this.#cpus, node).slice();
  }

  /** The node of a processor; `undefined` for one that is not online. */
  nodeOfCpu(cpu: number): number | undefined {
    return this.#nodeOfCpu[cpu];
  }

  /** How far memory of `to` is from the processors of `from`: 10 is near. */
  distance(from: number, to: number): number {
    this.#of(this.#distances, to);
    return this.#of(this.#distances, from)[to];
  }

  /** All nodes from a node, itself first, then by distance. */
  nearest(from: number): number[] {
    return this.#of(this.#nearest, from).slice();
  }

  /** Memory of a node in bytes, in all. */
  bytesOfNode(node: number): number {
    return this.#of(this.#bytes, node);
  }

  /** Notes that a node carries `amount` more, or less when it is negative. */
  addLoad(node: number, amount: number): void {
    this.#of(this.#cpus, node);
    check(this.#mem.kl_numa_load(handleOf(this), node, amount), "note a load");
  }

  /** The node that carries least for each of its processors. */
  leastLoaded(): number {
    return check(this.#mem.kl_numa_idle(handleOf(this)), "look for the least loaded node");
  }

  /**
   * From now on the calling thread runs on processors of this node only.
   *
   * @throws {KeelsonError} `KL_ERR_UNSUPPORTED` when it has none that this process may use
   */
  runOn(node: number): void {
    this.#of(this.#cpus, node);
    check(this.#mem.kl_numa_pin(handleOf(this), node), `run on node ${node}`);
  }

  /** Frees it. Arenas made from it keep what they know. */
  close(): void {
    const handle = handleOf(this);
    handles.delete(this);
    if (handle !== 0) this.#mem.kl_numa_close(handle);
  }

  /** The same as {@linkcode Topology.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #of<T>(values: T[], node: number): T {
    if (!(node in values)) {
      refuse("look at the topology", `node ${String(node)}: there are ${this.nodeCount}`);
    }
    return values[node];
  }
}
