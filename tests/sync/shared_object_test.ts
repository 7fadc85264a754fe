import { assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import {
  encodeName,
  openShared,
  removeShared,
  waitShared,
  waitSharedSync,
} from "../../lib/sync/shared_object.ts";

preload("base", "sync");

const NOTHING = { handle: 4711, kind: 13, what: 1, argument: 0 };

function refusal(fn: () => unknown, message: RegExp): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  return error.codeName;
}

Deno.test("encodeName() refuses what is no name", () => {
  assertEquals(encodeName("x", "ab"), Uint8Array.of(97, 98));
  for (const name of ["", 5, null, undefined]) {
    assertEquals(
      refusal(() => encodeName("open it", name as string), /Cannot open it: the name/),
      "KL_ERR_ARGUMENT",
    );
  }
});

Deno.test("openShared() and removeShared() say what could not be done", () => {
  assertEquals(openShared("x", "ab", (_name, bytes, out) => (out[0] = bytes, 0)), 2);
  assertEquals(refusal(() => openShared("open it", "ab", () => -1), /^Cannot open it/).length, 15);
  refusal(() => removeShared("remove it", "ab", () => -1), /^Cannot remove it/);
});

Deno.test("waitShared() and waitSharedSync() refuse times that cannot be, and handles of nothing", () => {
  for (const timeoutMs of [-1, NaN, "5" as unknown as number]) {
    assertEquals(
      refusal(() => waitSharedSync("wait", NOTHING, timeoutMs), /timeoutMs must be 0 or more/),
      "KL_ERR_ARGUMENT",
    );
    refusal(() => waitShared("wait", NOTHING, { timeoutMs }), /timeoutMs must be 0 or more/);
  }
  assertEquals(refusal(() => waitSharedSync("wait", NOTHING, 0), /closed/), "KL_ERR_HANDLE");
});

Deno.test("waitShared() needs the row that knows event loops", () => {
  // In this module nothing has imported lib/exec/completion.ts.
  assertEquals(
    refusal(() => waitShared("wait", NOTHING), /completion\.ts is not loaded/),
    "KL_ERR_UNSUPPORTED",
  );
});
