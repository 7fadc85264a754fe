/**
 * `keelson sub`
 *
 * @module
 */
import {
  FLAG_UNTERMINATED,
  type Message,
  openBroker,
  type Subscriber,
} from "../../broker/broker.ts";
import { pathName, topicName, wholeNumber } from "../arguments.ts";
import type { Command } from "../cli.ts";
import { complain, EXIT, Failure } from "../failure.ts";
import { joinRecord } from "../framing.ts";
import { brokerFolder, DATA_DEFAULT, existingData, liveNode } from "../node_file.ts";
import { OutputBuffer } from "../standard_output.ts";
import { existingTopic } from "../topic_lookup.ts";

/** The command. */
export const command: Command = {
  spec: {
    name: "sub",
    summary: "prints the records of a topic in their total order",
    operands: [{ name: "TOPIC", help: "the topic to read", schema: topicName() }],
    options: {
      data: {
        value: "DIR",
        help: `folder of the node (default ${DATA_DEFAULT})`,
        schema: pathName(),
      },
      from: {
        value: "N|start|end",
        help: "first record: a total order, the oldest (default), or the next to come",
        schema: (zod) =>
          zod.union([
            zod.enum(["start", "end"]),
            wholeNumber(0, Number.MAX_SAFE_INTEGER)(zod),
          ], { error: "must be start, end or a whole number" }),
      },
      count: {
        value: "N",
        help: "end after N records",
        schema: wholeNumber(0, Number.MAX_SAFE_INTEGER),
      },
      follow: { help: "wait for more at the end, instead of ending there" },
      json: { help: "one JSON object for each record; base64 where it is not UTF-8" },
    },
    examples: [
      "keelson sub lines --from start > copy.log    the bytes of the file that was published",
      "keelson sub telemetry --follow --json        what comes, as it comes",
    ],
    notes: ["Works on the live node, or on the folder when no node runs (then it cannot follow)."],
  },
  run: async (options) => {
    const data = existingData(options.data as string | undefined ?? DATA_DEFAULT);
    const follow = options.follow === true;
    if (follow && !liveNode(data)) {
      throw new Failure(
        `no node runs on ${data}, so nothing will follow; leave out --follow, or start one with: ` +
          `keelson run --data ${data}`,
      );
    }
    using broker = openBroker(brokerFolder(data), { readOnly: true });
    const topic = existingTopic(broker, options.TOPIC as string);
    const from = options.from as "start" | "end" | number | undefined ?? "start";
    using subscriber = broker.subscribe(topic, { from, follow });
    const output = new OutputBuffer();
    const print = options.json ? printJson : printBytes;
    await printAll(
      subscriber,
      options.count as number | undefined ?? Infinity,
      (message) => print(message, output),
      () => output.flush(),
    );
    return EXIT.ok;
  },
};

/** What was printed is written at the latest so long after. */
const FLUSH_MS = 20;

/** Prints up to `count` records. */
async function printAll(
  subscriber: Subscriber,
  count: number,
  print: (message: Message) => void,
  flush: () => void,
): Promise<void> {
  if (count === 0) return;
  let left = count;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flushSoon = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      try {
        flush();
      } catch (error) {
        // Out of reach of the loop below, which waits for a record that may never come.
        Deno.exit(error instanceof Deno.errors.BrokenPipe ? EXIT.ok : complain(error));
      }
    }, FLUSH_MS);
  };
  for await (const message of subscriber) {
    print(message);
    flushSoon();
    if (--left === 0) break;
  }
  clearTimeout(timer);
  flush();
}

function printBytes({ bytes, flags }: Message, output: OutputBuffer): void {
  const { into, offset } = output.reserve(bytes.length + 1);
  output.commit(joinRecord(bytes, (flags & FLAG_UNTERMINATED) !== 0, into, offset));
}

function printJson(message: Message, output: OutputBuffer): void {
  output.line(recordJson(message));
}

/** A record as one line of JSON. */
export function recordJson(message: Message): string {
  const { totalOrder, session, sequence, flags, publishedAtMicros, bytes } = message;
  return JSON.stringify({
    totalOrder,
    session,
    sequence,
    unterminated: (flags & FLAG_UNTERMINATED) !== 0,
    publishedAtMicros,
    bytes: bytes.length,
    ...content(bytes),
  });
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function content(bytes: Uint8Array): { text: string } | { base64: string } {
  try {
    return { text: strict.decode(bytes) };
  } catch {
    return { base64: toBase64(bytes) };
  }
}

function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 32768) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  return btoa(binary);
}
