/**
 * Tasks and graphs in bare C beside oneTBB.
 *
 * @module
 */
import {
  ownBaseline,
  type PeerLibrary,
  programRow,
  type ProgramWork,
} from "../frame/program_side.ts";
import type { BenchContext, RowDefinition } from "../frame/row.ts";

const THREADS = 2;
const EXECUTOR = "bench/exec/executor_bare.c";

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

interface Tasks {
  micros: number;
  full: number;
  /** Given at once and waited for; all of them when left out. */
  burst?: number;
  /** Nanoseconds of spinning, jobs a theft: when they do not tune themselves. */
  fixed?: readonly number[];
}

function tasks({ micros, full, burst, fixed = [] }: Tasks) {
  return ({ size }: BenchContext): ProgramWork => {
    const items = size({ smoke: 500, full });
    const turns = micros * TURNS_A_MICROSECOND;
    const args = [THREADS, items, turns, burst ?? items, ...fixed].map(String);
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
      source: EXECUTOR,
      work: tasks({ micros, full }),
      limit,
      equals: [TBB_POOL],
    }),
    better: "higher",
  };
}

/** Whether what tunes itself is as good as what would have been best to begin with. */
function tunedRow(words: string, work: Tasks): RowDefinition {
  const settings: [string, [number, number]][] = [
    ["no spinning, steals 1", [0, 1]],
    ["no spinning, steals 32", [0, 32]],
    ["20 us of spinning, steals 1", [20_000, 1]],
    ["20 us of spinning, steals 32", [20_000, 32]],
  ];
  return {
    ...programRow({
      group: "exec",
      name: `executor tuning itself, ${words}`,
      unit: "% of 2 threads",
      note: "beside fixed settings: never more than 5 % behind the best of them",
      source: EXECUTOR,
      work: tasks(work),
      floors: settings.map(([to]) => ({ kind: "equal", to })),
      baselines: settings.map(([name, fixed]) =>
        ownBaseline(name, EXECUTOR, tasks({ ...work, fixed }))
      ),
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
  tunedRow("all at once, 2 us", { micros: 2, full: 50_000 }),
  tunedRow("bursts of 16, 5 us", { micros: 5, full: 16_000, burst: 16 }),
  graphRow("chain", 10_000, 50),
  graphRow("diamond", 10_000, 50),
  graphRow("random", 10_000, 50),
];
