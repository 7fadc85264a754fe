/**
 * The locks of other libraries; all run the lines of `bench/sync/lock_drive.h`.
 *
 * @module
 */
import type { PeerLibrary } from "../frame/program_side.ts";

/** glibc, shared between processes and robust. */
export const PTHREAD_ROBUST: PeerLibrary = {
  name: "pthread mutex, robust",
  note: "PTHREAD_MUTEX_ROBUST and PTHREAD_PROCESS_SHARED: the same promise as ours",
  program: {
    source: "bench/peers/pthread_mutex.c",
    header: "pthread.h",
    package: "libc6-dev",
    flags: ["-DROBUST"],
  },
};

/** glibc's default. */
export const PTHREAD_DEFAULT: PeerLibrary = {
  name: "pthread mutex",
  weaker: "threads of one process; held for ever by a dead owner",
  program: { source: "bench/peers/pthread_mutex.c", header: "pthread.h", package: "libc6-dev" },
};

/** Concurrency Kit, first come first served. */
export const CK_TICKET: PeerLibrary = {
  name: "ck_spinlock_ticket",
  weaker: "spins; held for ever by a dead owner",
  program: {
    source: "bench/peers/ck_lock.c",
    header: "ck_spinlock.h",
    package: "libck-dev",
    flags: ["-lck"],
  },
};

/** Concurrency Kit, each waiter on a line of its own. */
export const CK_MCS: PeerLibrary = {
  name: "ck_spinlock_mcs",
  weaker: "spins; held for ever by a dead owner",
  program: {
    source: "bench/peers/ck_lock.c",
    header: "ck_spinlock.h",
    package: "libck-dev",
    flags: ["-DMCS", "-lck"],
  },
};

/** glibc's robust one, its owner killed. */
export const PTHREAD_RECOVERY: PeerLibrary = {
  name: "pthread mutex, robust",
  program: { source: "bench/peers/pthread_recovery.c", header: "pthread.h", package: "libc6-dev" },
};
