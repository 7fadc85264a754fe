/**
 * Results as lines that a person reads.
 *
 * @module
 */
import { complaints, figure } from "./judge.ts";
import type { PeerResult, RowResult } from "./row.ts";

/** The lines of one row: its figure, every side below it, floors, notes. */
export function rowLines(result: RowResult): string[] {
  const { group, name, unit, samples, records, digest, seed, seconds } = result;
  if (samples.length === 0) return [`${group}/${name}: FAILED`, ...indent(result.problems)];
  const lines = [
    `${group}/${name}`,
    columns("keelson", result.value, unit, spread(samples), alsoWords(result.also)),
    ...result.peers.map((peer) => peerLine(peer, result)),
    ...result.floor.map(({ says, value, met }) =>
      `    floor ${met ? "met " : "MISSED"}: ${says}` +
      (value === null || says.includes(String(value)) ? "" : ` = ${figure(value)} ${unit}`)
    ),
    `    ${samples.length} rounds, ${
      figure(records)
    } records each (${result.durability}), digest ` +
    `${digest}, seed ${seed}, ${seconds.toFixed(1)} s`,
  ];
  for (const note of result.notes) lines.push(`    note: ${note}`);
  for (const { name, note } of result.peers) if (note) lines.push(`    ${name}: ${note}`);
  for (const problem of result.problems) lines.push(`    PROBLEM: ${problem}`);
  return lines;
}

function peerLine(peer: PeerResult, { unit, value, better }: RowResult): string {
  if ("missing" in peer) return `  ${peer.name.padEnd(36)} missing: ${peer.missing}`;
  const ratio = better === "higher" ? value / peer.value : peer.value / value;
  const words = [
    `keelson is ${figure(ratio)} x`,
    peer.weaker ? `weaker promise: ${peer.weaker}` : "",
    alsoWords(peer.also),
  ].filter((part) => part).join("; ");
  return columns(peer.name, peer.value, unit, spread(peer.samples), words);
}

function columns(name: string, value: number, unit: string, range: string, rest: string): string {
  return `  ${name.padEnd(36)} ${figure(value).padStart(12)} ${unit.padEnd(12)} ${
    range.padEnd(22)
  } ` +
    rest;
}

function spread(samples: number[]): string {
  return `[${figure(Math.min(...samples))} .. ${figure(Math.max(...samples))}]`;
}

function alsoWords(also: Record<string, number>): string {
  return Object.entries(also).map(([name, value]) => `${name} ${figure(value)}`).join(", ");
}

function indent(lines: string[]): string[] {
  return lines.flatMap((line) => line.split("\n")).map((line) => `    ${line}`);
}

/** The last lines of a run: what `--check` fails for. */
export function closingLines(results: RowResult[]): string[] {
  const wrong = results.flatMap(complaints);
  const floors = results.flatMap(({ floor }) => floor);
  return [
    ...wrong,
    `${results.length} rows, ${
      floors.filter(({ met }) => met).length
    } of ${floors.length} floors ` +
    `met, ${wrong.length} complaints`,
  ];
}
