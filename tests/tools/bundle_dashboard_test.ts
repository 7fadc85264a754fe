import { assert, assertEquals } from "@std/assert";
import { bundleDashboard } from "../../tools/bundle_dashboard.ts";

// esbuild runs as a process of its own that outlives one call
const own = { sanitizeOps: false, sanitizeResources: false };

Deno.test("bundleDashboard() gives the page that is committed, twice", own, async () => {
  const path = new URL("../../lib/app/dashboard/generated/dashboard.html", import.meta.url);
  const committed = await Deno.readTextFile(path);
  const why = "stale: run deno run -A tools/bundle_dashboard.ts";
  assert(await bundleDashboard() === committed, why);
  assert(await bundleDashboard() === committed, "two runs differ");
});

Deno.test(
  "bundleDashboard() gives one script and one style that end where they should",
  own,
  async () => {
    const html = await bundleDashboard();
    for (const tag of ["script", "style"]) {
      assertEquals(html.match(new RegExp(`<${tag}>`, "g"))?.length, 1);
      assertEquals(html.match(new RegExp(`</${tag}`, "gi"))?.length, 1);
    }
    assert(html.trimEnd().endsWith("</html>"));
    assert(html.includes("Chart.js v4"), "the licence of chart.js must stay in");
  },
);
