/**
 * A program of the benchmarks in a process of its own, spoken to by lines.
 *
 * @module
 */

/** A child that reads lines and answers lines; it ends when its input does. */
export class ChildProcess {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  /** Starts a program, named as `new URL("./name.ts", import.meta.url)`, under Deno or `runtime`. */
  constructor(program: URL, args: string[], runtime?: string) {
    const flags = runtime ? [] : ["run", "-A", "--quiet", "--no-check"];
    this.#child = new Deno.Command(runtime ?? Deno.execPath(), {
      args: [...flags, program.pathname, ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reader = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Sends a line. */
  async say(line: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(`${line}\n`));
  }

  /** The next line it answers. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.#text.indexOf("\n");
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return line;
      }
      const { value, done } = await this.#reader.read();
      if (done) throw new Error("the other process ended; its words are above");
      this.#text += value;
    }
  }

  /** Closes its input and waits until it has ended. */
  async end(): Promise<void> {
    await this.#writer.close();
    const { success, code } = await this.#child.status;
    await this.#reader.cancel();
    if (!success) throw new Error(`the other process exited with ${code}; its words are above`);
  }
}

/** The lines of our own input, for the child's side. */
export async function* inputLines(): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}
