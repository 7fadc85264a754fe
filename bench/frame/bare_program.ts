/**
 * Builds the C programs that bare-C rows run: one source and all of the library, as the library itself
 * is compiled.
 *
 * @module
 */
import { checkoutRoot, sourceFiles } from "../../ffi/checkout.ts";
import { compileObjects, contentHash, linkInto, planObjects } from "../../tools/build.ts";
import { findCompiler } from "../../tools/compiler.ts";
import { Missing } from "./row.ts";

/** Path of the built program; nothing is built twice for the same sources. */
export async function bareProgram(source: string): Promise<string> {
  const root = checkoutRoot();
  if (!root) throw new Missing("bare C is built in a checkout only");
  const compiler = await findCompiler();
  const sources = [source, ...sourceFiles(root).filter((path) => path.endsWith(".c"))];
  const plan = await planObjects(root, sources, "release", compiler);
  const problems = [...(await compileObjects(plan, compiler)).values()];
  if (problems.length > 0) throw new Error(problems.join("\n"));
  const hash = await contentHash([compiler.version, ...plan.map((object) => object.hash)]);
  const name = source.replace(/^.*\//, "").replace(/\.c$/, "");
  await Deno.mkdir(`${root}/build/bench`, { recursive: true });
  const path = `${root}/build/bench/${name}-${hash}`;
  if (await Deno.stat(path).catch(() => undefined)) return path;
  await linkInto(path, [compiler.path, "-pthread", ...plan.map((object) => object.path)]);
  return path;
}
