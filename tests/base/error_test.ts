import {
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  check,
  KeelsonError,
  refuse,
  STATUS,
  statusName,
  statusText,
} from "../../lib/base/error.ts";
import { preload, symbols } from "../../ffi/library.ts";

preload("base", "lockfree");

Deno.test("KeelsonError says action, detail, code name and number in this order", () => {
  const cause = new Error("inner");
  const error = new KeelsonError(STATUS.KL_ERR_LOCKED, "open ./log", {
    detail: "process 7 holds it",
    cause,
  });
  assertEquals(error.message, "Cannot open ./log: process 7 holds it (KL_ERR_LOCKED, -13)");
  assertEquals(error.name, "KeelsonError");
  assertEquals(error.code, -13);
  assertEquals(error.codeName, "KL_ERR_LOCKED");
  assertEquals(error.action, "open ./log");
  assertEquals(error.detail, "process 7 holds it");
  assertStrictEquals(error.cause, cause);
});

Deno.test("KeelsonError without a detail gives the meaning of its code, and has no cause", () => {
  const error = new KeelsonError(STATUS.KL_ERR_TIMEOUT, "commit");
  assertEquals(error.message, "Cannot commit: the deadline passed first (KL_ERR_TIMEOUT, -3)");
  assertEquals("cause" in error, false);
});

Deno.test("KeelsonError with a code of another build still says the number", () => {
  const error = new KeelsonError(-999, "commit");
  assertEquals(error.message, "Cannot commit: unknown status -999 (KL_ERR_UNKNOWN, -999)");
});

Deno.test("check() passes successes through and never asks for the action", () => {
  assertEquals(check(0, () => "never"), 0);
  assertEquals(check(41, "read"), 41);
  assertEquals(check(STATUS.KL_OWNER_DEAD, "lock"), 1);
});

Deno.test("check() throws with the detail given, else with the meaning", () => {
  const error = assertThrows(
    () => check(STATUS.KL_ERR_LIMIT, () => "append", { detail: "64 of 64" }),
    KeelsonError,
  );
  assertEquals(error.message, "Cannot append: 64 of 64 (KL_ERR_LIMIT, -7)");
  const plain = assertThrows(() => check(STATUS.KL_ERR_AGAIN, "pop"), KeelsonError);
  assertEquals(plain.detail, "not now: full, empty or busy");
});

Deno.test("check() reads the detail that C left, once, and not that of another failure", () => {
  const { kl_status_detail_code } = symbols("base");
  const name = new TextEncoder().encode("../escape");
  const { kl_spsc_ring_attach } = symbols("lockfree");
  const status = kl_spsc_ring_attach(name, name.length, new Uint8Array(4));
  assertEquals(kl_status_detail_code(), status);
  const other = assertThrows(() => check(STATUS.KL_ERR_AGAIN, "pop"), KeelsonError);
  assertEquals(other.detail, statusText(STATUS.KL_ERR_AGAIN));
  const first = assertThrows(() => check(status, "attach"), KeelsonError);
  assertEquals(first.codeName, "KL_ERR_NAME");
  assertMatch(first.detail, /name/);
  assertNotEquals(first.detail, statusText(status));
  const second = assertThrows(() => check(status, "attach"), KeelsonError);
  assertEquals(second.detail, statusText(status));
});

Deno.test("refuse() is an argument error", () => {
  const error = assertThrows(() => refuse("open", "groupDelayMs is -1; 0 to 1000"), KeelsonError);
  assertEquals(error.code, STATUS.KL_ERR_ARGUMENT);
});

Deno.test("statusName() and statusText() know every code", () => {
  for (const [name, code] of Object.entries(STATUS)) {
    assertEquals(statusName(code), name);
    assertEquals(statusText(code).length > 3, true);
  }
});
