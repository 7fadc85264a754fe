/**
 * `keelson pub`
 *
 * @module
 */
import { openBroker, type Publisher } from "../../broker/broker.ts";
import { oneOf, pathName, topicName } from "../arguments.ts";
import type { Command } from "../cli.ts";
import { EXIT, Failure, fileFailure } from "../failure.ts";
import { LineSplitter } from "../framing.ts";
import { brokerFolder, DATA_DEFAULT, liveNode, requireLiveNode } from "../node_file.ts";
import { ProgressBar } from "../progress_bar.ts";
import { type AckLevel, pumpInput, RecordPump, tooLongFailure } from "../record_pump.ts";
import { count } from "../report.ts";
import { printLine } from "../standard_output.ts";
import { recordBytesMax } from "../topic_lookup.ts";

const NODE_CHECK_MS = 1000;
const NODE_ABSENT_CHECKS = 4;

/** The command. */
export const command: Command = {
  spec: {
    name: "pub",
    summary: "publishes the lines of a file or of standard input to a topic of the live node",
    operands: [
      { name: "TOPIC", help: "made when it does not exist", schema: topicName() },
      { name: "FILE", help: "- or nothing: standard input", optional: true, schema: pathName() },
    ],
    options: {
      data: {
        value: "DIR",
        help: `folder of the node (default ${DATA_DEFAULT})`,
        schema: pathName(),
      },
      ack: {
        value: "LEVEL",
        help: "wait until records are durable (default), ordered, or none",
        schema: oneOf("none", "ordered", "durable"),
      },
      json: { help: "say the result as JSON" },
    },
    examples: ["date | keelson pub notes", "keelson pub lines access.log --ack ordered --json"],
    notes: [
      "Records are framed as run frames them: one for each LF, and one for what is behind the last.",
    ],
  },
  run: async (options) => {
    const data = options.data as string | undefined ?? DATA_DEFAULT;
    const ack = options.ack as AckLevel | "none" | undefined ?? "durable";
    requireLiveNode(data);
    const input = options.FILE as string | undefined ?? "-";
    const chunks = await inputChunks(input);
    using broker = openBroker(brokerFolder(data));
    const topic = options.TOPIC as string;
    broker.topic(topic);
    using publisher = broker.publisher(topic, { ack });
    using watch = new NodeWatch(data);
    const { records, bytes } = await Promise.race([
      publishAll(
        publisher,
        chunks,
        new LineSplitter(recordBytesMax(broker, topic)),
        input === "-" ? "standard input" : input,
        ack,
      ),
      watch.gone,
    ]);
    printLine(
      options.json
        ? JSON.stringify({ topic, session: publisher.session, published: records, bytes, ack })
        : `${count(records)} records published to ${topic}${ack === "none" ? "" : `, ${ack}`}`,
    );
    return EXIT.ok;
  },
};

/** Without a node nothing is acknowledged: it may be away for a restart, but not for longer. */
class NodeWatch implements Disposable {
  readonly #timer: ReturnType<typeof setInterval>;
  /** Rejects when no node has run for a while. */
  readonly gone: Promise<never>;

  constructor(data: string) {
    const { promise, reject } = Promise.withResolvers<never>();
    let absentChecks = 0;
    this.gone = promise;
    this.#timer = setInterval(() => {
      absentChecks = liveNode(data) ? 0 : absentChecks + 1;
      if (absentChecks < NODE_ABSENT_CHECKS) return;
      reject(
        new Failure(
          `the node on ${data} has ended before all was acknowledged; what was published is ` +
            "kept, and becomes durable when the node runs again",
        ),
      );
    }, NODE_CHECK_MS);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

async function publishAll(
  publisher: Publisher,
  chunks: AsyncIterable<Uint8Array>,
  splitter: LineSplitter,
  inputName: string,
  ack: AckLevel | "none",
): Promise<{ records: number; bytes: number }> {
  const pump = new RecordPump(publisher, ack === "none" ? "ordered" : ack, {});
  using _bar = new ProgressBar(() => ({
    share: undefined,
    text: `${count(pump.sequence)} published`,
  }));
  const pumping = pumpInput(chunks, splitter, pump);
  await Promise.race([pumping, pump.watch()]);
  const tooLong = await pumping;
  if (ack !== "none") await pump.acknowledgedWhole();
  pump.stop();
  if (tooLong) throw tooLongFailure(tooLong, inputName);
  return { records: pump.sequence, bytes: pump.bytes };
}

async function inputChunks(input: string): Promise<AsyncIterable<Uint8Array>> {
  if (input === "-") return Deno.stdin.readable;
  const what = `the input file ${input}`;
  try {
    if ((await Deno.stat(input)).isDirectory) {
      throw new Failure(`${what} is a folder; name a file, or - for standard input`);
    }
    return (await Deno.open(input)).readable;
  } catch (error) {
    throw fileFailure(error, what);
  }
}
