/**
 * A pool of npm at home: `npm_pool.mjs piscina|tinypool THREADS`, under Node, else under Deno. Each line of
 * its input is `TASKS TURNS`; it answers `seconds alone digest`: of the pool, and of one thread without it.
 */
import { createInterface } from "node:readline";
import process from "node:process";
import { spin } from "./npm_pool_task.mjs";

const [name, threads] = process.argv.slice(2);
const options = {
  filename: new URL("./npm_pool_task.mjs", import.meta.url).href,
  minThreads: Number(threads),
  maxThreads: Number(threads),
  // One task at a time is the default; with more under way a worker need not wait for the next.
  concurrentTasksPerWorker: 16,
  idleTimeout: 600_000,
};

async function openPool() {
  if (name === "piscina") return new (await import("piscina")).Piscina(options);
  return new (await import("tinypool")).default({ ...options, runtime: "worker_threads" });
}

function alone(tasks, turns) {
  const started = performance.now();
  let digest = 0;
  for (let index = 0; index < tasks; index++) {
    digest = (Math.imul(digest, 31) + spin(index, turns)) | 0;
  }
  return { seconds: (performance.now() - started) / 1000, digest };
}

const pool = await openPool();
for await (const line of createInterface({ input: process.stdin })) {
  const [tasks, turns] = line.split(" ").map(Number);
  const expected = alone(tasks, turns);
  const started = performance.now();
  const promises = [];
  for (let index = 0; index < tasks; index++) promises.push(pool.run({ index, turns }));
  let digest = 0;
  for (const result of await Promise.all(promises)) digest = (Math.imul(digest, 31) + result) | 0;
  const seconds = (performance.now() - started) / 1000;
  if (digest !== expected.digest) throw new Error(`digest ${digest}, not ${expected.digest}`);
  console.log(`${seconds} ${expected.seconds} ${digest >>> 0}`);
}
await pool.destroy();
