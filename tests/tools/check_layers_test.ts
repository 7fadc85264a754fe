import { assertEquals } from "@std/assert";
import { checkLayers } from "../../tools/check_layers.ts";
import { ROWS } from "../../tools/layers.ts";
import { readTree } from "../../tools/source_text.ts";
import { ROOT } from "./fixture.ts";

const RULES: [path: string, line: string, problem: string | undefined][] = [
  ["c/log/a.c", '#include "file/device.h"', undefined],
  ["c/log/a.c", '#include "log/b.h"', undefined],
  ["c/log/a.c", "#include <stdio.h>", undefined],
  ["c/file/a.c", '#include "log/b.h"', "c/file/a.c:1: file must not use log (never up)"],
  [
    "c/store/a.h",
    '#include "broker/b.h"',
    "c/store/a.h:1: store must not use broker (siblings are strangers)",
  ],
  [
    "c/log/a.c",
    '#include "b.h"',
    'c/log/a.c:1: includes are relative to c/, as "base/status.h": "b.h"',
  ],
  ["c/log/a.c", '#include "odd/b.h"', 'c/log/a.c:1: "odd/b.h" is in no row of tools/layers.ts'],
  [
    "c/odd/a.c",
    "",
    `c/odd/a.c: folder odd is in no row of tools/layers.ts: ${ROWS.flat().join(" ")}`,
  ],
  ["lib/log/a.ts", 'import { b } from "../base/b.ts";', undefined],
  ["lib/log/a.ts", 'import { b } from "../../ffi/library.ts";', undefined],
  ["lib/log/a.ts", 'import { Socket } from "node:net";', undefined],
  [
    "lib/base/a.ts",
    'import { b } from "../log/b.ts";',
    "lib/base/a.ts:1: base must not use log (never up)",
  ],
  [
    "lib/log/a.ts",
    'export {\n  b,\n} from "../broker/b.ts";',
    "lib/log/a.ts:1: log must not use broker (never up)",
  ],
  ["lib/log/a.ts", 'await import("../../tools/b.ts");', "lib/log/a.ts:1: lib/ must not use tools/"],
  [
    "lib/log/a.ts",
    'import { z } from "zod";',
    'lib/log/a.ts:1: "zod": only app, cluster, gpu may use packages',
  ],
  ["lib/app/a.ts", 'import { z } from "zod";', undefined],
  ["lib/app/a.ts", 'import { openLog } from "../../mod.ts";', undefined],
  [
    "lib/log/a.ts",
    'import { openLog } from "../../mod.ts";',
    "lib/log/a.ts:1: only lib/app may use mod.ts",
  ],
  ["lib/log/a.ts", '/* import { z } from "zod"; */', undefined],
  ["ffi/library.ts", 'import { E } from "../lib/base/error.ts";', undefined],
  [
    "ffi/library.ts",
    'import { E } from "../lib/log/durable_log.ts";',
    "ffi/library.ts:1: ffi/ may use of lib/ only lib/base/error.ts",
  ],
];

for (const [path, line, problem] of RULES) {
  const verb = problem ? "refuses" : "allows";
  Deno.test(`checkLayers() ${verb} ${line.replaceAll("\n", " ")} in ${path}`, () => {
    assertEquals(checkLayers([{ path, text: `${line}\n` }]), problem ? [problem] : []);
  });
}

Deno.test("checkLayers() finds nothing in this tree", async () => {
  assertEquals(checkLayers(await readTree(ROOT)), []);
});
