/**
 * `Deno.Kv.set`, awaited.
 *
 * @module
 */
import { awaitEach } from "../broker/durable_work.ts";
import { type Contender, Missing } from "../frame/row.ts";

export const denoKv: Contender = {
  name: "Deno.Kv set",
  kind: "peer",
  note: "one key for each record, as it is opened by default: it syncs each set",
  async open(context) {
    if (!("openKv" in Deno)) throw new Missing("Deno.openKv wants --unstable-kv");
    const kv = await Deno.openKv(`${context.folder}/kv.sqlite`);
    let next = 0;
    return {
      round: () => awaitEach(context, (record) => kv.set([next++], record)),
      close: () => kv.close(),
    };
  },
};
