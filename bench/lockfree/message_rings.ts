/**
 * Messages through two rings, one each way: the other end is a Worker or another process.
 *
 * @module
 */
import { SpscRing } from "../../lib/lockfree/spsc_ring.ts";
import { RecordDigest } from "../frame/statistics.ts";
import { FLOW_BATCH, FLOW_BYTES } from "./message_work.ts";

const CAPACITY_BYTES = 1 << 20;
/** From here on a record is written and read where it lies. */
const IN_PLACE_BYTES = 1024;

/** A ring there and a ring back. */
export class MessageRings {
  private constructor(readonly out: SpscRing, readonly back: SpscRing) {}

  /** The side that asks. */
  static create(name: string): MessageRings {
    const options = { capacityBytes: CAPACITY_BYTES };
    return new MessageRings(
      SpscRing.create(`${name}-out`, options),
      SpscRing.create(`${name}-back`, options),
    );
  }

  /** The side that answers; nobody needs the names afterwards. */
  static attach(name: string): MessageRings {
    const rings = new MessageRings(
      SpscRing.attach(`${name}-back`),
      SpscRing.attach(`${name}-out`),
    );
    SpscRing.remove(`${name}-out`);
    SpscRing.remove(`${name}-back`);
    return rings;
  }

  /** Sends; waits for room. */
  send(record: Uint8Array): void {
    while (!this.out.push(record)) this.out.waitForSpaceSync(record.length);
  }

  /** Takes the next record; blocks until it is there. */
  take(): Uint8Array<ArrayBuffer> {
    for (;;) {
      const record = this.back.pop();
      if (record) return record;
      this.back.waitForDataSync();
    }
  }

  /** Sends, blocks for the answer, and gives it to `use`. */
  trip(record: Uint8Array, use: (answer: Uint8Array) => void): void {
    if (record.length < IN_PLACE_BYTES) {
      this.send(record);
      use(this.take());
    } else {
      this.#write(record);
      while (!this.back.read(use)) this.back.waitForDataSync();
    }
  }

  /** Sends a large record by writing it where it will lie. */
  #write(record: Uint8Array): void {
    let claim = this.out.claim(record.length);
    for (; !claim; claim = this.out.claim(record.length)) {
      this.out.waitForSpaceSync(record.length);
    }
    claim.bytes.set(record);
    claim.commit();
  }

  /** Sends, and awaits the answer on the event loop. */
  async tripAwaiting(record: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    this.send(record);
    for (;;) {
      const answer = this.back.pop();
      if (answer) return answer;
      await this.back.waitForData();
    }
  }

  /** Answers each record with itself, until an empty one comes. */
  answer(): void {
    let bytes = 1;
    const echo = (record: Uint8Array) => {
      bytes = record.length;
      if (bytes >= IN_PLACE_BYTES) this.#write(record);
      else if (bytes > 0) this.send(record);
    };
    while (bytes > 0) if (!this.back.read(echo)) this.back.waitForDataSync();
  }

  /** Sends all of them; waits for room. */
  sendAll(records: readonly Uint8Array[]): void {
    for (const record of records) this.send(record);
  }

  /** The same with one call for all. */
  sendMany(records: readonly Uint8Array[]): void {
    for (let done = this.out.pushMany(records); done < records.length;) {
      this.out.waitForSpaceSync(FLOW_BATCH * FLOW_BYTES);
      done += this.out.pushMany(records.slice(done));
    }
  }

  /** Digests so many records where they lie. */
  digest(records: number): string {
    const digest = new RecordDigest();
    const add = (record: Uint8Array) => digest.add(record);
    while (digest.records < records) if (!this.back.read(add)) this.back.waitForDataSync();
    return digest.toString();
  }

  /** The same with as many a call as there are, each a Uint8Array of its own. */
  digestMany(records: number): string {
    const digest = new RecordDigest();
    while (digest.records < records) {
      const found = this.back.popMany();
      if (found.length === 0) this.back.waitForDataSync();
      for (const record of found) digest.add(record);
    }
    return digest.toString();
  }

  close(): void {
    this.out.close();
    this.back.close();
  }
}
