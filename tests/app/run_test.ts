/** The parts of a run that need no process: its sums, and what it tells the page. */
import { assertEquals, assertThrows } from "@std/assert";
import { encodeNumbers, encodeProgress, FRAME, type Progress } from "../../lib/app/frames.ts";
import { RunAccount } from "../../lib/app/run_account.ts";
import { prefixText, RunPage } from "../../lib/app/run_page.ts";

const progress = (session: number, n: number, more: Partial<Progress> = {}): Progress => ({
  session,
  published: n,
  ordered: n,
  durable: n - 1,
  acknowledged: n - 1,
  bytes: 10 * n,
  resumeSequence: n - 2,
  resumeOffset: 11 * n,
  resumeBytes: 9 * n,
  ...more,
});
const about = (counted: boolean) => ({ label: "x", topic: "t", counted, pid: () => 7 });

Deno.test("RunAccount adds up the counted sessions; a session that is reopened goes on", () => {
  const account = new RunAccount();
  account.open(1, about(true));
  account.open(2, about(false));
  account.open(3, about(true));
  for (const [session, n] of [[1, 10], [2, 100], [3, 5], [9, 1000]]) {
    account.hear({ kind: FRAME.progress, payload: encodeProgress(progress(session, n)) });
  }
  account.open(1, about(true));
  account.note(progress(1, 4)); // a successor that has not caught up yet
  assertEquals(account.totals(), { published: 15, ordered: 15, durable: 13, bytes: 150 });
  assertEquals(account.get(1)?.progress, progress(1, 10));
  assertEquals(account.acknowledged(), [
    { session: 1, acknowledged: 9 },
    { session: 3, acknowledged: 4 },
  ]);
  assertEquals(account.publishers()[1], {
    topic: "t",
    pid: 7,
    session: "2",
    published: 100,
    durable: 99,
    label: "x",
  });
});

Deno.test("RunAccount takes latencies by their weight", () => {
  const account = new RunAccount();
  account.hear({ kind: FRAME.latency, payload: encodeNumbers(10, 99) });
  account.hear({ kind: FRAME.latency, payload: encodeNumbers(50, 1) });
  assertEquals([account.ackDurable.percentile(0.5), account.ackDurable.percentile(1)], [10, 50]);
});

Deno.test("RunPage says when there is nothing to show", () => {
  const page = new RunPage(() => undefined);
  assertThrows(() => page.snapshot(), Error, "starting or ending");
  assertThrows(() => page.newest(), Error, "starting or ending");
});

Deno.test("prefixText() gives text where it is text, though the cut goes through a letter", () => {
  const bytesOf = (text: string) => new TextEncoder().encode(text);
  assertEquals(prefixText(bytesOf("short ä")), { text: "short ä", encoding: "utf8" });
  const long = prefixText(bytesOf("x" + "ä".repeat(1000)));
  assertEquals(long.encoding, "utf8");
  assertEquals(long.text.startsWith("xää") && !long.text.includes("\ufffd"), true);
  assertEquals(prefixText(new Uint8Array([0xff, 1])), { text: "/wE=", encoding: "base64" });
});
