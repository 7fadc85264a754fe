/**
 * Holds includes and imports to the rows of `tools/layers.ts`.
 *
 * @module
 */
import { FFI_MAY_IMPORT, FOLDERS_WITH_PACKAGES, mayUse, rank, ROWS } from "./layers.ts";
import { lineAt, resolve, type SourceText } from "./source_text.ts";

/** One line per violation, each naming file, line and rule. */
export function checkLayers(files: SourceText[]): string[] {
  return files.flatMap((file) => {
    if (/^c\/.*\.[ch]$/.test(file.path)) return checkIncludes(file);
    if (/^(lib|ffi)\/.*\.ts$/.test(file.path)) return checkImports(file);
    return [];
  });
}

function checkIncludes({ path, text }: SourceText): string[] {
  const folder = path.split("/")[1];
  if (rank(folder) < 0) return [unknownFolder(path, folder)];
  const problems: string[] = [];
  for (const match of text.matchAll(/^[ \t]*#[ \t]*include[ \t]*"([^"]+)"/gm)) {
    const [to, ...rest] = match[1].split("/");
    const place = `${path}:${lineAt(text, match.index)}`;
    if (rest.length === 0 || to === "..") {
      problems.push(`${place}: includes are relative to c/, as "base/status.h": "${match[1]}"`);
    } else if (rank(to) < 0) {
      problems.push(`${place}: "${match[1]}" is in no row of tools/layers.ts`);
    } else if (!mayUse(folder, to)) {
      problems.push(`${place}: ${folder} must not use ${to} (${ruleBroken(folder, to)})`);
    }
  }
  return problems;
}

function checkImports({ path, text }: SourceText): string[] {
  const [top, folder] = path.split("/");
  if (top === "lib" && rank(folder) < 0) return [unknownFolder(path, folder)];
  const problems: string[] = [];
  for (const { specifier, index } of importsOf(text)) {
    const problem = specifier.startsWith(".")
      ? refuseRelative(path, resolve(path, specifier))
      : refuseBare(top === "lib" ? folder : "ffi", specifier);
    if (problem) problems.push(`${path}:${lineAt(text, index)}: ${problem}`);
  }
  return problems;
}

function refuseRelative(path: string, target: string): string | undefined {
  const [top, folder] = path.split("/");
  const [toTop, toFolder] = target.split("/");
  if (toTop === "mod.ts" || toTop === "deno.json") {
    return top === "lib" && folder === "app" ? undefined : `only lib/app may use ${toTop}`;
  }
  if (toTop !== "lib" && toTop !== "ffi") return `${top}/ must not use ${toTop}/`;
  if (top === "ffi") {
    if (toTop === "ffi" || FFI_MAY_IMPORT.includes(target)) return undefined;
    return `ffi/ may use of lib/ only ${FFI_MAY_IMPORT.join(", ")}`;
  }
  if (toTop === "ffi" || mayUse(folder, toFolder)) return undefined;
  return `${folder} must not use ${toFolder} (${ruleBroken(folder, toFolder)})`;
}

function refuseBare(folder: string, specifier: string): string | undefined {
  if (specifier.startsWith("node:")) return undefined;
  if (FOLDERS_WITH_PACKAGES.includes(folder)) return undefined;
  return `"${specifier}": only ${FOLDERS_WITH_PACKAGES.join(", ")} may use packages`;
}

function importsOf(text: string): { specifier: string; index: number }[] {
  const forms = [
    /^[ \t]*(?:import|export)\b[^;"'`]*?\bfrom\s*"([^"]+)"/gm,
    /^[ \t]*import\s*"([^"]+)"/gm,
    /\bimport\(\s*"([^"]+)"\s*\)/g,
  ];
  const code = text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "));
  return forms.flatMap((form) =>
    [...code.matchAll(form)].map((match) => ({ specifier: match[1], index: match.index }))
  );
}

function ruleBroken(from: string, to: string): string {
  return rank(from) === rank(to) ? "siblings are strangers" : "never up";
}

function unknownFolder(path: string, folder: string): string {
  return `${path}: folder ${folder} is in no row of tools/layers.ts: ${ROWS.flat().join(" ")}`;
}
