import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { ensureLibrary } from "../../tools/build.ts";
import { lookFor, NO_COMPILER } from "../../tools/compiler.ts";
import { needs } from "../allowed_skips.ts";
import { makeTree, ROOT, runDeno, TINY_TREE } from "./fixture.ts";

const BUILD_ONCE = (root: string) => `
  import { ensureLibrary } from "${ROOT}/tools/build.ts";
  console.log(await ensureLibrary("release", { root: "${root}" }));
`;

function builtFiles(root: string): string[] {
  return [...Deno.readDirSync(`${root}/build`)].map((entry) => entry.name)
    .filter((name) => /^libkeelson-\w+-[0-9a-f]{16}\.so$/.test(name)).sort();
}

Deno.test("ensureLibrary() builds once and does nothing for an unchanged tree", async () => {
  await using tree = await makeTree();
  let builds = 0;
  const options = { root: tree.root, onStart: () => builds++ };
  const first = await ensureLibrary("release", options);
  assertMatch(first, /\/build\/libkeelson-release-[0-9a-f]{16}\.so$/);
  assertEquals(await ensureLibrary("release", options), first);
  assertEquals(builds, 1);
});

Deno.test("ensureLibrary() does not build again when only a time stamp changed", async () => {
  await using tree = await makeTree();
  let builds = 0;
  const options = { root: tree.root, onStart: () => builds++ };
  const first = await ensureLibrary("release", options);
  await Deno.utime(`${tree.root}/c/base/box.c`, 1, 1);
  assertEquals(await ensureLibrary("release", options), first);
  assertEquals(builds, 1);
});

Deno.test("ensureLibrary() builds another file when a header changed", async () => {
  await using tree = await makeTree();
  const first = await ensureLibrary("release", { root: tree.root });
  const header = `${tree.root}/c/base/status.h`;
  await Deno.writeTextFile(header, (await Deno.readTextFile(header)) + "/* changed */\n");
  const second = await ensureLibrary("release", { root: tree.root });
  assertNotEquals(second, first);
  assertEquals(builtFiles(tree.root).length, 2);
});

Deno.test("ensureLibrary() gives each variant a file of its own", async () => {
  await using tree = await makeTree();
  const release = await ensureLibrary("release", { root: tree.root });
  const debug = await ensureLibrary("debug", { root: tree.root });
  assertMatch(debug, /libkeelson-debug-/);
  assertEquals(await ensureLibrary("release", { root: tree.root }), release);
});

Deno.test("ensureLibrary() raced by 8 processes leaves one whole library", async () => {
  await using tree = await makeTree();
  const script = `${tree.root}/race.ts`;
  await Deno.writeTextFile(script, BUILD_ONCE(tree.root));
  const results = await Promise.all(
    Array.from({ length: 8 }, () => runDeno(["run", "-A", "--no-lock", script])),
  );
  for (const { code, stderr } of results) assertEquals(code, 0, stderr);
  assertEquals(new Set(results.map((result) => result.stdout)).size, 1);
  assertEquals(builtFiles(tree.root).length, 1);
  const objects = [...Deno.readDirSync(`${tree.root}/build/objects`)].map((entry) => entry.name);
  assertEquals(objects.filter((name) => name.endsWith(".tmp")), []);
  using library = openTiny(results[0].stdout.trim());
  assertEquals(library.symbols.kl_box_area(6, 7), 42);
});

Deno.test("ensureLibrary() names file and line of what does not compile", async () => {
  await using tree = await makeTree({ ...TINY_TREE, "c/base/bad.c": "int x = ;\n" });
  const error = await assertRejects(() => ensureLibrary("release", { root: tree.root }), Error);
  assertMatch(error.message, /^Cannot compile the C library with .*\n.*c\/base\/bad\.c:1:9: error/);
  assertEquals(builtFiles(tree.root), []);
});

Deno.test("ensureLibrary() names what is declared and called, but nowhere defined", async () => {
  const lost =
    "int kl_lost(void);\nint kl_found(void);\nint kl_found(void) { return kl_lost(); }\n";
  await using tree = await makeTree({ ...TINY_TREE, "c/base/lost.c": lost });
  const error = await assertRejects(() => ensureLibrary("release", { root: tree.root }), Error);
  assertMatch(error.message, /Cannot link[^]*kl_lost/);
});

Deno.test("ensureLibrary() without any compiler names the packages to install", async () => {
  await using tree = await makeTree();
  const script = `${tree.root}/build_once.ts`;
  await Deno.writeTextFile(script, BUILD_ONCE(tree.root));
  const { code, stderr } = await runDeno(["run", "-A", "--no-lock", script], {
    env: { PATH: tree.root },
  });
  assertEquals(code, 1);
  assert(stderr.includes(NO_COMPILER), stderr);
});

Deno.test("ensureLibrary() with a KEELSON_CC that does not work names it", async () => {
  await using tree = await makeTree();
  const script = `${tree.root}/build_once.ts`;
  await Deno.writeTextFile(script, BUILD_ONCE(tree.root));
  const { code, stderr } = await runDeno(["run", "-A", "--no-lock", script], {
    env: { KEELSON_CC: "no-such-cc" },
  });
  assertEquals(code, 1);
  assertMatch(stderr, /KEELSON_CC names "no-such-cc", which cannot compile/);
});

for (const family of ["gcc", "clang"] as const) {
  Deno.test(needs(family, `ensureLibrary() with ${family} hides what is not KL_API`, async () => {
    await using tree = await makeTree();
    assertEquals((await lookFor(family))?.family, family);
    const path = await ensureLibrary("release", { root: tree.root, family });
    using library = openTiny(path);
    assertEquals(library.symbols.kl_box_area(2, 3), 6);
    const inner = { kl_box_inner: { parameters: [], result: "u32" } } as const;
    let failure = "";
    try {
      Deno.dlopen(path, inner).close();
    } catch (error) {
      failure = String(error);
    }
    assertMatch(failure, /kl_box_inner/);
  }));
}

/** Opens what {@linkcode TINY_TREE} builds. */
function openTiny(path: string) {
  const library = Deno.dlopen(
    path,
    { kl_box_area: { parameters: ["u32", "u32"], result: "u32" } } as const,
  );
  return { symbols: library.symbols, [Symbol.dispose]: () => library.close() };
}
