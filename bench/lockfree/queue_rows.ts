/**
 * Queues in bare C beside those of other libraries: the same loops, the same two processors.
 *
 * @module
 */
import { programRow } from "../frame/program_side.ts";
import type { RowDefinition } from "../frame/row.ts";
import {
  CK_HP_FIFO,
  CK_RING_SPSC,
  CONCURRENTQUEUE,
  READERWRITERQUEUE,
  TBB_QUEUE,
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
];
