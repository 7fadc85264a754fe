/**
 * `keelson run`
 *
 * @module
 */
import { duration, oneOf, pathName, topicName, wholeNumber } from "../arguments.ts";
import type { Command } from "../cli.ts";
import { DATA_DEFAULT } from "../node_file.ts";
import type { AckLevel } from "../record_pump.ts";
import { runNode } from "../run.ts";

const PORT_DEFAULT = 4660;

/** The command. */
export const command: Command = {
  spec: {
    name: "run",
    summary: "runs a local node: broker processes, a sequencer, publishers and a checker",
    options: {
      data: {
        value: "DIR",
        help: `folder of the data (default ${DATA_DEFAULT})`,
        schema: pathName(),
      },
      brokers: {
        value: "N",
        help: "broker processes, 1 to 8, fixed when the folder is made (default 4)",
        schema: wholeNumber(1, 8),
      },
      input: {
        value: "FILE",
        help: "publish the lines of FILE (- is standard input), and end when all are acknowledged",
        schema: pathName(),
      },
      topic: {
        value: "NAME",
        help: "topic to publish to and to report on (default lines with an input, else telemetry)",
        schema: topicName(),
      },
      rate: {
        value: "N",
        help: "telemetry records each second; 0 is none (default 100, with an input 0)",
        schema: wholeNumber(0, 1_000_000),
      },
      for: { value: "TIME", help: "end after 500ms, 5s, 2m or 1h", schema: duration() },
      ack: {
        value: "LEVEL",
        help:
          "acknowledge when ordered (survives kill -9) or durable (survives a power cut; default)",
        schema: oneOf("ordered", "durable"),
      },
      port: {
        value: "N",
        help: `port of the page on loopback; 0 picks one (default ${PORT_DEFAULT})`,
        schema: wholeNumber(0, 65535),
      },
      "no-dashboard": { help: "serve no page" },
      json: { help: "the last line is the report as JSON" },
    },
    examples: [
      "keelson run                                      telemetry, and a page to watch it",
      "keelson run --input access.log --for 30s --json  publish a file and report",
    ],
    notes: [
      "A record ends at LF, which is not stored; bytes after the last LF are a record too. The same\n" +
      "FILE, unchanged, goes on where an earlier run was interrupted; standard input cannot.",
      "Ctrl-C ends cleanly and still reports; a second one ends at once.",
    ],
  },
  run: (options) =>
    runNode({
      data: options.data as string | undefined ?? DATA_DEFAULT,
      brokers: options.brokers as number | undefined,
      input: options.input as string | undefined,
      topic: options.topic as string | undefined,
      rate: options.rate as number | undefined,
      forMs: options.for as number | undefined,
      ack: options.ack as AckLevel | undefined ?? "durable",
      port: options.port as number | undefined ?? PORT_DEFAULT,
      dashboard: !options["no-dashboard"],
      json: options.json === true,
    }),
};
