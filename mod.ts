/**
 * Durable shared memory for Deno: the Workers and processes of one host share totally ordered topics
 * at memory speed, and what was acknowledged survives what its acknowledgement promised - the death
 * of a process, `kill -9`, or a power cut.
 *
 * Nothing is loaded at import; the C library is opened at the first use of a part, or ahead of it by
 * {@linkcode preload}.
 *
 * @module
 */
export { KeelsonError, type KeelsonErrorOptions, STATUS } from "./lib/base/error.ts";
export { type GroupName, libraryPath, preload } from "./ffi/library.ts";
export {
  type Ack,
  Broker,
  type BrokerStat,
  FLAG_UNTERMINATED,
  type Message,
  openBroker,
  type OpenBrokerOptions,
  Publisher,
  type PublisherOptions,
  type PublisherProgress,
  RECORD_BYTES_MAX,
  RecordBatch,
  Role,
  type RoleState,
  type SubscribeOptions,
  Subscriber,
  type SubscriberState,
  type TopicInfo,
  type TopicOptions,
} from "./lib/broker/broker.ts";
export {
  type AppendDurability,
  type AppendOptions,
  DurableLog,
  followLog,
  listLogCursors,
  type LogCheck,
  LogCursor,
  type LogCursorOptions,
  LogFollow,
  type LogFollowOptions,
  type LogRecord,
  type LogRecovery,
  type LogRepair,
  LogScan,
  type LogStat,
  type LogState,
  openLog,
  openLogCursor,
  type OpenLogOptions,
  removeLogCursor,
  repairLog,
  type RepairLogOptions,
  scanLog,
  type ScanLogOptions,
  type ScanRange,
  statLog,
  verifyLog,
} from "./lib/log/durable_log.ts";
export {
  Region,
  type RegionAttachOptions,
  type RegionCreateOptions,
  type RegionParticipant,
  type RegionPlace,
} from "./lib/mem/region.ts";
export { IndexPool, type IndexPoolOptions, type PoolClaim } from "./lib/lockfree/index_pool.ts";
export { MsQueue, type MsQueueOptions } from "./lib/lockfree/ms_queue.ts";
export { Stack, type StackOptions } from "./lib/lockfree/stack.ts";
export { MpmcQueue, type MpmcQueueOptions } from "./lib/lockfree/mpmc_queue.ts";
export { MpscRing, type MpscRingOptions } from "./lib/lockfree/mpsc_ring.ts";
export {
  type RecordEncoding,
  type RecordInput,
  type RecordOutput,
} from "./lib/lockfree/record_codec.ts";
export { type RecordClaim, SharedQueue } from "./lib/lockfree/shared_queue.ts";
export {
  SpscRing,
  type SpscRingOptions,
  type SpscRingWaitOptions,
} from "./lib/lockfree/spsc_ring.ts";
export { Counter } from "./lib/sync/counter.ts";
export { EventCount } from "./lib/sync/event_count.ts";
export { Latest, type LatestOptions } from "./lib/sync/latest.ts";
export { Mutex } from "./lib/sync/mutex.ts";
export {
  type OrderCounts,
  OrderedLock,
  type OrderedLockOptions,
  type OrderedSite,
  type OrderRule,
  type OrderViolation,
} from "./lib/sync/ordered_lock.ts";
export { SleepLock, SleepLockGuard, type SleepLockOptions } from "./lib/sync/sleep_lock.ts";
export { preloadCompletion } from "./lib/exec/completion.ts";
export {
  type MapOptions,
  type RunOptions,
  WorkerPool,
  type WorkerPoolOptions,
  type WorkerPoolStat,
} from "./lib/exec/worker_pool.ts";
export {
  TaskGraph,
  type TaskGraphOptions,
  type TaskGraphOutcome,
  type TaskGraphRunOptions,
  type TaskOptions,
  type TaskState,
} from "./lib/exec/task_graph.ts";
export { WorkDeque, type WorkDequeOptions } from "./lib/lockfree/work_deque.ts";
export { type WaitOptions } from "./lib/sync/shared_object.ts";
export {
  type Capability,
  CapabilityTable,
  type CapabilityTableOptions,
  type Permissions,
} from "./lib/lockfree/capability_table.ts";
export { Arena, type ArenaBlock, type ArenaOptions, type ArenaPlacement } from "./lib/mem/arena.ts";
export { type SimulatedTopology, Topology } from "./lib/mem/topology.ts";
