/**
 * The stacks of other libraries; all run the lines of `bench/lockfree/stack_drive.h`.
 *
 * @module
 */
import type { PeerLibrary } from "../frame/program_side.ts";

/** Concurrency Kit. */
export const CK_STACK: PeerLibrary = {
  name: "ck_stack mpmc",
  note: "Concurrency Kit: pointers with a generation beside them, 16 bytes a compare-exchange",
  weaker: "threads of one process only",
  program: {
    source: "bench/peers/ck_stack.c",
    header: "ck_stack.h",
    package: "libck-dev",
    flags: ["-lck"],
  },
};

/** liburcu. */
export const URCU_LFSTACK: PeerLibrary = {
  name: "liburcu lfstack",
  note: "entries come back at once, so its pop takes a mutex",
  weaker: "threads of one process only; pops block each other",
  program: {
    source: "bench/peers/urcu_lfstack.c",
    header: "urcu/lfstack.h",
    package: "liburcu-dev",
    flags: ["-lurcu-cds", "-lurcu-common"],
  },
};
