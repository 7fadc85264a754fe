/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * The other end of the message rings, in a Worker.
 *
 * @module
 */
import { MessageRings } from "./message_rings.ts";

let rings: MessageRings | undefined;

self.onmessage = ({ data }: MessageEvent) => {
  if (data.name !== undefined) rings = MessageRings.attach(data.name);
  else if (data.answer) rings!.answer();
  else if (data.many) return self.postMessage(rings!.digestMany(data.records));
  else return self.postMessage(rings!.digest(data.records));
  self.postMessage("ready");
};
