/**
 * One line on a terminal that shows how far long work has come; silence where there is no terminal.
 *
 * @module
 */

const REDRAW_MS = 250;

/** What the line shows. */
export interface ProgressView {
  /** From 0 to 1; undefined when the end is not known. */
  share: number | undefined;
  /** Words behind the bar. */
  text: string;
}

/** Draws on standard error until closed. */
export class ProgressBar implements Disposable {
  readonly #timer: ReturnType<typeof setInterval> | undefined;
  #drawn = false;

  constructor(private readonly view: () => ProgressView) {
    if (!Deno.stderr.isTerminal()) return;
    this.#timer = setInterval(() => this.#draw(), REDRAW_MS);
  }

  /** Removes the line. */
  close(): void {
    clearInterval(this.#timer);
    if (this.#drawn) write("\r\x1b[2K");
    this.#drawn = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #draw(): void {
    write("\r\x1b[2K" + progressLine(this.view(), columns()));
    this.#drawn = true;
  }
}

/** The line, at most `width` characters. */
export function progressLine({ share, text }: ProgressView, width: number): string {
  if (share === undefined) return text.slice(0, width - 1);
  const cells = Math.max(10, Math.min(40, width - text.length - 9));
  const filled = Math.round(Math.min(Math.max(share, 0), 1) * cells);
  const percent = `${Math.floor(share * 100)}`.padStart(3);
  return `${percent}% [${"#".repeat(filled)}${"-".repeat(cells - filled)}] ${text}`.slice(
    0,
    width - 1,
  );
}

function columns(): number {
  try {
    return Deno.consoleSize().columns || 80; // some terminals say 0
  } catch {
    return 80;
  }
}

function write(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}
