/**
 * The thread pools of npm, in Node where there is one: that is where they are at home.
 *
 * @module
 */
import { POOL_THREADS, poolSample, poolWork } from "../exec/pool_work.ts";
import { ChildProcess } from "../frame/child_process.ts";
import { type BenchContext, type Contender, Missing, type Session } from "../frame/row.ts";

async function open(
  context: BenchContext,
  name: string,
  micros: number,
  full: number,
): Promise<Session> {
  if (context.smoke && micros !== 10) throw new Missing("a smoke run starts it for one row only");
  const root = new URL("../../", import.meta.url).pathname;
  if (!await Deno.stat(`${root}node_modules/${name}`).catch(() => undefined)) {
    throw new Missing("not installed (deno install)");
  }
  const program = new URL("./npm_pool.mjs", import.meta.url);
  const child = new ChildProcess(program, [name, String(POOL_THREADS)], await node());
  const work = poolWork(context, micros, full);
  return {
    async round() {
      await child.say(`${work.tasks} ${work.turns}`);
      const [seconds, alone, digest] = (await child.line()).split(" ").map(Number);
      return poolSample(work, seconds, alone, digest);
    },
    close: () => child.end(),
  };
}

/** Path of a Node that is there. */
async function node(): Promise<string | undefined> {
  const command = new Deno.Command("node", { args: ["--version"], stdout: "null" });
  return await command.output().then(
    ({ success }) => success ? "node" : undefined,
    () => undefined,
  );
}

/** piscina and tinypool on tasks that take about so long. */
export function npmPools(micros: number, full: number): Contender[] {
  return ["piscina", "tinypool"].map((name) => ({
    name,
    kind: "peer",
    note: "in Node where it is on PATH; sixteen tasks under way for each worker",
    open: (context) => open(context, name, micros, full),
  }));
}
