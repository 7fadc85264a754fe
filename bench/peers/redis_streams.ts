/**
 * Redis Streams on loopback: one record is one entry, pipelined in the same batches.
 *
 * @module
 */
import {
  BATCH_RECORDS,
  expectedDigest,
  publishRecords,
  rate,
  RECORD_BYTES,
  RECORD_KINDS,
} from "../broker/publish_work.ts";
import type { BenchContext, Contender, Session } from "../frame/row.ts";
import { type RecordDigest, seededRecords } from "../frame/statistics.ts";
import { LoopbackConnection, startServer } from "./loopback_server.ts";
import { StreamReader } from "./stream_reader.ts";

/** Entries that the stream keeps, so that memory stays bounded as in ours. */
const KEPT_ENTRIES = 100_000;
const IN_FLIGHT_BATCHES = 32;
const READ_COUNT = 1024;

/** The batch as Redis reads it: `XADD` for each record. */
function encodeAdds(records: readonly Uint8Array[], first: number): Uint8Array {
  const head = new TextEncoder().encode(
    `*8\r\n$4\r\nXADD\r\n$1\r\ns\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$${`${KEPT_ENTRIES}`.length}\r\n` +
      `${KEPT_ENTRIES}\r\n$1\r\n*\r\n$1\r\nr\r\n$${RECORD_BYTES}\r\n`,
  );
  const one = head.length + RECORD_BYTES + 2;
  const out = new Uint8Array(one * BATCH_RECORDS);
  for (let at = 0; at < BATCH_RECORDS; at++) {
    out.set(head, at * one);
    out.set(records[(first + at) % RECORD_KINDS], at * one + head.length);
    out.set([13, 10], at * one + head.length + RECORD_BYTES);
  }
  return out;
}

/** Reads `count` replies of `XADD`: a bulk string each. */
async function readAdded(connection: LoopbackConnection, count: number): Promise<void> {
  for (let at = 0; at < count; at++) {
    const head = await connection.line();
    if (head[0] !== "$") throw new Error(`redis: ${head}`);
    await connection.exactly(Number(head.slice(1)) + 2);
  }
}

async function publish(
  connection: LoopbackConnection,
  records: readonly Uint8Array[],
  count: number,
  reader?: StreamReader,
): Promise<void> {
  const batches = count / BATCH_RECORDS;
  let sent = 0;
  let wake: () => void = () => {};
  const answers = (async () => {
    for (let answered = 0; answered < batches; answered++) {
      await readAdded(connection, BATCH_RECORDS);
      sent--;
      wake();
    }
  })();
  for (let batch = 0; batch < batches; batch++) {
    while (sent >= IN_FLIGHT_BATCHES) await new Promise<void>((resolve) => wake = resolve);
    await reader?.near(batch * BATCH_RECORDS, KEPT_ENTRIES / 2);
    sent++;
    await connection.write(encodeAdds(records, batch * BATCH_RECORDS));
  }
  await answers;
}

/** Skips or reads one reply; bulk strings of record size go to the digest. */
async function readReply(connection: LoopbackConnection, digest: RecordDigest): Promise<string> {
  const head = await connection.line();
  const size = Number(head.slice(1));
  if (head[0] === "-") throw new Error(`redis: ${head}`);
  if (head[0] === "*") {
    let last = "";
    for (let at = 0; at < size; at++) last = await readReply(connection, digest) || last;
    return last;
  }
  if (head[0] !== "$" || size < 0) return "";
  const bytes = await connection.exactly(size + 2);
  if (size === RECORD_BYTES) {
    digest.add(bytes.subarray(0, size));
    return "";
  }
  const text = new TextDecoder().decode(bytes.subarray(0, size));
  return /^\d+-\d+$/.test(text) ? text : "";
}

/** A consumer that reads on from where it is: each call is one `XREAD`. */
export async function redisConsumer(
  port: number,
): Promise<(digest: RecordDigest) => Promise<void>> {
  const connection = await LoopbackConnection.open(port);
  let last = "0-0";
  return async (digest) => {
    await connection.write(`XREAD COUNT ${READ_COUNT} BLOCK 0 STREAMS s ${last}\r\n`);
    last = await readReply(connection, digest) || last;
  };
}

async function open(context: BenchContext, work: "publish" | "deliver"): Promise<Session> {
  const server = await startServer("redis-server", (port) => [
    "--port",
    String(port),
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
  ]);
  const writer = await LoopbackConnection.open(server.port);
  const reader = work === "deliver"
    ? await StreamReader.open({ server: "redis", port: server.port })
    : undefined;
  const records = seededRecords(context.seed, RECORD_KINDS, RECORD_BYTES);
  const count = publishRecords(context);
  const expected = expectedDigest(records, count);
  return {
    async round() {
      const started = performance.now();
      const taking = reader?.take(count);
      await publish(writer, records, count, reader);
      const got = await taking;
      const seconds = (performance.now() - started) / 1000;
      return rate(count, seconds, got ?? expected);
    },
    async close() {
      writer.close();
      reader?.close();
      await server.stop();
    },
  };
}

/** Redis as a peer of publishing, or of publishing and delivering. */
export function redisStreams(work: "publish" | "deliver"): Contender {
  return {
    name: "Redis Streams on loopback",
    kind: "peer",
    weaker: "no persistence: lost with the server",
    note: `XADD of each record with MAXLEN ~ ${KEPT_ENTRIES}, pipelined in batches of ` +
      `${BATCH_RECORDS} with ${IN_FLIGHT_BATCHES} on their way, --save "" --appendonly no` +
      (work === "deliver" ? "; one XREAD loop in a Worker" : ""),
    open: (context) => open(context, work),
  };
}
