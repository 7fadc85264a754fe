/**
 * Builds the C library: `deno task build [--variant=release|debug|asan|tsan] [--compiler=gcc|clang]
 * [--print]`. The file is `build/libkeelson-<variant>-<hash>.so`, the hash being over sources,
 * flags and compiler, so an unchanged tree is never built twice and a changed one never meets an
 * old file. Objects are cached the same way and shared with the C tests.
 *
 * @module
 */
import {
  type BuildRecord,
  checkoutRoot,
  linkPath,
  readRecord,
  recordPath,
  sourceFiles,
  sourceStamp,
  type Variant,
  VARIANTS,
} from "../ffi/checkout.ts";
import { compileFlags, type Compiler, findCompiler, linkFlags } from "./compiler.ts";

/** How many compilers run at once. */
const JOBS = Math.max(2, Math.min(8, navigator.hardwareConcurrency));
/** A finished file that nothing names any more is kept this long, for a process about to open it. */
const KEEP_MS = 24 * 3600 * 1000;

/** What {@linkcode ensureLibrary} may be told. */
export interface BuildOptions {
  /** Checkout to build. @default {this one} */
  root?: string;
  /** Restrict the compiler. */
  family?: Compiler["family"];
  /** Called once when something has to be compiled. */
  onStart?: (sources: number) => void;
}

/** Builds the library of this checkout unless it is there already; answers its absolute path. */
export async function ensureLibrary(
  variant: Variant = "release",
  options: BuildOptions = {},
): Promise<string> {
  const root = options.root ?? checkoutRoot();
  if (!root) throw new Error("Cannot build the C library: this is not a checkout of Keelson");
  if (!options.family) {
    const record = readRecord(root, variant);
    if (record && record.stamp === sourceStamp(root)) return `${root}/build/${record.file}`;
  }
  await Deno.mkdir(`${root}/build`, { recursive: true });
  // One builder at a time; the kernel drops the lock with its holder. What follows is safe without.
  using lock = await Deno.open(`${root}/build/lock`, { write: true, create: true });
  await lock.lock(true);
  return await build(root, variant, options);
}

async function build(root: string, variant: Variant, options: BuildOptions): Promise<string> {
  const stamp = sourceStamp(root); // before any source is read: a later edit then shows
  const compiler = await findCompiler(options.family);
  const sources = sourceFiles(root).filter((path) => path.endsWith(".c"));
  const plan = await planObjects(root, sources, variant, compiler);
  const link = linkFlags(variant);
  const names = plan.map((object) => object.hash);
  const hash = await contentHash([compiler.version, ...link, ...names]);
  const file = `libkeelson-${variant}-${hash}.so`;
  const path = `${root}/build/${file}`;
  if (!await exists(path)) {
    options.onStart?.(plan.length);
    const problems = [...(await compileObjects(plan, compiler)).values()];
    if (problems.length > 0) {
      const words = problems.join("\n");
      throw new Error(`Cannot compile the C library with ${compiler.version}:\n${words}`);
    }
    await linkInto(path, [compiler.path, ...link, ...plan.map((object) => object.path)]);
    await prune(`${root}/build`, file);
  }
  if (!options.family) await writeRecord(root, variant, { file, stamp });
  return path;
}

/** One object file of a build: where it will lie and how to make it. */
export interface PlannedObject {
  source: string;
  path: string;
  hash: string;
  command: string[];
}

/** Names the object of every source by the content that goes into it. */
export async function planObjects(
  root: string,
  sources: string[],
  variant: Variant,
  compiler: Compiler,
  extraFlags: string[] = [],
): Promise<PlannedObject[]> {
  const flags = [...compileFlags(variant, compiler), ...extraFlags];
  const read = new Map<string, string>();
  return await Promise.all(sources.map(async (source) => {
    const texts = await withIncludes(root, source, read);
    const hash = await contentHash([compiler.version, ...flags, source, ...texts]);
    const path = `${root}/build/objects/${source.replaceAll("/", "_")}-${hash}.o`;
    const command = [...flags, `-I${root}/c`, `-I${root}`, `-ffile-prefix-map=${root}/=`];
    return { source, path, hash, command: [...command, "-c", `${root}/${source}`] };
  }));
}

/** A source and every file of the project it includes, as `path` and text in turn. */
async function withIncludes(
  root: string,
  source: string,
  read: Map<string, string>,
): Promise<string[]> {
  const texts: string[] = [];
  const seen = new Set([source]);
  for (const path of seen) { // grows while it is walked; bounded by the files there are
    let text = read.get(path);
    if (text === undefined) {
      text = await Deno.readTextFile(`${root}/${path}`).catch(() => "");
      read.set(path, text);
    }
    texts.push(path, text);
    for (const match of text.matchAll(/^[ \t]*#[ \t]*include[ \t]*"([^"]+)"/gm)) {
      for (const place of [`c/${match[1]}`, match[1], besides(path, match[1])]) {
        if (!seen.has(place) && (read.get(place) || await exists(`${root}/${place}`))) {
          seen.add(place);
          break;
        }
      }
    }
  }
  return texts;
}

function besides(path: string, name: string): string {
  return path.replace(/[^/]*$/, "") + name;
}

/** Compiles what is missing, {@linkcode JOBS} at a time. Answers the compiler's words for each source
 * that it refused. */
export async function compileObjects(
  plan: PlannedObject[],
  compiler: Compiler,
): Promise<Map<string, string>> {
  const waiting = plan.slice();
  const problems = new Map<string, string>();
  const worker = async () => {
    for (let object = waiting.shift(); object; object = waiting.shift()) {
      if (await exists(object.path)) continue;
      const problem = await compileOne(object, compiler);
      if (problem) problems.set(object.source, problem);
    }
  };
  await Promise.all(Array.from({ length: JOBS }, worker));
  return problems;
}

async function compileOne(object: PlannedObject, compiler: Compiler): Promise<string | undefined> {
  await Deno.mkdir(object.path.replace(/\/[^/]*$/, ""), { recursive: true });
  const temporary = `${object.path}.${crypto.randomUUID()}.tmp`;
  const { success, stderr } = await new Deno.Command(compiler.path, {
    args: [...object.command, "-o", temporary],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  const words = new TextDecoder().decode(stderr).trim();
  if (success) {
    if (words) console.error(words); // warnings; fatal in `deno task check`
    await Deno.rename(temporary, object.path);
    return undefined;
  }
  await Deno.remove(temporary).catch(() => {});
  return words || `${object.source}: the compiler failed without a word`;
}

/** Runs the linker into a private file and renames it into place: a reader sees all or nothing. */
export async function linkInto(path: string, command: string[]): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  const { success, stderr } = await new Deno.Command(command[0], {
    args: [...command.slice(1), "-o", temporary],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) {
    await Deno.remove(temporary).catch(() => {});
    throw new Error(`Cannot link ${path}:\n${new TextDecoder().decode(stderr).trim()}`);
  }
  await Deno.rename(temporary, path);
}

async function writeRecord(root: string, variant: Variant, record: BuildRecord): Promise<void> {
  const path = recordPath(root, variant);
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  await Deno.writeTextFile(temporary, JSON.stringify(record));
  await Deno.rename(temporary, path);
  await Deno.symlink(record.file, temporary);
  await Deno.rename(temporary, linkPath(root, variant));
}

/** Removes old libraries and objects; a process that still maps one keeps its own copy alive. */
async function prune(folder: string, keep: string): Promise<void> {
  const named = new Set([keep]);
  for (const variant of VARIANTS) {
    const record = readRecord(folder.replace(/\/build$/, ""), variant);
    if (record) named.add(record.file);
  }
  for (const place of [folder, `${folder}/objects`]) {
    for await (const entry of Deno.readDir(place)) {
      if (entry.isSymlink || named.has(entry.name) || !/(\.so|\.o|\.tmp)$/.test(entry.name)) {
        continue;
      }
      const age = await Deno.stat(`${place}/${entry.name}`).catch(() => undefined);
      if (!age?.mtime || Date.now() - age.mtime.getTime() < KEEP_MS) continue;
      await Deno.remove(`${place}/${entry.name}`).catch(() => {}); // another builder was quicker
    }
  }
}

/** First 16 hex digits of the SHA-256 over the parts, each closed by a NUL. */
export async function contentHash(parts: string[]): Promise<string> {
  const bytes = new TextEncoder().encode(parts.join("\0") + "\0");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function main(args: string[]): Promise<number> {
  let variant: Variant = "release";
  let family: Compiler["family"] | undefined;
  for (const arg of args) {
    const [name, value] = arg.split("=");
    if (name === "--variant" && VARIANTS.includes(value as Variant)) variant = value as Variant;
    else if (name === "--compiler" && (value === "gcc" || value === "clang")) family = value;
    else {
      console.error(
        `build: unknown argument ${arg}; known: --variant=${
          VARIANTS.join("|")
        } --compiler=gcc|clang`,
      );
      return 2;
    }
  }
  const onStart = (sources: number) =>
    console.error(`Building the C library (${variant}, ${sources} files; once per change)`);
  try {
    console.log(await ensureLibrary(variant, { family, onStart }));
    return 0;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
