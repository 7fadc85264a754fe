/**
 * Messages to and from another process by pipes and by a unix socket.
 *
 * @module
 */
import { ChildProcess } from "../frame/child_process.ts";
import type { BenchContext, Contender, Session } from "../frame/row.ts";
import {
  echoAwaiting,
  echoBlocking,
  echoWork,
  FLOW_BATCH,
  FLOW_BYTES,
  flowRecords,
  flowSample,
  mark,
} from "../lockfree/message_work.ts";
import { openPipes, socketChannel, type StreamChannel } from "./stream_channel.ts";

const WEAKER = "lost with either process";

interface Ends extends Disposable {
  child: ChildProcess;
  channel: StreamChannel;
}

async function start(kind: "pipe" | "socket", folder: string): Promise<Ends> {
  const path = `${folder}/${kind}`;
  const program = new URL("./stream_process.ts", import.meta.url);
  if (kind === "pipe") {
    const made = await new Deno.Command("mkfifo", { args: [`${path}.0`, `${path}.1`] }).output();
    if (!made.success) throw new Error(new TextDecoder().decode(made.stderr));
    const child = new ChildProcess(program, [kind, path]);
    return withEnd(child, openPipes(path, true));
  }
  using listener = Deno.listen({ transport: "unix", path });
  const child = new ChildProcess(program, [kind, path]);
  return withEnd(child, socketChannel(await listener.accept()));
}

function withEnd(child: ChildProcess, channel: StreamChannel): Ends {
  return { child, channel, [Symbol.dispose]: () => channel[Symbol.dispose]() };
}

function close({ child, channel }: Ends): Promise<void> {
  const ended = child.end();
  return ended.finally(() => channel[Symbol.dispose]());
}

async function openEcho(
  context: BenchContext,
  kind: "pipe" | "socket",
  bytes: number,
): Promise<Session> {
  const ends = await start(kind, context.folder);
  const { child, channel } = ends;
  const work = echoWork(context, bytes);
  return {
    async round() {
      await child.say(`echo ${work.trips} ${bytes}`);
      if (kind === "pipe") {
        return await echoBlocking(work, (payload, use) => {
          channel.write(payload);
          channel.read(payload);
          use(payload);
        });
      }
      return await echoAwaiting(work, async (payload) => {
        await channel.write(payload);
        await channel.read(payload);
        return payload;
      });
    },
    close: () => close(ends),
  };
}

async function openFlow(context: BenchContext, kind: "pipe" | "socket"): Promise<Session> {
  const ends = await start(kind, context.folder);
  const { child, channel } = ends;
  const records = flowRecords(context);
  const batch = new Uint8Array(FLOW_BATCH * FLOW_BYTES).fill(7);
  const parts = Array.from(
    { length: FLOW_BATCH },
    (_, at) => batch.subarray(at * FLOW_BYTES, (at + 1) * FLOW_BYTES),
  );
  return {
    async round() {
      await child.say(`flow ${records} ${FLOW_BYTES}`);
      const started = performance.now();
      for (let sent = 0; sent < records; sent += FLOW_BATCH) {
        for (let at = 0; at < FLOW_BATCH; at++) mark(parts[at], sent + at);
        const written = channel.write(batch);
        if (written) await written;
      }
      const digest = await child.line();
      return flowSample(records, (performance.now() - started) / 1000, digest);
    },
    close: () => close(ends),
  };
}

function side(
  kind: "pipe" | "socket",
  open: (context: BenchContext, kind: "pipe" | "socket") => Promise<Session>,
): Contender {
  return {
    name: kind === "pipe" ? "two pipes" : "unix socket",
    kind: "peer",
    weaker: WEAKER,
    note: kind === "pipe" ? "readSync and writeSync on named pipes" : "Deno.Conn",
    open: (context) => open(context, kind),
  };
}

/** A payload there and back, by pipes and by a unix socket. */
export function streamEchoes(bytes: number): Contender[] {
  return (["pipe", "socket"] as const).map((kind) =>
    side(kind, (context) => openEcho(context, kind, bytes))
  );
}

/** One way, a batch of records in one write. */
export const STREAM_FLOWS: Contender[] = [side("pipe", openFlow), side("socket", openFlow)];
