import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Child, type ChildSpec } from "../../lib/app/child.ts";
import type { Failure } from "../../lib/app/failure.ts";
import { FRAME } from "../../lib/app/frames.ts";
import { identityOf } from "../../lib/app/process_identity.ts";
import { pause, TestFolder } from "../process/keelson_process.ts";

/** A child that tells a promise for each thing that happens to it. */
function watched(spec: Pick<ChildSpec, "role" | "task">) {
  const failed = Promise.withResolvers<Failure>();
  const starts: number[] = [];
  let ready = Promise.withResolvers<void>();
  const child = new Child({
    name: "the child",
    ...spec,
    onStart: (restarts) => starts.push(restarts),
    onFrame: ({ kind }) => kind === FRAME.ready ? ready.resolve() : undefined,
    onFailure: failed.resolve,
  });
  const up = async () => {
    await ready.promise;
    ready = Promise.withResolvers<void>();
  };
  return { child, starts, up, failed: failed.promise };
}

Deno.test("Child starts a killed process again, and not one that was stopped", async () => {
  using folder = new TestFolder();
  const { child, starts, up } = watched({ role: "sequencer", task: () => ({ data: folder.path }) });
  child.start();
  await up();
  const first = child.identity!;
  assertEquals([first.name, identityOf(first.pid)?.startTime], ["the child", first.startTime]);
  const killedAt = performance.now();
  child.kill();
  await up();
  assert(performance.now() - killedAt < 1000, "back within a second");
  assert(child.identity!.pid !== first.pid);
  assertEquals([starts, child.restarts, child.trouble], [[0, 1], 1, undefined]);
  const last = child.identity!;
  await child.stop(5000);
  assertEquals([identityOf(last.pid), child.identity], [undefined, undefined]);
  await pause(200);
  assertEquals(starts, [0, 1]);
  assertEquals(await child.send(FRAME.go), false);
});

Deno.test("Child gives up on a process that says why it cannot go on, with its words", async () => {
  using folder = new TestFolder();
  const data = folder.file("no folder", "");
  const { child, starts, failed } = watched({ role: "broker", task: () => ({ data, index: 0 }) });
  child.start();
  const failure = await failed;
  assertStringIncludes(failure.message, "the child: cannot open the node");
  assertEquals([failure.exitCode, starts], [4, [0, 1]]);
  assertEquals(child.trouble, failure);
  await child.stop(1000);
});

Deno.test("Child gives up at once on a wrong command line", async () => {
  const { child, starts, failed } = watched({ role: "nobody", task: () => ({}) });
  child.start();
  assertEquals([(await failed).exitCode, starts], [2, [0]]);
});

Deno.test("Child.stop() of a process that cannot listen kills it when the patience is over", async () => {
  using folder = new TestFolder();
  const { child, up } = watched({ role: "sequencer", task: () => ({ data: folder.path }) });
  child.start();
  await up();
  Deno.kill(child.identity!.pid, "SIGSTOP");
  const startedAt = performance.now();
  await child.stop(200);
  assert(performance.now() - startedAt < 2000);
});
