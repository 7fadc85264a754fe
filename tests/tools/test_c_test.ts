import { assert, assertEquals, assertMatch } from "@std/assert";
import { runCTests } from "../../tools/test_c.ts";
import { makeTree, ROOT, TINY_TREE } from "./fixture.ts";

/** A tree with the real harness and the tests given. */
async function treeWith(tests: Record<string, string>) {
  const harness: Record<string, string> = {};
  for (const name of ["harness.h", "harness.c"]) {
    harness[`tests/c/${name}`] = await Deno.readTextFile(`${ROOT}/tests/c/${name}`);
  }
  return await makeTree({ ...TINY_TREE, ...harness, ...tests });
}

const INCLUDES = '#include "base/box.h"\n#include "tests/c/harness.h"\n#include <stdlib.h>\n';

Deno.test("runCTests() reports what passed and what failed, with the reason", async () => {
  await using tree = await treeWith({
    "tests/c/base/box_test.c": INCLUDES +
      "KL_TEST(kl_box_area_multiplies) { KL_CHECK_EQ(kl_box_area(2, 3), 6); }\n" +
      "KL_TEST(kl_box_area_is_wrong) { KL_CHECK_EQ(kl_box_area(2, 3), 7); }\n",
  });
  const outcomes = await runCTests({ root: tree.root });
  assertEquals(outcomes.map(({ name, outcome }) => [name, outcome]), [
    ["kl_box_area_multiplies", "passed"],
    ["kl_box_area_is_wrong", "failed"],
  ]);
  assertMatch(outcomes[1].words!, /box_test\.c:5/);
});

Deno.test("runCTests() counts a program that dies as a failure", async () => {
  await using tree = await treeWith({
    "tests/c/base/box_test.c": INCLUDES +
      "KL_TEST(kl_box_fine) { KL_CHECK(true); }\nKL_TEST(kl_box_dies) { _Exit(7); }\n",
  });
  const outcomes = await runCTests({ root: tree.root });
  assertEquals(outcomes.map((outcome) => outcome.outcome), ["passed", "failed"]);
  assertMatch(outcomes[1].name, /box_test\.c exited with 7/);
});

Deno.test("runCTests() links a test without the rows above it, and reports what does not compile", async () => {
  await using tree = await treeWith({
    "tests/c/base/box_test.c": INCLUDES + "KL_TEST(kl_box_fine) { KL_CHECK(true); }\n",
    "c/log/broken.h": "/* broken: x */\n",
    "c/log/broken.c": '#include "log/broken.h"\nint kl_broken = ;\n',
    "tests/c/log/broken_test.c": '#include "log/broken.h"\n' + INCLUDES +
      "KL_TEST(kl_broken) { KL_CHECK(true); }\n",
  });
  const outcomes = await runCTests({ root: tree.root });
  const broken = outcomes.find((outcome) => outcome.outcome === "failed")!;
  assertEquals(broken.name, "tests/c/log/broken_test.c compiles and links");
  assertMatch(broken.words!, /broken\.c:2/);
  assertEquals(outcomes.filter((outcome) => outcome.outcome === "passed").length, 1);
});

Deno.test("runCTests() runs what the filter names, by path or by test", async () => {
  await using tree = await treeWith({
    "tests/c/base/box_test.c": INCLUDES + "KL_TEST(kl_box_one) { KL_CHECK(true); }\n" +
      "KL_TEST(kl_box_two) { KL_CHECK(true); }\n",
    "tests/c/base/other_test.c": INCLUDES + "KL_TEST(kl_other) { KL_CHECK(true); }\n",
  });
  const names = async (filter: string) =>
    (await runCTests({ root: tree.root, filter })).map((outcome) => outcome.name);
  assertEquals(await names("base/box"), ["kl_box_one", "kl_box_two"]);
  assertEquals(await names("box_two"), ["kl_box_two"]);
  assertEquals(await names("nothing"), []);
});

for (
  const [variant, body, words] of [
    ["asan", "char *volatile p = malloc(4); KL_CHECK(p[4] != 1); free(p);", /heap-buffer-overflow/],
    ["tsan", "kl_test_threads(2, count, NULL);", /data race/],
  ] as const
) {
  Deno.test(`runCTests() with ${variant} catches what it is for`, async () => {
    await using tree = await treeWith({
      "tests/c/base/box_test.c": INCLUDES +
        "static int shared;\n" +
        "static void count(void *a, uint32_t i) {\n" +
        "    (void)a, (void)i;\n    for (int n = 0; n < 100000; n++) shared++;\n}\n" +
        `KL_TEST(kl_box_bad) { (void)count; ${body} }\n`,
    });
    const [outcome] = await runCTests({ root: tree.root, variant });
    if (outcome.outcome === "skipped") return; // no sanitizer library: named in the suite's own run
    assertEquals(outcome.outcome, "failed");
    assert(words.test(outcome.words!), outcome.words);
  });
}

Deno.test("runCTests() runs a lower row's tests on an emulated arm64, and no others", async () => {
  const body = "KL_CHECK_EQ(kl_box_area(2, 3), 6);\n#ifndef __aarch64__\n#error host\n#endif\n";
  await using tree = await treeWith({
    "tests/c/base/box_test.c": INCLUDES + `KL_TEST(kl_box_area_multiplies) {\n${body}}\n`,
    "tests/c/log/tall_test.c": INCLUDES + "KL_TEST(kl_tall) { KL_CHECK(true); }\n",
  });
  const outcomes = await runCTests({ root: tree.root, target: "arm64" });
  if (outcomes[0].name === "all tests [needs emulator]") return; // said by the suite's own run
  assertEquals(outcomes.map(({ name, outcome }) => [name, outcome]), [
    ["kl_box_area_multiplies", "passed"],
  ]);
});
