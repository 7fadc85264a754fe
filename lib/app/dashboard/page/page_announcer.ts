/// <reference lib="dom" />
/** Tells a screen reader what changed, at a calm rate: at most one message every few seconds. */

const calmMs = 3_000;
/** More than this at once is summed up by its newest part. */
const waitingMax = 4;

/** Speaks through an element with `aria-live="polite"`. */
export class Announcer {
  readonly #region: Element;
  #waiting: string[] = [];
  #spokeAt = -calmMs;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(region: Element) {
    this.#region = region;
  }

  /** Says it as soon as the last message had its time. */
  say(...sentences: string[]): void {
    this.#waiting.push(...sentences);
    if (this.#waiting.length > waitingMax) {
      this.#waiting.splice(0, this.#waiting.length - waitingMax);
    }
    if (this.#waiting.length === 0 || this.#timer !== undefined) return;
    const wait = Math.max(0, this.#spokeAt + calmMs - performance.now());
    this.#timer = setTimeout(() => this.#speak(), wait);
  }

  #speak(): void {
    this.#timer = undefined;
    this.#spokeAt = performance.now();
    const words = this.#waiting.join(" ");
    this.#waiting = [];
    // the same words again would not be spoken: a region is read when it changes
    this.#region.textContent = this.#region.textContent === words ? `${words}\u00a0` : words;
  }
}
