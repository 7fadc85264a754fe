/**
 * TypeScript functions in Workers beside the pools of npm, and graphs of them.
 *
 * @module
 */
import { TaskGraph } from "../../lib/exec/task_graph.ts";
import { WorkerPool } from "../../lib/exec/worker_pool.ts";
import type { BenchContext, Contender, RowDefinition, Session } from "../frame/row.ts";
import { npmPools } from "../peers/npm_pools.ts";
import { fold, POOL_THREADS, poolSample, poolWork, spinAlone } from "./pool_work.ts";

function openPool(): WorkerPool {
  return new WorkerPool(new URL("./pool_functions.ts", import.meta.url), { workers: POOL_THREADS });
}

function openTasks(
  context: BenchContext,
  micros: number,
  full: number,
  asList: boolean,
): Session {
  const pool = openPool();
  const work = poolWork(context, micros, full);
  const { tasks, turns } = work;
  const values = Array.from({ length: tasks }, (_, index) => ({ index, turns }));
  return {
    async round() {
      const alone = spinAlone(work);
      const started = performance.now();
      const answers = asList
        ? await pool.map<number>("spinTask", values)
        : await Promise.all(values.map((value) => pool.run<number>("spinTask", value)));
      let digest = 0;
      for (const answer of answers) digest = fold(digest, answer);
      const seconds = (performance.now() - started) / 1000;
      if (digest !== alone.digest) throw new Error("the pool came to other answers");
      return poolSample(work, seconds, alone.seconds, digest);
    },
    close: () => pool.close(),
  };
}

function poolRow(micros: number, full: number, limit?: number): RowDefinition {
  const peers = npmPools(micros, full);
  const mapped: Contender = {
    name: "with WorkerPool.map",
    kind: "baseline",
    open: (context) => openTasks(context, micros, full, true),
  };
  return {
    group: "exec",
    name: `WorkerPool.run, tasks of ${micros} us`,
    unit: `% of ${POOL_THREADS} threads`,
    better: "higher",
    rounds: { smoke: 1, full: 15 },
    note: "the time one thread takes without a pool, over twice the time of the pool; the main " +
      "program gives the tasks and takes the results at the same time",
    floors: [
      ...(limit === undefined ? [] : [{ kind: "absolute", value: limit } as const]),
      ...peers.map(({ name }) => ({ kind: "equal", to: name }) as const),
    ],
    own: { open: (context) => openTasks(context, micros, full, false) },
    others: [...peers, mapped],
  };
}

const GRAPH_NODES = 10_000;

/** Edges as `bench/exec/graph_drive.h` has them. */
function addNodes(graph: TaskGraph, shape: "chain" | "random"): void {
  let state = 20_240_229;
  for (let node = 0; node < GRAPH_NODES; node++) {
    const after = new Set<string>();
    let before = node;
    for (let at = 0; at < (shape === "chain" ? 1 : 3) && before > 0; at++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      before = Math.max(0, before - (shape === "chain" ? 1 : 1 + (state >>> 8) % 21));
      after.add(String(before));
    }
    graph.add(String(node), "nothing", undefined, { after });
  }
}

function openGraph({ size }: BenchContext, shape: "chain" | "random"): Session {
  const pool = openPool();
  const graph = new TaskGraph(pool);
  addNodes(graph, shape);
  const runs = size({ smoke: 1, full: 10 });
  return {
    async round() {
      let done = 0;
      const started = performance.now();
      for (let run = 0; run < runs; run++) done += (await graph.run()).done;
      const seconds = (performance.now() - started) / 1000;
      return {
        value: seconds / done * 1e6,
        records: done,
        durability: "none",
        digest: `${done} done`,
      };
    },
    close() {
      graph.close();
      pool.close();
    },
  };
}

function graphRow(shape: "chain" | "random"): RowDefinition {
  return {
    group: "exec",
    name: `TaskGraph, ${shape} of ${GRAPH_NODES}`,
    unit: "us a node",
    better: "lower",
    rounds: { smoke: 1, full: 9 },
    note: "functions that return at once; the graph was built before",
    floors: [{ kind: "absolute", value: 1 }],
    own: { open: (context) => openGraph(context, shape) },
  };
}

/** Rows of Workers. */
export const POOL_ROWS: RowDefinition[] = [
  poolRow(1, 20_000),
  poolRow(10, 10_000, 85),
  poolRow(100, 1000, 85),
  graphRow("chain"),
  graphRow("random"),
];
