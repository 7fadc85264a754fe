/**
 * The other process of the stream sides: `stream_process.ts pipe|socket PATH`. Each line of its input is
 * `echo TRIPS BYTES` or `flow RECORDS BYTES`; a flow is answered with its digest.
 *
 * @module
 */
import { inputLines } from "../frame/child_process.ts";
import { RecordDigest } from "../frame/statistics.ts";
import { FLOW_BATCH } from "../lockfree/message_work.ts";
import { openPipes, socketChannel, type StreamChannel } from "./stream_channel.ts";

async function echo(channel: StreamChannel, trips: number, bytes: number): Promise<void> {
  const block = new Uint8Array(bytes);
  for (let number = 0; number < trips; number++) {
    const read = channel.read(block);
    if (read) await read;
    const written = channel.write(block);
    if (written) await written;
  }
}

async function flow(channel: StreamChannel, records: number, bytes: number): Promise<string> {
  const digest = new RecordDigest();
  const batch = new Uint8Array(FLOW_BATCH * bytes);
  while (digest.records < records) {
    const read = channel.read(batch);
    if (read) await read;
    for (let at = 0; at < batch.length; at += bytes) digest.add(batch.subarray(at, at + bytes));
  }
  return digest.toString();
}

const [kind, path] = Deno.args;
const channel = kind === "pipe"
  ? openPipes(path, false)
  : socketChannel(await Deno.connect({ transport: "unix", path }));
for await (const line of inputLines()) {
  const [word, count, bytes] = line.split(" ");
  if (word === "echo") await echo(channel, Number(count), Number(bytes));
  else console.log(await flow(channel, Number(count), Number(bytes)));
}
channel[Symbol.dispose]();
