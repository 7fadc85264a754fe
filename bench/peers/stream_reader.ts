/**
 * A consumer of a loopback server, in a Worker of its own as our subscriber is, and the lag up to which
 * the publisher may run ahead of it.
 *
 * @module
 */

/** What the Worker is told first. */
export interface ReaderTask {
  server: "redis" | "nats";
  port: number;
}

/** How often the Worker says how far it has come. */
export const PROGRESS_RECORDS = 2048;

/** The publisher's view of the consumer. */
export class StreamReader {
  readonly #worker: Worker;
  #taken = 0;
  #wake: () => void = () => {};
  #finished: (digest: string) => void = () => {};
  #failed: (error: Error) => void = () => {};

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.onerror = (event) => {
      event.preventDefault();
      this.#failed(new Error(event.message));
    };
  }

  /** Starts the Worker; resolves when its consumer is known to the server. */
  static async open(task: ReaderTask): Promise<StreamReader> {
    const url = new URL("./stream_reader_worker.ts", import.meta.url);
    const reader = new StreamReader(new Worker(url, { type: "module" }));
    const ready = new Promise<string>((resolve, reject) => {
      reader.#finished = resolve;
      reader.#failed = reject;
    });
    reader.#worker.onmessage = ({ data }) => {
      if (typeof data === "string") return reader.#finished(data);
      reader.#taken = data;
      reader.#wake();
    };
    reader.#worker.postMessage(task);
    await ready;
    return reader;
  }

  /** Takes so many records; resolves with their digest. */
  take(count: number): Promise<string> {
    this.#taken = 0;
    return new Promise((resolve, reject) => {
      this.#finished = resolve;
      this.#failed = reject;
      this.#worker.postMessage(count);
    });
  }

  /** Resolves when it lags by no more than `most` records. */
  async near(published: number, most: number): Promise<void> {
    while (published - this.#taken > most) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Ends it. */
  close(): void {
    this.#worker.terminate();
  }
}
