/**
 * NATS JetStream on loopback, by its text protocol: a stream in memory, every publish acknowledged.
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

const IN_FLIGHT_BATCHES = 64;
const KEPT_BYTES = 256 << 20;

interface NatsMessage {
  subject: string;
  payload: Uint8Array;
}

/** One connection that has said who it is. */
async function connect(port: number): Promise<LoopbackConnection> {
  const connection = await LoopbackConnection.open(port);
  await connection.line(); // INFO
  await connection.write('CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nPING\r\n');
  while (await connection.line() !== "PONG");
  return connection;
}

async function nextMessage(connection: LoopbackConnection): Promise<NatsMessage> {
  for (;;) {
    const words = (await connection.line()).split(" ");
    if (words[0] === "PING") await connection.write("PONG\r\n");
    if (words[0] === "-ERR") throw new Error(`nats: ${words.join(" ")}`);
    if (words[0] === "MSG") {
      const size = Number(words.at(-1));
      const payload = (await connection.exactly(size + 2)).subarray(0, size);
      return { subject: words[1], payload };
    }
    if (words[0] === "HMSG") await connection.exactly(Number(words.at(-1)) + 2); // status lines
  }
}

async function ask(connection: LoopbackConnection, subject: string, body: unknown): Promise<void> {
  const text = JSON.stringify(body);
  await connection.write(
    `SUB _ASK 1\r\nUNSUB 1 1\r\nPUB ${subject} _ASK ${text.length}\r\n${text}\r\n`,
  );
  const answer = JSON.parse(new TextDecoder().decode((await nextMessage(connection)).payload));
  if (answer.error) throw new Error(`nats: ${JSON.stringify(answer.error)}`);
}

function encodePublishes(records: readonly Uint8Array[], first: number): Uint8Array {
  const head = new TextEncoder().encode(`PUB bench _ACK ${RECORD_BYTES}\r\n`);
  const one = head.length + RECORD_BYTES + 2;
  const out = new Uint8Array(one * BATCH_RECORDS);
  for (let at = 0; at < BATCH_RECORDS; at++) {
    out.set(head, at * one);
    out.set(records[(first + at) % RECORD_KINDS], at * one + head.length);
    out.set([13, 10], at * one + head.length + RECORD_BYTES);
  }
  return out;
}

async function publish(
  connection: LoopbackConnection,
  records: readonly Uint8Array[],
  count: number,
  reader?: StreamReader,
): Promise<void> {
  let pending = 0;
  let wake: () => void = () => {};
  const acknowledged = (async () => {
    for (let got = 0; got < count; got++) {
      const { payload } = await nextMessage(connection);
      if (payload.includes(101) && new TextDecoder().decode(payload).includes('"error"')) {
        throw new Error(`nats: ${new TextDecoder().decode(payload)}`);
      }
      pending--;
      if (pending <= (IN_FLIGHT_BATCHES - 1) * BATCH_RECORDS) wake();
    }
  })();
  for (let sent = 0; sent < count; sent += BATCH_RECORDS) {
    while (pending > (IN_FLIGHT_BATCHES - 1) * BATCH_RECORDS) {
      await new Promise<void>((resolve) => wake = resolve);
    }
    await reader?.near(sent, KEPT_BYTES / RECORD_BYTES / 2);
    pending += BATCH_RECORDS;
    await connection.write(encodePublishes(records, sent));
  }
  await acknowledged;
}

/** A push consumer without acknowledgements: each call takes one record. */
export async function natsConsumer(port: number): Promise<(digest: RecordDigest) => Promise<void>> {
  const connection = await connect(port);
  await connection.write("SUB _DELIVER 3\r\n");
  await ask(connection, "$JS.API.CONSUMER.CREATE.bench", {
    stream_name: "bench",
    config: { deliver_subject: "_DELIVER", ack_policy: "none", deliver_policy: "all" },
  });
  return async (digest) => {
    const { payload } = await nextMessage(connection);
    if (payload.length === RECORD_BYTES) digest.add(payload);
  };
}

async function open(context: BenchContext, work: "publish" | "deliver"): Promise<Session> {
  const server = await startServer("nats-server", (port) => [
    ...["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", `${context.folder}/nats`],
  ]);
  const writer = await connect(server.port);
  await ask(writer, "$JS.API.STREAM.CREATE.bench", {
    name: "bench",
    subjects: ["bench"],
    storage: "memory",
    max_bytes: KEPT_BYTES,
    discard: "old",
    num_replicas: 1,
  });
  await writer.write("SUB _ACK 2\r\n");
  const reader = work === "deliver"
    ? await StreamReader.open({ server: "nats", port: server.port })
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

/** JetStream as a peer of publishing, or of publishing and delivering. */
export function natsJetStream(work: "publish" | "deliver"): Contender {
  return {
    name: "NATS JetStream on loopback",
    kind: "peer",
    weaker: "a stream in memory: lost with the server",
    note:
      `storage "memory", one replica, every record acknowledged, ${IN_FLIGHT_BATCHES} batches ` +
      `of ${BATCH_RECORDS} on their way` +
      (work === "deliver" ? "; one push consumer without acknowledgements, in a Worker" : ""),
    open: (context) => open(context, work),
  };
}
