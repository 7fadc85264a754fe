import { assertEquals, assertThrows } from "@std/assert";
import { complaints, figure, judgeRow, type SideRecord } from "../../bench/frame/judge.ts";
import { closingLines, rowLines } from "../../bench/frame/report.ts";
import type { Contender, Floor, RowDefinition, Sample } from "../../bench/frame/row.ts";
import { selectRows } from "../../bench/frame/run_rows.ts";
import { parseBenchArguments } from "../../tools/bench.ts";

const session = { round: () => sample(1) };

function sample(value: number, more: Partial<Sample> = {}): Sample {
  return { value, records: 10, durability: "ordered", digest: "d", ...more };
}

function row(more: Partial<RowDefinition> = {}): RowDefinition {
  return {
    group: "ring",
    name: "push",
    unit: "M/s",
    better: "higher",
    own: { open: () => session },
    ...more,
  };
}

function side(name: string, samples: Sample[], more: Partial<Contender> = {}): SideRecord {
  return { contender: { name, kind: "peer", open: () => session, ...more }, samples };
}

function judge(definition: RowDefinition, own: number[], others: SideRecord[] = []) {
  const values = own.map((value) => sample(value));
  return judgeRow(definition, { own: values, others, seed: 1, seconds: 1 });
}

Deno.test("judgeRow() compares with the best peer, not with the first", () => {
  const others = [
    side("slow", [sample(1), sample(1), sample(1)]),
    side("quick", [sample(4), sample(4), sample(4)]),
    side("device", [sample(100), sample(100), sample(100)], { kind: "baseline" }),
  ];
  assertEquals(judge(row(), [8, 8, 8], others).ratioToBestPeer, 2);
  const lower = judge(row({ better: "lower" }), [8, 8, 8], others);
  assertEquals(lower.ratioToBestPeer, 1 / 8);
  assertEquals(lower.ratioInterval?.map((it) => it.toFixed(6)), ["0.125000", "0.125000"]);
});

Deno.test("judgeRow() compares with a baseline where there is no peer, and with nothing else", () => {
  const device = side("device", [sample(16)], { kind: "baseline" });
  assertEquals(judge(row(), [8], [device]).ratioToBestPeer, 0.5);
  assertEquals(judge(row(), [8]).ratioToBestPeer, null);
});

Deno.test("an absolute floor is met at its figure, in the direction of the row", () => {
  const floors: Floor[] = [{ kind: "absolute", value: 3 }];
  const met = (better: "higher" | "lower", value: number) =>
    judge(row({ better, floors }), [value]).floor[0].met;
  assertEquals([met("higher", 3), met("higher", 2.9)], [true, false]);
  assertEquals([met("lower", 3), met("lower", 3.1)], [true, false]);
});

Deno.test("a relative floor moves with what it refers to", () => {
  const device = side("device", [sample(10), sample(30)], { kind: "baseline" });
  const floors: Floor[] = [{ kind: "relative", to: "device", factor: 0.5, plus: 1 }];
  const result = judge(row({ floors }), [10.9], [device]);
  assertEquals(result.floor, [{ says: ">= 0.5 x device + 1 M/s", value: 11, met: false }]);
  const absent = { ...device, samples: [], missing: "not installed" };
  const unknown = judge(row({ floors }), [100], [absent]);
  assertEquals(unknown.floor[0], { says: ">= 0.5 x device + 1 M/s", value: null, met: false });
  assertThrows(() => judge(row({ floors }), [1]), Error, "which the row does not have");
});

Deno.test("an equality floor is not met by fewer than 15 pairs", () => {
  const floors: Floor[] = [{ kind: "equal", to: "peer" }];
  const pairs = (count: number) => {
    const own = Array.from({ length: count }, (_, at) => 0.98 + 0.02 * (at % 2));
    return judge(row({ floors }), own, [side("peer", own.map(() => sample(1)))]).floor[0].met;
  };
  assertEquals([pairs(14), pairs(15)], [false, true]);
});

Deno.test("a floor that does not hold here is not missed", () => {
  const floors: Floor[] = [{ kind: "absolute", value: 3 }];
  const result = judge(row({ floors, floorsDoNotHold: () => "no such CPU" }), [1]);
  assertEquals(result.floor[0].met, true);
  assertEquals(complaints(result), []);
});

Deno.test("judgeRow() reports sides that did not do the same", () => {
  const problems = (more: Partial<Sample>, contender: Partial<Contender> = {}) =>
    judge(row(), [1], [side("peer", [sample(1, more)], contender)]).problems;
  assertEquals(problems({}), []);
  assertEquals(problems({ records: 9 }), ["peer did 9 records, we 10"]);
  assertEquals(problems({ digest: "e" }), ["peer came to digest e, we to d"]);
  assertEquals(problems({ durability: "none" }), ['peer promised "none", we "ordered"']);
  assertEquals(problems({ durability: "none" }, { weaker: "memory only" }), []);
  assertEquals(problems({ records: 9, digest: "e" }, { kind: "baseline" }), []);
});

Deno.test("complaints() list missed floors, missing peers and problems, each with its row", () => {
  const floors: Floor[] = [{ kind: "absolute", value: 3 }];
  const absent = { ...side("rival", []), missing: "rival is not on PATH" };
  const result = judge(row({ floors }), [2], [absent, side("other", [sample(1, { digest: "e" })])]);
  assertEquals(complaints(result), [
    "ring/push: other came to digest e, we to d",
    "ring/push: 2 M/s is past its floor: >= 3 M/s",
    "ring/push: peer rival is missing: rival is not on PATH",
  ]);
  const lines = rowLines(result).join("\n");
  for (const part of ["rival", "missing: rival is not on PATH", "floor MISSED", "PROBLEM"]) {
    assertEquals(lines.includes(part), true, part);
  }
  assertEquals(closingLines([result]).at(-1), "1 rows, 0 of 1 floors met, 3 complaints");
});

Deno.test("figure() has as many digits as one looks at", () => {
  const cases: [number, string][] = [
    [1234567, "1,234,567"],
    [999.6, "1,000"],
    [123.4, "123"],
    [12.345, "12.35"],
    [0.12345, "0.123"],
    [7, "7"],
    [-1234.5, "-1,234"],
  ];
  for (const [value, text] of cases) assertEquals(figure(value), text);
});

Deno.test("selectRows() takes groups, and parts of names that hold a slash", () => {
  const rows = [row(), row({ name: "pop" }), row({ group: "log", name: "push" })];
  const names = (...wanted: string[]) =>
    selectRows(rows, wanted).map(({ group, name }) => `${group} ${name}`);
  assertEquals(names("ring"), ["ring push", "ring pop"]);
  assertEquals(names("ring/po", "log"), ["ring pop", "log push"]);
  assertEquals(names("push"), []);
  assertEquals(names().length, 3);
});

Deno.test("parseBenchArguments() knows its words and refuses others", () => {
  assertEquals(parseBenchArguments(["log", "--check", "--json", "out.json"]), {
    groups: ["log"],
    json: "out.json",
    check: true,
    smoke: false,
    list: false,
  });
  assertEquals(parseBenchArguments(["--json=-", "--smoke"]).json, "-");
  assertThrows(() => parseBenchArguments(["--fast"]), Error, "--fast is not known");
  assertThrows(() => parseBenchArguments(["--json"]), Error, "--json wants a file");
});
