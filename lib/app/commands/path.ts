/**
 * `keelson path`
 *
 * @module
 */
import { libraryPath } from "../../../ffi/library.ts";
import type { Command } from "../cli.ts";
import { EXIT } from "../failure.ts";
import { printLine } from "../standard_output.ts";

/** The command. */
export const command: Command = {
  spec: {
    name: "path",
    summary: "prints the file of the C library, building it first in a checkout",
    options: {},
    examples: ["deno run --allow-ffi=$(keelson path) --allow-read --allow-write app.ts"],
  },
  run: () => {
    printLine(libraryPath());
    return Promise.resolve(EXIT.ok);
  },
};
