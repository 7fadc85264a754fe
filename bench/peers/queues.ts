/**
 * The queues of other libraries; all run the lines of `bench/lockfree/queue_drive.h`.
 *
 * @module
 */
import type { PeerLibrary } from "../frame/program_side.ts";

const IN_ONE_PROCESS = "threads of one process only";

/** Concurrency Kit, one producer and one consumer. */
export const CK_RING_SPSC: PeerLibrary = {
  name: "ck_ring spsc",
  note: "Concurrency Kit, capacity less one; no calls for batches",
  program: {
    source: "bench/peers/ck_ring_spsc.c",
    header: "ck_ring.h",
    package: "libck-dev",
    flags: ["-lck"],
  },
};

/** Concurrency Kit, many of both. */
export const CK_RING_MPMC: PeerLibrary = {
  name: "ck_ring mpmc",
  note: "Concurrency Kit; a producer that stands still between reserve and commit stops all others",
  weaker: "one dead producer stops it for ever",
  program: {
    source: "bench/peers/ck_ring_mpmc.c",
    header: "ck_ring.h",
    package: "libck-dev",
    flags: ["-lck"],
  },
};

/** moodycamel, one producer and one consumer. */
export const READERWRITERQUEUE: PeerLibrary = {
  name: "moodycamel ReaderWriterQueue",
  note: "room allocated beforehand, try_enqueue and try_dequeue; no calls for batches",
  weaker: IN_ONE_PROCESS,
  program: {
    source: "bench/peers/readerwriterqueue.cpp",
    header: "readerwriterqueue/readerwriterqueue.h",
    package: "libreaderwriterqueue-dev",
  },
};

/** moodycamel, many of both. */
export const CONCURRENTQUEUE: PeerLibrary = {
  name: "moodycamel ConcurrentQueue",
  note: "a token for each thread, bulk calls for batches; unbounded",
  weaker: `not linearizable: one queue for each producer; ${IN_ONE_PROCESS}`,
  program: {
    source: "bench/peers/concurrentqueue.cpp",
    header: "concurrentqueue/concurrentqueue.h",
    package: "libconcurrentqueue-dev",
  },
};

/** oneTBB. */
export const TBB_QUEUE: PeerLibrary = {
  name: "oneTBB concurrent_queue",
  note: "unbounded; no calls for batches",
  weaker: IN_ONE_PROCESS,
  program: {
    source: "bench/peers/tbb_queue.cpp",
    header: "tbb/concurrent_queue.h",
    package: "libtbb-dev",
    flags: ["-DTBB_QUEUE=tbb::concurrent_queue", "-ltbb"],
  },
};

/** oneTBB with a capacity. */
export const TBB_BOUNDED_QUEUE: PeerLibrary = {
  name: "oneTBB concurrent_bounded_queue",
  note: "its capacity is not set: a full one would block in the call; no calls for batches",
  weaker: IN_ONE_PROCESS,
  program: {
    source: "bench/peers/tbb_queue.cpp",
    header: "tbb/concurrent_queue.h",
    package: "libtbb-dev",
    flags: ["-DTBB_QUEUE=tbb::concurrent_bounded_queue", "-ltbb"],
  },
};

/** Concurrency Kit's Michael-Scott queue. */
export const CK_HP_FIFO: PeerLibrary = {
  name: "ck_hp_fifo mpmc",
  note: "hazard pointers, a threshold of 64; entries from malloc",
  weaker: IN_ONE_PROCESS,
  program: {
    source: "bench/peers/ck_hp_fifo.c",
    header: "ck_hp_fifo.h",
    package: "libck-dev",
    flags: ["-lck"],
  },
};

/** liburcu's queue for one consumer. */
export const URCU_WFCQUEUE: PeerLibrary = {
  name: "liburcu wfcqueue",
  note:
    "nodes from malloc; the consumer splices off what there is; no calls for batches of producers",
  weaker: `unbounded; ${IN_ONE_PROCESS}`,
  program: {
    source: "bench/peers/urcu_wfcqueue.c",
    header: "urcu/wfcqueue.h",
    package: "liburcu-dev",
    flags: ["-lurcu-common"],
  },
};
