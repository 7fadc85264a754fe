import { assert, assertEquals } from "@std/assert";
import { keelson } from "../../process/keelson_process.ts";

Deno.test("path prints the file that --allow-ffi wants", async () => {
  const { code, stdout, stderr } = await keelson(["path"]);
  const path = new TextDecoder().decode(stdout).trimEnd();
  assertEquals([code, stderr], [0, ""]);
  assert(Deno.statSync(path).isFile && path.startsWith("/"), path);
});
