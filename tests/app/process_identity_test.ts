import { assert, assertEquals } from "@std/assert";
import { bootId, identityOf, isAlive } from "../../lib/app/process_identity.ts";

Deno.test("identityOf() this process is alive; of no process there is none", () => {
  const self = identityOf(Deno.pid)!;
  assert(isAlive(self) && self.bootId === bootId() && bootId().length === 36);
  assert(!isAlive({ ...self, startTime: self.startTime - 1 }));
  assert(!isAlive({ ...self, bootId: "another boot" }));
  assertEquals(identityOf(2 ** 22 + 1), undefined);
});

Deno.test("isAlive() is false for a process that has ended, also before anybody waited for it", async () => {
  // The name of the program is part of what is parsed.
  const folder = Deno.makeTempDirSync();
  Deno.copyFileSync("/bin/sleep", `${folder}/) S 1 (x`);
  const child = new Deno.Command(`${folder}/) S 1 (x`, { args: ["60"] }).spawn();
  const identity = identityOf(child.pid)!;
  assert(isAlive(identity));
  child.kill("SIGKILL");
  const deadline = performance.now() + 2000;
  while (isAlive(identity)) assert(performance.now() < deadline);
  await child.status;
  Deno.removeSync(folder, { recursive: true });
});
