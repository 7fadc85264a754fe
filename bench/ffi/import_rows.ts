/**
 * What importing Keelson costs a program that starts.
 *
 * @module
 */
import type { BenchContext, RowDefinition, Session } from "../frame/row.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Milliseconds that a program takes from its start to its end. */
async function run(script: string): Promise<number> {
  const started = performance.now();
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--quiet", script],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return performance.now() - started;
}

async function open({ folder }: BenchContext): Promise<Session> {
  const empty = `${folder}/empty.ts`;
  const importing = `${folder}/importing.ts`;
  await Deno.writeTextFile(empty, "export {};\n");
  await Deno.writeTextFile(importing, `import "${ROOT}mod.ts";\n`);
  await run(importing); // warms Deno's cache of transpiled modules
  return {
    async round() {
      const without = await run(empty);
      const withImport = await run(importing);
      return {
        value: Math.max(withImport - without, 0.001),
        records: 1,
        durability: "none",
        digest: "-",
        also: { "whole process ms": withImport, "empty process ms": without },
      };
    },
  };
}

export const IMPORT_ROWS: RowDefinition[] = [{
  group: "ffi",
  name: "import mod.ts, warm",
  unit: "ms",
  better: "lower",
  note: "a process that imports mod.ts and ends, less one that is empty; type checks are off, " +
    "transpiled modules are cached",
  rounds: { smoke: 1, full: 15 },
  floors: [{ kind: "absolute", value: 15 }],
  own: { open },
}];
