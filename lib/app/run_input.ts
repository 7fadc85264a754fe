/**
 * `run`'s side of the process that publishes the input: which session it goes on with, and, for a
 * stream that cannot be read again, the bytes that a successor would need.
 *
 * @module
 */
import type { Child } from "./child.ts";
import { decodeJson, decodeNumbers, FRAME, type Frame, type SessionNote } from "./frames.ts";
import type { FileIdentity, InputSessions } from "./input_sessions.ts";
import type { LocalNode } from "./local_node.ts";
import type { AckLevel } from "./record_pump.ts";
import type { PublishInputTask } from "./roles/publish_input.ts";
import type { RunAccount } from "./run_account.ts";
import type { RunChecker } from "./run_checker.ts";
import { StreamFeed } from "./stream_feed.ts";

/** What there is to publish. */
export interface InputSource {
  /** For messages. */
  name: string;
  /** A file that can be read again; absent for a stream. */
  file?: { path: string; identity: FileIdentity };
  /** A stream: read once, by `run`. */
  stream?: ReadableStream<Uint8Array>;
}

/** What the input's publisher needs of the run. */
export interface RunInputOptions {
  node: LocalNode;
  account: RunAccount;
  checker: () => RunChecker;
  sessions: InputSessions;
  source: InputSource;
  data: string;
  topic: string;
  ack: AckLevel;
  /** Total order at or below the first record of a session that begins now. */
  from: number;
}

/** The input of a run. */
export class RunInput {
  readonly #child: Child;
  readonly #feed: StreamFeed | undefined;
  readonly #done = Promise.withResolvers<void>();
  #session: number | undefined;
  #start = { sequence: 0, offset: 0, bytes: 0 };
  #total: number | undefined;

  constructor(private readonly options: RunInputOptions) {
    const { source, node, topic, sessions } = options;
    const unfinished = source.file && sessions.find(source.file.identity, topic);
    this.#session = unfinished?.session;
    this.#feed = source.stream &&
      new StreamFeed(source.stream, (kind, payload) => this.#child.send(kind, payload));
    this.#child = node.add({
      name: "input publisher",
      role: "publish-input",
      task: () => this.#task(),
      onStart: () => this.#feed?.pause(),
      onFrame: (frame) => this.#hear(frame),
      onDone: () => this.#done.resolve(),
    });
  }

  /** Starts the publisher. */
  start(): void {
    this.#child.start();
  }

  /** Resolves when the publisher has ended by itself: everything is acknowledged. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  /** Whether all records of the input are acknowledged at the level of this run. */
  get complete(): boolean {
    const acknowledged = this.#session === undefined
      ? 0
      : this.options.account.get(this.#session)?.progress.acknowledged ?? 0;
    return this.#total !== undefined && acknowledged >= this.#total;
  }

  /** Bytes of the input that are acknowledged, and of all of it where that is known. */
  get progress(): { offset: number; size: number | undefined } {
    const account = this.#session === undefined
      ? undefined
      : this.options.account.get(this.#session);
    return {
      offset: account?.progress.resumeOffset ?? 0,
      size: this.options.source.file?.identity.size,
    };
  }

  /** Has the publisher say its hashes anew from where all before is surely checked. */
  restart(): void {
    this.#child.kill();
  }

  /** Asks the publisher to end. */
  async stop(patienceMs: number): Promise<void> {
    await this.#child.stop(patienceMs);
  }

  /** Forgets the session, when the input was taken whole. */
  settle(): void {
    if (this.complete && this.#session !== undefined && this.options.source.file) {
      this.options.sessions.finish(this.#session);
    }
  }

  #task(): PublishInputTask {
    const { data, topic, ack, source, account } = this.options;
    const known = this.#session === undefined ? undefined : account.get(this.#session)?.progress;
    this.#start = {
      sequence: known?.resumeSequence ?? 0,
      offset: known?.resumeOffset ?? 0,
      bytes: known?.resumeBytes ?? 0,
    };
    return {
      data,
      topic,
      ack,
      path: source.file?.path,
      inputName: source.name,
      session: this.#session,
      start: this.#start,
    };
  }

  async #hear(frame: Frame): Promise<void> {
    const { account, checker } = this.options;
    if (frame.kind === FRAME.session) {
      await this.#begin(decodeJson(frame.payload));
    } else if (frame.kind === FRAME.end) {
      this.#total = decodeNumbers(frame.payload)[0];
    } else if (frame.kind === FRAME.hashes) {
      await checker().relay(frame);
    } else if (frame.kind === FRAME.progress) {
      account.hear(frame);
      if (this.#session !== undefined) {
        this.#feed?.forget(account.get(this.#session)!.progress.resumeOffset);
      }
      await checker().relay(frame);
    } else if (frame.kind === FRAME.latency) {
      account.hear(frame);
    }
  }

  async #begin({ session }: SessionNote): Promise<void> {
    const { account, checker, sessions, source, topic, from } = this.options;
    if (session !== this.#session && source.file) {
      // Before the first record: a run that is killed from now on finds its session again.
      sessions.begin({ ...source.file.identity, topic, session, from });
    }
    this.#session = session;
    const pid = () => this.#child.identity?.pid ?? 0;
    account.open(session, { label: `input ${source.name}`, topic, counted: true, pid });
    if (!await checker().know(session, this.#start.sequence)) return; // restart() comes
    await this.#child.send(FRAME.go);
    this.#feed?.resume(this.#start.offset);
  }
}
