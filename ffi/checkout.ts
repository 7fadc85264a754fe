/**
 * What a checkout knows about the library it built: `build/current-<variant>.json` names the file
 * and the stamp of the sources it was made from. The builder writes it, the loader reads it; neither
 * has to ask a compiler, or the permission to run one, to see that nothing has changed.
 *
 * @module
 */

/** The ways to build the library. */
export type Variant = "release" | "debug" | "asan" | "tsan";

/** All variants, for argument checks. */
export const VARIANTS: readonly Variant[] = ["release", "debug", "asan", "tsan"];

/** The record of one finished build. */
export interface BuildRecord {
  /** File name of the library inside `build/`. */
  file: string;
  /** {@linkcode sourceStamp} taken before the sources were read. */
  stamp: string;
}

/** The folder this module was installed in, or undefined when it came from the network. */
export function moduleRoot(): string | undefined {
  if (!import.meta.url.startsWith("file:")) return undefined;
  return import.meta.dirname!.replace(/[\\/]ffi$/, "");
}

/** The folder of this checkout, or undefined when this module did not come from a checkout. */
export function checkoutRoot(): string | undefined {
  const root = moduleRoot();
  return root && isFile(`${root}/tools/build.ts`) && isFile(`${root}/c/base/status.h`)
    ? root
    : undefined;
}

/** Folder and name of the record that describes the newest build of a variant. */
export function recordPath(root: string, variant: Variant): string {
  return `${root}/build/current-${variant}.json`;
}

/** A link to the newest build of a variant: a name that can be granted once and for all, and found
 * without the permission to read. */
export function linkPath(root: string, variant: Variant): string {
  return `${root}/build/libkeelson-${variant}.so`;
}

/** The record of the newest finished build whose file still exists, if any. */
export function readRecord(root: string, variant: Variant): BuildRecord | undefined {
  let record: BuildRecord;
  try {
    record = JSON.parse(Deno.readTextFileSync(recordPath(root, variant)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw error;
  }
  return isFile(`${root}/build/${record.file}`) ? record : undefined;
}

/**
 * Names, sizes and modification times of everything the library is made from. Equal stamps mean an
 * unchanged tree; a different stamp only means that contents have to be compared.
 */
export function sourceStamp(root: string): string {
  let stamp = stampOf(`${root}/tools/build.ts`, "tools/build.ts");
  for (const path of sourceFiles(root)) stamp += stampOf(`${root}/${path}`, path);
  return stamp;
}

/** Every `.h` and `.c` below `c/`, as sorted paths relative to the checkout. */
export function sourceFiles(root: string): string[] {
  const found: string[] = [];
  walk(root, "c", found);
  return found.sort();
}

function walk(root: string, folder: string, found: string[]): void {
  for (const entry of Deno.readDirSync(`${root}/${folder}`)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) walk(root, path, found);
    else if (/\.[ch]$/.test(entry.name)) found.push(path);
  }
}

function stampOf(path: string, name: string): string {
  try {
    const { size, mtime } = Deno.statSync(path);
    return `${name} ${size} ${mtime?.getTime()}\n`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return ""; // vanished while we were looking
    throw error;
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
