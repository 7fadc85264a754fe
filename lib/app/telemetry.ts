/**
 * What this host is doing, as JSON records: real data that is there on every Linux machine. Reads
 * `/proc`; nothing is executed and no permission beyond reading is needed.
 *
 * @module
 */

/** What can be sampled. */
export type TelemetrySource =
  | "cpu"
  | "memory"
  | "disk"
  | "network"
  | "scheduler"
  | "processes";

/** All sources, in the order in which they take turns. */
export const TELEMETRY_SOURCES: readonly TelemetrySource[] = [
  "cpu",
  "memory",
  "disk",
  "network",
  "scheduler",
  "processes",
];

/** Reads a file below `/proc`; undefined where this kernel has no such file. */
export type ProcReader = (path: string) => string | undefined;

/** A sample may be this old: at high rates `/proc` is not read for every record. */
const SAMPLE_AGE_MS = 50;

/** Gives one record after another. */
export class TelemetryFeed {
  #count = 0;
  readonly #samples = new Map<TelemetrySource, { at: number; fields: string }>();

  constructor(
    private readonly sources: readonly TelemetrySource[],
    private readonly ownPids: () => number[],
    private readonly read: ProcReader = readProc,
  ) {}

  /** The next record, `{"source", "n", "at", ...}` in UTF-8. The sources take turns. */
  next(now: number = Date.now()): Uint8Array {
    const n = this.#count++;
    const source = this.sources[n % this.sources.length];
    const { at, fields } = this.#sample(source, now);
    return new TextEncoder().encode(`{"source":"${source}","n":${n},"at":${at}${fields}}`);
  }

  #sample(source: TelemetrySource, now: number): { at: number; fields: string } {
    const known = this.#samples.get(source);
    if (known && now - known.at < SAMPLE_AGE_MS && now >= known.at) return known;
    const values = sampleOf(source, this.read, this.ownPids);
    const fields = JSON.stringify(values).slice(1, -1);
    const sample = { at: now, fields: fields && `,${fields}` };
    this.#samples.set(source, sample);
    return sample;
  }
}

function sampleOf(source: TelemetrySource, read: ProcReader, ownPids: () => number[]): object {
  switch (source) {
    case "cpu":
      return { ticks: cpuTicks(read("stat") ?? "") };
    case "memory":
      return { kib: memory(read("meminfo") ?? "") };
    case "disk":
      return { devices: disks(read("diskstats") ?? "") };
    case "network":
      return { interfaces: interfaces(read("net/dev") ?? "") };
    case "scheduler":
      return { load: load(read("loadavg") ?? ""), cpus: schedules(read("schedstat") ?? "") };
    case "processes":
      return { processes: processes(ownPids(), read) };
  }
}

/** Clock ticks since boot by what they were spent on, all processors together, and per processor. */
export function cpuTicks(stat: string): Record<string, Record<string, number>> {
  const names = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
  const rows = stat.split("\n").filter((line) => /^cpu\d* /.test(line));
  return Object.fromEntries(rows.map((row) => {
    const [cpu, ...ticks] = row.split(/\s+/);
    return [cpu, Object.fromEntries(names.map((name, i) => [name, Number(ticks[i] ?? 0)]))];
  }));
}

/** The lines of `/proc/meminfo` that people look at, in KiB. */
export function memory(meminfo: string): Record<string, number> {
  const wanted = ["MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "Dirty", "Shmem"];
  const found = wanted.map((name) => {
    const value = meminfo.match(new RegExp(`^${name}:\\s+(\\d+)`, "m"))?.[1];
    return [name, Number(value ?? 0)];
  });
  return Object.fromEntries(found);
}

/** Finished requests, sectors and busy milliseconds of each disk that was ever used. */
export function disks(diskstats: string): Record<string, Record<string, number>> {
  const rows = diskstats.split("\n").map((line) => line.trim().split(/\s+/));
  const used = rows.filter((row) => row.length >= 14 && !/^(loop|ram)\d+$/.test(row[2]))
    .filter((row) => row[3] !== "0" || row[7] !== "0");
  return Object.fromEntries(used.map((row) => [row[2], {
    reads: Number(row[3]),
    sectorsRead: Number(row[5]),
    writes: Number(row[7]),
    sectorsWritten: Number(row[9]),
    inFlight: Number(row[11]),
    busyMs: Number(row[12]),
  }]));
}

/** Bytes and packets of each network interface. */
export function interfaces(netDev: string): Record<string, Record<string, number>> {
  const rows = netDev.split("\n").map((line) => line.match(/^\s*([^:\s]+):\s*(.*)$/));
  return Object.fromEntries(
    rows.filter((row) => row !== null).map(([, name, rest]) => {
      const values = rest.trim().split(/\s+/).map(Number);
      return [name, {
        bytesIn: values[0],
        packetsIn: values[1],
        errorsIn: values[2],
        bytesOut: values[8],
        packetsOut: values[9],
        errorsOut: values[10],
      }];
    }),
  );
}

/** The load averages, and how many tasks can run now. */
export function load(loadavg: string): Record<string, number> {
  const [one, five, fifteen, tasks = ""] = loadavg.trim().split(" ");
  const [runnable, total] = tasks.split("/");
  return {
    minutes1: Number(one ?? 0),
    minutes5: Number(five ?? 0),
    minutes15: Number(fifteen ?? 0),
    runnable: Number(runnable ?? 0),
    tasks: Number(total ?? 0),
  };
}

/** Nanoseconds that tasks ran and waited on each processor, and how many slices they got. */
export function schedules(schedstat: string): Record<string, Record<string, number>> {
  const rows = schedstat.split("\n").filter((line) => /^cpu\d+ /.test(line));
  return Object.fromEntries(rows.map((row) => {
    const [cpu, ...values] = row.split(" ");
    const [ranNs, waitedNs, slices] = values.slice(6).map(Number);
    return [cpu, { ranNs, waitedNs, slices }];
  }));
}

/** Processor ticks and resident pages of the node's own processes. */
export function processes(pids: number[], read: ProcReader): Record<string, object> {
  const found = pids.map((pid) => [pid, read(`${pid}/stat`)] as const);
  return Object.fromEntries(
    found.filter(([, stat]) => stat !== undefined).map(([pid, stat]) => {
      const fields = stat!.slice(stat!.lastIndexOf(")") + 2).split(" ");
      const [userTicks, systemTicks, threads] = [fields[11], fields[12], fields[17]].map(Number);
      return [pid, { userTicks, systemTicks, threads, residentPages: Number(fields[21]) }];
    }),
  );
}

function readProc(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(`/proc/${path}`);
  } catch {
    return undefined;
  }
}
