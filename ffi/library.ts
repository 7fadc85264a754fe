/**
 * The only `dlopen`. Finds the library (`KEELSON_LIBRARY`, else the one this checkout built, building
 * it when the sources changed), opens it once per symbol group and isolate, and refuses one that
 * was made from other headers.
 *
 * Nothing is ever closed: a call after close is a crash, and the library is linked `nodelete`.
 *
 * @module
 */
import { KeelsonError, setDetailReader, STATUS } from "../lib/base/error.ts";
import {
  checkoutRoot,
  linkPath,
  moduleRoot,
  readRecord,
  sourceStamp,
  type Variant,
  VARIANTS,
} from "./checkout.ts";
import { type GroupName, GROUPS } from "./generated/groups.ts";
import { ABI_VERSION, LAYOUT_HASH } from "./generated/layout.ts";

export type { GroupName };

/** The callable functions of one group. */
export type Symbols<Name extends GroupName> = Deno.DynamicLibrary<(typeof GROUPS)[Name]>["symbols"];

/** What is asked of every library before any of its groups is used. */
const GATE = {
  kl_abi_version: { parameters: [], result: "u32" },
  kl_layout_hash: { parameters: [], result: "u32" },
  kl_nodelete: { parameters: [], result: "bool" },
  kl_instance: { parameters: [], result: "u64" },
  kl_status_detail: { parameters: ["buffer", "u32"], result: "u32" },
  kl_status_detail_code: { parameters: [], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Two loads of one file share their globals; this proves that they did. */
const INSTANCE = { kl_instance: GATE.kl_instance } as const;

const DETAIL_BYTES = 512;
const opened: { [Name in GroupName]?: Symbols<Name> } = {};
let gate: { path: string; instance: bigint } | undefined;

/**
 * The functions of one C folder. The first call in an isolate opens the group (0.2-0.5 ms for each
 * function), later ones are a lookup. A hot wrapper destructures once and calls each function from
 * one place, which keeps the call site monomorphic.
 */
export function symbols<Name extends GroupName>(group: Name): Symbols<Name> {
  return opened[group] ?? openGroup(group);
}

/** Opens groups ahead of their first use: in a test with resource sanitizers, or before a deadline. */
export function preload(...groups: GroupName[]): void {
  const wanted = groups.length > 0 ? groups : Object.keys(GROUPS) as GroupName[];
  for (const group of wanted) symbols(group);
}

/**
 * The file to name in `--allow-ffi`: in a checkout a link that always leads to the newest build, else
 * the library itself. Builds it in a checkout whose sources changed.
 */
export function libraryPath(): string {
  const path = gate?.path ?? findLibrary();
  const root = moduleRoot();
  const link = root && linkPath(root, wantedVariant());
  return link && path.startsWith(`${root}/build/`) ? link : path;
}

function openGroup<Name extends GroupName>(group: Name): Symbols<Name> {
  const { path, instance } = gate ?? openGate();
  const library = dlopen(path, { ...GROUPS[group], ...INSTANCE });
  if ((library.symbols.kl_instance as () => bigint)() !== instance) {
    throw loadError(
      STATUS.KL_ERR_LAYOUT,
      path,
      "the file was replaced while it was in use; restart",
    );
  }
  const callable = library.symbols as unknown as Symbols<Name>;
  (opened as Record<GroupName, unknown>)[group] = callable;
  return callable;
}

function openGate(): { path: string; instance: bigint } {
  const path = findLibrary();
  const { symbols: ask } = dlopen(path, GATE);
  const abi = ask.kl_abi_version();
  if (abi !== ABI_VERSION) {
    throw loadError(
      STATUS.KL_ERR_VERSION,
      path,
      `its ABI version is ${hex(abi)} and this module wants ${
        hex(ABI_VERSION)
      }; ${rebuildAdvice()}`,
    );
  }
  const layout = ask.kl_layout_hash();
  if (layout !== LAYOUT_HASH) {
    throw loadError(
      STATUS.KL_ERR_LAYOUT,
      path,
      `its layout hash is ${hex(layout)} and this module wants ${
        hex(LAYOUT_HASH)
      }; ${rebuildAdvice()}`,
    );
  }
  if (!ask.kl_nodelete()) {
    throw loadError(
      STATUS.KL_ERR_UNSUPPORTED,
      path,
      "it was not linked with -Wl,-z,nodelete, so its threads would crash this process at exit",
    );
  }
  const detail = new Uint8Array(DETAIL_BYTES);
  const decoder = new TextDecoder();
  setDetailReader((code) => {
    if (ask.kl_status_detail_code() !== code) return ""; // of an older failure that was handled
    const bytes = ask.kl_status_detail(detail, DETAIL_BYTES);
    return decoder.decode(detail.subarray(0, Math.min(bytes, DETAIL_BYTES)));
  });
  gate = { path, instance: ask.kl_instance() };
  return gate;
}

function dlopen<Interface extends Deno.ForeignLibraryInterface>(
  path: string,
  wanted: Interface,
): Deno.DynamicLibrary<Interface> {
  try {
    return Deno.dlopen(path, wanted);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error; // says which flag is missing
    const words = (error instanceof Error ? error.message : String(error))
      .replace(/^(Could not open library: )+/, "");
    if (/No such file/.test(words)) throw missing(path, error);
    const stranger = /Failed to register symbol/.test(words);
    const code = stranger ? STATUS.KL_ERR_VERSION : STATUS.KL_ERR_UNSUPPORTED;
    throw loadError(code, path, words, error);
  }
}

function missing(path: string, cause: unknown): KeelsonError {
  const detail = environment("KEELSON_LIBRARY")
    ? "KEELSON_LIBRARY names a file that does not exist"
    : "it was not built yet: run `deno task build`";
  return loadError(STATUS.KL_ERR_NOT_FOUND, path, detail, cause);
}

function findLibrary(): string {
  const named = environment("KEELSON_LIBRARY");
  if (named) return absolute(named);
  const root = moduleRoot();
  if (root && !granted({ name: "read", path: root })) return linkPath(root, wantedVariant());
  if (root && checkoutRoot()) return fromCheckout(root, wantedVariant());
  throw new KeelsonError(STATUS.KL_ERR_UNSUPPORTED, "load the Keelson library", {
    detail: `no packaged library for ${Deno.build.os}-${Deno.build.arch} yet: ` +
      "set KEELSON_LIBRARY to a built one, or work in a checkout with a C compiler",
  });
}

/** `dlopen` takes a relative path for something to search for. */
function absolute(path: string): string {
  if (path.startsWith("/")) return path;
  try {
    return Deno.realPathSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw missing(path, error);
  }
}

function fromCheckout(root: string, variant: Variant): string {
  const record = readRecord(root, variant);
  const mayBuild = granted({ name: "run" });
  // Without the permission to compile, the newest build is used; the gate still checks its ABI.
  if (record && (!mayBuild || record.stamp === sourceStamp(root))) {
    return grantedName(root, variant, `${root}/build/${record.file}`);
  }
  if (mayBuild) return grantedName(root, variant, buildInSubprocess(root, variant));
  throw new KeelsonError(STATUS.KL_ERR_PERMISSION, "build the Keelson library", {
    detail: "it was not built yet and running the compiler is not allowed: " +
      "run `deno task build` once, or add --allow-run",
  });
}

/** The file itself, which stays the same while we run, or the link where only that was granted. */
function grantedName(root: string, variant: Variant, path: string): string {
  return granted({ name: "ffi", path }) ? path : linkPath(root, variant);
}

function granted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}

/** The builder is a program of its own: a module that never builds never loads it. */
function buildInSubprocess(root: string, variant: Variant): string {
  const { success, stdout } = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `${root}/tools/build.ts`, `--variant=${variant}`],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).outputSync();
  const path = new TextDecoder().decode(stdout).trim();
  if (success && path) return path;
  throw new KeelsonError(STATUS.KL_ERR_UNSUPPORTED, "build the Keelson library", {
    detail: "the reason is printed above; `deno task build` repeats it",
  });
}

function wantedVariant(): Variant {
  const variant = environment("KEELSON_VARIANT") || "release";
  if (VARIANTS.includes(variant as Variant)) return variant as Variant;
  throw new KeelsonError(STATUS.KL_ERR_ARGUMENT, "load the Keelson library", {
    detail: `KEELSON_VARIANT is "${variant}"; known: ${VARIANTS.join(" ")}`,
  });
}

/** Reads a variable only where that was granted, so that nobody is asked. */
function environment(variable: string): string | undefined {
  return granted({ name: "env", variable }) ? Deno.env.get(variable) : undefined;
}

function rebuildAdvice(): string {
  return environment("KEELSON_LIBRARY")
    ? "KEELSON_LIBRARY names a library of another version"
    : "run `deno task gen`, then `deno task build`";
}

function loadError(code: number, path: string, detail: string, cause?: unknown): KeelsonError {
  return new KeelsonError(code, `load the Keelson library ${path}`, { detail, cause });
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}
