/**
 * What `run` says at its end.
 *
 * @module
 */
import { EXIT } from "./failure.ts";

/** The report; `--json` prints these fields in this order. */
export interface Report {
  topic: string;
  published: number;
  ordered: number;
  durable: number;
  delivered: number;
  lost: number;
  duplicates: number;
  outOfOrder: number;
  /** null without an input */
  inputComplete: boolean | null;
  /** payload bytes published */
  bytes: number;
  seconds: number;
  publishToDeliverMicros: { p50: number | null; p99: number | null; p999: number | null };
  ackDurableMicros: { p50: number | null; p99: number | null };
}

/** The report as one line of JSON. */
export function reportJson(report: Report): string {
  const { publishToDeliverMicros: deliver, ackDurableMicros: ack } = report;
  return JSON.stringify({
    topic: report.topic,
    published: report.published,
    ordered: report.ordered,
    durable: report.durable,
    delivered: report.delivered,
    lost: report.lost,
    duplicates: report.duplicates,
    outOfOrder: report.outOfOrder,
    inputComplete: report.inputComplete,
    bytes: report.bytes,
    seconds: report.seconds,
    publishToDeliverMicros: { p50: deliver.p50, p99: deliver.p99, p999: deliver.p999 },
    ackDurableMicros: { p50: ack.p50, p99: ack.p99 },
  });
}

/** The report for people. */
export function reportText(report: Report): string {
  const { topic, published, durable, bytes, seconds, lost, duplicates, outOfOrder } = report;
  const deliver = report.publishToDeliverMicros;
  const ack = report.ackDurableMicros;
  const perSecond = seconds > 0 ? Math.round(published / seconds) : 0;
  const input = { true: "taken whole", false: "NOT taken whole", null: "" }[
    String(report.inputComplete) as "true" | "false" | "null"
  ];
  const clean = lost + duplicates + outOfOrder === 0;
  return [
    `topic ${topic}: ${count(published)} records, ${size(bytes)} in ${seconds} s ` +
    `(${count(perSecond)}/s), ${count(durable)} durable`,
    ...(input ? [`input ${input}`] : []),
    clean
      ? `checked ${count(report.delivered)} deliveries: nothing lost, twice or out of order`
      : `CHECK FAILED: lost ${count(lost)}, duplicates ${count(duplicates)}, ` +
        `out of order ${count(outOfOrder)}`,
    ...(deliver.p50 === null ? [] : [
      `publish to deliver p50 ${time(deliver.p50)}, p99 ${time(deliver.p99)}, ` +
      `p99.9 ${time(deliver.p999)}`,
    ]),
    ...(ack.p50 === null
      ? []
      : [`durable acknowledgement p50 ${time(ack.p50)}, p99 ${time(ack.p99)}`]),
  ].join("\n");
}

/** With what `run` ends, unless a failure ended it. `signalCode` is 0 without a signal. */
export function exitCodeOf(report: Report, signalCode: number): number {
  if (report.lost + report.duplicates + report.outOfOrder > 0) return EXIT.check;
  if (signalCode > 0) return signalCode;
  return report.inputComplete === false ? EXIT.incomplete : EXIT.ok;
}

/** A count with thousands separated. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Bytes in the unit that fits. */
export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; bytes >= 1024 && unit + 1 < units.length; unit++) bytes /= 1024;
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

/** Microseconds in the unit that fits. */
export function time(micros: number | null): string {
  if (micros === null) return "-";
  if (micros < 1000) return `${Math.round(micros)} us`;
  return micros < 1e6 ? `${(micros / 1000).toFixed(1)} ms` : `${(micros / 1e6).toFixed(2)} s`;
}
