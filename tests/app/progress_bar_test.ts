import { assert, assertEquals } from "@std/assert";
import { ProgressBar, progressLine } from "../../lib/app/progress_bar.ts";

Deno.test("progressLine() fills with the share and never leaves its width", () => {
  assertEquals(
    progressLine({ share: 0, text: "t" }, 40),
    "  0% [------------------------------] t",
  );
  assertEquals(progressLine({ share: 0.5, text: "t" }, 30), " 50% [##########----------] t");
  assertEquals(progressLine({ share: 1, text: "t" }, 30), "100% [####################] t");
  assertEquals(progressLine({ share: undefined, text: "only words" }, 80), "only words");
  for (const share of [undefined, 0, 0.999, 1, 7, -1]) {
    for (const width of [20, 40, 80, 200]) {
      assert(progressLine({ share, text: "1,000 published, 900 durable" }, width).length < width);
    }
  }
});

Deno.test("ProgressBar is silent where there is no terminal, and closing twice is nothing", () => {
  let asked = 0;
  if (Deno.stderr.isTerminal()) return; // a person is looking; the test runner has a pipe
  const bar = new ProgressBar(() => {
    asked++;
    return { share: 0, text: "" };
  });
  bar.close();
  bar.close();
  assertEquals(asked, 0);
});
