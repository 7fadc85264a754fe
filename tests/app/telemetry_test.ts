import { assert, assertEquals } from "@std/assert";
import {
  cpuTicks,
  disks,
  interfaces,
  load,
  memory,
  processes,
  schedules,
  TELEMETRY_SOURCES,
  TelemetryFeed,
} from "../../lib/app/telemetry.ts";

const json = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes));

Deno.test("TelemetryFeed.next() lets the sources take turns, numbered, from this host", () => {
  const feed = new TelemetryFeed(TELEMETRY_SOURCES, () => [Deno.pid]);
  const records = TELEMETRY_SOURCES.map(() => json(feed.next()));
  assertEquals(records.map(({ source, n }) => [source, n]), [
    ["cpu", 0],
    ["memory", 1],
    ["disk", 2],
    ["network", 3],
    ["scheduler", 4],
    ["processes", 5],
  ]);
  assert(records[0].ticks.cpu.idle > 0);
  assert(records[1].kib.MemTotal > 1000);
  assert(records[4].load.tasks > 1);
  assert(records[5].processes[Deno.pid].residentPages > 100);
});

Deno.test("TelemetryFeed.next() does not read /proc for every record of a high rate", () => {
  let reads = 0;
  const feed = new TelemetryFeed(["cpu"], () => [], () => {
    reads++;
    return "cpu 1 2 3 4 5 6 7 8";
  });
  for (let i = 0; i < 1000; i++) feed.next(10_000 + i / 20);
  assertEquals(reads, 1);
  assertEquals(json(feed.next(10_060)).at, 10_060);
  assertEquals(reads, 2);
});

Deno.test("TelemetryFeed.next() of a kernel without these files is still a record", () => {
  const feed = new TelemetryFeed(TELEMETRY_SOURCES, () => [1, 2], () => undefined);
  for (const source of TELEMETRY_SOURCES) assertEquals(json(feed.next()).source, source);
});

Deno.test("the readers understand what the kernel writes", () => {
  assertEquals(cpuTicks("cpu  1 2 3 4 5 6 7 8 9\ncpu0 1 0 0 4\nintr 5\n").cpu0, {
    user: 1,
    nice: 0,
    system: 0,
    idle: 4,
    iowait: 0,
    irq: 0,
    softirq: 0,
    steal: 0,
  });
  assertEquals(memory("MemTotal:  100 kB\nMemFree: 5 kB\n").MemFree, 5);
  const diskstats = "   8 0 sda 10 0 20 5 7 0 14 3 2 40 8\n   7 0 loop0 1 0 2 0 0 0 0 0 0 0 0\n" +
    "   8 1 sdb 0 0 0 0 0 0 0 0 0 0 0\n";
  assertEquals(disks(diskstats), {
    sda: { reads: 10, sectorsRead: 20, writes: 7, sectorsWritten: 14, inFlight: 2, busyMs: 40 },
  });
  const netDev = "Inter-| Receive\n face |bytes\n  eth0:123 4 5 0 0 0 0 0 67 8 9 0 0 0 0 0\n";
  assertEquals(interfaces(netDev).eth0, {
    bytesIn: 123,
    packetsIn: 4,
    errorsIn: 5,
    bytesOut: 67,
    packetsOut: 8,
    errorsOut: 9,
  });
  assertEquals(load("0.5 0.25 0.1 2/345 6789\n"), {
    minutes1: 0.5,
    minutes5: 0.25,
    minutes15: 0.1,
    runnable: 2,
    tasks: 345,
  });
  assertEquals(schedules("version 15\ncpu0 0 0 0 0 0 0 11 22 33\n"), {
    cpu0: { ranNs: 11, waitedNs: 22, slices: 33 },
  });
  const stat = `7 (a (b) c) S ${Array.from({ length: 40 }, (_, i) => i + 1).join(" ")}`;
  assertEquals(processes([7, 8], (path) => path === "7/stat" ? stat : undefined), {
    7: { userTicks: 11, systemTicks: 12, threads: 17, residentPages: 21 },
  });
});
