/**
 * Structures and locks in shared memory: the entry point `@keelson/keelson/sync`. They wait on the
 * event loop through this row, so they are exported from here.
 *
 * @module
 */
export { preloadCompletion } from "./completion.ts";
export { IndexPool, type IndexPoolOptions, type PoolClaim } from "../lockfree/index_pool.ts";
export { MsQueue, type MsQueueOptions } from "../lockfree/ms_queue.ts";
export { Stack, type StackOptions } from "../lockfree/stack.ts";
export { MpmcQueue, type MpmcQueueOptions } from "../lockfree/mpmc_queue.ts";
export { MpscRing, type MpscRingOptions } from "../lockfree/mpsc_ring.ts";
export {
  type RecordEncoding,
  type RecordInput,
  type RecordOutput,
} from "../lockfree/record_codec.ts";
export { type RecordClaim, SharedQueue } from "../lockfree/shared_queue.ts";
export { SpscRing, type SpscRingOptions, type SpscRingWaitOptions } from "../lockfree/spsc_ring.ts";
export { Counter } from "../sync/counter.ts";
export { EventCount } from "../sync/event_count.ts";
export { Latest, type LatestOptions } from "../sync/latest.ts";
export { Mutex } from "../sync/mutex.ts";
export {
  type OrderCounts,
  OrderedLock,
  type OrderedLockOptions,
  type OrderedSite,
  type OrderRule,
  type OrderViolation,
} from "../sync/ordered_lock.ts";
export { SleepLock, SleepLockGuard, type SleepLockOptions } from "../sync/sleep_lock.ts";
export { WorkDeque, type WorkDequeOptions } from "../lockfree/work_deque.ts";
export { type WaitOptions } from "../sync/shared_object.ts";
export {
  type Capability,
  CapabilityTable,
  type CapabilityTableOptions,
  type Permissions,
} from "../lockfree/capability_table.ts";
