import { assert, assertEquals } from "@std/assert";
import * as all from "../../mod.ts";
import * as exec from "../../lib/exec/exec.ts";
import * as sync from "../../lib/exec/sync.ts";

Deno.test("the entry points sync and exec give what mod.ts gives", () => {
  const whole = all as Record<string, unknown>;
  const parts = { ...sync, ...exec } as Record<string, unknown>;
  for (const [name, value] of Object.entries(parts)) assertEquals(whole[name], value, name);
  for (const name of ["SpscRing", "MpscRing", "MpmcQueue", "MsQueue", "Stack", "WorkDeque"]) {
    assert(name in sync, name);
  }
  for (const name of ["Mutex", "SleepLock", "OrderedLock", "Latest", "Counter", "EventCount"]) {
    assert(name in sync, name);
  }
  for (const name of ["WorkerPool", "TaskGraph"]) assert(name in exec, name);
});
