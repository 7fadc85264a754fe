/**
 * `keelson verify`
 *
 * @module
 */
import { KeelsonError } from "../../base/error.ts";
import { type Broker, openBroker } from "../../broker/broker.ts";
import { verifyLog } from "../../log/log_verify.ts";
import { pathName } from "../arguments.ts";
import type { Command } from "../cli.ts";
import { readInputs } from "../data_folder.ts";
import { EXIT } from "../failure.ts";
import { brokerLogs, folderKind } from "../folder_kind.ts";
import { ProgressBar } from "../progress_bar.ts";
import { count, size } from "../report.ts";
import { printLine } from "../standard_output.ts";

/** The command. */
export const command: Command = {
  spec: {
    name: "verify",
    summary: "reads and checks every byte of a node's folder or of a log, and changes nothing",
    operands: [{
      name: "DIR",
      help: "a node's folder, a broker's, or a log's",
      schema: pathName(),
    }],
    options: { json: { help: "one JSON object for each log, topic and problem" } },
    examples: ["keelson verify ./keelson-data"],
    notes: [
      "Each problem is one line with file, offset and what was expected; then the exit code is 1.",
    ],
  },
  run: async (options) => {
    const found = folderKind(options.DIR as string);
    const verifier = new Verifier(options.json === true);
    using bar = new ProgressBar(() => ({ share: undefined, text: verifier.status }));
    const logs = found.kind === "log" ? [found.log] : brokerLogs(found.broker);
    for (const log of logs) await verifier.log(log);
    if (found.kind === "node") verifier.inputs(found.data);
    // A topic is read from the logs: with a damaged one it would only be said again.
    if (found.kind !== "log" && verifier.sound) await verifier.topics(found.broker);
    bar.close();
    return verifier.verdict();
  },
};

/** Checks one thing after another, tells each problem, and counts. */
class Verifier {
  /** What is being read, for the progress bar. */
  status = "";
  #problems = 0;
  #records = 0;
  #bytes = 0;
  #logs = 0;

  constructor(private readonly json: boolean) {}

  /** Whether there was no problem yet. */
  get sound(): boolean {
    return this.#problems === 0;
  }

  /** The list of inputs that were begun. */
  inputs(data: string): void {
    try {
      readInputs(data);
    } catch (error) {
      this.#failed(data, error);
    }
  }

  async log(folder: string): Promise<void> {
    this.status = `reading ${folder}`;
    this.#logs++;
    try {
      const { problems, problemCount, ...check } = await verifyLog(folder);
      for (const problem of problems) this.#problem(problem);
      const untold = problemCount - problems.length;
      if (untold > 0) {
        this.#problem(`${folder}: and ${count(untold)} more problems`);
        this.#problems += untold - 1;
      }
      this.#records += check.recordCount;
      this.#bytes += check.bytesUsed;
      if (this.json) printLine(JSON.stringify({ log: folder, problems: problemCount, ...check }));
    } catch (error) {
      this.#failed(folder, error);
    }
  }

  /** Reads every topic as a subscriber does: its records must be there one after another. */
  async topics(folder: string): Promise<void> {
    let broker: Broker;
    try {
      broker = openBroker(folder, { readOnly: true });
    } catch (error) {
      return this.#failed(folder, error);
    }
    using _broker = broker;
    for (const name of broker.topicNames()) {
      this.status = `reading topic ${name}`;
      try {
        await this.#topic(broker, name);
      } catch (error) {
        this.#failed(`${folder}: topic ${name}`, error);
      }
    }
  }

  async #topic(broker: Broker, name: string): Promise<void> {
    using subscriber = broker.subscribe(name, { from: "start", follow: false });
    let expected: number | undefined;
    let records = 0;
    for await (const { totalOrder } of subscriber) {
      if (expected !== undefined && totalOrder !== expected) {
        this.#problem(
          `${broker.folder}: topic ${name}: record ${totalOrder} follows ${expected - 1}, ` +
            `expected ${expected}`,
        );
      }
      expected = totalOrder + 1;
      records++;
    }
    if (this.json) printLine(JSON.stringify({ topic: name, records }));
  }

  /** Says the result; gives the exit code. */
  verdict(): number {
    if (!this.json) {
      printLine(
        this.#problems === 0
          ? `sound: ${count(this.#records)} log entries in ${this.#logs} logs, ${size(this.#bytes)}`
          : `${count(this.#problems)} problem${this.#problems === 1 ? "" : "s"} found`,
      );
    }
    return this.#problems === 0 ? EXIT.ok : EXIT.check;
  }

  #failed(what: string, error: unknown): void {
    if (!(error instanceof KeelsonError)) throw error;
    this.#problem(error.detail.includes("/") ? error.detail : `${what}: ${error.detail}`);
  }

  #problem(text: string): void {
    this.#problems++;
    const line = text.replace(/\s*\n\s*/g, "; ");
    printLine(this.json ? JSON.stringify({ problem: line }) : line);
  }
}
