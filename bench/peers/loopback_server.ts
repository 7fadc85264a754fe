/**
 * Servers that a peer needs: found on PATH, started on a free loopback port, ended with the row.
 *
 * @module
 */
import { Missing } from "../frame/row.ts";

/** A server that is up. */
export interface LoopbackServer {
  port: number;
  stop(): Promise<void>;
}

/** A port that nobody listens on right now. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function onPath(program: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((folder) => {
    try {
      return folder.startsWith("/") && Deno.statSync(`${folder}/${program}`).isFile;
    } catch {
      return false;
    }
  });
}

/** Starts a server and waits until it accepts connections. */
export async function startServer(
  program: string,
  args: (port: number) => string[],
): Promise<LoopbackServer> {
  if (!onPath(program)) throw new Missing(`${program} is not on PATH`);
  const port = freePort();
  const child = new Deno.Command(program, {
    args: args(port),
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const stop = async () => {
    child.kill("SIGKILL");
    await child.status;
  };
  for (let attempt = 0; attempt < 200; attempt++) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return { port, stop };
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
  await stop();
  throw new Error(`${program} did not listen on port ${port} within 5 s`);
}

/** A connection that writes big chunks and reads whole lines or exact lengths. */
export class LoopbackConnection {
  readonly #connection: Deno.TcpConn;
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(1 << 20);
  #from = 0;
  #until = 0;

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
    connection.setNoDelay(true);
  }

  /** Connects. */
  static async open(port: number): Promise<LoopbackConnection> {
    return new LoopbackConnection(await Deno.connect({ hostname: "127.0.0.1", port }));
  }

  /** Writes all of it. */
  async write(bytes: Uint8Array | string): Promise<void> {
    let rest = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    while (rest.length > 0) rest = rest.subarray(await this.#connection.write(rest));
  }

  /** A line without its CR LF. */
  async line(): Promise<string> {
    for (let look = this.#from;;) {
      const at = this.#buffer.subarray(0, this.#until).indexOf(10, look);
      if (at >= 0) {
        const text = new TextDecoder().decode(this.#buffer.subarray(this.#from, at - 1));
        this.#from = at + 1;
        return text;
      }
      const known = this.#until - this.#from;
      await this.#more();
      look = this.#from + known;
    }
  }

  /** Exactly so many bytes; valid until the next call. */
  async exactly(bytes: number): Promise<Uint8Array> {
    while (this.#until - this.#from < bytes) await this.#more();
    this.#from += bytes;
    return this.#buffer.subarray(this.#from - bytes, this.#from);
  }

  async #more(): Promise<void> {
    if (this.#from > 0) {
      this.#buffer.copyWithin(0, this.#from, this.#until);
      this.#until -= this.#from;
      this.#from = 0;
    }
    if (this.#until === this.#buffer.length) {
      const larger = new Uint8Array(this.#buffer.length * 2);
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    const got = await this.#connection.read(this.#buffer.subarray(this.#until));
    if (got === null) throw new Error("the server closed the connection");
    this.#until += got;
  }

  /** Closes it. */
  close(): void {
    this.#connection.close();
  }
}
