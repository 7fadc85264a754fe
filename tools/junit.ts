/**
 * Reads the JUnit report of `deno test`: the form that Deno writes, not all that the form allows.
 *
 * @module
 */
import type { TestOutcome } from "./suite.ts";

/** Lines of a failure that are repeated in the summary; the whole text was printed by Deno. */
const WORDS_LINES_MAX = 12;

/** Every test of the report. Steps are listed behind the tests of their file, as `test > step`; they
 * count with their test. */
export function readJunit(suite: string, xml: string): TestOutcome[] {
  const outcomes = new Map<string, TestOutcome>();
  const cases =
    /<testcase name="([^"]*)" classname="([^"]*)" time="([\d.]+)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g;
  for (const [, name, file, seconds, body = ""] of xml.matchAll(cases)) {
    const plain = plainText(name);
    const failure = /<(?:failure|error)\b[^>]*?(?:\/>|>([\s\S]*?)<\/(?:failure|error)>)/.exec(body);
    const words = failure ? firstLines(plainText(failure[1] ?? "")) : "";
    const test = testOfStep(plain, (name) => outcomes.get(`${file} ${name}`));
    if (test) {
      if (failure) test.words += `\n${plain}: ${words}`;
      continue;
    }
    outcomes.set(`${file} ${plain}`, {
      suite: `${suite} ${file.replace(/^\.\//, "").replace(/^.*\/(lib|docs)\//, "$1/")}`,
      name: plain,
      outcome: failure ? "failed" : /<skipped/.test(body) ? "skipped" : "passed",
      milliseconds: Number(seconds) * 1000,
      words,
    });
  }
  return [...outcomes.values()];
}

function testOfStep(
  name: string,
  find: (name: string) => TestOutcome | undefined,
): TestOutcome | undefined {
  for (let at = name.indexOf(" > "); at >= 0; at = name.indexOf(" > ", at + 1)) {
    const test = find(name.slice(0, at));
    if (test) return test;
  }
  return undefined;
}

function firstLines(text: string): string {
  return text.trim().split("\n").slice(0, WORDS_LINES_MAX).join("\n");
}

function plainText(xml: string): string {
  return xml.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"')
    .replaceAll("&apos;", "'").replaceAll("&#39;", "'").replaceAll("&amp;", "&");
}
