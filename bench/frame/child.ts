/**
 * Measures one row in a process of its own: `child.ts GROUP/NAME full|smoke`. The last line of its
 * output is the result as JSON.
 *
 * @module
 */
import { rows } from "../rows.ts";
import { measureRow } from "./measure.ts";
import { rowTitle } from "./row.ts";

if (import.meta.main) {
  const [title, size] = Deno.args;
  const row = rows.find((one) => rowTitle(one) === title);
  if (!row) throw new Error(`There is no row ${title}`);
  const result = await measureRow(row, size === "smoke");
  await Deno.stdout.write(new TextEncoder().encode(`\n${JSON.stringify(result)}\n`));
  Deno.exit(0); // a peer's connection that lingers must not hold the run up
}
