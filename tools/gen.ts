/**
 * Prints `ffi/generated/` and `c/base/layout_hash.h` from the C headers, so that no signature,
 * offset or code is ever typed twice. `deno task gen` writes, `deno task gen --check` compares and
 * exits 1 naming what is stale.
 *
 * The layout hash covers offsets and sizes only, the ABI version signatures and codes only; neither
 * covers the header that carries them, so printing twice gives the same bytes.
 *
 * @module
 */
import { sourceFiles } from "../ffi/checkout.ts";
import { compileFlags, findCompiler } from "./compiler.ts";
import {
  HeaderError,
  type Layout,
  type Prototype,
  readHandleKinds,
  readHeader,
  readStatusCodes,
  type StatusCode,
} from "./headers.ts";

const MADE = "made by `deno task gen` from c/. Do not edit.";
const HASH_HEADER = "c/base/layout_hash.h";
const HANDLE_HEADER = "c/base/handle.h";

/** A struct as the compiler laid it out. */
interface Measured {
  type: string;
  bytes: number;
  fields: { name: string; offset: number; bytes: number }[];
}

/** Everything generated, by path below the checkout. */
export async function generate(root: string): Promise<Map<string, string>> {
  const prototypes: Prototype[] = [];
  const layouts: Layout[] = [];
  const headers = sourceFiles(root).filter((path) => path.endsWith(".h"));
  for (const file of headers) {
    if (file === HASH_HEADER) continue;
    const facts = readHeader(file, await Deno.readTextFile(`${root}/${file}`));
    prototypes.push(...facts.prototypes);
    layouts.push(...facts.layouts);
  }
  refuseTwins(prototypes.map((p) => ({ name: p.name, file: p.file, line: p.line })));
  refuseTwins(layouts.map((l) => ({ name: l.type, file: `c/${l.header}`, line: l.line })));
  const codes = readStatusCodes(await Deno.readTextFile(`${root}/c/base/status.h`));
  const kinds = headers.includes(HANDLE_HEADER)
    ? readHandleKinds(await Deno.readTextFile(`${root}/${HANDLE_HEADER}`))
    : [];
  const measured = await measure(root, layouts);
  const layoutHash = fnv1a(measured.map(layoutLine).join("\n"));
  const abiVersion = fnv1a(
    [...abiLines(prototypes, codes), ...kinds.map((kind) => `${kind.name}=${kind.value}`)]
      .join("\n"),
  );

  const files = new Map<string, string>();
  const folders = [...new Set(prototypes.map((prototype) => prototype.folder))].sort();
  for (const folder of folders) {
    const group = prototypes.filter((prototype) => prototype.folder === folder);
    files.set(`ffi/generated/${folder}.ts`, printGroup(folder, group));
  }
  files.set("ffi/generated/groups.ts", printGroups(folders));
  files.set("ffi/generated/status.ts", printStatus(codes));
  files.set("ffi/generated/handle.ts", printKinds(kinds));
  files.set("ffi/generated/layout.ts", printLayout(measured, layoutHash, abiVersion));
  files.set(HASH_HEADER, printHashHeader(layoutHash, abiVersion));
  return files;
}

function refuseTwins(found: { name: string; file: string; line: number }[]): void {
  const first = new Map<string, string>();
  for (const { name, file, line } of found) {
    const before = first.get(name);
    if (before) throw new HeaderError(file, line, `${name} is declared in ${before} too`);
    first.set(name, `${file}:${line}`);
  }
}

/** Lets the compiler print offsets and sizes: a small program is built and run. */
async function measure(root: string, layouts: Layout[]): Promise<Measured[]> {
  if (layouts.length === 0) return [];
  const sorted = [...layouts].sort((a, b) => a.type < b.type ? -1 : 1);
  const headers = [...new Set(sorted.map((layout) => layout.header))].sort();
  const lines = sorted.flatMap(({ type, fields }) => [
    `    printf("type ${type} %zu\\n", sizeof(${type}));`,
    ...fields.map((field) =>
      `    printf("field ${field} %zu %zu\\n", offsetof(${type}, ${field}), ` +
      `sizeof(((${type} *)0)->${field}));`
    ),
  ]);
  const program = [
    "#include <stddef.h>",
    "#include <stdio.h>",
    ...headers.map((header) => `#include "${header}"`),
    "int main(void) {",
    ...lines,
    "    return 0;",
    "}",
    "",
  ].join("\n");
  const measured: Measured[] = [];
  for (const line of (await compileAndRun(root, program)).trim().split("\n")) {
    const [kind, name, first, second] = line.split(" ");
    if (kind === "type") measured.push({ type: name, bytes: Number(first), fields: [] });
    else measured.at(-1)!.fields.push({ name, offset: Number(first), bytes: Number(second) });
  }
  return measured;
}

async function compileAndRun(root: string, program: string): Promise<string> {
  const compiler = await findCompiler();
  const folder = await Deno.makeTempDir({ prefix: "keelson-gen-" });
  try {
    // The hash header may be missing or stale while its own value is being computed.
    await Deno.mkdir(`${folder}/base`);
    await Deno.writeTextFile(`${folder}/base/layout_hash.h`, printHashHeader(0, 0));
    await Deno.writeTextFile(`${folder}/layout.c`, program);
    const flags = compileFlags("debug", compiler).filter((flag) => !flag.startsWith("-W"));
    const made = await new Deno.Command(compiler.path, {
      args: [
        ...flags,
        `-I${folder}`,
        `-I${root}/c`,
        `${folder}/layout.c`,
        "-o",
        `${folder}/layout`,
      ],
      stderr: "piped",
    }).output();
    if (!made.success) {
      const words = new TextDecoder().decode(made.stderr).trim();
      throw new Error(`Cannot print the layouts; is a field of a layout comment wrong?\n${words}`);
    }
    const printed = await new Deno.Command(`${folder}/layout`, { stderr: "inherit" }).output();
    return new TextDecoder().decode(printed.stdout);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function layoutLine(measured: Measured): string {
  const fields = measured.fields.map((f) => `${f.name}@${f.offset}+${f.bytes}`);
  return `${measured.type} ${measured.bytes} ${fields.join(" ")}`;
}

function abiLines(prototypes: Prototype[], codes: StatusCode[]): string[] {
  return [
    ...prototypes.map((p) => `${p.name}(${p.parameters.join()}) ${p.result} ${p.nonblocking}`)
      .sort(),
    ...codes.map((code) => `${code.name}=${code.value}`),
  ];
}

function printGroup(folder: string, group: Prototype[]): string {
  const lines = [`// ffi/generated/${folder}.ts: ${MADE}`, ""];
  lines.push(`/** Functions of \`c/${folder}/\`. */`);
  lines.push(`export const ${constantName(folder)} = {`);
  for (const prototype of [...group].sort((a, b) => a.name < b.name ? -1 : 1)) {
    const parameters = prototype.parameters.map((kind) => `"${kind}"`).join(", ");
    lines.push(`  /** \`${prototype.declaration}\` */`);
    lines.push(`  ${prototype.name}: {`);
    lines.push(`    parameters: [${parameters}],`);
    lines.push(`    result: "${prototype.result}",`);
    if (prototype.nonblocking) lines.push("    nonblocking: true,");
    lines.push("  },");
  }
  lines.push("} as const satisfies Deno.ForeignLibraryInterface;", "");
  return lines.join("\n");
}

function printGroups(folders: string[]): string {
  const lines = [`// ffi/generated/groups.ts: ${MADE}`, ""];
  for (const folder of folders) {
    lines.push(`import { ${constantName(folder)} } from "./${folder}.ts";`);
  }
  lines.push("", "/** One symbol group per folder of `c/`. */", "export const GROUPS = {");
  for (const folder of folders) lines.push(`  ${folder}: ${constantName(folder)},`);
  lines.push("} as const;", "", "/** A folder of `c/` whose functions can be called. */");
  lines.push("export type GroupName =");
  lines.push(folders.map((folder) => `  | "${folder}"`).join("\n") + ";", "");
  return lines.join("\n");
}

function printKinds(kinds: { name: string; value: number }[]): string {
  return [
    `// ffi/generated/handle.ts: ${MADE}`,
    "",
    "/** Which kind of C object a handle stands for. */",
    "export const HANDLE = {",
    ...kinds.map(({ name, value }) => `  ${name}: ${value},`),
    "} as const;",
    "",
  ].join("\n");
}

function printStatus(codes: StatusCode[]): string {
  const lines = [`// ffi/generated/status.ts: ${MADE}`, ""];
  lines.push("/** What C functions return: `>= 0` is success. */", "export const STATUS = {");
  for (const { name, value, text } of codes) {
    lines.push(`  /** ${text} */`, `  ${name}: ${value},`);
  }
  lines.push("} as const;", "", "/** The name of each code. */");
  lines.push("export const STATUS_NAMES: Readonly<Record<number, string>> = {");
  for (const { name, value } of codes) lines.push(`  ${quoted(value)}: "${name}",`);
  lines.push("};", "", "/** The meaning of each code, for a message without a detail. */");
  lines.push("export const STATUS_TEXTS: Readonly<Record<number, string>> = {");
  for (const { value, text } of codes) lines.push(`  ${quoted(value)}: ${JSON.stringify(text)},`);
  lines.push("};", "");
  return lines.join("\n");
}

function quoted(value: number): string {
  return value < 0 ? `"${value}"` : String(value);
}

function printLayout(measured: Measured[], layoutHash: number, abiVersion: number): string {
  const lines = [`// ffi/generated/layout.ts: ${MADE}`, ""];
  for (const { type, bytes, fields } of measured) {
    lines.push(`/** \`${type}\`: its size and the offset of each field. */`);
    lines.push(`export const ${constantName(type)} = {`, `  bytes: ${bytes},`);
    for (const field of fields) lines.push(`  ${fieldKey(field.name)}: ${field.offset},`);
    lines.push("} as const;", "");
  }
  lines.push("/** Over all layouts; the library carries the same number. */");
  lines.push(`export const LAYOUT_HASH = ${hex(layoutHash)};`, "");
  lines.push("/** Over all signatures and status codes; the library carries the same number. */");
  lines.push(`export const ABI_VERSION = ${hex(abiVersion)};`, "");
  return lines.join("\n");
}

function printHashHeader(layoutHash: number, abiVersion: number): string {
  return [
    `/* ${HASH_HEADER}: ${MADE} */`,
    "#ifndef KL_BASE_LAYOUT_HASH_H",
    "#define KL_BASE_LAYOUT_HASH_H",
    "",
    "/* Over all layouts that TypeScript or another process reads. */",
    `#define KL_LAYOUT_HASH ${hex(layoutHash)}u`,
    "/* Over all signatures and status codes that cross the FFI border. */",
    `#define KL_ABI_VERSION ${hex(abiVersion)}u`,
    "",
    "#endif",
    "",
  ].join("\n");
}

function constantName(name: string): string {
  return name.toUpperCase().replaceAll("/", "_");
}

/** `bytes` is the size of the whole; a field of that name steps aside. */
function fieldKey(name: string): string {
  return name === "bytes" ? "bytesOffset" : camelCase(name);
}

function camelCase(name: string): string {
  return name.replace(/_+([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}

/** FNV-1a, 32 bits: a fingerprint against accidents, not against an enemy. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Paths whose content on disk differs from what the headers say now, leftovers included. */
export async function staleFiles(root: string, wanted: Map<string, string>): Promise<string[]> {
  const stale: string[] = [];
  for (const [path, text] of wanted) {
    const present = await Deno.readTextFile(`${root}/${path}`).catch(() => undefined);
    if (present !== text) stale.push(path);
  }
  return [...stale, ...await leftovers(root, wanted)].sort();
}

async function leftovers(root: string, wanted: Map<string, string>): Promise<string[]> {
  const extra: string[] = [];
  await Deno.mkdir(`${root}/ffi/generated`, { recursive: true });
  for await (const entry of Deno.readDir(`${root}/ffi/generated`)) {
    const path = `ffi/generated/${entry.name}`;
    if (entry.name.endsWith(".ts") && !wanted.has(path)) extra.push(path);
  }
  return extra;
}

/** Writes what differs, each file whole, and removes leftovers. Answers the paths it touched. */
export async function writeFiles(root: string, wanted: Map<string, string>): Promise<string[]> {
  const stale = await staleFiles(root, wanted);
  for (const path of stale) {
    const text = wanted.get(path);
    if (text === undefined) {
      await Deno.remove(`${root}/${path}`);
      continue;
    }
    const temporary = `${root}/${path}.${crypto.randomUUID()}.tmp`;
    await Deno.writeTextFile(temporary, text);
    await Deno.rename(temporary, `${root}/${path}`);
  }
  return stale;
}

async function main(args: string[]): Promise<number> {
  const root = import.meta.dirname!.replace(/\/tools$/, "");
  const unknown = args.find((arg) => arg !== "--check");
  if (unknown) {
    console.error(`gen: unknown argument ${unknown}; known: --check`);
    return 2;
  }
  try {
    const wanted = await generate(root);
    if (!args.includes("--check")) {
      for (const path of await writeFiles(root, wanted)) console.log(`wrote ${path}`);
      return 0;
    }
    const stale = await staleFiles(root, wanted);
    for (const path of stale) console.error(`stale: ${path} (run \`deno task gen\`)`);
    return stale.length > 0 ? 1 : 0;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
