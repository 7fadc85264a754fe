/**
 * The main job: a node that publishes real records, checks itself, shows itself, and says at its end
 * what it has seen.
 *
 * @module
 */
import { complain, EXIT, Failure, fileFailure } from "./failure.ts";
import { fileIdentity, InputSessions, type UnfinishedInput } from "./input_sessions.ts";
import { LocalNode } from "./local_node.ts";
import { liveNode } from "./node_file.ts";
import { ProgressBar, type ProgressView } from "./progress_bar.ts";
import type { AckLevel } from "./record_pump.ts";
import { count, exitCodeOf, type Report, reportJson, reportText } from "./report.ts";
import { RunAccount } from "./run_account.ts";
import { RunChecker } from "./run_checker.ts";
import { type InputSource, RunInput } from "./run_input.ts";
import { RunPage, type RunParts } from "./run_page.ts";
import { RunTelemetry } from "./run_telemetry.ts";
import { printLine } from "./standard_output.ts";
import type { TelemetrySource } from "./telemetry.ts";

/** The checked options of `keelson run`. */
export interface RunOptions {
  data: string;
  brokers?: number;
  /** A path, `-`, or nothing. */
  input?: string;
  topic?: string;
  /** Telemetry records per second. */
  rate?: number;
  forMs?: number;
  ack: AckLevel;
  port: number;
  dashboard: boolean;
  json: boolean;
}

/** Why a run ends. */
type Ending = { why: "complete" | "time" } | { why: "signal"; exitCode: number } | {
  why: "failure";
  failure: Failure;
};

const RATE_DEFAULT = 100;
const TOPIC_OF_INPUT = "lines";
const TOPIC_OF_TELEMETRY = "telemetry";
/** Each is published by a process of its own. */
const TELEMETRY_SHARES: { label: string; sources: TelemetrySource[] }[] = [
  { label: "host", sources: ["cpu", "memory", "scheduler"] },
  { label: "devices", sources: ["disk", "network", "processes"] },
];
/** How long a publisher may wait for acknowledgements when it is stopped. */
const PUBLISHER_STOP_MS = 2000;

/** Runs a node until its end; gives the exit code. */
export async function runNode(options: RunOptions): Promise<number> {
  const source = options.input === undefined ? undefined : await inputSource(options.input);
  refuseOwned(options.data);
  const run = new Run(options, source);
  return await run.whole();
}

class Run {
  #startedAt = performance.now();
  readonly #account = new RunAccount();
  readonly #topic: string;
  readonly #ended = Promise.withResolvers<Ending>();
  #parts: RunParts | undefined;
  #sessions: InputSessions | undefined;
  #input: RunInput | undefined;
  readonly #telemetry: RunTelemetry[] = [];

  constructor(private readonly options: RunOptions, private readonly source?: InputSource) {
    this.#topic = options.topic ?? (source ? TOPIC_OF_INPUT : TOPIC_OF_TELEMETRY);
  }

  async whole(): Promise<number> {
    const page = await this.#openPage();
    try {
      const node = await LocalNode.open({
        data: this.options.data,
        brokers: this.options.brokers,
        onFailure: (failure) => this.#ended.resolve({ why: "failure", failure }),
      });
      const release = onSignals((exitCode, again) => {
        if (again) {
          node.destroy();
          Deno.exit(exitCode);
        }
        this.#ended.resolve({ why: "signal", exitCode });
      });
      try {
        return await this.#alive(node, page?.port ?? null);
      } finally {
        node.destroy(); // nothing, after a clean end
        release();
      }
    } finally {
      await page?.close();
    }
  }

  async #alive(node: LocalNode, port: number | null): Promise<number> {
    node.port = port;
    this.#startedAt = performance.now();
    this.#start(node);
    if (port !== null) this.#say(`the page is at http://127.0.0.1:${port}/`);
    const timer = this.options.forMs === undefined
      ? undefined
      : setTimeout(() => this.#ended.resolve({ why: "time" }), this.options.forMs);
    let ending: Ending;
    {
      using _bar = new ProgressBar(() => this.#view());
      ending = await this.#ended.promise;
      clearTimeout(timer);
      await Promise.all([...this.#telemetry, this.#input].map((p) => p?.stop(PUBLISHER_STOP_MS)));
    }
    return await this.#finish(node, ending);
  }

  /** Starts the roles, then the checker, then what it is to check. */
  #start(node: LocalNode): void {
    const { data, ack, rate } = this.options;
    const first = node.broker.topic(this.#topic).records;
    const sessions = this.#sessions = new InputSessions(node.folder.inputs());
    node.startHosts();
    const unfinished = this.#unfinished(sessions);
    const from = Math.min(first, unfinished?.from ?? first);
    const task = (judged: ReadonlyMap<number, number>) => {
      const known = this.#account.acknowledged();
      if (known.length === 0 && unfinished) {
        known.push({ session: unfinished.session, acknowledged: 0 });
      }
      const sessions = known.map((one) => ({ ...one, first: judged.get(one.session) ?? 0 }));
      return { data, topic: this.#topic, from, sessions };
    };
    const checker = new RunChecker(node, task, () => {
      this.#input?.restart();
      for (const telemetry of this.#telemetry) telemetry.restart();
    });
    this.#parts = { topic: this.#topic, node, account: this.#account, checker };
    const shared = { node, account: this.#account, checker: () => checker, data, ack };
    if (this.source) {
      const { source } = this;
      this.#input = new RunInput({ ...shared, sessions, source, topic: this.#topic, from: first });
      this.#input.done.then(() => this.#ended.resolve({ why: "complete" }));
      this.#input.start();
    }
    const total = rate ?? (this.source ? 0 : RATE_DEFAULT);
    const topic = this.source ? TOPIC_OF_TELEMETRY : this.#topic;
    if (total > 0 && topic !== this.#topic) node.broker.topic(topic);
    // A rate of 1 is one record each second, not two publishers of half a record.
    const shares = TELEMETRY_SHARES.slice(0, total);
    for (const share of shares) {
      const counted = topic === this.#topic;
      const options = { ...shared, ...share, topic, counted, rate: total / shares.length };
      this.#telemetry.push(new RunTelemetry(options));
    }
  }

  /** The session that this run goes on with, if its input was begun before. */
  #unfinished(sessions: InputSessions): UnfinishedInput | undefined {
    const file = this.source?.file;
    return file && sessions.find(file.identity, this.#topic);
  }

  async #finish(node: LocalNode, ending: Ending): Promise<number> {
    const incomplete = ending.why === "failure" && ending.failure.exitCode === EXIT.incomplete;
    if (ending.why === "failure" && !incomplete) throw ending.failure;
    const checked = await this.#parts!.checker.finish();
    const report: Report = {
      topic: this.#topic,
      ...this.#account.totals(),
      ...checked,
      inputComplete: this.#input ? this.#input.complete : null,
      seconds: Math.round(performance.now() - this.#startedAt) / 1000,
      ackDurableMicros: {
        p50: this.#account.ackDurable.percentile(0.5),
        p99: this.#account.ackDurable.percentile(0.99),
      },
    };
    // Before the session is forgotten: a run that is killed in between is only reported twice.
    printLine(this.options.json ? reportJson(report) : reportText(report));
    this.#input?.settle();
    const trouble = ending.why === "failure" ? ending.failure : node.trouble;
    await node.close();
    if (trouble) complain(trouble);
    const exitCode = exitCodeOf(report, ending.why === "signal" ? ending.exitCode : 0);
    return exitCode === EXIT.ok && trouble ? trouble.exitCode : exitCode;
  }

  async #openPage(): Promise<{ port: number; close(): Promise<void> } | undefined> {
    if (!this.options.dashboard) return undefined;
    const { port } = this.options;
    const { startDashboard } = await import("./dashboard/server.ts");
    try {
      return await startDashboard(new RunPage(() => this.#parts), { port });
    } catch (error) {
      if (error instanceof Deno.errors.AddrInUse) {
        throw new Failure(
          `port ${port} is in use; choose another with --port, let --port 0 pick one, ` +
            "or leave the page out with --no-dashboard",
          EXIT.environment,
          { cause: error },
        );
      }
      throw new Failure(`cannot serve the page on port ${port}: ${messageOf(error)}`);
    }
  }

  #view(): ProgressView {
    const { published, durable } = this.#account.totals();
    const seconds = Math.round((performance.now() - this.#startedAt) / 1000);
    const text = `${count(published)} published, ${count(durable)} durable, ${seconds} s`;
    const { offset, size } = this.#input?.progress ?? { offset: 0, size: undefined };
    if (size !== undefined) return { share: size === 0 ? 1 : offset / size, text };
    const { forMs } = this.options;
    const share = forMs === undefined
      ? undefined
      : Math.min(1, (performance.now() - this.#startedAt) / forMs);
    return { share, text };
  }

  /** A word for the person at a terminal; a pipe gets only the report. */
  #say(text: string): void {
    if (Deno.stderr.isTerminal()) console.error(`keelson: ${text} (Ctrl-C ends)`);
  }
}

/** What `--input` means: a file that can be read again, or a stream. */
async function inputSource(input: string): Promise<InputSource> {
  if (input === "-") return { name: "standard input", stream: Deno.stdin.readable };
  const what = `the input file ${input}`;
  let file: Deno.FsFile;
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(input);
    if (info.isDirectory) {
      throw new Failure(`${what} is a folder; name a file, or - for standard input`);
    }
    file = await Deno.open(input);
  } catch (error) {
    throw fileFailure(error, what);
  }
  if (!info.isFile) return { name: input, stream: file.readable };
  file.close(); // it can be read: that is all we wanted to know
  return { name: input, file: { path: await Deno.realPath(input), identity: fileIdentity(info) } };
}

/** The folder's lock decides; this only says it before anything else is touched. */
function refuseOwned(data: string): void {
  const node = liveNode(data);
  if (!node) return;
  throw new Failure(
    `the data folder ${data} is owned by another live node, process ${node.pid}; ` +
      "attach to it (keelson sub, pub, stat), or name another folder with --data",
  );
}

/** Calls back on SIGINT and SIGTERM; `again` from the second on. Gives the way to end that. */
function onSignals(act: (exitCode: number, again: boolean) => void): () => void {
  let seen = false;
  const listeners = ([["SIGINT", EXIT.interrupted], ["SIGTERM", EXIT.terminated]] as const).map(
    ([signal, exitCode]) => {
      const listener = () => {
        act(exitCode, seen);
        seen = true;
      };
      Deno.addSignalListener(signal, listener);
      return () => Deno.removeSignalListener(signal, listener);
    },
  );
  return () => listeners.forEach((remove) => remove());
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
