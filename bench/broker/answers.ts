/**
 * What a Worker answers, one await for each message; an error in it rejects.
 *
 * @module
 */

/** The messages of one Worker in order. */
export class Answers {
  readonly #arrived: unknown[] = [];
  #waiting: { resolve: (data: unknown) => void; reject: (error: unknown) => void } | undefined;
  #failed: unknown;

  constructor(worker: Worker) {
    worker.onmessage = ({ data }) => {
      if (!this.#waiting) {
        this.#arrived.push(data);
        return;
      }
      this.#waiting.resolve(data);
      this.#waiting = undefined;
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#failed = new Error(`${worker.constructor.name}: ${event.message}`);
      this.#waiting?.reject(this.#failed);
    };
  }

  /** The next message. */
  next(): Promise<unknown> {
    if (this.#failed) return Promise.reject(this.#failed);
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift());
    return new Promise((resolve, reject) => this.#waiting = { resolve, reject });
  }
}
