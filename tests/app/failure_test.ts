import { assertEquals } from "@std/assert";
import { KeelsonError, STATUS } from "../../lib/base/error.ts";
import { explain, Failure, fileFailure } from "../../lib/app/failure.ts";

Deno.test("explain() gives one line and an exit code for whatever was thrown", () => {
  assertEquals(explain(new Failure("wrong", 2)), { line: "wrong", exitCode: 2 });
  assertEquals(explain(new Failure("two\n  lines\u0007")).line, "two; lines?");
  const status = new KeelsonError(STATUS.KL_ERR_NO_SPACE, "open x", { detail: "no room" });
  assertEquals(explain(status), {
    line: "cannot open x: no room (KL_ERR_NO_SPACE, -9)",
    exitCode: 4,
  });
  assertEquals(explain(new TypeError("Bad thing")).line, "bad thing (TypeError)");
  assertEquals(explain("text"), { line: "text", exitCode: 4 });
  assertEquals(explain(undefined).exitCode, 4);
});

Deno.test("fileFailure() says what to do, and keeps a failure that says it already", () => {
  const what = "the input file x";
  assertEquals(
    fileFailure(new Deno.errors.NotFound("os error 2"), what).message,
    "the input file x does not exist; check the name",
  );
  assertEquals(
    fileFailure(new Deno.errors.PermissionDenied("os error 13"), what).message,
    "no permission for the input file x; change its mode or run as its owner",
  );
  assertEquals(fileFailure(new Error("odd"), what).message, "cannot use the input file x: odd");
  const failure = new Failure("as it is");
  assertEquals(fileFailure(failure, what), failure);
});
