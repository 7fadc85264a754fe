import { assert, assertEquals } from "@std/assert";
import { type Baseline, checkHouse, lowered, NO_BASELINE } from "../../tools/check_house.ts";
import { functionLengths } from "../../tools/function_lengths.ts";
import { FUNCTION_LINES_MAX } from "../../tools/house.ts";

/** A unit with its twins, to which a test adds one mistake. */
function unit(body = ""): { path: string; text: string }[] {
  return [
    { path: "c/log/ring.h", text: "/* ring: bounded */\n" },
    { path: "c/log/ring.c", text: `#include "log/ring.h"\n${body}` },
    { path: "tests/c/log/ring_test.c", text: "" },
  ];
}

const half = (...parts: string[]) => parts.join("");
const BANNED: [body: string, part: string][] = [
  ["int x = fsync(1);\n", "c/log/ring.c:2: fsync(: kl_device_sync"],
  ["\npthread_create(&t, 0, f, 0);\n", "c/log/ring.c:3: pthread_create(: kl_service_start"],
  ["strcpy(a, b);\n", "strcpy("],
  ["char *s = strtok(a, b);\n", "strtok("],
  ["FILE *f = fopen(a, b);\n", "kl_device_"],
  ["int f(void) { return F_SETLK; }\n", "F_OFD_SETLK"],
  [`/* ${half("TO", "DO")}: later */\n`, "c/log/ring.c:2"],
  [`/* see ${half("/wo", "rk/x")} */\n`, "a path of one machine"],
  [`/* ${half("is", "sue 12")} */\n`, "say what the rule is"],
];

Deno.test("checkHouse() finds nothing in a unit that keeps the rules", () => {
  assertEquals(checkHouse(unit("int kl_ring(void);\n"), NO_BASELINE), []);
});

for (const [body, part] of BANNED) {
  Deno.test(`checkHouse() refuses ${body.trim()}`, () => {
    const problems = checkHouse(unit(body), NO_BASELINE);
    assertEquals(problems.length, 1, problems.join("\n"));
    assert(problems[0].includes(part), problems[0]);
  });
}

Deno.test("checkHouse() lets comments and strings name what is banned", () => {
  const body = '/* never fsync() here */\nconst char *s = "system (x)"; // strcpy(a, b)\n';
  assertEquals(checkHouse(unit(body), NO_BASELINE), []);
});

Deno.test("checkHouse() refuses drawers, camel case and headers that do not introduce themselves", () => {
  const files = [
    ...unit(),
    { path: "c/log/ring_utils.h", text: "/* ring_utils: x */\n" },
    { path: "lib/log/Ring.ts", text: "" },
    { path: "tests/log/Ring_test.ts", text: "" },
    { path: "c/log/mute.h", text: "#pragma once\nint x;\n" },
  ];
  const problems = checkHouse(files, NO_BASELINE).map((problem) => problem.split(":")[0]);
  assertEquals(problems, ["c/log/ring_utils.h", "lib/log/Ring.ts", "c/log/mute.h"]);
});

Deno.test("checkHouse() wants a header and a test for each unit, and takes parts of units", () => {
  const part = { path: "c/log/ring_x86.c", text: "" };
  assertEquals(checkHouse([...unit(), part], NO_BASELINE), []);
  const lone = { path: "c/log/lone.c", text: "" };
  const problems = checkHouse([...unit(), lone], NO_BASELINE);
  assertEquals(problems.length, 2, problems.join("\n"));
  assert(problems[0].includes("has no header c/log/lone.h"));
  assert(problems[1].includes("no test reaches it"));
  const user = { path: "tests/c/log/other_test.c", text: '#include "log/lone.h"\n' };
  assertEquals(checkHouse([...unit(), lone, user], NO_BASELINE).length, 1);
});

Deno.test("checkHouse() refuses a function that became longer than its baseline, not one that did not", () => {
  const long = (lines: number) => unit(`int kl_long(void) {\n${"    x++;\n".repeat(lines - 2)}}\n`);
  assertEquals(checkHouse(long(FUNCTION_LINES_MAX), NO_BASELINE), []);
  assertEquals(checkHouse(long(FUNCTION_LINES_MAX + 1), NO_BASELINE).length, 1);
  const baseline: Baseline = { lines: { "c/log/ring.c kl_long()": 70 }, untested: [] };
  assertEquals(checkHouse(long(70), baseline), []);
  assertEquals(checkHouse(long(71), baseline).length, 1);
});

Deno.test("lowered() follows what became shorter and never rises", () => {
  const long = (lines: number) => unit(`int kl_long(void) {\n${"    x++;\n".repeat(lines - 2)}}\n`);
  const key = "c/log/ring.c kl_long()";
  const before: Baseline = {
    lines: { [key]: 70, "c/log/gone.c": 2000 },
    untested: ["c/log/ring.c"],
  };
  assertEquals(lowered(long(65), before), { lines: { [key]: 65 }, untested: [] });
  assertEquals(lowered(long(75), before).lines, { [key]: 70 });
  assertEquals(lowered(long(75), NO_BASELINE).lines, {});
});

Deno.test("functionLengths() measures C functions with long signatures and skips tables", () => {
  const text = `static const int table[] = {
    1,
    2,
};
typedef struct {
    int a;
} kl_a;
enum kl_b {
    KL_C,
};
static int kl_one(int a,
                  int b) {
    if (a) {
        return b;
    }
    return 0;
}
int kl_two(void);
bool kl_three(void) { return true; }
void kl_four(const char *format, ...) {
    x = (struct y){1};
}
`;
  assertEquals(
    functionLengths("c/x/y.c", text).map(({ name, line, lines }) => [name, line, lines]),
    [["kl_one", 11, 7], ["kl_four", 20, 3]],
  );
});

Deno.test("functionLengths() measures functions, methods and arrows in TypeScript", () => {
  const text = `export function one(): void {
  two();
}
const three = async (a: number) => {
  if (a) {
    four();
  }
};
class Five {
  constructor() {
    six();
  }
  get #seven(): number {
    return 1;
  }
  async eight(
    a: number,
    b: number,
  ): Promise<void> {
    await nine({
      a,
    });
  }
}
`;
  assertEquals(
    functionLengths("lib/x/y.ts", text).map(({ name, line, lines }) => [name, line, lines]),
    [["one", 1, 3], ["three", 4, 5], ["constructor", 10, 3], ["#seven", 13, 3], ["eight", 16, 8]],
  );
});
