/**
 * Locks in bare C beside those of other libraries.
 *
 * @module
 */
import { ownBaseline, programRow, type ProgramWork } from "../frame/program_side.ts";
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
    const items = size({ smoke: 1000, full });
    return { args: [String(threads), String(items)], items };
  };
}

const MUTEX = { group: "sync", source: "bench/sync/mutex_bare.c" };

function kills({ size }: BenchContext): ProgramWork {
  const items = size({ smoke: 2, full: 50 });
  return { args: [String(items)], items, value: (_, also) => also["median ms"] };
}

const TICKET = { group: "sync", source: "bench/sync/ticket_lock_bare.c" };
const SLEEP = { group: "sync", source: "bench/sync/sleep_lock_bare.c" };
const ORDERED = "bench/sync/ordered_lock_bare.c";

/** Three locks, one inside the other: the figure is for one of them. */
function nested(mode: string) {
  return ({ size }: BenchContext): ProgramWork => {
    const sections = size({ smoke: 1000, full: 3e6 });
    return { args: [mode, String(sections)], items: 3 * sections };
  };
}

function orderedRow(mode: string, plus: number): RowDefinition {
  return programRow({
    group: "sync",
    name: `ordered_lock, checker ${mode}`,
    unit: "ns a lock",
    note: "three ticket locks, one inside the other, locked and unlocked by one thread",
    source: ORDERED,
    work: nested(mode),
    floors: [{ kind: "relative", to: PLAIN_LOCKS.name, factor: 1, plus }],
    baselines: [PLAIN_LOCKS],
  });
}

const PLAIN_LOCKS = ownBaseline("the locks themselves", ORDERED, nested("plain"));

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
  programRow({
    ...TICKET,
    name: "ticket_lock, one thread",
    unit: "ns a section",
    work: sections(1, 5e6),
    equals: [CK_TICKET],
    shown: [CK_MCS],
  }),
  programRow({
    ...TICKET,
    name: "ticket_lock, two threads",
    unit: "ns a section",
    work: sections(2, 1e6),
    equals: [CK_TICKET],
    shown: [CK_MCS],
  }),
  programRow({
    ...SLEEP,
    name: "sleep_lock, one thread",
    unit: "ns a section",
    work: sections(1, 2e6),
    shown: [PTHREAD_ROBUST],
  }),
  programRow({
    ...SLEEP,
    name: "sleep_lock, two threads",
    unit: "ns a section",
    note:
      "first come, first served: every section is a hand-over; pthread's lets who comes overtake",
    work: sections(2, 50_000),
    shown: [PTHREAD_ROBUST, CK_TICKET],
  }),
  orderedRow("off", 1),
  orderedRow("on", 40),
];
