/**
 * The judge of a run, without any I/O: it hears what publishers were told (acknowledgements and the
 * hashes of what they published) and what a subscriber got, and counts what does not fit.
 *
 *   lost         acknowledged records that were never delivered, or not with their content
 *   duplicates   deliveries of a (session, sequence) or a total order that was delivered before
 *   outOfOrder   descents: deliveries below the one just before them, of their session or of the
 *                topic's total order, that are no duplicates
 *
 * One delivery is counted in at most one of them. Memory grows with the records between publishing
 * and delivery, and with what is wrong, not with what went well.
 *
 * @module
 */
import { HashWindow, type Mismatch } from "./hash_window.ts";
import { SequenceSet } from "./sequence_set.ts";

/** A record as the subscriber got it. */
export interface Delivery {
  session: number;
  sequence: number;
  totalOrder: number;
  hash: number;
}

/** What was found so far. */
export interface Findings {
  /** Records of the known sessions that were delivered, each counted once. */
  delivered: number;
  lost: number;
  duplicates: number;
  outOfOrder: number;
}

interface Session {
  first: number;
  seen: SequenceSet;
  /** Sequence of the newest delivery. */
  newest: number;
  content: HashWindow;
  acknowledged: number;
}

/** Judges one topic. */
export class Checker {
  readonly #sessions = new Map<number, Session>();
  readonly #orders: SequenceSet;
  #newestOrder: number;
  #duplicates = 0;
  #outOfOrder = 0;
  #delivered = 0;

  /** `firstOrder` is the total order from which the subscriber reads. */
  constructor(firstOrder = 0) {
    this.#orders = new SequenceSet(firstOrder);
    this.#newestOrder = firstOrder - 1;
  }

  /**
   * Takes a session under watch. Must come before its first delivery; again changes nothing. Its
   * records below `first` were checked by an earlier checker, and count as delivered.
   */
  know(session: number, first = 0, acknowledged = first): void {
    if (this.#sessions.has(session)) return;
    this.#delivered += first;
    this.#sessions.set(session, {
      first,
      seen: new SequenceSet(first),
      newest: first - 1,
      content: new HashWindow(first),
      acknowledged,
    });
  }

  /** The publisher hands over records `first`, `first + 1`, ... with these contents. */
  expect(session: number, first: number, hashes: Uint32Array): void {
    const content = this.#sessions.get(session)?.content;
    if (!content) return;
    for (let i = 0; i < hashes.length; i++) content.expect(first + i, hashes[i]);
  }

  /** The publisher was told that its records below `count` are safe. */
  acknowledge(session: number, count: number): void {
    const known = this.#sessions.get(session);
    if (known && count > known.acknowledged) known.acknowledged = count;
  }

  /** The subscriber got a record. */
  deliver({ session, sequence, totalOrder, hash }: Delivery): void {
    const order = this.#orders.see(totalOrder);
    const orderFell = totalOrder < this.#newestOrder;
    this.#newestOrder = totalOrder;
    const watched = this.#sessions.get(session);
    const known = watched && sequence >= watched.first ? watched : undefined;
    const seen = known?.seen.see(sequence) ?? "new";
    const sequenceFell = known !== undefined && sequence < known.newest;
    if (order === "again" || seen === "again") this.#duplicates++;
    else if (orderFell || sequenceFell) this.#outOfOrder++;
    if (!known || seen === "again") return;
    known.newest = sequence;
    this.#delivered++;
    known.content.deliver(sequence, hash);
  }

  /** Whether every acknowledged record, or a later one of its session, was delivered. */
  get caughtUp(): boolean {
    for (const { seen, acknowledged } of this.#sessions.values()) {
      if (seen.top < acknowledged) return false;
    }
    return true;
  }

  /** Sessions, and below which of their records everything is in {@linkcode soFar}. */
  judged(): [session: number, below: number][] {
    return [...this.#sessions].map(([session, { seen }]) => [session, seen.top]);
  }

  /** The counts now. While records are on their way, `lost` only counts those overtaken by others. */
  soFar(): Findings {
    return this.#findings((s) => s.seen.missingBelow(Math.min(s.acknowledged, s.seen.top)));
  }

  /** The counts when nothing more will come. */
  verdict(): Findings {
    return this.#findings((s) => s.seen.missingBelow(s.acknowledged));
  }

  #findings(missing: (session: Session) => number): Findings {
    let lost = 0;
    let outOfOrder = this.#outOfOrder;
    for (const session of this.#sessions.values()) {
      const swapped = swappedContents(session.content.mismatches);
      outOfOrder += swapped.size / 2;
      lost += missing(session);
      for (const mismatch of session.content.mismatches) {
        if (!swapped.has(mismatch) && mismatch.sequence < session.acknowledged) lost++;
      }
    }
    return { delivered: this.#delivered, lost, duplicates: this.#duplicates, outOfOrder };
  }
}

/** Mismatches that explain each other: each got the other's content, so nothing of it is lost. */
function swappedContents(mismatches: readonly Mismatch[]): Set<Mismatch> {
  const paired = new Set<Mismatch>();
  const waiting = new Map<string, Mismatch[]>();
  for (const mismatch of mismatches) {
    const partner = waiting.get(`${mismatch.delivered} ${mismatch.expected}`)?.pop();
    if (partner) {
      paired.add(partner).add(mismatch);
      continue;
    }
    const key = `${mismatch.expected} ${mismatch.delivered}`;
    waiting.get(key)?.push(mismatch) ?? waiting.set(key, [mismatch]);
  }
  return paired;
}
