/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * The receiver of batches: digests every record and acknowledges in groups.
 *
 * @module
 */
import { RecordDigest } from "../frame/statistics.ts";

const ACKNOWLEDGE_EVERY = 16;
let digest = new RecordDigest();
let wanted = 0;
let recordBytes = 0;
let giveBack = false;
let taken = 0;
let buffers: ArrayBuffer[] = [];

function acknowledge(): void {
  self.postMessage({ taken, buffers }, { transfer: buffers });
  taken = 0;
  buffers = [];
}

self.onmessage = ({ data }: MessageEvent) => {
  if ("count" in data) {
    digest = new RecordDigest();
    wanted = data.count;
    recordBytes = data.recordBytes;
    giveBack = data.giveBack;
    return;
  }
  const batch = giveBack ? new Uint8Array(data) : data as Uint8Array;
  for (let at = 0; at < batch.length; at += recordBytes) {
    digest.add(batch.subarray(at, at + recordBytes));
  }
  taken++;
  if (giveBack) buffers.push(data);
  const done = digest.records === wanted;
  if (taken === ACKNOWLEDGE_EVERY || done) acknowledge();
  if (done) self.postMessage({ records: digest.records, digest: digest.toString() });
};
