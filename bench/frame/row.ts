/**
 * What a benchmark row is: the work, who does it, and what it must reach.
 *
 * @module
 */

/** When a record counted as done. Two sides of a row must have meant the same. */
export type Durability = "none" | "ordered" | "durable";

/** What one round of one side found. */
export interface Sample {
  /** The figure, in the row's unit. */
  value: number;
  /** Records (calls, bytes, whatever the row counts) that were worked through. */
  records: number;
  /** What was promised about each of them. */
  durability: Durability;
  /** A digest of the result: two sides that did the same work have the same one. */
  digest: string;
  /** Further figures, shown beside the value: `{"p99 us": 140}`. */
  also?: Record<string, number>;
}

/** One side, ready to run rounds. */
export interface Session {
  /** One round. The first one is a rehearsal whose figure is dropped. */
  round(): Sample | Promise<Sample>;
  /** Gives everything back. */
  close?(): void | Promise<void>;
}

/** What a side may ask of the frame. */
export interface BenchContext {
  /** Whether this is the tiny run inside the tests. */
  smoke: boolean;
  /** A size for the tiny run and one for the true run. */
  size(sizes: { smoke: number; full: number }): number;
  /** Seed of every random choice of this row; printed. */
  seed: number;
  /** An empty folder for this row on the file system that is measured; removed afterwards. */
  folder: string;
}

/** One side of a row. */
export interface Contender {
  name: string;
  /** Shown below the table: settings, and whatever a fair reader has to know. */
  note?: string;
  /**
   * `peer` competes. `baseline` is a limit, not a rival (the device, bare C): it is measured in the
   * same rounds, but its records and digest are its own.
   */
  kind: "peer" | "baseline";
  /** Why its promise is weaker than ours. It is shown; it competes all the same, which favours it. */
  weaker?: string;
  open(context: BenchContext): Session | Promise<Session>;
}

/** Thrown by {@linkcode Contender.open} when the other program is not installed. */
export class Missing extends Error {
  override readonly name = "Missing";
}

/** What a row must reach. */
export type Floor =
  /** A figure. */
  | { kind: "absolute"; value: number }
  /** `factor` times what this contender reaches in the same run, and `plus` in the row's unit. */
  | { kind: "relative"; to: string; factor: number; plus?: number }
  /** Not worse than this contender: the 95 % interval of paired ratios reaches 0.95. */
  | { kind: "equal"; to: string };

/** One row. */
export interface RowDefinition {
  group: string;
  name: string;
  unit: string;
  better: "higher" | "lower";
  /** Shown below the table. */
  note?: string;
  /** Rounds of each side; the median is reported. @default {{ smoke: 2, full: 5 }} */
  rounds?: { smoke: number; full: number };
  /** Whether the first round of each side is dropped. @default {true} */
  rehearse?: boolean;
  /** Whether the others are measured before and after each of our rounds. @default {false} */
  bracket?: boolean;
  /** Flags for the process of this row, such as `--unstable-kv`. */
  flags?: string[];
  /** Longest time for the whole row in the true run. @default {300} */
  limitSeconds?: number;
  floors?: Floor[];
  /** Why the floors do not count here (an instruction set that is absent); undefined where they do. */
  floorsDoNotHold?: () => string | undefined;
  own: Omit<Contender, "kind" | "name">;
  others?: Contender[];
}

/** A side as it is reported. */
export type PeerResult =
  | {
    name: string;
    kind: "peer" | "baseline";
    value: number;
    samples: number[];
    also: Record<string, number>;
    note?: string;
    weaker?: string;
  }
  | { name: string; kind: "peer" | "baseline"; missing: string; note?: string };

/** A floor as it was judged. */
export interface FloorResult {
  /** In words: `0.4 x device sequential write`. */
  says: string;
  /** The figure it came to; null when what it refers to is missing. */
  value: number | null;
  met: boolean;
}

/** A row as it is reported. */
export interface RowResult {
  group: string;
  name: string;
  unit: string;
  value: number;
  better: "higher" | "lower";
  peers: PeerResult[];
  /** Above 1: better than the best peer, whichever direction is better; null without a peer. */
  ratioToBestPeer: number | null;
  /** 95 % interval of the paired ratios to that peer; null below 3 pairs. */
  ratioInterval: [number, number] | null;
  floor: FloorResult[];
  records: number;
  durability: Durability;
  digest: string;
  seed: number;
  samples: number[];
  also: Record<string, number>;
  notes: string[];
  /** What makes the row worthless: sides that did different work, a crash. */
  problems: string[];
  seconds: number;
}

/** The full name of a row, as it is asked for. */
export function rowTitle(row: { group: string; name: string }): string {
  return `${row.group}/${row.name}`;
}
