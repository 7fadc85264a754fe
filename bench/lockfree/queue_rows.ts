/**
 * Queues in bare C beside those of other libraries: the same loops, the same two processors.
 *
 * @module
 */
import { programRow } from "../frame/program_side.ts";
import type { RowDefinition } from "../frame/row.ts";
import { CK_RING_SPSC, READERWRITERQUEUE } from "../peers/queues.ts";
import { flow, pair, pingpong } from "./queue_work.ts";

const SPSC = {
  group: "lockfree",
  source: "bench/lockfree/queue_spsc_bare.c",
  equals: [CK_RING_SPSC, READERWRITERQUEUE],
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
];
