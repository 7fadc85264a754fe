/**
 * Queues in bare C beside those of other libraries: the same loops, the same two processors.
 *
 * @module
 */
import { programRow } from "../frame/program_side.ts";
import type { RowDefinition } from "../frame/row.ts";
import {
  CK_HP_FIFO,
  CK_RING_MPMC,
  CK_RING_SPSC,
  CONCURRENTQUEUE,
  READERWRITERQUEUE,
  TBB_BOUNDED_QUEUE,
  TBB_QUEUE,
  URCU_WFCQUEUE,
} from "../peers/queues.ts";
import { flow, pair, pingpong } from "./queue_work.ts";

const SPSC = {
  group: "lockfree",
  source: "bench/lockfree/queue_spsc_bare.c",
  equals: [CK_RING_SPSC, READERWRITERQUEUE],
};

const MS_QUEUE = {
  group: "lockfree",
  source: "bench/lockfree/queue_ms_bare.c",
  equals: [CK_HP_FIFO],
  shown: [TBB_QUEUE, CONCURRENTQUEUE],
};

const MPMC = { group: "lockfree", source: "bench/lockfree/queue_mpmc_bare.c" };

const MPSC = {
  group: "lockfree",
  source: "bench/lockfree/queue_mpsc_bare.c",
  equals: [URCU_WFCQUEUE],
  shown: [CONCURRENTQUEUE],
};

/** Rows of queues in bare C. */
export const QUEUE_ROWS: RowDefinition[] = [
  programRow({
    ...SPSC,
    name: "spsc_ring u64, 1 to 1",
    unit: "ns an item",
    work: flow(1, 1, 10e6),
    limit: 4,
  }),
  programRow({
    ...SPSC,
    name: "spsc_ring u64, one thread",
    unit: "ns a pair",
    work: pair(20e6),
    equals: [],
    shown: SPSC.equals,
  }),
  programRow({
    ...SPSC,
    name: "spsc_ring u64, ping-pong",
    unit: "ns one way",
    work: pingpong(300_000),
    limit: 90,
  }),
  programRow({
    ...MS_QUEUE,
    name: "ms_queue u64, one thread",
    unit: "ns a pair",
    work: pair(2e6),
  }),
  programRow({
    ...MS_QUEUE,
    name: "ms_queue u64, 1 to 1",
    unit: "ns an item",
    work: flow(1, 1, 2e6),
  }),
  programRow({
    ...MS_QUEUE,
    name: "ms_queue u64, 2 to 2",
    unit: "ns an item",
    note: "four threads on two processors",
    work: flow(2, 2, 2e6),
  }),
  programRow({
    ...MPMC,
    name: "mpmc_queue u64, one thread",
    unit: "ns a pair",
    work: pair(5e6),
    limit: 26,
    shown: [CK_RING_MPMC, TBB_BOUNDED_QUEUE, CONCURRENTQUEUE],
  }),
  programRow({
    ...MPMC,
    name: "mpmc_queue u64, 1 to 1",
    unit: "ns an item",
    work: flow(1, 1, 3e6),
    limit: 26,
    equals: [CK_RING_MPMC],
    shown: [TBB_BOUNDED_QUEUE, CONCURRENTQUEUE],
  }),
  programRow({
    ...MPMC,
    name: "mpmc_queue u64, 2 to 2",
    unit: "ns an item",
    note:
      `four threads on two processors; ${CK_RING_MPMC.name} is not in this row: it takes minutes`,
    work: flow(2, 2, 3e6),
    limit: 26,
    equals: [TBB_BOUNDED_QUEUE],
    shown: [CONCURRENTQUEUE],
  }),
  programRow({
    ...MPMC,
    name: "mpmc_queue u64, 1 to 1, 16 at a time",
    unit: "ns an item",
    work: flow(1, 1, 5e6 - 5e6 % 16, 16),
    limit: 4,
    equals: [CK_RING_MPMC],
    shown: [TBB_BOUNDED_QUEUE, CONCURRENTQUEUE],
  }),
  programRow({
    ...MPSC,
    name: "mpsc_ring, records of 8 B, 1 to 1",
    unit: "ns an item",
    work: flow(1, 1, 3e6),
  }),
  programRow({
    ...MPSC,
    name: "mpsc_ring, records of 8 B, 2 to 1",
    unit: "ns an item",
    note: "three threads on two processors",
    work: flow(2, 1, 3e6),
  }),
  programRow({
    ...MPSC,
    name: "mpsc_ring, records of 8 B, 1 to 1, 16 at a time",
    unit: "ns an item",
    work: flow(1, 1, 5e6 - 5e6 % 16, 16),
  }),
];
