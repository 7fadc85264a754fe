/**
 * Tasks and graphs in bare C beside oneTBB.
 *
 * @module
 */
import { type PeerLibrary, programRow, type ProgramWork } from "../frame/program_side.ts";
import type { BenchContext, RowDefinition } from "../frame/row.ts";

const THREADS = 2;

/** Turns of `task_body` in a microsecond on a processor of 2020 or later: 4 or 5 cycles each. */
const TURNS_A_MICROSECOND = 1000;

const TBB_POOL: PeerLibrary = {
  name: "oneTBB task_group",
  note: "in an arena of as many threads, the caller being one of them",
  program: {
    source: "bench/peers/tbb_pool.cpp",
    header: "tbb/task_group.h",
    package: "libtbb-dev",
    flags: ["-ltbb"],
  },
};

const TBB_GRAPH: PeerLibrary = {
  name: "oneTBB flow graph",
  note: "a continue_node for each node",
  program: {
    source: "bench/peers/tbb_graph.cpp",
    header: "tbb/flow_graph.h",
    package: "libtbb-dev",
    flags: ["-ltbb"],
  },
};

function tasks(micros: number, full: number) {
  return ({ size }: BenchContext): ProgramWork => {
    const items = size({ smoke: 500, full });
    const args = [THREADS, items, micros * TURNS_A_MICROSECOND].map(String);
    return { args, items, value: (_, also) => also.efficiency * 100 };
  };
}

function taskRow(micros: number, full: number, limit?: number): RowDefinition {
  return {
    ...programRow({
      group: "exec",
      name: `executor, tasks of ${micros} us`,
      unit: "% of 2 threads",
      note: "the time one thread takes without a pool, over twice the time of the pool",
      source: "bench/exec/executor_bare.c",
      work: tasks(micros, full),
      limit,
      equals: [TBB_POOL],
    }),
    better: "higher",
  };
}

function graphRow(shape: string, nodes: number, runs: number): RowDefinition {
  return programRow({
    group: "exec",
    name: `task_graph, ${shape} of ${nodes}`,
    unit: "us a node",
    note: "nodes that read the clock, two threads; the graph was built before",
    source: "bench/exec/graph_bare.c",
    work: ({ size }) => {
      const times = size({ smoke: 2, full: runs });
      const items = nodes * times;
      const args = [shape, nodes, times, THREADS].map(String);
      return { args, items, value: (seconds) => seconds / items * 1e6 };
    },
    limit: 0.3,
    equals: [TBB_GRAPH],
  });
}

/** Rows of the executor and of graphs. */
export const EXECUTOR_ROWS: RowDefinition[] = [
  taskRow(1, 100_000, 50),
  taskRow(10, 20_000, 85),
  taskRow(100, 2000, 85),
  graphRow("chain", 10_000, 50),
  graphRow("diamond", 10_000, 50),
  graphRow("random", 10_000, 50),
];
