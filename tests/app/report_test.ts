import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  count,
  exitCodeOf,
  type Report,
  reportJson,
  reportText,
  size,
  time,
} from "../../lib/app/report.ts";

const REPORT: Report = {
  topic: "lines",
  published: 1_000_000,
  ordered: 1_000_000,
  durable: 999_000,
  delivered: 1_000_000,
  lost: 0,
  duplicates: 0,
  outOfOrder: 0,
  inputComplete: true,
  bytes: 99_900_000,
  seconds: 2.5,
  publishToDeliverMicros: { p50: 60, p99: 1500, p999: 2_500_000 },
  ackDurableMicros: { p50: null, p99: null },
};

Deno.test("reportJson() prints exactly the agreed fields in their order, whatever else there is", () => {
  const more = { ...REPORT, judged: [[1, 2]], delivered: 5 };
  assertEquals(
    reportJson(more),
    '{"topic":"lines","published":1000000,"ordered":1000000,"durable":999000,"delivered":5,' +
      '"lost":0,"duplicates":0,"outOfOrder":0,"inputComplete":true,"bytes":99900000,"seconds":2.5,' +
      '"publishToDeliverMicros":{"p50":60,"p99":1500,"p999":2500000},' +
      '"ackDurableMicros":{"p50":null,"p99":null}}',
  );
});

Deno.test("reportText() says for people what the report says", () => {
  const text = reportText(REPORT);
  for (
    const part of [
      "1,000,000 records, 95.3 MiB in 2.5 s (400,000/s), 999,000 durable",
      "input taken whole",
      "nothing lost",
      "p50 60 us, p99 1.5 ms, p99.9 2.50 s",
    ]
  ) assertStringIncludes(text, part);
  assert(!text.includes("acknowledgement"), "nothing was measured");
  const failed = reportText({ ...REPORT, lost: 3, inputComplete: false });
  assertStringIncludes(failed, "CHECK FAILED: lost 3, duplicates 0, out of order 0");
  assertStringIncludes(failed, "input NOT taken whole");
});

Deno.test("exitCodeOf() puts what was found wrong before everything else", () => {
  assertEquals(exitCodeOf(REPORT, 0), 0);
  assertEquals(exitCodeOf({ ...REPORT, inputComplete: null }, 0), 0);
  assertEquals(exitCodeOf({ ...REPORT, inputComplete: false }, 0), 3);
  assertEquals(exitCodeOf({ ...REPORT, inputComplete: false }, 130), 130);
  for (const wrong of [{ lost: 1 }, { duplicates: 1 }, { outOfOrder: 1 }]) {
    assertEquals(exitCodeOf({ ...REPORT, ...wrong, inputComplete: false }, 143), 1);
  }
});

Deno.test("count(), size() and time() choose their unit", () => {
  assertEquals([count(0), count(999), count(1234567)], ["0", "999", "1,234,567"]);
  assertEquals([size(5), size(1536), size(3 * 2 ** 30)], ["5 B", "1.5 KiB", "3.0 GiB"]);
  assertEquals([time(null), time(12.4), time(1500), time(2e6)], ["-", "12 us", "1.5 ms", "2.00 s"]);
});
