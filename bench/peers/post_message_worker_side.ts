/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * The other end of the `postMessage` sides: answers what it gets, or digests a flow.
 *
 * @module
 */
import { RecordDigest } from "../frame/statistics.ts";

let digest = new RecordDigest();
let wanted = 0;
let recordBytes = 0;
let taken = 0;
const ACKNOWLEDGE_EVERY = 16;

self.postMessage("ready");

self.onmessage = ({ data }: MessageEvent) => {
  if (data instanceof Uint8Array) {
    if (wanted === 0) self.postMessage(data);
    else take(data);
  } else if (data instanceof ArrayBuffer) {
    self.postMessage(data, [data]);
  } else {
    digest = new RecordDigest();
    wanted = data.records;
    recordBytes = data.recordBytes;
  }
};

function take(message: Uint8Array): void {
  for (let at = 0; at < message.length; at += recordBytes) {
    digest.add(message.subarray(at, at + recordBytes));
  }
  const done = digest.records === wanted;
  if (++taken === ACKNOWLEDGE_EVERY || done) {
    self.postMessage(taken);
    taken = 0;
  }
  if (done) self.postMessage({ records: digest.records, digest: digest.toString() });
}
