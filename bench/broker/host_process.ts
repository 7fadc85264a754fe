/**
 * Hosts brokers in a process of its own: `host_process.ts FOLDER INDEX...`. Ends with its input.
 *
 * @module
 */
import { openBroker } from "../../lib/broker/broker.ts";
import { inputLines } from "../frame/child_process.ts";

if (import.meta.main) {
  const [folder, ...indices] = Deno.args;
  using node = openBroker(folder);
  for (const index of indices) node.hostBroker(Number(index));
  console.log("hosting");
  for await (const _ of inputLines());
}
