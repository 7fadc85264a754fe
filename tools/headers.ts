/**
 * Reads what the C headers promise to TypeScript: functions marked `KL_API`, layouts asked for with
 * a layout comment, and the status codes. It knows exactly the forms the project allows and refuses
 * all others with file and line.
 *
 * @module
 */

import { lineAt, withoutComments } from "./source_text.ts";

/** A function that crosses the border. */
export interface Prototype {
  name: string;
  /** C folder, which is also the symbol group. */
  folder: string;
  /** The declaration on one line, for the comment in the table. */
  declaration: string;
  parameters: string[];
  result: string;
  nonblocking: boolean;
  file: string;
  line: number;
}

/** A struct whose offsets TypeScript wants. */
export interface Layout {
  type: string;
  fields: string[];
  header: string;
  line: number;
}

/** A status code with its meaning. */
export interface StatusCode {
  name: string;
  value: number;
  text: string;
}

/** Everything found in the headers. */
export interface HeaderFacts {
  prototypes: Prototype[];
  layouts: Layout[];
}

/** A header says something that cannot cross the border. */
export class HeaderError extends Error {
  override readonly name = "HeaderError";
  constructor(file: string, line: number, problem: string) {
    super(`${file}:${line}: ${problem}`);
  }
}

const NUMBERS: Record<string, string> = {
  uint32_t: "u32",
  int32_t: "i32",
  double: "f64",
  bool: "bool",
  uint64_t: "u64",
};

/** Reads one header; `file` is its path below the checkout, as `c/<folder>/<unit>.h`. */
export function readHeader(file: string, text: string): HeaderFacts {
  return { prototypes: readPrototypes(file, text), layouts: readLayouts(file, text) };
}

function readPrototypes(file: string, text: string): Prototype[] {
  const code = withoutComments(text);
  const folder = /^c\/(.+)\/[^/]+$/.exec(file)?.[1];
  if (!folder) throw new HeaderError(file, 1, "a header lies in c/<folder>/");
  const prototypes: Prototype[] = [];
  for (const mark of code.matchAll(/\bKL_API\b/g)) {
    const lineStart = code.lastIndexOf("\n", mark.index) + 1;
    if (/^[ \t]*#/.test(code.slice(lineStart, mark.index))) continue; // its own #define
    const line = lineAt(code, mark.index);
    const end = code.slice(mark.index).search(/[;{]/);
    const declaration = code.slice(mark.index + "KL_API".length, mark.index + end)
      .replace(/\s+/g, " ").trim();
    if (end < 0 || code[mark.index + end] === "{") {
      throw new HeaderError(file, line, "KL_API marks a prototype that ends with ';'");
    }
    const nonblocking = /\/\*\s*ffi:\s*nonblocking\s*\*\/\s*$/.test(text.slice(0, mark.index));
    const parsed = parsePrototype(file, line, declaration);
    prototypes.push({ ...parsed, folder, declaration, nonblocking, file, line });
  }
  return prototypes;
}

function parsePrototype(
  file: string,
  line: number,
  declaration: string,
): Pick<Prototype, "name" | "parameters" | "result"> {
  const match = /^(\w+) (kl_[a-z0-9_]+) ?\(([^()]*)\)$/.exec(declaration);
  if (!match) {
    throw new HeaderError(
      file,
      line,
      `not a prototype that can cross to TypeScript: ${declaration}`,
    );
  }
  const [, resultType, name, list] = match;
  const result = resultType === "void" ? "void" : NUMBERS[resultType];
  if (!result) {
    throw new HeaderError(
      file,
      line,
      `${name}() returns ${resultType}; allowed: ${Object.keys(NUMBERS).join(" ")} void`,
    );
  }
  const parameters = list.trim() === "void" ? [] : list.split(",").map((parameter) => {
    const kind = parameterKind(parameter.trim());
    if (kind) return kind;
    throw new HeaderError(
      file,
      line,
      `${name}() takes "${parameter.trim()}"; allowed: ${
        Object.keys(NUMBERS).join(" ")
      } or a pointer`,
    );
  });
  return { name, parameters, result };
}

function parameterKind(parameter: string): string | undefined {
  if (parameter.split("*").length === 2) return "buffer";
  return NUMBERS[/^(?:const )?(\w+) \w+$/.exec(parameter)?.[1] ?? ""];
}

function readLayouts(file: string, text: string): Layout[] {
  const layouts: Layout[] = [];
  for (const match of text.matchAll(/\/\*\s*layout:\s*(kl_[^*]*?)\s*\*\//g)) {
    const [type, ...fields] = match[1].replace(/[\s,]+/g, " ").split(" ");
    const line = lineAt(text, match.index);
    if (!/^kl_\w+$/.test(type) || fields.some((field) => !/^[A-Za-z_]\w*$/.test(field))) {
      throw new HeaderError(file, line, "a layout comment reads: layout: kl_type field field ...");
    }
    layouts.push({ type, fields, header: file.replace(/^c\//, ""), line });
  }
  return layouts;
}

/** Reads the codes of `c/base/status.h`: one `X(NAME, number, "meaning")` each. */
export function readStatusCodes(text: string): StatusCode[] {
  const form = /\bX\((KL_\w+),\s*(-?\d+),\s*"([^"]*)"\)/g;
  return [...text.matchAll(form)].map(([, name, value, meaning]) => ({
    name,
    value: Number(value),
    text: meaning,
  }));
}

/** The kinds of handles, from `enum kl_handle_kind` of `c/base/handle.h`. */
export function readHandleKinds(text: string): { name: string; value: number }[] {
  return [...text.matchAll(/^\s*KL_HANDLE_(\w+) = (\d+),$/gm)]
    .map(([, name, value]) => ({ name, value: Number(value) }));
}
