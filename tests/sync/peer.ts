/** Workers and processes for the tests of the locks: each evaluates code with the package at hand. */
const ROOT = new URL("../..", import.meta.url);

/** A Worker that answers what `ask` gives it: the body of an async function of (keelson, data). */
export class Peer {
  #worker: Worker;
  #url: string;

  constructor() {
    const source = `
      const keelson = await import("${ROOT.href}mod.ts");
      const State = globalThis.state = {};
      const run = Object.getPrototypeOf(async () => {}).constructor;
      self.onmessage = async ({ data: { code, argument } }) => {
        try {
          self.postMessage({ value: await new run("keelson", "state", "argument", code)(keelson, State, argument) });
        } catch (error) {
          self.postMessage({ error: error.codeName ?? String(error?.stack ?? error) });
        }
      };
      self.postMessage({ value: "ready" });`;
    this.#url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.#worker = new Worker(this.#url, { type: "module" });
  }

  static async start(): Promise<Peer> {
    const peer = new Peer();
    await peer.#answer();
    return peer;
  }

  /** Runs code there and answers its value; an error comes as its code name, thrown. */
  ask<T>(code: string, argument?: unknown): Promise<T> {
    const answer = this.#answer<T>();
    this.#worker.postMessage({ code, argument });
    return answer;
  }

  /** Runs code there that is not to answer. */
  tell(code: string, argument?: unknown): void {
    this.#worker.postMessage({ code, argument });
  }

  terminate(): void {
    this.#worker.terminate();
    URL.revokeObjectURL(this.#url);
  }

  #answer<T>(): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }) =>
        "error" in data ? reject(new Error(data.error)) : resolve(data.value);
      this.#worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message));
      };
    });
  }
}

/** A Deno process that runs code with `keelson` imported; prints its lines to whoever reads. */
export class PeerProcess {
  #child: Deno.ChildProcess;
  #lines: ReadableStreamDefaultReader<string>;
  #file: string;

  private constructor(file: string) {
    this.#file = file;
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-prompt", "--no-lock", "--no-check", file],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Starts it and waits for its first line. */
  static async start(code: string): Promise<PeerProcess> {
    const file = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.writeTextFile(file, `import * as keelson from "${ROOT.href}mod.ts";\n${code}`);
    const peer = new PeerProcess(file);
    await peer.#lines.read();
    return peer;
  }

  /** SIGKILL, and it is gone when this resolves. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended();
  }

  /** Its exit code. */
  async ended(): Promise<number> {
    while (!(await this.#lines.read()).done);
    const { code } = await this.#child.status;
    await Deno.remove(this.#file).catch(() => {});
    return code;
  }
}

/** Waits until `done` is true, looking every few milliseconds; fails after 20 s. */
export async function until(done: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!done()) {
    if (performance.now() > end) throw new Error("waited for 20 s");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
