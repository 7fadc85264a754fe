/**
 * Reading the project's own files as text, for the checkers and the generator.
 *
 * @module
 */

/** A file of the project, by path below the checkout. */
export interface SourceText {
  path: string;
  text: string;
}

/** Every text file that is, or would be, under version control. */
export async function readTree(root: string): Promise<SourceText[]> {
  const { success, stdout } = await new Deno.Command("git", {
    args: ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd: root,
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("Cannot list the files of the project: git ls-files failed");
  const paths = new TextDecoder().decode(stdout).split("\0").filter((path) => path !== "").sort();
  const files = await Promise.all(paths.map(async (path) => {
    const bytes = await Deno.readFile(`${root}/${path}`).catch(() => undefined); // deleted since
    if (!bytes || bytes.subarray(0, 8000).includes(0)) return undefined; // not text
    return { path, text: new TextDecoder().decode(bytes) };
  }));
  return files.filter((file) => file !== undefined);
}

/** The same text with comments turned to spaces, so that positions and lines stay. */
export function withoutComments(text: string): string {
  return text.replace(
    /"(?:\\.|[^"\\\n])*"|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (part) => part.startsWith('"') ? part : part.replace(/[^\n]/g, " "),
  );
}

/** The same text with the inside of its "strings" turned to spaces. */
export function withoutStrings(text: string): string {
  return text.replace(/"(?:\\.|[^"\\\n])*"/g, (part) => `"${" ".repeat(part.length - 2)}"`);
}

/** The 1-based line of a position. */
export function lineAt(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

/** The path that a relative specifier in a file names. */
export function resolve(path: string, specifier: string): string {
  const parts = path.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}
