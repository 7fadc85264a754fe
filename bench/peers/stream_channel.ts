/**
 * Bytes between two processes by a pipe pair (blocking calls, which are the quickest Deno has for them) or
 * a unix socket (which Deno reads on its event loop only).
 *
 * @module
 */

/** Reads and writes whole blocks. */
export interface StreamChannel extends Disposable {
  read(block: Uint8Array): void | Promise<void>;
  write(block: Uint8Array): void | Promise<void>;
}

/** Two named pipes, `PATH.0` there and `PATH.1` back; the first side opens them in the same order. */
export function openPipes(path: string, first: boolean): StreamChannel {
  const open = (number: number, write: boolean) =>
    Deno.openSync(`${path}.${number}`, { read: !write, write });
  // Opening waits for the other side: both go through the pipes in one order.
  const there = open(0, first), back = open(1, !first);
  const [input, output] = first ? [back, there] : [there, back];
  return {
    read(block) {
      for (let at = 0; at < block.length;) {
        const got = input.readSync(at === 0 ? block : block.subarray(at));
        if (got === null) throw new Error("the other side closed its pipe");
        at += got;
      }
    },
    write(block) {
      for (let at = 0; at < block.length;) {
        at += output.writeSync(at === 0 ? block : block.subarray(at));
      }
    },
    [Symbol.dispose]() {
      there.close();
      back.close();
    },
  };
}

/** One end of a connected unix socket. */
export function socketChannel(connection: Deno.Conn): StreamChannel {
  return {
    async read(block) {
      for (let at = 0; at < block.length;) {
        const got = await connection.read(at === 0 ? block : block.subarray(at));
        if (got === null) throw new Error("the other side closed its socket");
        at += got;
      }
    },
    async write(block) {
      for (let at = 0; at < block.length;) {
        at += await connection.write(at === 0 ? block : block.subarray(at));
      }
    },
    [Symbol.dispose]: () => connection.close(),
  };
}
