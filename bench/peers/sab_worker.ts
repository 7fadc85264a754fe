/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * The other end of the SharedArrayBuffer sides.
 *
 * @module
 */
import { RecordDigest } from "../frame/statistics.ts";
import { FLOW_BATCH } from "../lockfree/message_work.ts";
import { SabRing, SabSlots } from "./sab_channel.ts";

let ring: SabRing | undefined;

self.onmessage = ({ data }: MessageEvent) => {
  if (data.bytes !== undefined) {
    self.postMessage("ready");
    new SabSlots(data.buffer, data.bytes).serve();
  }
  if (data.recordBytes !== undefined) {
    ring = new SabRing(data.buffer, data.recordBytes);
    self.postMessage("ready");
    return;
  }
  const digest = new RecordDigest();
  const { recordBytes } = ring!;
  const batch = new Uint8Array(FLOW_BATCH * recordBytes);
  while (digest.records < data.records) {
    const count = ring!.popMany(batch);
    for (let at = 0; at < count; at++) {
      digest.add(batch.subarray(at * recordBytes, (at + 1) * recordBytes));
    }
  }
  self.postMessage({ records: digest.records, digest: digest.toString() });
};
