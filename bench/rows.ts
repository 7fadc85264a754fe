/**
 * Every row, in the order in which they run: quick and quiet ones first.
 *
 * @module
 */
import { CHECKSUM_ROWS } from "./base/checksum_rows.ts";
import { DELIVER_ROWS } from "./broker/deliver_rows.ts";
import { DISK_ROWS } from "./broker/disk_rows.ts";
import { DURABLE_ROWS } from "./broker/durable_rows.ts";
import { PUBLISH_ROWS } from "./broker/publish_rows.ts";
import { EXECUTOR_ROWS } from "./exec/executor_rows.ts";
import { POOL_ROWS } from "./exec/pool_rows.ts";
import { IMPORT_ROWS } from "./ffi/import_rows.ts";
import type { RowDefinition } from "./frame/row.ts";
import { CAPABILITY_ROWS } from "./lockfree/capability_rows.ts";
import { DEQUE_ROWS } from "./lockfree/deque_rows.ts";
import { MESSAGE_ROWS } from "./lockfree/message_rows.ts";
import { QUEUE_ROWS } from "./lockfree/queue_rows.ts";
import { STACK_ROWS } from "./lockfree/stack_rows.ts";
import { SPSC_RING_ROWS } from "./lockfree/spsc_ring_rows.ts";
import { LOG_ROWS } from "./log/durable_log_rows.ts";
import { NUMA_ROWS } from "./mem/numa_rows.ts";
import { CALL_ROWS } from "./sync/call_rows.ts";
import { LOCK_ROWS } from "./sync/lock_rows.ts";
import { READ_ROWS } from "./sync/read_rows.ts";

/** Every row there is. */
export const rows: readonly RowDefinition[] = [
  ...CHECKSUM_ROWS,
  ...IMPORT_ROWS,
  ...NUMA_ROWS,
  ...SPSC_RING_ROWS,
  ...QUEUE_ROWS,
  ...MESSAGE_ROWS,
  ...STACK_ROWS,
  ...DEQUE_ROWS,
  ...CAPABILITY_ROWS,
  ...LOCK_ROWS,
  ...READ_ROWS,
  ...CALL_ROWS,
  ...EXECUTOR_ROWS,
  ...POOL_ROWS,
  ...PUBLISH_ROWS,
  ...DELIVER_ROWS,
  ...DURABLE_ROWS,
  ...LOG_ROWS,
  ...DISK_ROWS,
];
