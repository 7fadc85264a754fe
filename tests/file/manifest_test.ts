import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { Manifest, MANIFEST_PAYLOAD_BYTES_MAX } from "../../lib/file/manifest.ts";

preload("file");

const kind = 77;

function withFile(body: (path: string) => void): void {
  const folder = Deno.makeTempDirSync({ prefix: "keelson-test-" });
  try {
    body(`${folder}/state`);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function failure(body: () => unknown): KeelsonError {
  return assertThrows(body, KeelsonError) as KeelsonError;
}

Deno.test("Manifest gives back what was written, also after it is opened again", () => {
  withFile((path) => {
    assertEquals(failure(() => new Manifest(path, { kind })).codeName, "KL_ERR_NOT_FOUND");
    {
      using manifest = new Manifest(path, { kind, create: true });
      assertEquals(manifest.read(), undefined);
      manifest.write(new Uint8Array([1, 2, 3, 4]).subarray(1, 3));
      assertEquals(manifest.read(), new Uint8Array([2, 3]));
      manifest.write(new Uint8Array());
      assertEquals(manifest.read(), new Uint8Array());
      manifest.write(new Uint8Array(MANIFEST_PAYLOAD_BYTES_MAX).fill(9));
      using reader = new Manifest(path, { kind, readOnly: true });
      assertEquals(reader.read(), new Uint8Array(MANIFEST_PAYLOAD_BYTES_MAX).fill(9));
      manifest.write(new Uint8Array([5]));
      assertEquals(reader.read(), new Uint8Array([5]));
      manifest.close();
    }
    using manifest = new Manifest(path, { kind });
    assertEquals(manifest.read(), new Uint8Array([5]));
  });
});

Deno.test("Manifest refuses what it cannot take and says why", () => {
  withFile((path) => {
    for (const bad of [-1, 1.5, NaN, 2 ** 32, "1" as unknown as number]) {
      assertEquals(failure(() => new Manifest(path, { kind: bad })).codeName, "KL_ERR_ARGUMENT");
    }
    using manifest = new Manifest(path, { kind, create: true });
    const large = failure(() => manifest.write(new Uint8Array(MANIFEST_PAYLOAD_BYTES_MAX + 1)));
    assertEquals(large.codeName, "KL_ERR_LIMIT");
    assertStringIncludes(large.message, "at most 4032");
    // deno-lint-ignore no-explicit-any
    assertEquals(failure(() => manifest.write([1] as any)).codeName, "KL_ERR_ARGUMENT");
    manifest.close();
    manifest.close();
    assertEquals(failure(() => manifest.read()).codeName, "KL_ERR_CLOSED");
    assertEquals(failure(() => manifest.write(new Uint8Array())).codeName, "KL_ERR_CLOSED");
    const other = failure(() => new Manifest(path, { kind: kind + 1 }));
    assertEquals(other.codeName, "KL_ERR_FOREIGN");
    Deno.truncateSync(path, 5000);
    assertEquals(failure(() => new Manifest(path, { kind })).codeName, "KL_ERR_TRUNCATED");
    Deno.writeTextFileSync(path, "somebody else's file");
    assertEquals(failure(() => new Manifest(path, { kind })).codeName, "KL_ERR_FOREIGN");
  });
});
