/**
 * The sums of a run: what its publishers were told, session by session.
 *
 * @module
 */
import { decodeNumbers, decodeProgress, FRAME, type Frame, type Progress } from "./frames.ts";
import type { PublisherState } from "./dashboard/source.ts";
import { Latency } from "./latency.ts";

/** One session of a publisher of this run. */
export interface SessionAccount {
  /** For people: "input access.log". */
  label: string;
  topic: string;
  /** Whether its records count in the report. */
  counted: boolean;
  /** The process that publishes it now; 0 when none does. */
  pid: () => number;
  progress: Progress;
}

/** Totals over the counted sessions. */
export interface Totals {
  published: number;
  ordered: number;
  durable: number;
  bytes: number;
}

/** Keeps the sums. */
export class RunAccount {
  readonly #sessions = new Map<number, SessionAccount>();
  readonly ackDurable = new Latency();

  /** A publisher has opened or reopened a session. */
  open(session: number, about: Omit<SessionAccount, "progress">): void {
    if (this.#sessions.has(session)) return;
    this.#sessions.set(session, { ...about, progress: noProgress(session) });
  }

  /** Takes a frame about progress or latency. */
  hear({ kind, payload }: Frame): void {
    if (kind === FRAME.progress) this.note(decodeProgress(payload));
    if (kind !== FRAME.latency) return;
    const [micros, records] = decodeNumbers(payload);
    this.ackDurable.record(micros, records);
  }

  /** A publisher says how far it has come. Its counts never fall. */
  note(progress: Progress): void {
    const account = this.#sessions.get(progress.session);
    if (!account) return;
    const before = account.progress;
    account.progress = {
      session: progress.session,
      published: Math.max(before.published, progress.published),
      ordered: Math.max(before.ordered, progress.ordered),
      durable: Math.max(before.durable, progress.durable),
      acknowledged: Math.max(before.acknowledged, progress.acknowledged),
      bytes: Math.max(before.bytes, progress.bytes),
      ...newerResume(before, progress),
    };
  }

  /** The account of a session, if it is one of this run. */
  get(session: number): SessionAccount | undefined {
    return this.#sessions.get(session);
  }

  /** The sessions of the report, and how much of each is acknowledged. */
  acknowledged(): { session: number; acknowledged: number }[] {
    return [...this.#sessions.values()].filter(({ counted }) => counted)
      .map(({ progress: { session, acknowledged } }) => ({ session, acknowledged }));
  }

  /** Every session, for the page. */
  publishers(): PublisherState[] {
    return [...this.#sessions.values()].map(({ label, topic, pid, progress }) => ({
      topic,
      pid: pid(),
      session: String(progress.session),
      published: progress.published,
      durable: progress.durable,
      label,
    }));
  }

  /** The totals of the report. */
  totals(): Totals {
    const totals = { published: 0, ordered: 0, durable: 0, bytes: 0 };
    for (const { counted, progress } of this.#sessions.values()) {
      if (!counted) continue;
      totals.published += progress.published;
      totals.ordered += progress.ordered;
      totals.durable += progress.durable;
      totals.bytes += progress.bytes;
    }
    return totals;
  }
}

function noProgress(session: number): Progress {
  return {
    session,
    published: 0,
    ordered: 0,
    durable: 0,
    acknowledged: 0,
    bytes: 0,
    resumeSequence: 0,
    resumeOffset: 0,
    resumeBytes: 0,
  };
}

type Resume = Pick<Progress, "resumeSequence" | "resumeOffset" | "resumeBytes">;

function newerResume(before: Resume, after: Resume): Resume {
  const { resumeSequence, resumeOffset, resumeBytes } =
    after.resumeSequence >= before.resumeSequence ? after : before;
  return { resumeSequence, resumeOffset, resumeBytes };
}
