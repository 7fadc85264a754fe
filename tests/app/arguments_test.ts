import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  type CommandSpec,
  duration,
  helpText,
  nearest,
  oneOf,
  parseCommand,
  pathName,
  topicName,
  wholeNumber,
} from "../../lib/app/arguments.ts";
import { Failure } from "../../lib/app/failure.ts";

const SPEC: CommandSpec = {
  name: "test",
  summary: "tests",
  operands: [
    { name: "TOPIC", help: "a topic", schema: topicName() },
    { name: "FILE", help: "a file", optional: true, schema: pathName() },
  ],
  options: {
    brokers: { value: "N", help: "how many", schema: wholeNumber(1, 8) },
    for: { value: "TIME", help: "how long", schema: duration() },
    ack: { value: "LEVEL", help: "which", schema: oneOf("ordered", "durable") },
    label: { value: "TEXT", help: "any" },
    json: { help: "a switch" },
  },
  examples: ["keelson test topic"],
};

Deno.test("parseCommand() gives operands and options, checked and converted", async () => {
  const words = ["--brokers", "4", "orders", "--for=1.5s", "--json", "-", "--ack", "durable"];
  assertEquals(await parseCommand(SPEC, words), {
    TOPIC: "orders",
    FILE: "-",
    brokers: 4,
    for: 1500,
    ack: "durable",
    json: true,
  });
  assertEquals(await parseCommand(SPEC, ["t"]), { TOPIC: "t" });
  assertEquals(await parseCommand(SPEC, ["--", "--json"]).catch((e) => e.exitCode), 2);
});

/** Words, and what the one line must say. */
const REFUSED: [string[], string][] = [
  [[], "TOPIC is missing: a topic"],
  [["t", "f", "g"], '"g" is one word too many'],
  [["t", "--brokrs", "4"], "unknown option --brokrs; did you mean --brokers?"],
  [["t", "--jso"], "unknown option --jso; did you mean --json?"],
  [["t", "--zzzzz"], "unknown option --zzzzz (see"],
  [["t", "-j"], "unknown option -j"],
  [["t", "--__proto__"], "unknown option --__proto__"],
  [["t", "--brokers"], "--brokers needs a value: N"],
  [["t", "--brokers", "1", "--brokers", "2"], "--brokers is given twice"],
  [["t", "--json=yes"], '--json takes no value, but was given "yes"'],
  ...["0", "9", "-1", "1.5", "4e0", "0x4", "NaN", "Infinity", "", " 4", "99999999999999999"].map(
    (value): [string[], string] => [
      ["t", `--brokers=${value}`],
      `--brokers must be a whole number from 1 to 8, but is ${JSON.stringify(value)}`,
    ],
  ),
  ...["5", "0s", "-5s", "5 s", "5d", "s", "1e3s", ""].map((value): [string[], string] => [
    ["t", `--for=${value}`],
    "--for must be a time above 0 such as 500ms, 5s, 2m or 1h, but is",
  ]),
  [["t", "--ack", "maybe"], '--ack must be one of: ordered, durable, but is "maybe"'],
  [["t", "--label="], "--label must not be empty"],
  ...["a/b", "..", ".", ".hidden", "-rf", "a b", "a\nb", "a\0b", "", "x".repeat(129), "\uff41"].map(
    (value): [string[], string] => [["--", value], "TOPIC must be 1 to 128 letters"],
  ),
  [["t", "x".repeat(300)], "FILE must have no part longer than 255 bytes"],
  [["t", "a\0b"], "FILE must not contain NUL"],
  [["t", ""], "FILE must not be empty"],
];

for (const [words, line] of REFUSED) {
  const shown = JSON.stringify(words.map((word) => word.slice(0, 20)));
  Deno.test(`parseCommand() refuses ${shown}`, async () => {
    const error = await assertRejects(() => parseCommand(SPEC, words), Failure);
    assertStringIncludes(error.message, line);
    assertStringIncludes(error.message, "(see keelson test --help)");
    assertEquals(error.exitCode, 2);
  });
}

Deno.test("duration() knows its units", async () => {
  const ms = async (text: string) => (await parseCommand(SPEC, ["t", "--for", text])).for;
  assertEquals([await ms("500ms"), await ms("5s"), await ms("2m"), await ms("1h")], [
    500,
    5000,
    120_000,
    3_600_000,
  ]);
});

Deno.test("nearest() suggests only what is close", () => {
  const names = ["topics", "stat", "sub"];
  assertEquals(nearest("topcs", names), "topics");
  assertEquals(nearest("to", names), "topics");
  assertEquals(nearest("verify", names), undefined);
});

Deno.test("helpText() names every operand, option, example and exit code", () => {
  const text = helpText(SPEC);
  for (
    const part of [
      "Usage: keelson test TOPIC [FILE] [options]",
      "--brokers N",
      "--json ",
      "--help",
      "keelson test topic",
      "Exit codes: 0 done",
    ]
  ) assertStringIncludes(text, part);
});
