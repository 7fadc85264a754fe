/**
 * Locks in bare C beside those of other libraries.
 *
 * @module
 */
import { programRow, type ProgramWork } from "../frame/program_side.ts";
import type { BenchContext, RowDefinition } from "../frame/row.ts";
import {
  CK_MCS,
  CK_TICKET,
  PTHREAD_DEFAULT,
  PTHREAD_RECOVERY,
  PTHREAD_ROBUST,
} from "../peers/locks.ts";

/** Sections of a round, by so many threads. */
export function sections(threads: number, full: number) {
  return ({ size }: BenchContext): ProgramWork => {
    const items = size({ smoke: 10_000, full });
    return { args: [String(threads), String(items)], items };
  };
}

const MUTEX = { group: "sync", source: "bench/sync/mutex_bare.c" };

function kills({ size }: BenchContext): ProgramWork {
  const items = size({ smoke: 2, full: 50 });
  return { args: [String(items)], items, value: (_, also) => also["median ms"] };
}

/** Rows of locks. */
export const LOCK_ROWS: RowDefinition[] = [
  programRow({
    ...MUTEX,
    name: "mutex, one thread",
    unit: "ns a section",
    work: sections(1, 5e6),
    floors: [{ kind: "relative", to: PTHREAD_DEFAULT.name, factor: 1.3 }],
    shown: [PTHREAD_ROBUST, PTHREAD_DEFAULT, CK_TICKET, CK_MCS],
  }),
  programRow({
    ...MUTEX,
    name: "mutex, two threads",
    unit: "ns a section",
    note: "four counters in the section, some tens of nanoseconds of work between sections",
    work: sections(2, 2e6),
    equals: [PTHREAD_ROBUST],
    shown: [PTHREAD_DEFAULT, CK_TICKET, CK_MCS],
  }),
  programRow({
    group: "sync",
    name: "mutex, owner killed",
    unit: "ms to the next owner",
    note: "from before the SIGKILL until another process has the mutex and knows",
    source: "bench/sync/recovery_bare.c",
    work: kills,
    limit: 5,
    shown: [PTHREAD_RECOVERY],
  }),
];
