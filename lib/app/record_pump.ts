/**
 * Publishes a stream of records in batches and keeps account of their acknowledgements: no promise and
 * no message for each record, so that a million lines take seconds.
 *
 * @module
 */
import { FLAG_UNTERMINATED, type Publisher, RecordBatch } from "../broker/broker.ts";
import { contentHash } from "./content_hash.ts";
import { EXIT, Failure } from "./failure.ts";
import { type LineSplitter, RecordTooLong } from "./framing.ts";

/** What records promise when they are acknowledged. */
export type AckLevel = "ordered" | "durable";

/** How far a session has come, and where in its input a successor could go on. */
export interface PumpState {
  published: number;
  ordered: number;
  durable: number;
  bytes: number;
  resumeSequence: number;
  resumeOffset: number;
  resumeBytes: number;
}

/** Who wants to know. */
export interface PumpHooks {
  /** Before the records `first`, `first + 1`, ... are offered. Absent: nothing is hashed. */
  hashes?: (first: number, hashes: Uint32Array) => void;
  /** After acknowledgements arrived. */
  progress?: (state: PumpState) => void;
  /** `records` became durable `micros` after they were offered. */
  durable?: (micros: number, records: number) => void;
}

/** Where a session begins or goes on. */
export interface PumpStart {
  /** Sequence of the first record that will be pushed: those below the publisher's next are skipped. */
  sequence: number;
  offset: number;
  bytes: number;
}

interface Group {
  /** One above the last sequence. */
  end: number;
  records: number;
  offset: number;
  bytes: number;
  offeredAt: number;
}

const BATCH_BYTES = 256 << 10;
/** So that records of a few bytes are still published soon. */
const BATCH_RECORDS_MAX = 8192;
/** How many groups may wait for their durable acknowledgement, once they are ordered. */
const GROUPS_MAX = 4096;

/** Pushes every record of a chunk that the splitter was given, waiting for space where needed. */
async function pumpLines(splitter: LineSplitter, pump: RecordPump): Promise<void> {
  for (let line = splitter.next(); line; line = splitter.next()) {
    const { record, unterminated, endOffset } = line;
    if (pump.push(record, unterminated, endOffset)) continue;
    await pump.flush();
    if (pump.push(record, unterminated, endOffset)) continue;
    await pump.pushAlone(record, unterminated, endOffset);
  }
}

/**
 * Publishes every record of an input. Gives the error of a record that is too long, once all before it
 * are offered; `between` is awaited after each chunk, and ends the work by giving true.
 */
export async function pumpInput(
  chunks: AsyncIterable<Uint8Array>,
  splitter: LineSplitter,
  pump: RecordPump,
  between: () => Promise<boolean> = () => Promise.resolve(false),
): Promise<RecordTooLong | undefined> {
  try {
    for await (const chunk of chunks) {
      splitter.push(chunk);
      await pumpLines(splitter, pump);
      await pump.flush();
      if (await between()) return undefined;
    }
    splitter.end();
    await pumpLines(splitter, pump);
  } catch (error) {
    if (!(error instanceof RecordTooLong)) throw error;
    await pump.flush();
    return error;
  }
  await pump.flush();
  return undefined;
}

/** The line for a record that is too long. */
export function tooLongFailure({ line, bytesMax }: RecordTooLong, inputName: string): Failure {
  return new Failure(
    `line ${line} of ${inputName} is longer than ${bytesMax} bytes; split it: ` +
      "the lines before it are published, the rest is not",
    EXIT.incomplete,
  );
}

/** Feeds one publisher. */
export class RecordPump {
  readonly #batch = new RecordBatch(BATCH_BYTES);
  readonly #hashes = new Uint32Array(BATCH_RECORDS_MAX);
  #hashCount = 0;
  #hashFirst: number;
  /** Offered and not yet durable, oldest first. */
  readonly #groups: Group[] = [];
  /** Sequence of the next record pushed. */
  #sequence: number;
  #offset: number;
  #bytes: number;
  #resume: Group;
  #acksChanged: () => void = () => {};
  #stopped = false;
  readonly #taken: number;

  constructor(
    private readonly publisher: Publisher,
    private readonly level: AckLevel,
    private readonly hooks: PumpHooks,
    start: PumpStart = { sequence: publisher.next, offset: 0, bytes: 0 },
  ) {
    this.#sequence = this.#hashFirst = start.sequence;
    this.#offset = start.offset;
    this.#bytes = start.bytes;
    this.#taken = publisher.next;
    this.#resume = { ...start, end: start.sequence, records: 0, offeredAt: 0 };
  }

  /** Sequence of the next record. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Payload bytes pushed, those before the start included. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Takes one record (it is copied). False when it does not fit any more: {@linkcode flush}, then push
   * it again. `endOffset` is the offset in the input behind it.
   */
  push(record: Uint8Array, unterminated: boolean, endOffset: number): boolean {
    const skipped = this.#sequence < this.#taken;
    if (this.#hashCount === BATCH_RECORDS_MAX) return false;
    if (!skipped && !this.#batch.add(record, unterminated ? FLAG_UNTERMINATED : 0)) return false;
    this.#account(record, endOffset);
    return true;
  }

  /** Offers what was pushed, waiting for space. */
  async flush(): Promise<void> {
    this.#tellHashes();
    if (this.#batch.count === 0) return;
    while (!this.publisher.offerBatch(this.#batch)) {
      await this.publisher.waitForSpace(this.#batch.bytes);
    }
    this.#noteGroup(this.#batch.count);
    this.#batch.clear();
  }

  /** Publishes one record of any allowed size, after all before it. */
  async pushAlone(record: Uint8Array, unterminated: boolean, endOffset: number): Promise<void> {
    await this.flush();
    const copy = record.slice(); // the caller's view may not outlive the wait
    this.#account(copy, endOffset);
    this.#tellHashes();
    const flags = unterminated ? FLAG_UNTERMINATED : 0;
    while (!this.publisher.offer(copy, flags)) await this.publisher.waitForSpace(copy.length);
    this.#noteGroup(1);
  }

  /** Tells acknowledgements to the hooks until {@linkcode stop}. Runs beside the pushing. */
  async watch(): Promise<void> {
    while (!this.#stopped) {
      const acknowledged = this.publisher.progress()[this.level];
      const oldest = this.#groups.find((group) => group.end > acknowledged);
      if (!oldest) {
        await new Promise<void>((resolve) => this.#acksChanged = resolve);
        continue;
      }
      await this.publisher.waitFor(this.level, oldest.end);
      this.settle();
    }
  }

  /** Ends {@linkcode watch} at its next turn. */
  stop(): void {
    this.#stopped = true;
    this.#acksChanged();
  }

  /** Resolves when all records pushed and flushed are acknowledged. */
  async acknowledgedWhole(): Promise<void> {
    await this.publisher.waitFor(this.level, this.#sequence);
    this.settle();
  }

  /** Looks at the acknowledgements now and tells the hooks. */
  settle(): PumpState {
    const { ordered, durable } = this.publisher.progress();
    const now = performance.now();
    while (this.#groups.length > 0 && this.#groups[0].end <= durable) {
      const group = this.#groups.shift()!;
      this.hooks.durable?.((now - group.offeredAt) * 1000, group.records);
      this.#resume = group;
    }
    while (this.#groups.length > GROUPS_MAX && this.#groups[0].end <= ordered) {
      this.#resume = this.#groups.shift()!; // its durable latency is not measured
    }
    const resume = this.#groups.findLast((group) => group.end <= ordered) ?? this.#resume;
    const state: PumpState = {
      published: Math.max(this.#offered(), ordered),
      ordered,
      durable,
      bytes: this.#bytes,
      resumeSequence: resume.end,
      resumeOffset: resume.offset,
      resumeBytes: resume.bytes,
    };
    this.hooks.progress?.(state);
    return state;
  }

  #offered(): number {
    return this.#sequence - this.#batch.count;
  }

  #account(record: Uint8Array, endOffset: number): void {
    if (this.hooks.hashes) this.#hashes[this.#hashCount] = contentHash(record);
    this.#hashCount++;
    this.#sequence++;
    this.#offset = endOffset;
    this.#bytes += record.length;
  }

  #tellHashes(): void {
    if (this.#hashCount > 0) {
      this.hooks.hashes?.(this.#hashFirst, this.#hashes.subarray(0, this.#hashCount));
    }
    this.#hashFirst = this.#sequence;
    this.#hashCount = 0;
  }

  #noteGroup(records: number): void {
    this.#groups.push({
      end: this.#sequence,
      records,
      offset: this.#offset,
      bytes: this.#bytes,
      offeredAt: performance.now(),
    });
    this.#acksChanged();
  }
}
