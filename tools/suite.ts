/**
 * What a test runner reports, whatever language the tests are in, and the one way to print it.
 *
 * @module
 */
import { allowedReason } from "../tests/allowed_skips.ts";

/** One test that ran, failed or was skipped. */
export interface TestOutcome {
  suite: string;
  name: string;
  outcome: "passed" | "failed" | "skipped";
  milliseconds: number;
  /** Why it failed. */
  words?: string;
}

/** The verdict over all outcomes. */
export interface Verdict {
  passed: number;
  failed: number;
}

/** Turns every skip without an allowed reason into a failure. */
export function judge(outcomes: TestOutcome[]): TestOutcome[] {
  return outcomes.map((outcome) => {
    if (outcome.outcome !== "skipped") return outcome;
    const words = allowedReason(outcome.name);
    if (words) return { ...outcome, words };
    return {
      ...outcome,
      outcome: "failed",
      words: "skipped without an allowed reason (tests/allowed_skips.ts)",
    };
  });
}

/** Prints failures, skips and the slowest tests; the caller prints {@linkcode closingLine} last. */
export function report(outcomes: TestOutcome[]): Verdict {
  const skipped = outcomes.filter((outcome) => outcome.outcome === "skipped");
  for (const { suite, name, words } of skipped) console.log(`skipped ${suite}: ${name}: ${words}`);
  const slowest = outcomes.filter((outcome) => outcome.outcome !== "skipped")
    .toSorted((a, b) => b.milliseconds - a.milliseconds).slice(0, 10);
  if (slowest.length > 0) console.log("\nThe slowest tests:");
  for (const { suite, name, milliseconds } of slowest) {
    console.log(`${(milliseconds / 1000).toFixed(2).padStart(8)} s  ${suite}: ${name}`);
  }
  const failures = outcomes.filter((outcome) => outcome.outcome === "failed");
  for (const { suite, name, words } of failures) {
    console.log(`\nFAILED ${suite}: ${name}\n${words ?? "(no reason given)"}`);
  }
  console.log("");
  return verdict(outcomes);
}

/** Counts. */
export function verdict(outcomes: TestOutcome[]): Verdict {
  const count = (kind: string) => outcomes.filter((outcome) => outcome.outcome === kind).length;
  return { passed: count("passed"), failed: count("failed") };
}

/** The last line of every runner; `.ci/run` adds them up. */
export function closingLine({ passed, failed }: Verdict): string {
  return `${passed} passed, ${failed} failed`;
}
