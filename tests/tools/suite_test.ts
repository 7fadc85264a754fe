import { assert, assertEquals } from "@std/assert";
import { ALLOWED_SKIPS, needs } from "../allowed_skips.ts";
import { readJunit } from "../../tools/junit.ts";
import { closingLine, judge, type TestOutcome, verdict } from "../../tools/suite.ts";
import { makeTree, ROOT, runDeno } from "./fixture.ts";

function skip(name: string): TestOutcome {
  return { suite: "s", name, outcome: "skipped", milliseconds: 0 };
}

Deno.test("judge() lets a skip pass only with an allowed reason that holds", () => {
  const reasons = Object.entries(ALLOWED_SKIPS);
  const absent = reasons.find(([, skip]) => !skip.present())![0];
  const present = reasons.find(([, skip]) => skip.present())![0];
  const names = ["plain", "x [needs luck]", `x [needs ${present}]`, `x [needs ${absent}]`];
  const outcomes = judge(names.map(skip)).map((outcome) => outcome.outcome);
  assertEquals(outcomes, ["failed", "failed", "failed", "skipped"]);
  assertEquals(closingLine(verdict(judge(names.map(skip)))), "0 passed, 3 failed");
});

Deno.test("needs() marks the test and switches it off exactly when its tool is absent", () => {
  const test = needs("root", "x mounts", () => {});
  assertEquals(test.name, "x mounts [needs root]");
  assertEquals(test.ignore, Deno.uid() !== 0);
});

Deno.test("readJunit() counts a test with its steps once and keeps their failure", async () => {
  await using tree = await makeTree({
    "a_test.ts": `
      Deno.test("good", () => {});
      Deno.test("off", { ignore: Boolean(1) }, () => {});
      Deno.test("bad <&> \\"q\\"", async (t) => {
        await t.step("fine", () => {});
        await t.step("broken", () => { throw new Error("x > y"); });
      });
      Deno.test("leaks", () => { setTimeout(() => {}, 100_000); });
    `,
    "deno.json": JSON.stringify({ test: { sanitizeOps: true, sanitizeResources: true } }),
  });
  const junit = `${tree.root}/junit.xml`;
  await runDeno(["test", "-A", `--junit-path=${junit}`, "a_test.ts"], { cwd: tree.root });
  const outcomes = readJunit("TypeScript", await Deno.readTextFile(junit));
  assertEquals(outcomes.map(({ suite, name, outcome }) => [suite, name, outcome]), [
    ["TypeScript a_test.ts", "good", "passed"],
    ["TypeScript a_test.ts", "off", "skipped"],
    ["TypeScript a_test.ts", 'bad <&> "q"', "failed"],
    ["TypeScript a_test.ts", "leaks", "failed"],
  ]);
  assert(outcomes[2].words!.includes("Error: x > y"), outcomes[2].words);
});

Deno.test("deno.json switches the sanitizers on for every test", async () => {
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`));
  assertEquals(config.test.sanitizeOps, true);
  assertEquals(config.test.sanitizeResources, true);
});
