import { assert, assertEquals } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { monotonicMicros } from "../../lib/base/clock.ts";

preload("base");

Deno.test("monotonicMicros() moves on and never goes back", () => {
  const first = monotonicMicros();
  let last = first;
  for (let call = 0; call < 100_000; call++) {
    const now = monotonicMicros();
    assert(now >= last);
    last = now;
  }
  assert(last > first && last - first < 60_000_000, `${last - first}`);
});

Deno.test("monotonicMicros() counts microseconds", async () => {
  const first = monotonicMicros();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const passed = monotonicMicros() - first;
  assert(passed > 15_000 && passed < 10_000_000, `${passed}`);
});

Deno.test("monotonicMicros() of a Worker is on the same clock", async () => {
  const text = `import { monotonicMicros } from "${new URL(
    "../../lib/base/clock.ts",
    import.meta.url,
  )}"; postMessage(monotonicMicros());`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/typescript" }));
  const before = monotonicMicros();
  const worker = new Worker(url, { type: "module" });
  const there = await new Promise<number>((resolve) => worker.onmessage = (e) => resolve(e.data));
  worker.terminate();
  URL.revokeObjectURL(url);
  assertEquals([before <= there, there <= monotonicMicros()], [true, true]);
});
