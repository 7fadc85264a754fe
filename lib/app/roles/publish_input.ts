/**
 * The process that publishes the lines of an input, as one session. Killed and started again, it goes
 * on behind the last record of the session that has its place in the order.
 *
 * @module
 */
import { openBroker, type Publisher } from "../../broker/broker.ts";
import { EXIT, Failure, fileFailure } from "../failure.ts";
import {
  encodeHashes,
  encodeJson,
  encodeNumbers,
  encodeProgress,
  FRAME,
  type Frame,
} from "../frames.ts";
import { LineSplitter } from "../framing.ts";
import { brokerFolder } from "../node_file.ts";
import { ParentLink } from "../parent_link.ts";
import {
  type AckLevel,
  pumpInput,
  type PumpStart,
  type PumpState,
  RecordPump,
  tooLongFailure,
} from "../record_pump.ts";
import { recordBytesMax } from "../topic_lookup.ts";

/** What `run` asks of this process. */
export interface PublishInputTask {
  data: string;
  topic: string;
  ack: AckLevel;
  /** The file to read, or undefined: the bytes come through the pipe from `run`. */
  path?: string;
  /** For messages. */
  inputName: string;
  /** The session to go on with. */
  session?: number;
  /** Where to begin in the input, and what lies before that. */
  start: PumpStart;
}

const CHUNK_BYTES = 1 << 20;
/** Chunks from the pipe that may wait here; more wait in the pipe. */
const CHUNKS_MAX = 64;

/** Runs until the input is acknowledged whole, or `run` says stop. */
export async function publishInput(task: PublishInputTask): Promise<never> {
  const pipe = new ChunkQueue();
  let go!: () => void;
  const allowed = new Promise<void>((resolve) => go = resolve);
  const link = new ParentLink((frame: Frame) => {
    if (frame.kind === FRAME.go) go();
    if (frame.kind === FRAME.data) return pipe.put(frame.payload.slice());
    if (frame.kind === FRAME.dataEnd) return pipe.put(undefined);
  });
  using broker = openBroker(brokerFolder(task.data));
  using publisher = broker.publisher(task.topic, { ack: task.ack, session: task.session });
  const start = startOf(task, publisher.next);
  link.send(FRAME.session, encodeJson({ session: publisher.session, next: publisher.next }));
  await Promise.race([allowed, link.stopRequested]);
  if (link.stopping) return await link.exit(EXIT.ok); // nobody would check what is published now
  const pump = new RecordPump(publisher, task.ack, reporting(link, publisher, task.ack), start);
  const chunks = task.path === undefined ? pipe.chunks() : fileChunks(task.path, start.offset);
  const splitter = new LineSplitter(recordBytesMax(broker, task.topic), {
    offset: start.offset,
    records: start.sequence,
  });
  const pumping = pumpInput(chunks, splitter, pump, async () => {
    await link.flushed(); // hashes must not pile up here when `run` is busy
    return link.stopping;
  });
  await Promise.race([pumping, pump.watch(), link.stopRequested]);
  if (link.stopping) return await finishEarly(link, pump);
  const tooLong = await pumping;
  if (!tooLong) link.send(FRAME.end, encodeNumbers(pump.sequence, pump.bytes));
  await Promise.race([pump.acknowledgedWhole(), link.stopRequested]);
  pump.settle();
  if (!tooLong) return await link.exit(EXIT.ok);
  await link.flushed();
  throw tooLongFailure(tooLong, task.inputName);
}

/** Where to begin in the input: at its first record, when the session has lost some (a reboot). */
function startOf({ start, path, session, inputName }: PublishInputTask, next: number): PumpStart {
  if (next >= start.sequence) return start;
  if (path !== undefined) return { sequence: 0, offset: 0, bytes: 0 };
  throw new Failure(
    `session ${session} has lost records, and ${inputName} cannot be read again; publish it anew`,
  );
}

/** Stops reading; what was offered may still be acknowledged for a moment. */
async function finishEarly(link: ParentLink, pump: RecordPump): Promise<never> {
  pump.stop();
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, 500);
  await Promise.race([pump.acknowledgedWhole().catch(() => {}), promise]);
  pump.settle();
  return await link.exit(EXIT.ok);
}

function reporting(link: ParentLink, publisher: Publisher, ack: AckLevel) {
  const { session } = publisher;
  return {
    hashes: (first: number, hashes: Uint32Array) =>
      link.send(FRAME.hashes, encodeHashes(session, first, hashes)),
    progress: (state: PumpState) =>
      link.send(FRAME.progress, encodeProgress({ session, acknowledged: state[ack], ...state })),
    durable: (micros: number, records: number) =>
      link.send(FRAME.latency, encodeNumbers(micros, records)),
  };
}

async function* fileChunks(path: string, offset: number): AsyncGenerator<Uint8Array> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
    await file.seek(offset, Deno.SeekMode.Start);
  } catch (error) {
    throw fileFailure(error, `the input file ${path}`);
  }
  using _file = file;
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let bytes = await file.read(buffer); bytes !== null; bytes = await file.read(buffer)) {
    yield buffer.subarray(0, bytes);
  }
}

/** What came through the pipe and was not published yet: bounded, so that the pipe fills instead. */
class ChunkQueue {
  readonly #chunks: (Uint8Array | undefined)[] = [];
  #changed: () => void = () => {};

  /** Adds a chunk (undefined: the end); resolves when there is room for another. */
  async put(chunk: Uint8Array | undefined): Promise<void> {
    this.#chunks.push(chunk);
    this.#changed();
    while (this.#chunks.length >= CHUNKS_MAX) await this.#change();
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#chunks.length === 0) await this.#change();
      if (this.#chunks.length === 0) continue;
      const chunk = this.#chunks.shift();
      this.#changed();
      if (chunk === undefined) return;
      yield chunk;
    }
  }

  /** One side waits at a time: the queue is either empty or full. */
  #change(): Promise<void> {
    return new Promise((resolve) => this.#changed = resolve);
  }
}
