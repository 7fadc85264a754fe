/**
 * `keelson stat`
 *
 * @module
 */
import { type Broker, type BrokerStat, openBroker, type RoleState } from "../../broker/broker.ts";
import { pathName } from "../arguments.ts";
import type { Command } from "../cli.ts";
import { EXIT } from "../failure.ts";
import { brokerLogs, type FolderKind, folderKind, folderSize } from "../folder_kind.ts";
import { DATA_DEFAULT, existingData, liveNode, type NodeRecord } from "../node_file.ts";
import { count, size } from "../report.ts";
import { printLine } from "../standard_output.ts";
import { tableText } from "../table.ts";
import { topicJson, topicTable } from "./topics.ts";

const WATCH_MS = 1000;

/** The command. */
export const command: Command = {
  spec: {
    name: "stat",
    summary: "shows the state of a node, live or at rest, or of a log folder",
    operands: [{
      name: "DIR",
      help: "a node's or a log's folder (default: that of --data)",
      optional: true,
      schema: pathName(),
    }],
    options: {
      data: {
        value: "DIR",
        help: `folder of the node (default ${DATA_DEFAULT})`,
        schema: pathName(),
      },
      watch: { help: "again each second, until Ctrl-C" },
      json: { help: "one JSON object each time" },
    },
    examples: ["keelson stat --watch", "keelson stat ./keelson-data/broker/broker-0 --json"],
  },
  run: async (options) => {
    const named = options.DIR as string | undefined;
    const path = named ?? existingData(options.data as string | undefined ?? DATA_DEFAULT);
    const watch = options.watch === true;
    const terminal = watch && !options.json && Deno.stdout.isTerminal();
    for (;;) {
      const state = stateOf(folderKind(path));
      if (terminal) printLine("\x1b[H\x1b[2J");
      printLine(options.json ? JSON.stringify(stateJson(state)) : stateText(state));
      if (!watch) return EXIT.ok;
      await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
    }
  },
};

interface LogSize {
  log: string;
  files: number;
  bytes: number;
}

interface State {
  found: FolderKind;
  node?: NodeRecord;
  stat?: BrokerStat;
  logs: LogSize[];
}

function stateOf(found: FolderKind): State {
  if (found.kind === "log") return { found, logs: [{ log: found.log, ...folderSize(found.log) }] };
  using broker: Broker = openBroker(found.broker, { readOnly: true });
  return {
    found,
    node: found.kind === "node" ? liveNode(found.data) : undefined,
    stat: broker.stat(),
    logs: brokerLogs(found.broker).map((log) => ({ log, ...folderSize(log) })),
  };
}

function stateJson({ found, node, stat, logs }: State): Record<string, unknown> {
  return {
    kind: found.kind,
    running: found.kind === "node" ? node !== undefined : undefined,
    pid: node?.pid,
    port: node?.port ?? undefined,
    brokerCount: stat?.brokerCount,
    brokers: stat?.brokers,
    sequencer: stat?.sequencer,
    topics: stat?.topics.map(topicJson),
    subscribers: stat?.subscribers,
    logs,
  };
}

function stateText({ found, node, stat, logs }: State): string {
  const logRows = logs.map(({ log, files, bytes }) => [log, count(files), size(bytes)]);
  const logTable = tableText([["log", "files", "size"], ...logRows]);
  if (!stat) return logTable;
  const parts: string[] = [];
  if (found.kind === "node") {
    const page = node?.port ? `, page at http://127.0.0.1:${node.port}/` : "";
    parts.push(node ? `node of process ${node.pid}${page}` : "no node runs here");
  }
  const roles: [string, RoleState][] = [
    ...stat.brokers.map((role, i): [string, RoleState] => [`broker ${i}`, role]),
    ["sequencer", stat.sequencer],
  ];
  parts.push(tableText([
    ["role", "state", "process", "records in log", "bytes in log", "syncs"],
    ...roles.map(([name, role]) => [
      name,
      role.failed ? `failed: ${role.failed}` : role.alive ? "alive" : "not hosted",
      role.alive ? String(role.pid) : "",
      name === "sequencer" ? "" : count(role.durableRecords),
      name === "sequencer" ? "" : count(role.logBytes),
      name === "sequencer" ? "" : count(role.syncs),
    ]),
  ]));
  if (stat.topics.length > 0) parts.push(topicTable(stat.topics));
  if (stat.subscribers.length > 0) {
    parts.push(tableText([
      ["subscriber of", "process", "position", "lag"],
      ...stat.subscribers.map((
        one,
      ) => [one.topic, String(one.pid), count(one.position), count(one.lag)]),
    ]));
  }
  return [...parts, logTable].join("\n\n");
}
