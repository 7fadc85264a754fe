import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { generate, staleFiles, writeFiles } from "../../tools/gen.ts";
import { HeaderError, readHeader, readStatusCodes } from "../../tools/headers.ts";
import { makeTree, ROOT, TINY_TREE } from "./fixture.ts";

Deno.test("generate() prints the symbol table with each C declaration", async () => {
  await using tree = await makeTree();
  const table = (await generate(tree.root)).get("ffi/generated/base.ts")!;
  assert(table.includes("  /** `uint32_t kl_box_area(uint32_t tall, uint32_t wide)` */"), table);
  assert(
    table.includes('parameters: ["buffer", "u32", "f64"],\n    result: "i32",\n    nonblocking'),
  );
  assert(!table.includes("kl_box_inner"));
  assert(table.endsWith("} as const satisfies Deno.ForeignLibraryInterface;\n"));
});

Deno.test("generate() prints offsets as the compiler laid them out", async () => {
  await using tree = await makeTree();
  const layout = (await generate(tree.root)).get("ffi/generated/layout.ts")!;
  assert(
    layout.includes(
      "export const KL_BOX = {\n  bytes: 16,\n  tall: 0,\n  wideSide: 8,\n} as const",
    ),
    layout,
  );
});

Deno.test("generate() prints codes with names and meanings", async () => {
  await using tree = await makeTree();
  const status = (await generate(tree.root)).get("ffi/generated/status.ts")!;
  assert(status.includes("  /** the system said no */\n  KL_ERR_IO: -8,"), status);
  assert(status.includes('"-8": "KL_ERR_IO"'));
});

Deno.test("generate() gives the C header and TypeScript the same numbers, and twice the same", async () => {
  await using tree = await makeTree();
  const first = await generate(tree.root);
  const hash = /LAYOUT_HASH = (0x[0-9a-f]{8})/.exec(first.get("ffi/generated/layout.ts")!)![1];
  assert(first.get("c/base/layout_hash.h")!.includes(`#define KL_LAYOUT_HASH ${hash}u`));
  await writeFiles(tree.root, first);
  assertEquals(await generate(tree.root), first);
});

Deno.test("generate() changes the layout hash with a layout and the ABI version with a signature", async () => {
  await using tree = await makeTree();
  const numbers = async () => {
    const layout = (await generate(tree.root)).get("ffi/generated/layout.ts")!;
    return [/LAYOUT_HASH = (\w+)/, /ABI_VERSION = (\w+)/].map((form) => form.exec(layout)![1]);
  };
  const replace = async (from: string, to: string) => {
    const path = `${tree.root}/c/base/box.h`;
    await Deno.writeTextFile(path, (await Deno.readTextFile(path)).replace(from, to));
  };
  const [hash, abi] = await numbers();
  await replace("uint32_t tall; uint64_t", "uint64_t tall; uint64_t");
  const [otherHash, sameAbi] = await numbers();
  assert(otherHash !== hash);
  assertEquals(sameAbi, abi);
  await replace("uint32_t bytes,\n", "int32_t bytes,\n");
  const [sameHash, otherAbi] = await numbers();
  assertEquals(sameHash, otherHash);
  assert(otherAbi !== abi);
});

Deno.test("staleFiles() names what a changed header makes stale, and files nobody makes", async () => {
  await using tree = await makeTree();
  await writeFiles(tree.root, await generate(tree.root));
  assertEquals(await staleFiles(tree.root, await generate(tree.root)), []);
  const header = `${tree.root}/c/base/box.h`;
  await Deno.writeTextFile(header, (await Deno.readTextFile(header)).replace("wide)", "breadth)"));
  await Deno.writeTextFile(`${tree.root}/ffi/generated/gone.ts`, "");
  assertEquals(
    await staleFiles(tree.root, await generate(tree.root)),
    ["ffi/generated/base.ts", "ffi/generated/gone.ts"],
  );
  await writeFiles(tree.root, await generate(tree.root));
  assertEquals(await staleFiles(tree.root, await generate(tree.root)), []);
});

Deno.test("generate() says which layout comment does not compile", async () => {
  const broken = TINY_TREE["c/base/box.h"].replace("tall wide_side */", "tall depth */");
  await using tree = await makeTree({ ...TINY_TREE, "c/base/box.h": broken });
  const error = await assertRejects(() => generate(tree.root), Error);
  assertMatch(error.message, /Cannot print the layouts[^]*depth/);
});

Deno.test("generate() refuses one name in two headers", async () => {
  const twin = "/* twin: x */\nKL_API uint32_t kl_box_area(uint32_t tall, uint32_t wide);\n";
  await using tree = await makeTree({ ...TINY_TREE, "c/base/twin.h": twin });
  const error = await assertRejects(() => generate(tree.root), HeaderError);
  assertEquals(
    error.message,
    "c/base/twin.h:2: kl_box_area is declared in c/base/box.h:5 too",
  );
});

const REFUSED: [string, RegExp][] = [
  ["KL_API uint32_t kl_a(size_t n);", /^c\/x\/y\.h:2: kl_a\(\) takes "size_t n"/],
  ["KL_API uint32_t kl_a(uint32_t);", /takes "uint32_t"/],
  ["KL_API uint32_t kl_a(uint8_t **p);", /takes "uint8_t \*\*p"/],
  ["KL_API int64_t kl_a(void);", /returns int64_t/],
  ["KL_API char *kl_a(void);", /not a prototype/],
  ["KL_API uint32_t kl_a(void (*f)(void));", /not a prototype/],
  ["KL_API uint32_t kl_a(uint32_t n) { return n; }", /ends with ';'/],
  ["KL_API uint32_t other(void);", /not a prototype/],
  ["/* layout: kl_a one, two */ /* layout: kl_b x+y */", /layout comment reads/],
];

for (const [line, form] of REFUSED) {
  Deno.test(`readHeader() refuses ${line}`, () => {
    const error = assertThrows(() => readHeader("c/x/y.h", `\n${line}\n`), HeaderError);
    assertMatch(error.message, form);
  });
}

Deno.test("readHeader() sees no prototype in comments and definitions", () => {
  const text = "#define KL_API x\n/* KL_API int kl_a(void); */\n// KL_API int kl_b(void);\n";
  assertEquals(readHeader("c/x/y.h", text), { prototypes: [], layouts: [] });
});

Deno.test("readStatusCodes() reads every code of the real header once", async () => {
  const codes = readStatusCodes(await Deno.readTextFile(`${ROOT}/c/base/status.h`));
  assertEquals(new Set(codes.map((code) => code.value)).size, codes.length);
  assert(codes.some((code) => code.name === "KL_ERR_END" && code.value === -26));
});
