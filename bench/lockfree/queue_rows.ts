/**
 * Queues in bare C beside those of other libraries: the same loops, the same two processors.
 *
 * @module
 */
import { ownProgram, peerSide, type ProgramWork } from "../frame/program_side.ts";
import type { BenchContext, Floor, RowDefinition } from "../frame/row.ts";
import { CK_RING_SPSC, type QueuePeer, READERWRITERQUEUE } from "../peers/queues.ts";
import { flow, pair, pingpong } from "./queue_work.ts";

/** Enough for a claim of equality. */
const ROUNDS = { smoke: 1, full: 15 };

function row(
  name: string,
  unit: string,
  source: string,
  work: (context: BenchContext) => ProgramWork,
  limit: number | undefined,
  peers: QueuePeer[],
  equals: QueuePeer[] = [],
): RowDefinition {
  const floors: Floor[] = limit === undefined ? [] : [{ kind: "absolute", value: limit }];
  for (const peer of equals) floors.push({ kind: "equal", to: peer.name });
  return {
    group: "lockfree",
    name,
    unit,
    better: "lower",
    rounds: ROUNDS,
    floors,
    own: ownProgram(source, work),
    others: peers.map((peer) => peerSide(peer, work)),
  };
}

const SPSC = "bench/lockfree/queue_spsc_bare.c";
const SPSC_PEERS = [CK_RING_SPSC, READERWRITERQUEUE];

/** Rows of queues in bare C. */
export const QUEUE_ROWS: RowDefinition[] = [
  row("spsc_ring u64, 1 to 1", "ns an item", SPSC, flow(1, 1, 10e6), 4, SPSC_PEERS, SPSC_PEERS),
  row("spsc_ring u64, one thread", "ns a pair", SPSC, pair(20e6), undefined, SPSC_PEERS),
  row(
    "spsc_ring u64, ping-pong",
    "ns one way",
    SPSC,
    pingpong(300_000),
    90,
    SPSC_PEERS,
    SPSC_PEERS,
  ),
];
