import { assertEquals, assertRejects } from "@std/assert";
import { Failure } from "../../../lib/app/failure.ts";
import { startRole } from "../../../lib/app/roles/start.ts";

Deno.test("startRole() refuses what run would never start", async () => {
  for (const words of [[], ["nobody", "{}"], ["constructor", "{}"], ["broker"], ["broker", "{"]]) {
    const error = await assertRejects(() => startRole(words), Failure);
    assertEquals(error.exitCode, 2);
  }
});
