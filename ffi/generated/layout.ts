// ffi/generated/layout.ts: made by `deno task gen` from c/. Do not edit.

/** `kl_batch_frame`: its size and the offset of each field. */
export const KL_BATCH_FRAME = {
  bytes: 64,
  magic: 0,
  epoch: 4,
  topicId: 8,
  totalOrder: 16,
  session: 24,
  firstSequence: 32,
  recordCount: 56,
} as const;

/** `kl_capability_entry`: its size and the offset of each field. */
export const KL_CAPABILITY_ENTRY = {
  bytes: 64,
  control: 0,
  mask: 8,
  parent: 16,
  delegated: 24,
} as const;

/** `kl_capability_table_header`: its size and the offset of each field. */
export const KL_CAPABILITY_TABLE_HEADER = {
  bytes: 128,
  magic: 0,
  version: 4,
  capacity: 8,
  slots: 12,
  mutex: 64,
} as const;

/** `kl_claim`: its size and the offset of each field. */
export const KL_CLAIM = {
  bytes: 8,
  index: 0,
  generation: 4,
} as const;

/** `kl_completion_entry`: its size and the offset of each field. */
export const KL_COMPLETION_ENTRY = {
  bytes: 8,
  token: 0,
  status: 4,
} as const;

/** `kl_counter`: its size and the offset of each field. */
export const KL_COUNTER = {
  bytes: 4160,
  magic: 0,
  version: 4,
  cells: 64,
} as const;

/** `kl_delivery`: its size and the offset of each field. */
export const KL_DELIVERY = {
  bytes: 48,
  totalOrder: 0,
  session: 8,
  firstSequence: 16,
  publishedAtNs: 24,
  recordCount: 32,
  payloadBytes: 36,
  skip: 40,
} as const;

/** `kl_event_count`: its size and the offset of each field. */
export const KL_EVENT_COUNT = {
  bytes: 64,
  sequence: 0,
  waiters: 4,
} as const;

/** `kl_grace_header`: its size and the offset of each field. */
export const KL_GRACE_HEADER = {
  bytes: 192,
  period: 0,
  magic: 64,
  version: 68,
  slotCount: 72,
  used: 128,
} as const;

/** `kl_grace_slot`: its size and the offset of each field. */
export const KL_GRACE_SLOT = {
  bytes: 64,
  announced: 0,
  owner: 8,
  thread: 12,
} as const;

/** `kl_hand`: its size and the offset of each field. */
export const KL_HAND = {
  bytes: 64,
  hand: 0,
  owner: 8,
} as const;

/** `kl_index_pool_header`: its size and the offset of each field. */
export const KL_INDEX_POOL_HEADER = {
  bytes: 128,
  magic: 0,
  version: 4,
  capacity: 8,
  payloadBytes: 12,
  spaceEvent: 64,
} as const;

/** `kl_lane`: its size and the offset of each field. */
export const KL_LANE = {
  bytes: 256,
  tailIndex: 64,
  orderedIndex: 128,
  durableIndex: 192,
} as const;

/** `kl_lane_descriptor`: its size and the offset of each field. */
export const KL_LANE_DESCRIPTOR = {
  bytes: 64,
  commit: 0,
  payloadAddress: 8,
  session: 24,
  checksum: 60,
} as const;

/** `kl_latest_header`: its size and the offset of each field. */
export const KL_LATEST_HEADER = {
  bytes: 256,
  published: 0,
  writing: 8,
  magic: 64,
  version: 68,
  valueBytes: 72,
  writer: 128,
  changed: 192,
} as const;

/** `kl_log_check`: its size and the offset of each field. */
export const KL_LOG_CHECK = {
  bytes: 88,
  problems: 0,
  frames: 8,
  records: 16,
  payloadBytes: 24,
  first: 32,
  durable: 40,
  end: 48,
  tornBytes: 56,
  segments: 64,
  fileBytes: 72,
  textBytes: 80,
  clean: 84,
} as const;

/** `kl_log_entry`: its size and the offset of each field. */
export const KL_LOG_ENTRY = {
  bytes: 32,
  address: 0,
  nextAddress: 8,
  payloadBytes: 16,
  recordCount: 20,
  tag: 24,
  kind: 26,
  flags: 27,
} as const;

/** `kl_log_mend`: its size and the offset of each field. */
export const KL_LOG_MEND = {
  bytes: 32,
  problems: 0,
  droppedBytes: 8,
  end: 16,
  textBytes: 24,
  changed: 28,
} as const;

/** `kl_log_open_options`: its size and the offset of each field. */
export const KL_LOG_OPEN_OPTIONS = {
  bytes: 48,
  segmentBytes: 0,
  ringBytes: 8,
  retainBytes: 16,
  retainMs: 24,
  flags: 32,
  recovery: 36,
  spareSegments: 40,
} as const;

/** `kl_log_place`: its size and the offset of each field. */
export const KL_LOG_PLACE = {
  bytes: 64,
  first: 0,
  durable: 8,
  tail: 16,
  bytesUsed: 24,
  segments: 32,
  spares: 40,
  segmentBytes: 48,
  textBytes: 56,
  live: 60,
} as const;

/** `kl_log_ring_shared`: its size and the offset of each field. */
export const KL_LOG_RING_SHARED = {
  bytes: 8192,
  tail: 64,
  flushed: 128,
  durable: 192,
  durableEvent: 256,
  roomEvent: 320,
  slots: 4096,
} as const;

/** `kl_log_state`: its size and the offset of each field. */
export const KL_LOG_STATE = {
  bytes: 96,
  first: 0,
  durable: 8,
  flushed: 16,
  tail: 24,
  frameBytesMax: 32,
  ringBytes: 40,
  cutBytes: 48,
  cutAddress: 56,
  drainedBytes: 64,
  rewrittenBytes: 72,
  droppedBytes: 80,
  shared: 88,
} as const;

/** `kl_mpmc_queue_header`: its size and the offset of each field. */
export const KL_MPMC_QUEUE_HEADER = {
  bytes: 320,
  tail: 0,
  magic: 64,
  version: 68,
  elementBytes: 72,
  slotBytes: 76,
  capacity: 80,
  mode: 84,
  head: 128,
  dataEvent: 192,
  spaceEvent: 256,
} as const;

/** `kl_mpsc_ring_header`: its size and the offset of each field. */
export const KL_MPSC_RING_HEADER = {
  bytes: 4480,
  tail: 0,
  magic: 64,
  version: 68,
  capacityBytes: 72,
  head: 128,
  limit: 136,
  consumer: 192,
  dataEvent: 256,
  spaceEvent: 320,
  intents: 384,
} as const;

/** `kl_mpsc_ring_intent`: its size and the offset of each field. */
export const KL_MPSC_RING_INTENT = {
  bytes: 64,
  position: 0,
  owner: 8,
} as const;

/** `kl_ms_queue_header`: its size and the offset of each field. */
export const KL_MS_QUEUE_HEADER = {
  bytes: 320,
  head: 0,
  tail: 64,
  magic: 128,
  version: 132,
  capacity: 136,
  elementBytes: 140,
  dataEvent: 192,
  spaceEvent: 256,
} as const;

/** `kl_mutex`: its size and the offset of each field. */
export const KL_MUTEX = {
  bytes: 64,
  owner: 0,
  waiters: 4,
  emptyWakes: 8,
  holder: 16,
} as const;

/** `kl_node_shared`: its size and the offset of each field. */
export const KL_NODE_SHARED = {
  bytes: 5312,
  topicsVersion: 64,
  work: 128,
  roles: 704,
} as const;

/** `kl_order_entry`: its size and the offset of each field. */
export const KL_ORDER_ENTRY = {
  bytes: 128,
  seal: 0,
  totalOrder: 8,
  laneIndex: 16,
  recordCount: 52,
  cut: 64,
} as const;

/** `kl_participant`: its size and the offset of each field. */
export const KL_PARTICIPANT = {
  bytes: 40,
  id: 0,
  slot: 4,
  role: 8,
  pid: 12,
  startTime: 16,
  joinedAt: 24,
  alive: 32,
} as const;

/** `kl_participant_slot`: its size and the offset of each field. */
export const KL_PARTICIPANT_SLOT = {
  bytes: 64,
  generation: 0,
  dead: 4,
  reaped: 8,
  role: 12,
  pid: 16,
  owner: 20,
  startTime: 24,
  joinedAt: 32,
} as const;

/** `kl_region_identity`: its size and the offset of each field. */
export const KL_REGION_IDENTITY = {
  bytes: 128,
  magic: 0,
  version: 8,
  kind: 12,
  layoutHash: 16,
  state: 20,
  totalBytes: 24,
  dataOffset: 32,
  dataBytes: 40,
  uuid: 48,
  bootId: 64,
  createdAt: 80,
  creatorPid: 88,
  slots: 92,
  crc: 124,
} as const;

/** `kl_region_request`: its size and the offset of each field. */
export const KL_REGION_REQUEST = {
  bytes: 32,
  dataBytes: 0,
  where: 8,
  flags: 12,
  kind: 16,
  layoutHash: 20,
  role: 24,
  unused: 28,
} as const;

/** `kl_session_entry`: its size and the offset of each field. */
export const KL_SESSION_ENTRY = {
  bytes: 32,
  session: 0,
  next: 8,
} as const;

/** `kl_sleep_lock_header`: its size and the offset of each field. */
export const KL_SLEEP_LOCK_HEADER = {
  bytes: 1216,
  magic: 0,
  version: 4,
  places: 8,
  head: 64,
  broken: 72,
  mended: 80,
  tail: 128,
  events: 192,
} as const;

/** `kl_spsc_ring_header`: its size and the offset of each field. */
export const KL_SPSC_RING_HEADER = {
  bytes: 384,
  tail: 0,
  magic: 64,
  version: 68,
  recordBytes: 72,
  capacityBytes: 80,
  head: 128,
  producer: 192,
  consumer: 196,
  dataEvent: 256,
  spaceEvent: 320,
} as const;

/** `kl_stack_header`: its size and the offset of each field. */
export const KL_STACK_HEADER = {
  bytes: 256,
  top: 0,
  magic: 64,
  version: 68,
  capacity: 72,
  elementBytes: 76,
  dataEvent: 128,
  spaceEvent: 192,
} as const;

/** `kl_task_graph_outcome`: its size and the offset of each field. */
export const KL_TASK_GRAPH_OUTCOME = {
  bytes: 24,
  done: 0,
  failed: 4,
  skipped: 8,
  cancelled: 12,
  firstFailed: 16,
  status: 20,
} as const;

/** `kl_topic_cursor`: its size and the offset of each field. */
export const KL_TOPIC_CURSOR = {
  bytes: 64,
  participant: 0,
  entry: 8,
} as const;

/** `kl_topic_header`: its size and the offset of each field. */
export const KL_TOPIC_HEADER = {
  bytes: 192,
  layoutVersion: 0,
  brokerCount: 4,
  flags: 8,
  epoch: 12,
  topicId: 16,
  baseOrder: 24,
  laneBytes: 32,
} as const;

/** `kl_work_deque_header`: its size and the offset of each field. */
export const KL_WORK_DEQUE_HEADER = {
  bytes: 320,
  bottom: 0,
  current: 8,
  state: 16,
  magic: 64,
  version: 68,
  capacity: 72,
  top: 128,
  owner: 192,
  workEvent: 256,
} as const;

/** Over all layouts; the library carries the same number. */
export const LAYOUT_HASH = 0xe5bc7653;

/** Over all signatures and status codes; the library carries the same number. */
export const ABI_VERSION = 0xdbf744dc;
