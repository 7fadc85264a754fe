/**
 * The one gate: `deno task ok` is `deno task check` and `deno task test`. It runs both even when the
 * first fails; the last line is the count of the tests.
 *
 * @module
 */
import { runChecks } from "./check.ts";
import { closingLine, report } from "./suite.ts";
import { runAll } from "./test.ts";

if (import.meta.main) {
  const root = import.meta.dirname!.replace(/\/tools$/, "");
  const steps = await runChecks(root);
  const tests = report(await runAll(root));
  if (steps.failed > 0) console.log(`check failed: ${steps.failed} steps, see above`);
  console.log(closingLine(tests));
  Deno.exit(steps.failed + tests.failed > 0 ? 1 : 0);
}
