/**
 * `run`'s side of a process that publishes telemetry.
 *
 * @module
 */
import type { Child } from "./child.ts";
import { decodeJson, FRAME, type Frame, type SessionNote } from "./frames.ts";
import type { LocalNode } from "./local_node.ts";
import type { AckLevel } from "./record_pump.ts";
import type { PublishTelemetryTask } from "./roles/publish_telemetry.ts";
import type { RunAccount } from "./run_account.ts";
import type { RunChecker } from "./run_checker.ts";
import type { TelemetrySource } from "./telemetry.ts";

/** What a telemetry publisher needs of the run. */
export interface RunTelemetryOptions {
  node: LocalNode;
  account: RunAccount;
  checker: () => RunChecker;
  data: string;
  topic: string;
  ack: AckLevel;
  /** For people: "host". */
  label: string;
  sources: TelemetrySource[];
  /** Records per second. */
  rate: number;
  /** Whether its records are checked and counted in the report. */
  counted: boolean;
}

/** One telemetry publisher. */
export class RunTelemetry {
  readonly #child: Child;
  #session: number | undefined;

  constructor(private readonly options: RunTelemetryOptions) {
    this.#child = options.node.add({
      name: `telemetry ${options.label}`,
      role: "publish-telemetry",
      task: () => this.#task(),
      onFrame: (frame) => this.#hear(frame),
    });
    this.#child.start();
  }

  /** Has the publisher say its session anew. */
  restart(): void {
    this.#child.kill();
  }

  /** Asks the publisher to end. */
  async stop(patienceMs: number): Promise<void> {
    await this.#child.stop(patienceMs);
  }

  #task(): PublishTelemetryTask {
    const { data, topic, ack, sources, rate, counted, account } = this.options;
    const known = this.#session === undefined ? undefined : account.get(this.#session);
    return {
      data,
      topic,
      ack,
      sources,
      rate,
      checked: counted,
      session: this.#session,
      bytes: known?.progress.resumeBytes ?? 0,
    };
  }

  async #hear(frame: Frame): Promise<void> {
    const { account, checker, counted, label, topic } = this.options;
    if (frame.kind === FRAME.session) {
      const { session, next }: SessionNote = decodeJson(frame.payload);
      this.#session = session;
      const pid = () => this.#child.identity?.pid ?? 0;
      account.open(session, { label, topic, counted, pid });
      if (counted && !await checker().know(session, next)) return; // restart() comes
      await this.#child.send(FRAME.go);
      return;
    }
    account.hear(frame);
    if (counted && frame.kind !== FRAME.latency) await checker().relay(frame);
  }
}
