/**
 * Work in Workers that share memory: the entry point `@keelson/keelson/exec`.
 *
 * @module
 */
export {
  type MapOptions,
  type RunOptions,
  WorkerPool,
  type WorkerPoolOptions,
  type WorkerPoolStat,
} from "./worker_pool.ts";
export {
  TaskGraph,
  type TaskGraphOptions,
  type TaskGraphOutcome,
  type TaskGraphRunOptions,
  type TaskOptions,
  type TaskState,
} from "./task_graph.ts";
