import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { Folder, folderHolder } from "../../lib/file/folder.ts";

preload("file");

function withFolder(body: (path: string) => void): void {
  const path = Deno.makeTempDirSync({ prefix: "keelson-test-" });
  try {
    body(path);
  } finally {
    Deno.removeSync(path, { recursive: true });
  }
}

function failure(body: () => unknown): KeelsonError {
  return assertThrows(body, KeelsonError) as KeelsonError;
}

Deno.test("Folder makes a private folder, locks it and lets it go", () => {
  withFolder((parent) => {
    const path = `${parent}/dätä`;
    assertEquals(folderHolder(path), undefined);
    assertEquals(failure(() => new Folder(path)).codeName, "KL_ERR_NOT_FOUND");
    {
      using folder = new Folder(path, { create: true, program: "keelson test" });
      assertEquals(folder.path, path);
      assertEquals(Deno.statSync(path).mode! & 0o7777, 0o700);
      const locked = failure(() => new Folder(path));
      assertEquals(locked.codeName, "KL_ERR_LOCKED");
      assertStringIncludes(locked.message, `${Deno.pid} (keelson test), started `);
      assertStringIncludes(locked.message, "stop it or use another folder");
      assertStringIncludes(folderHolder(path)!, "(keelson test)");
      new Folder(path, { readOnly: true }).close();
      folder.close();
      assertEquals(folderHolder(path), undefined);
    }
    new Folder(path).close();
  });
});

Deno.test("Folder is locked against another process until that is killed", async () => {
  const path = Deno.makeTempDirSync({ prefix: "keelson-test-" });
  const module = new URL("../../lib/file/folder.ts", import.meta.url).href;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `import { Folder } from "${module}";
       globalThis.kept = new Folder(Deno.args[0], { program: "keelson child" });
       console.log("locked");
       setInterval(() => {}, 1000);`,
      path,
    ],
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  const locked = failure(() => new Folder(path));
  assertStringIncludes(locked.message, `in use by process ${child.pid} (keelson child)`);
  child.kill("SIGKILL");
  await child.status;
  await reader.cancel();
  assertEquals(folderHolder(path), undefined);
  new Folder(path).close();
  Deno.removeSync(path, { recursive: true });
});

Deno.test("Folder says in one line what is wrong with a path", () => {
  withFolder((parent) => {
    Deno.writeTextFileSync(`${parent}/file`, "");
    Deno.symlinkSync(parent, `${parent}/link`);
    const cases: [string, string][] = [
      ["", "KL_ERR_NAME"],
      ["a\0b", "KL_ERR_NAME"],
      [`${parent}/${"n".repeat(300)}`, "KL_ERR_NAME"],
      ["x".repeat(5000), "KL_ERR_NAME"],
      ["\ud800", "KL_ERR_ARGUMENT"],
      [`${parent}/file`, "KL_ERR_FOREIGN"],
      [`${parent}/link`, "KL_ERR_FOREIGN"],
      [`${parent}/none/data`, "KL_ERR_NOT_FOUND"],
    ];
    for (const [path, codeName] of cases) {
      const error = failure(() => new Folder(path, { create: true }));
      assertEquals(error.codeName, codeName, path);
      assert(!error.message.includes("\n"));
    }
    // deno-lint-ignore no-explicit-any
    assertEquals(failure(() => new Folder(7 as any)).codeName, "KL_ERR_ARGUMENT");
  });
});
