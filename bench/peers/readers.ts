/**
 * The read sides of other libraries; all run the lines of `bench/sync/read_drive.h`.
 *
 * @module
 */
import type { PeerLibrary } from "../frame/program_side.ts";

/** Concurrency Kit's hazard pointers. */
export const CK_HP: PeerLibrary = {
  name: "ck_hp",
  program: {
    source: "bench/peers/ck_hp.c",
    header: "ck_hp.h",
    package: "libck-dev",
    flags: ["-lck"],
  },
};

/** Concurrency Kit's epochs. */
export const CK_EPOCH: PeerLibrary = {
  name: "ck_epoch",
  program: {
    source: "bench/peers/ck_epoch.c",
    header: "ck_epoch.h",
    package: "libck-dev",
    flags: ["-lck"],
  },
};

/** liburcu with membarrier. */
export const URCU_MEMB: PeerLibrary = {
  name: "liburcu memb",
  note: "read side inlined",
  program: {
    source: "bench/peers/urcu.c",
    header: "urcu/urcu-memb.h",
    package: "liburcu-dev",
    flags: ["-lurcu-memb", "-lurcu-common"],
  },
};

/** liburcu with quiescent states. */
export const URCU_QSBR: PeerLibrary = {
  name: "liburcu qsbr",
  note: "read side inlined; a quiescent state after every 1024 reads",
  program: {
    source: "bench/peers/urcu.c",
    header: "urcu/urcu-qsbr.h",
    package: "liburcu-dev",
    flags: ["-DQSBR", "-lurcu-qsbr", "-lurcu-common"],
  },
};
