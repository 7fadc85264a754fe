/**
 * Makes `lib/app/dashboard/generated/dashboard.html`: the page of the dashboard with its style, its
 * script and chart.js in one file that loads nothing.
 *
 * ```sh
 * deno run -A tools/bundle_dashboard.ts            # writes the file
 * deno run -A tools/bundle_dashboard.ts --check    # exits 1 when the file is stale
 * ```
 *
 * The same sources and the versions in deno.json give the same bytes on every machine.
 *
 * @module
 */
import * as esbuild from "esbuild";

const root = new URL("../", import.meta.url);
const sources = new URL("lib/app/dashboard/page/", root);
const generatedPath = "lib/app/dashboard/generated/dashboard.html";
const generated = new URL(generatedPath, root);
/** More than this and something was bundled that nobody meant to. */
const bytesMax = 400_000;
const newestBrowsers = ["chrome111", "firefox113", "safari16.2"];

/** The page as one file. */
export async function bundleDashboard(): Promise<string> {
  try {
    const script = closeSafe("script", await bundleScript());
    const style = closeSafe("style", await bundleStyle());
    const template = await Deno.readTextFile(new URL("page.html", sources));
    const head = `<style>${style}</style>`;
    const tail = `<script>${script}</script>`;
    const html = fill(fill(thin(template), "<!-- style -->", head), "<!-- script -->", tail);
    const bytes = new TextEncoder().encode(html).length;
    if (bytes > bytesMax) {
      throw new Error(`the page has ${bytes} bytes, at most ${bytesMax} are wanted`);
    }
    return html;
  } finally {
    await esbuild.stop();
  }
}

async function bundleScript(): Promise<string> {
  const result = await esbuild.build({
    absWorkingDir: new URL(".", root).pathname.replace(/\/$/, ""),
    entryPoints: [new URL("page.ts", sources).pathname],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    charset: "ascii",
    legalComments: "inline",
    target: newestBrowsers,
    logLevel: "silent",
    metafile: true,
  });
  for (const [name, input] of Object.entries(result.metafile.inputs)) {
    for (const { external, path } of input.imports) {
      if (external) {
        throw new Error(`${name} imports ${path}, which would be loaded from elsewhere`);
      }
    }
  }
  return result.outputFiles[0].text.trim();
}

async function bundleStyle(): Promise<string> {
  const css = await Deno.readTextFile(new URL("page.css", sources));
  const { code } = await esbuild.transform(css, {
    loader: "css",
    minify: true,
    charset: "ascii",
    target: newestBrowsers,
    logLevel: "silent",
  });
  if (/url\(|@import/.test(code)) throw new Error("the style loads something from elsewhere");
  return code.trim();
}

/**
 * Makes text safe inside `<script>` or `<style>`: the closing tag must not occur in it, and `<!--`
 * would change how the rest is read.
 */
function closeSafe(tag: "script" | "style", text: string): string {
  const safe = text.replace(new RegExp(`</(?=${tag})`, "gi"), "<\\/");
  if (/<!--/.test(safe)) throw new Error(`the bundled ${tag} contains "<!--"`);
  return safe;
}

/** Indentation is for those who edit the template. */
function thin(template: string): string {
  return template.replace(/^\s+/gm, "");
}

function fill(html: string, marker: string, text: string): string {
  if (html.split(marker).length !== 2) throw new Error(`page.html must contain ${marker} once`);
  return html.replace(marker, () => text);
}

if (import.meta.main) {
  const html = await bundleDashboard();
  const before = await Deno.readTextFile(generated).catch(() => "");
  if (!Deno.args.includes("--check")) {
    if (html !== before) await Deno.writeTextFile(generated, html);
  } else if (html !== before) {
    console.error(`${generatedPath} is stale: run deno run -A tools/bundle_dashboard.ts`);
    Deno.exit(1);
  }
}
