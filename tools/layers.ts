/**
 * The rows of the architecture, lowest first. A file uses its own folder and the rows below; folders
 * in one row are strangers to each other. `tools/check_layers.ts` holds `c/` and `lib/` to it.
 *
 * @module
 */

/** One row: folders of the same name in `c/` and `lib/`. */
export type Row = readonly string[];

/** Lowest first. */
export const ROWS: readonly Row[] = [
  ["base"],
  ["mem"],
  ["sync"],
  ["lockfree"],
  ["exec"],
  ["file"],
  ["log"],
  ["checkpoint"],
  ["broker", "store", "hashkv", "pages"],
  ["gpu", "cluster"],
  ["app"],
];

/** Rows that face the outside world and may use npm packages and `@std`. */
export const FOLDERS_WITH_PACKAGES: readonly string[] = ["app", "cluster", "gpu"];

/** What `ffi/` may use of `lib/`: the error family, so that a library that cannot be loaded says so
 * in the same words as everything else. */
export const FFI_MAY_IMPORT: readonly string[] = ["lib/base/error.ts"];

/** Whether a file in folder `from` may use folder `to`. */
export function mayUse(from: string, to: string): boolean {
  return from === to || rank(to) < rank(from);
}

/** Height of a folder's row; a folder in no row is refused by the checker. */
export function rank(folder: string): number {
  return ROWS.findIndex((row) => row.includes(folder));
}
