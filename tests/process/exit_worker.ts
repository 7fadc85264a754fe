/** A Worker with waits pending, for exit_child.ts. It is sent what else it shall do. */
import { SpscRing } from "../../lib/lockfree/spsc_ring.ts";
import "../../lib/exec/completion.ts";

type How = "wait" | "busy" | "close";

const worker = self as unknown as {
  onmessage(event: MessageEvent<How>): void;
  postMessage(message: string): void;
  close(): void;
};

worker.onmessage = async ({ data: how }: MessageEvent<How>) => {
  const ring = SpscRing.create(`test-exit-${crypto.randomUUID()}`);
  const peer = SpscRing.attach(ring.name);
  SpscRing.remove(ring.name);
  const waiting = ring.waitForData();
  peer.push(Uint8Array.of(1));
  await waiting;
  ring.pop();
  ring.waitForData(); // pending when this ends
  worker.postMessage("waiting");
  if (how === "close") worker.close();
  while (how === "busy") { // notifies and wakes until it is terminated
    const waiting = ring.waitForData(); // armed: a loop of microtasks alone would never be terminated
    peer.push(Uint8Array.of(2));
    await waiting;
    ring.pop();
  }
};
