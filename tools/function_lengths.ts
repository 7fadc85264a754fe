/**
 * Finds functions and their lengths in formatted C and TypeScript. It relies on the formatters: a
 * function ends with the first `}` in the column of its first line.
 *
 * @module
 */
import { withoutComments } from "./source_text.ts";

/** A function of a source file. */
export interface FunctionLength {
  name: string;
  line: number;
  /** From the first line of its signature to its closing brace. */
  lines: number;
}

const NO_FUNCTION =
  /^(if|for|while|switch|else|try|catch|finally|do|class|interface|enum|struct|union|namespace|return|case|default:|\}|typedef|extern "C")\b/;

/** Every function of a C or TypeScript file; anonymous ones in TypeScript count with their outer one. */
export function functionLengths(path: string, text: string): FunctionLength[] {
  const lines = withoutComments(text).split("\n");
  return /\.[ch]$/.test(path) ? inC(lines) : inTypeScript(lines);
}

function inC(lines: string[]): FunctionLength[] {
  const found: FunctionLength[] = [];
  let start = -1; // first line of the statement at depth 0 that is being read
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index];
    if (line === "}" && start >= 0) {
      const signature = lines.slice(start, index).join(" ").split("{")[0];
      const name = /\b(\w+)\s*\([^]*\)\s*(?:__\w+__\s*\([^]*\))?\s*$/.exec(signature)?.[1] ??
        /\b(\w+)\s*\(/.exec(signature)?.[1];
      if (name && !/=\s*$/.test(signature) && !NO_FUNCTION.test(signature.trim())) {
        found.push({ name, line: start + 1, lines: index - start + 1 });
      }
      start = -1;
    } else if (/^[A-Za-z_]/.test(line) && start < 0 && !/[;}]$/.test(line)) {
      start = index;
    } else if (/^[^ ].*;$/.test(line) || /^ .*\);$/.test(line) && !hasBrace(lines, start, index)) {
      start = -1;
    } else if (/^\}.*;$/.test(line)) {
      start = -1;
    }
  }
  return found;
}

function hasBrace(lines: string[], from: number, to: number): boolean {
  return from >= 0 && lines.slice(from, to).some((line) => line.includes("{"));
}

const HEADER =
  /^( *)(?:export )?(?:default )?(?:(?:async )?function\*? (\w+)|(?:const|let) (\w+)(?:: [^=]+)? = (?:async )?(?:\(|<|\w+ =>)|(?:(?:static|private|protected|public|override|async|get|set) )*\*?(#?\w+|\[Symbol\.\w+\])(?:<[^(]*>)?\()/;

function inTypeScript(lines: string[]): FunctionLength[] {
  const found: FunctionLength[] = [];
  for (let index = 0; index < lines.length; index++) {
    const match = HEADER.exec(lines[index]);
    if (!match || NO_FUNCTION.test(lines[index].trim())) continue;
    const indent = match[1];
    const end = closing(lines, index, indent);
    if (end === undefined) continue;
    const name = match[2] ?? match[3] ?? match[4];
    found.push({ name, line: index + 1, lines: end - index + 1 });
  }
  return found;
}

/** The line that closes a block opened by a header at `index`, if the header opens one at all. */
function closing(lines: string[], index: number, indent: string): number | undefined {
  let header = index;
  if (!/[{]$/.test(lines[header])) {
    if (!/[(<,]$/.test(lines[header])) return undefined;
    for (header++; header < lines.length; header++) {
      if (lines[header].startsWith(`${indent})`)) break;
      if (lines[header].trim() !== "" && !lines[header].startsWith(`${indent} `)) return undefined;
    }
    if (header >= lines.length || !/(\{|=>.*\{)$/.test(lines[header])) return undefined;
  }
  if (
    /^\s*(?:return )?\w+\(.*\{$/.test(lines[header]) && !/\) *(:.*)?\{$|=> \{$/.test(lines[header])
  ) {
    return undefined; // a call with an object literal
  }
  for (let end = header + 1; end < lines.length; end++) {
    if (lines[end].startsWith(`${indent}}`)) return end;
  }
  return undefined;
}
