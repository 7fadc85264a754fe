/**
 * Finds a C compiler and knows its flags. Any clang (newest first), else gcc, else cc; the first one
 * that can compile and link a threaded program wins. `KEELSON_CC` names one explicitly.
 *
 * @module
 */
import type { Variant } from "../ffi/checkout.ts";

/** A compiler that was tried and works. */
export interface Compiler {
  path: string;
  family: "clang" | "gcc";
  /** First line of `--version`; part of every content hash. */
  version: string;
  /** Compiles for another machine: its triple, for clang with the cross headers installed. */
  target?: string;
}

/** Shown when nothing on this machine can compile C. */
export const NO_COMPILER =
  "Cannot build the C library: no C compiler that works was found. Install " +
  "one: Debian or Ubuntu `apt install clang` or `apt install gcc libc6-dev`, Fedora " +
  "`dnf install clang` or `dnf install gcc`, Arch `pacman -S gcc`, Alpine is not supported (glibc " +
  "only), macOS `xcode-select --install`; or name one with KEELSON_CC, or a built library with " +
  "KEELSON_LIBRARY.";

const found = new Map<string, Promise<Compiler | undefined>>();

/** The compiler to use; `family` restricts the search. Rejects with {@linkcode NO_COMPILER}. */
export async function findCompiler(family?: Compiler["family"]): Promise<Compiler> {
  const compiler = await lookFor(family);
  if (compiler) return compiler;
  const named = Deno.env.get("KEELSON_CC");
  if (named && !family) {
    throw new Error(
      `Cannot build the C library: KEELSON_CC names "${named}", which cannot compile`,
    );
  }
  throw new Error(family ? `No working ${family} was found on PATH` : NO_COMPILER);
}

/** Like {@linkcode findCompiler}, but answers undefined when there is none. */
export function lookFor(family?: Compiler["family"]): Promise<Compiler | undefined> {
  const key = family ?? "any";
  let search = found.get(key);
  if (!search) found.set(key, search = firstWorking(family));
  return search;
}

async function firstWorking(family?: Compiler["family"]): Promise<Compiler | undefined> {
  const named = Deno.env.get("KEELSON_CC");
  for (const name of named && !family ? [named] : candidates(family)) {
    const compiler = await tryCompiler(name);
    if (compiler && (!family || compiler.family === family)) return compiler;
  }
  return undefined;
}

/** Names of compilers on PATH, best first. */
function candidates(family?: Compiler["family"]): string[] {
  const clangs = new Set<number>();
  const gccs = new Set<number>();
  const plain = new Set<string>();
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    if (!folder.startsWith("/")) continue;
    for (const name of namesIn(folder)) {
      const match = /^(clang|gcc)-(\d+)$/.exec(name);
      if (match) (match[1] === "clang" ? clangs : gccs).add(Number(match[2]));
      else if (["clang", "gcc", "cc"].includes(name)) plain.add(name);
    }
  }
  const newestFirst = (versions: Set<number>) => [...versions].sort((a, b) => b - a);
  const clang = newestFirst(clangs).map((version) => `clang-${version}`);
  if (plain.has("clang")) clang.push("clang");
  const gcc = plain.has("gcc") ? ["gcc"] : [];
  gcc.push(...newestFirst(gccs).map((version) => `gcc-${version}`));
  const cc = plain.has("cc") ? ["cc"] : [];
  if (family === "clang") return [...clang, ...cc];
  if (family === "gcc") return [...gcc, ...cc];
  return [...clang, ...gcc, ...cc];
}

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch {
    return []; // a PATH entry that is no folder, or not ours to read
  }
}

/** Runs `--version`, then compiles and links a small program, for a compiler may lack its headers. */
async function tryCompiler(path: string): Promise<Compiler | undefined> {
  const asked = await run(path, ["--version"]);
  if (!asked?.success) return undefined;
  const version = asked.stdout.split("\n")[0].trim();
  const family = /clang/i.test(version) ? "clang" : "gcc";
  const folder = await Deno.makeTempDir({ prefix: "keelson-cc-" });
  try {
    const source = `${folder}/trial.c`;
    await Deno.writeTextFile(
      source,
      "#include <pthread.h>\n#include <stdatomic.h>\n#include <stdio.h>\n" +
        "static void *body(void *x) { return x; }\n" +
        "int main(void) { pthread_t t; return pthread_create(&t, NULL, body, NULL); }\n",
    );
    const made = await run(path, [...machineFlags(), source, "-pthread", "-o", `${folder}/trial`]);
    return made?.success ? { path, family, version } : undefined;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Whether this compiler can link programs with the sanitizer (its run-time library may be absent). */
export async function hasSanitizer(compiler: Compiler, variant: "asan" | "tsan"): Promise<boolean> {
  const folder = await Deno.makeTempDir({ prefix: "keelson-san-" });
  try {
    await Deno.writeTextFile(`${folder}/trial.c`, "int main(void) { return 0; }\n");
    const flags = compileFlags(variant, compiler);
    const made = await run(compiler.path, [...flags, `${folder}/trial.c`, "-o", `${folder}/trial`]);
    return made?.success === true && (await run(`${folder}/trial`, []))?.success === true;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function run(
  path: string,
  args: string[],
): Promise<{ success: boolean; stdout: string } | undefined> {
  try {
    const child = new Deno.Command(path, { args, stdin: "null", stdout: "piped", stderr: "null" });
    const { success, stdout } = await child.output();
    return { success, stdout: new TextDecoder().decode(stdout) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof Deno.errors.PermissionDenied) return undefined;
    throw error;
  }
}

/** The oldest CPU we run on; newer instructions are chosen at run time. x86-64-v2 spelt out, so
 * that compilers older than its name know it too. */
export function machineFlags(arch: string = Deno.build.arch): string[] {
  if (arch === "x86_64") {
    return ["-march=x86-64", "-msse3", "-mssse3", "-msse4.1", "-msse4.2", "-mpopcnt", "-mcx16"];
  }
  return ["-march=armv8-a"];
}

/** Warnings that the project keeps at zero with gcc and with clang. */
export const WARNING_FLAGS: readonly string[] = [
  "-Wall",
  "-Wextra",
  "-Wpedantic",
  "-Wconversion",
];

/** Flags of one variant, for compiling any C file of the project. */
export function compileFlags(variant: Variant, compiler: Compiler): string[] {
  const { target } = compiler;
  const flags = ["-std=c11", "-D_GNU_SOURCE", ...machineFlags(target?.split("-")[0])];
  if (target) flags.push(`--target=${target}`, "-isystem", crossHeaders(target));
  flags.push(...WARNING_FLAGS);
  // A result that is a size or a code comes as a double; comparing it with a code is exact.
  if (compiler.family === "clang") flags.push("-Wno-enum-float-conversion");
  flags.push("-fvisibility=hidden", "-fPIC", "-pthread", "-fno-strict-aliasing", "-g");
  if (compiler.family === "gcc") flags.push("-fno-semantic-interposition");
  switch (variant) {
    case "release":
      flags.push("-O2", "-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2");
      break;
    case "debug":
      flags.push("-O1", "-DKL_DEBUG", "-fno-omit-frame-pointer");
      break;
    case "asan":
      flags.push("-O1", "-DKL_DEBUG", "-fno-omit-frame-pointer");
      flags.push("-fsanitize=address,undefined", "-fno-sanitize-recover=all");
      break;
    case "tsan":
      flags.push("-O1", "-DKL_DEBUG", "-fno-omit-frame-pointer", "-fsanitize=thread");
      break;
  }
  return flags;
}

/** Where the C library's headers for another machine are. */
export function crossHeaders(target: string): string {
  return `/usr/${target}/include`;
}

/** Flags that make the shared library of the objects. */
export function linkFlags(variant: Variant): string[] {
  const sanitize = variant === "asan"
    ? ["-fsanitize=address,undefined"]
    : variant === "tsan"
    ? ["-fsanitize=thread"]
    : [];
  if (Deno.build.os === "darwin") return ["-dynamiclib", "-pthread", ...sanitize];
  return [
    "-shared",
    "-pthread",
    "-Wl,-z,relro,-z,now,-z,noexecstack",
    "-Wl,-z,nodelete",
    // An undefined name fails here, with the name, and not when the library is loaded.
    ...(sanitize.length > 0 ? sanitize : ["-Wl,-z,defs"]),
  ];
}
