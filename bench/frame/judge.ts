/**
 * From samples to a row: medians, ratios, floors, and whether the sides did the same work at all.
 *
 * @module
 */
import type {
  Contender,
  Floor,
  FloorResult,
  PeerResult,
  RowDefinition,
  RowResult,
  Sample,
} from "./row.ts";
import {
  EQUALITY_PAIRS_MIN,
  EQUALITY_RATIO,
  median,
  pairedRatios,
  provesEquality,
  ratioInterval,
} from "./statistics.ts";

/** What one side did. */
export interface SideRecord {
  contender: Contender;
  samples: Sample[];
  missing?: string;
}

/** What the whole row did. */
export interface RowRecord {
  own: Sample[];
  others: SideRecord[];
  seed: number;
  seconds: number;
}

/** Judges a row. */
export function judgeRow(row: RowDefinition, record: RowRecord): RowResult {
  const first = record.own[0];
  const values = record.own.map((sample) => sample.value);
  const best = bestPeer(row, record);
  const ratios = best ? pairedRatios(values, best.values, row.better) : [];
  return {
    group: row.group,
    name: row.name,
    unit: row.unit,
    value: median(values),
    better: row.better,
    peers: record.others.map(peerResult),
    ratioToBestPeer: best ? ratioOf(median(values), median(best.values), row.better) : null,
    ratioInterval: ratioInterval(ratios) ?? null,
    floor: judgeFloors(row, record, values),
    records: first.records,
    durability: first.durability,
    digest: first.digest,
    seed: record.seed,
    samples: values,
    also: medians(record.own),
    notes: [row.note, row.own.note].filter((note) => note !== undefined),
    problems: differences(record),
    seconds: record.seconds,
  };
}

/** Above 1: the first figure is the better one. */
export function ratioOf(own: number, other: number, better: "higher" | "lower"): number {
  return better === "higher" ? own / other : other / own;
}

/** The strongest peer; without one, the strongest baseline. */
function bestPeer(
  { better }: RowDefinition,
  { others }: RowRecord,
): { values: number[] } | undefined {
  const present = others.filter(({ missing }) => missing === undefined)
    .map(({ contender, samples }) => ({
      kind: contender.kind,
      values: samples.map((sample) => sample.value),
    }));
  const peers = present.filter(({ kind }) => kind === "peer");
  return (peers.length > 0 ? peers : present).sort((a, b) =>
    (median(a.values) - median(b.values)) * (better === "higher" ? -1 : 1)
  )[0];
}

function peerResult({ contender, samples, missing }: SideRecord): PeerResult {
  const { name, kind, note, weaker } = contender;
  if (missing !== undefined) return { name, kind, missing, note };
  const values = samples.map((sample) => sample.value);
  return {
    name,
    kind,
    value: median(values),
    samples: values,
    also: medians(samples),
    note,
    weaker,
  };
}

function medians(samples: Sample[]): Record<string, number> {
  const names = Object.keys(samples[0].also ?? {});
  return Object.fromEntries(
    names.map((name) => [name, median(samples.map(({ also }) => also?.[name] ?? NaN))]),
  );
}

function judgeFloors(row: RowDefinition, record: RowRecord, values: number[]): FloorResult[] {
  const excuse = row.floorsDoNotHold?.();
  return (row.floors ?? []).map((floor) => {
    const judged = judgeFloor(row, record, values, floor);
    return excuse ? { ...judged, says: `${judged.says} (not here: ${excuse})`, met: true } : judged;
  });
}

function judgeFloor(
  { better, unit }: RowDefinition,
  { others }: RowRecord,
  values: number[],
  floor: Floor,
): FloorResult {
  const sign = better === "higher" ? ">=" : "<=";
  const meets = (limit: number) =>
    better === "higher" ? median(values) >= limit : median(values) <= limit;
  if (floor.kind === "absolute") {
    return { says: `${sign} ${floor.value} ${unit}`, value: floor.value, met: meets(floor.value) };
  }
  const other = others.find(({ contender }) => contender.name === floor.to);
  if (!other) throw new Error(`The floor refers to "${floor.to}", which the row does not have`);
  const theirs = other.samples.map((sample) => sample.value);
  if (floor.kind === "equal") {
    const says = `95 % interval of ${EQUALITY_PAIRS_MIN} pairs or more reaches ${EQUALITY_RATIO} ` +
      `of ${floor.to}`;
    const met = !other.missing && provesEquality(pairedRatios(values, theirs, better));
    return { says, value: other.missing ? null : median(theirs), met };
  }
  const plus = floor.plus ? ` + ${floor.plus} ${unit}` : "";
  const times = floor.factor === 1 ? "" : `${Number(floor.factor.toPrecision(3))} x `;
  const says = `${sign} ${times}${floor.to}${plus}`;
  if (other.missing !== undefined) return { says, value: null, met: false };
  const limit = floor.factor * median(theirs) + (floor.plus ?? 0);
  return { says, value: limit, met: meets(limit) };
}

/** Every way in which the sides did not do the same. */
function differences({ own, others }: RowRecord): string[] {
  const problems: string[] = [];
  const expected = own[0];
  const compare = (name: string, samples: Sample[], weaker?: string) => {
    for (const { records, digest, durability } of samples) {
      if (records !== expected.records) {
        problems.push(`${name} did ${records} records, we ${expected.records}`);
      } else if (digest !== expected.digest) {
        problems.push(`${name} came to digest ${digest}, we to ${expected.digest}`);
      } else if (durability !== expected.durability && !weaker) {
        problems.push(`${name} promised "${durability}", we "${expected.durability}"`);
      }
    }
  };
  compare("another round of ours", own);
  for (const { contender, samples } of others) {
    if (contender.kind === "peer") compare(contender.name, samples, contender.weaker);
  }
  return [...new Set(problems)];
}

/** What is wrong with a result, one line each: what `--check` lists. */
export function complaints(result: RowResult): string[] {
  const title = `${result.group}/${result.name}`;
  return [
    ...result.problems.map((problem) => `${title}: ${problem}`),
    ...result.floor.filter(({ met }) => !met).map(({ says, value }) =>
      `${title}: ${figure(result.value)} ${result.unit} is past its floor: ${says}` +
      (value === null ? " (missing)" : says.includes(String(value)) ? "" : ` = ${figure(value)}`)
    ),
    ...result.peers.flatMap((peer) =>
      "missing" in peer ? [`${title}: peer ${peer.name} is missing: ${peer.missing}`] : []
    ),
  ];
}

/** A figure with as many digits as one looks at. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  const text = size >= 1000 || Number.isInteger(value)
    ? Math.round(value).toString()
    : size >= 100
    ? value.toFixed(0)
    : size >= 1
    ? value.toFixed(2)
    : value.toPrecision(3);
  return text.replace(/^(-?\d{4,})(?=$|\.)/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ","));
}
