import { assertEquals, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { DataFolder, readInputs } from "../../lib/app/data_folder.ts";
import { Failure } from "../../lib/app/failure.ts";
import { TestFolder } from "../process/keelson_process.ts";

preload();

Deno.test("DataFolder names the node that owns the folder, and gives it back", () => {
  using folder = new TestFolder();
  using owner = new DataFolder(folder.path, "the test");
  const pid = `${Deno.pid} (the test)`;
  assertThrows(() => new DataFolder(folder.path, "another"), Failure, `another live node: `);
  assertThrows(() => new DataFolder(folder.path, "another"), Failure, pid);
  owner.close();
  owner.close();
  new DataFolder(folder.path, "another").close();
});

Deno.test("DataFolder.inputs() is kept, and can be read while the folder is in use", () => {
  using folder = new TestFolder();
  using owner = new DataFolder(folder.path, "the test");
  assertEquals(readInputs(folder.path), undefined);
  owner.inputs().write(new Uint8Array([1, 2]));
  assertEquals(readInputs(folder.path), new Uint8Array([1, 2]));
  assertEquals(owner.inputs().read(), new Uint8Array([1, 2]));
});
