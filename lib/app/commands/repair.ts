/**
 * `keelson repair`
 *
 * @module
 */
import { repairLog, type RepairLogOptions } from "../../log/durable_log.ts";
import { oneOf, pathName } from "../arguments.ts";
import type { Command } from "../cli.ts";
import { EXIT, Failure } from "../failure.ts";
import { brokerLogs, folderKind } from "../folder_kind.ts";
import { liveNode } from "../node_file.ts";
import { count } from "../report.ts";
import { printLine } from "../standard_output.ts";

/** The command. */
export const command: Command = {
  spec: {
    name: "repair",
    summary: "makes damaged logs openable again, and says what that drops",
    operands: [{ name: "DIR", help: "a node's, a broker's or a log's folder", schema: pathName() }],
    options: {
      mode: {
        value: "MODE",
        help: "skip (default): leave out what is damaged; point-in-time: end the log before it",
        schema: oneOf("skip", "point-in-time"),
      },
      "dry-run": { help: "only say what would be done" },
    },
    examples: ["keelson repair ./keelson-data --dry-run", "keelson repair ./log"],
    notes: [
      "What is dropped is kept in the folder `dropped` of its log. Refused while a node runs.",
    ],
  },
  run: async (options) => {
    const found = folderKind(options.DIR as string);
    if (found.kind === "node" && liveNode(found.data)) {
      throw new Failure(`a node runs on ${found.data}: stop it first`);
    }
    const logs = found.kind === "log" ? [found.log] : brokerLogs(found.broker);
    const mode = options.mode as RepairLogOptions["mode"];
    for (const log of logs) await repairOne(log, { mode, dryRun: options["dry-run"] === true });
    return EXIT.ok;
  },
};

/** Repairs one log and says what was done. */
export async function repairOne(folder: string, options: RepairLogOptions): Promise<number> {
  const { lines, problemCount, droppedBytes, changed } = await repairLog(folder, options);
  for (const line of lines) printLine(line);
  const found = `${count(problemCount)} problem${problemCount === 1 ? "" : "s"}`;
  const dropped = `${count(droppedBytes)} bytes`;
  if (problemCount === 0) printLine(`${folder}: nothing to repair`);
  else if (changed) printLine(`${folder}: ${found} repaired, ${dropped} dropped, kept in dropped/`);
  else printLine(`${folder}: ${found}, ${dropped} would be dropped; nothing was changed`);
  return EXIT.ok;
}
