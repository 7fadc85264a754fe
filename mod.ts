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
export { Arena, type ArenaBlock, type ArenaOptions, type ArenaPlacement } from "./lib/mem/arena.ts";
export { type SimulatedTopology, Topology } from "./lib/mem/topology.ts";
export * from "./lib/exec/sync.ts";
export * from "./lib/exec/exec.ts";
