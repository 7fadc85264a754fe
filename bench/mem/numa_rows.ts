/**
 * Questions to a topology in bare C.
 *
 * @module
 */
import { programRow } from "../frame/program_side.ts";
import type { RowDefinition } from "../frame/row.ts";

/** Rows of topologies. */
export const NUMA_ROWS: RowDefinition[] = [
  programRow({
    group: "mem",
    name: "numa node of a processor, and its distance",
    unit: "ns a query",
    note: "two queries after each other, on a simulated ring of four nodes",
    source: "bench/mem/numa_bare.c",
    work({ size }) {
      const queries = size({ smoke: 10_000, full: 20_000_000 });
      return { args: [String(queries)], items: 2 * queries };
    },
    limit: 3,
  }),
];
