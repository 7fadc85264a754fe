/**
 * Appending to one log from TypeScript.
 *
 * @module
 */
import { openLog } from "../../lib/log/durable_log.ts";
import { deviceSync } from "../frame/device.ts";
import type { BenchContext, RowDefinition, Session } from "../frame/row.ts";
import { percentile, seededRecords } from "../frame/statistics.ts";

const RECORD_BYTES = 100;
const KINDS = 64;
const SYNCED_BYTES = 4000;

/** Appends a burst; the sync that follows it is not in the figure. */
function openAppend(context: BenchContext, together: boolean): Session {
  const log = openLog(`${context.folder}/log`, { ringBytes: 256 << 20 });
  const records = seededRecords(context.seed, KINDS, RECORD_BYTES);
  const count = context.size({ smoke: 100, full: 12_000 }) * KINDS;
  return {
    round() {
      const started = performance.now();
      if (together) { for (let sent = 0; sent < count; sent += KINDS) log.appendMany(records); }
      else for (let sent = 0; sent < count; sent++) log.append(records[sent % KINDS]);
      const seconds = (performance.now() - started) / 1000;
      log.commitSync();
      return {
        value: count / seconds / 1e6,
        records: count,
        durability: "ordered",
        digest: `${count} x ${RECORD_BYTES} B`,
        also: { "ns a record": seconds / count * 1e9 },
      };
    },
    close: () => log.close(),
  };
}

function openSync(context: BenchContext): Session {
  const log = openLog(`${context.folder}/log`);
  const [record] = seededRecords(context.seed, 1, SYNCED_BYTES);
  const count = context.size({ smoke: 20, full: 500 });
  return {
    round() {
      const micros: number[] = [];
      for (let number = 0; number < count; number++) {
        const started = performance.now();
        log.append(record);
        log.commitSync();
        micros.push((performance.now() - started) * 1000);
      }
      return {
        value: percentile(micros, 0.5),
        records: count,
        durability: "durable",
        digest: `${count} x ${SYNCED_BYTES} B`,
        also: { "p99 us": percentile(micros, 0.99) },
      };
    },
    close: () => log.close(),
  };
}

export const LOG_ROWS: RowDefinition[] = [{
  group: "log",
  name: "append 100 B one by one",
  unit: "M records/s",
  better: "higher",
  note: `a burst into a ring of 256 MiB, checksums included; the log writes it out meanwhile`,
  own: { open: (context) => openAppend(context, false) },
}, {
  group: "log",
  name: "append 100 B, 64 a call",
  unit: "M records/s",
  better: "higher",
  note: `a burst into a ring of 256 MiB, checksums included; the log writes it out meanwhile`,
  own: { open: (context) => openAppend(context, true) },
}, {
  group: "log",
  name: "append + commitSync",
  unit: "us p50",
  better: "lower",
  note: `one record of ${SYNCED_BYTES} B, synced before the next`,
  own: { open: openSync },
  others: [deviceSync()],
}];
