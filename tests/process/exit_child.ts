/**
 * A program that ends in the way its first argument names, while C threads live and waits are
 * pending. Run by exit_test.ts.
 */
import { symbols } from "../../ffi/library.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import { HANDLE } from "../../ffi/generated/handle.ts";
import { SpscRing } from "../../lib/lockfree/spsc_ring.ts";

const how = Deno.args[0];

function ringWithoutName(): SpscRing {
  const ring = SpscRing.create(`test-exit-${crypto.randomUUID()}`);
  SpscRing.remove(ring.name);
  return ring;
}

/** Some waits that end, so that all threads run. */
async function waitAndWake(rounds = 20): Promise<void> {
  using ring = ringWithoutName();
  for (let round = 0; round < rounds; round++) {
    const waiting = ring.waitForData();
    ring.push(Uint8Array.of(round));
    await waiting;
    ring.pop();
  }
  await ring.waitForData({ timeoutMs: 1 }); // and the timer
}

/** A wait in C that no promise hears of, and so keeps nobody alive. */
function waitUnheard(): void {
  const { kl_completion_open, kl_completion_arm_shared } = symbols("exec");
  const { kl_spsc_ring_create, kl_spsc_ring_remove } = symbols("lockfree");
  const name = new TextEncoder().encode(`test-exit-${crypto.randomUUID()}`);
  const ring = new Uint32Array(1);
  const status = kl_spsc_ring_create(name, name.length, 4096, 0, new Uint8Array(ring.buffer)) ||
    kl_spsc_ring_remove(name, name.length) ||
    kl_completion_arm_shared(kl_completion_open(), 1, ring[0], HANDLE.SPSC_RING, 2, 0, 60_000);
  if (status !== 0) throw new Error(`status ${status}`);
}

/** A Worker that has waits pending and says so. */
function waitingWorker(how: string): Promise<Worker> {
  const worker = new Worker(new URL("./exit_worker.ts", import.meta.url), { type: "module" });
  worker.postMessage(how);
  return new Promise((resolve) => worker.onmessage = () => resolve(worker));
}

const ENDS: Record<string, () => Promise<void>> = {
  async end() {
    await waitAndWake();
    waitUnheard();
  },
  async throw() {
    await waitAndWake();
    ringWithoutName().waitForData();
    throw new Error("on purpose");
  },
  async exit() {
    await waitAndWake();
    ringWithoutName().waitForData();
    Deno.exit(3);
  },
  async terminate() {
    await waitAndWake();
    const workers = await Promise.all([waitingWorker("wait"), waitingWorker("busy")]);
    for (const worker of workers) worker.terminate();
    await waitAndWake();
  },
  async terminateAndExit() {
    const worker = await waitingWorker("busy");
    await preloadCompletion();
    worker.terminate();
    Deno.exit(3);
  },
  async workerOnlyTerminated() {
    (await waitingWorker("wait")).terminate();
  },
  async workerOnlyClosed() {
    await waitingWorker("close");
  },
  async exitBesideWorkers() {
    await Promise.all([waitingWorker("wait"), waitingWorker("busy")]);
    Deno.exit(3);
  },
};

await ENDS[how]();
