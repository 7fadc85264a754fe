/**
 * `keelson topics`
 *
 * @module
 */
import { openBroker, type TopicInfo } from "../../broker/broker.ts";
import { pathName } from "../arguments.ts";
import type { Command } from "../cli.ts";
import { EXIT } from "../failure.ts";
import { brokerFolder, DATA_DEFAULT, existingData } from "../node_file.ts";
import { count } from "../report.ts";
import { printLine } from "../standard_output.ts";
import { tableText } from "../table.ts";

/** The command. */
export const command: Command = {
  spec: {
    name: "topics",
    summary: "lists the topics of a node",
    options: {
      data: {
        value: "DIR",
        help: `folder of the node (default ${DATA_DEFAULT})`,
        schema: pathName(),
      },
      json: { help: "one JSON object for each topic" },
    },
    examples: ["keelson topics --data ./keelson-data"],
  },
  run: (options) => {
    const data = existingData(options.data as string | undefined ?? DATA_DEFAULT);
    using broker = openBroker(brokerFolder(data), { readOnly: true });
    const topics = broker.topics();
    if (options.json) {
      for (const topic of topics) printLine(JSON.stringify(topicJson(topic)));
    } else if (topics.length > 0) {
      printLine(topicTable(topics));
    }
    return Promise.resolve(EXIT.ok);
  },
};

/** A topic with what is not known of it as null. */
export function topicJson(topic: TopicInfo): Record<string, unknown> {
  const { name, logged, records, durableRecords, bytes, sessions, cutRecords, live } = topic;
  const known = (value: number) => Number.isFinite(value) ? value : null;
  return {
    name,
    logged,
    records: known(records),
    durableRecords: known(durableRecords),
    bytes: known(bytes),
    sessions: known(sessions),
    cutRecords,
    live,
  };
}

/** Topics as a table. */
export function topicTable(topics: TopicInfo[]): string {
  const shown = (value: number) => Number.isFinite(value) ? count(value) : "?";
  const rows = topics.map((topic) => [
    topic.name,
    shown(topic.records),
    topic.logged ? shown(topic.durableRecords) : "unlogged",
    shown(topic.sessions),
    topic.cutRecords > 0 ? count(topic.cutRecords) : "",
  ]);
  return tableText([["topic", "records", "durable", "sessions", "cut at recovery"], ...rows]);
}
