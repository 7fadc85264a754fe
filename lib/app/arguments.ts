/**
 * The command line: each command declares its operands and options once, as data. From that come the
 * help, the refusal of what is unknown (with a suggestion), and the check of every value by zod.
 * Both the parser and zod are only loaded when a command has something to parse.
 *
 * @module
 */
import type { z } from "zod";
import { EXIT, EXIT_HELP, Failure } from "./failure.ts";

type Zod = typeof z;

/** One `--option`. With `value` it takes one, else it is a switch. */
export interface OptionSpec {
  /** Placeholder of the value in the help, e.g. `DIR`. */
  value?: string;
  help: string;
  /** How the value is checked and converted. @default {any text} */
  schema?: (zod: Zod) => z.ZodType;
}

/** One operand, in order. */
export interface OperandSpec {
  name: string;
  help: string;
  optional?: boolean;
  schema?: (zod: Zod) => z.ZodType;
}

/** What a command takes, and what its help says. */
export interface CommandSpec {
  name: string;
  /** One sentence. */
  summary: string;
  operands?: OperandSpec[];
  options: Record<string, OptionSpec>;
  /** Full command lines with a word on each. */
  examples: string[];
  /** Paragraphs for the end of the help. */
  notes?: string[];
}

/** The values of a command line by name, checked; options that were not given are absent. */
export type Parsed = Record<string, unknown>;

/** Parses and checks the words after the command's name. Throws a {@linkcode Failure} with exit code 2. */
export async function parseCommand(spec: CommandSpec, words: string[]): Promise<Parsed> {
  const raw = await split(spec, words);
  return await validate(spec, raw);
}

async function split(spec: CommandSpec, words: string[]): Promise<Record<string, string | true>> {
  const { parseArgs } = await import("node:util");
  const options = Object.fromEntries(
    Object.entries(spec.options).map((
      [name, { value }],
    ) => [name, { type: value ? "string" as const : "boolean" as const }]),
  );
  const { tokens } = parseArgs({
    args: words,
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const raw: Record<string, string | true> = {};
  const operands: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") operands.push(token.value);
    if (token.kind !== "option") continue;
    const known = Object.hasOwn(spec.options, token.name) && token.rawName.startsWith("--");
    if (!known) throw usage(spec, unknownOption(spec, token.rawName));
    if (Object.hasOwn(raw, token.name)) throw usage(spec, `--${token.name} is given twice`);
    raw[token.name] = valueOf(spec, token);
  }
  return { ...raw, ...placeOperands(spec, operands) };
}

function valueOf(
  spec: CommandSpec,
  token: { name: string; value?: string },
): string | true {
  const { value: placeholder } = spec.options[token.name];
  if (!placeholder) {
    if (token.value === undefined) return true;
    throw usage(spec, `--${token.name} takes no value, but was given ${quote(token.value)}`);
  }
  if (token.value === undefined) throw usage(spec, `--${token.name} needs a value: ${placeholder}`);
  return token.value;
}

function placeOperands(spec: CommandSpec, given: string[]): Record<string, string> {
  const wanted = spec.operands ?? [];
  if (given.length > wanted.length) {
    const extra = given[wanted.length];
    const hint = extra.startsWith("-") ? "" : `; options begin with --`;
    throw usage(spec, `${quote(extra)} is one word too many${hint}`);
  }
  const missing = wanted.slice(given.length).find((operand) => !operand.optional);
  if (missing) throw usage(spec, `${missing.name} is missing: ${missing.help}`);
  return Object.fromEntries(given.map((value, i) => [wanted[i].name, value]));
}

function unknownOption(spec: CommandSpec, rawName: string): string {
  const near = nearest(rawName.replace(/^-+/, ""), [...Object.keys(spec.options), "help"]);
  return `unknown option ${rawName}${near ? `; did you mean --${near}?` : ""}`;
}

async function validate(
  spec: CommandSpec,
  raw: Record<string, string | true>,
): Promise<Parsed> {
  const { z } = await import("zod");
  const shape: Record<string, z.ZodType> = {};
  for (const [name, { value, schema }] of Object.entries(spec.options)) {
    shape[name] =
      (schema?.(z) ?? (value ? z.string().min(1, "must not be empty") : z.literal(true)))
        .optional();
  }
  for (const { name, schema } of spec.operands ?? []) {
    shape[name] = (schema?.(z) ?? z.string().min(1, "must not be empty")).optional();
  }
  const result = z.strictObject(shape).safeParse(raw);
  if (result.success) return result.data as Parsed;
  const { path, message } = result.error.issues[0];
  const name = String(path[0]);
  const label = Object.hasOwn(spec.options, name) ? `--${name}` : name;
  throw usage(spec, `${label} ${message}, but is ${quote(String(raw[name]))}`);
}

/** A wrong command line: the line, and where to read on. */
export function usage(spec: { name: string }, message: string): Failure {
  return new Failure(`${message} (see keelson ${spec.name} --help)`, EXIT.usage);
}

/** The text of `keelson COMMAND --help`. */
export function helpText(spec: CommandSpec): string {
  const operands = (spec.operands ?? []).map((o) => o.optional ? `[${o.name}]` : o.name);
  const options = Object.entries(spec.options);
  const label = ([name, { value }]: [string, OptionSpec]) => `--${name}${value ? ` ${value}` : ""}`;
  const rows: [string, string][] = [
    ...(spec.operands ?? []).map((o): [string, string] => [o.name, o.help]),
    ...options.map((entry): [string, string] => [label(entry), entry[1].help]),
    ["--help", "this text"],
  ];
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return [
    `keelson ${spec.name}: ${spec.summary}`,
    "",
    `Usage: keelson ${[spec.name, ...operands].join(" ")}${options.length ? " [options]" : ""}`,
    "",
    ...rows.map(([left, right]) => `  ${left.padEnd(width)}${right}`),
    "",
    spec.examples.length > 1 ? "Examples:" : "Example:",
    ...spec.examples.map((line) => `  ${line}`),
    ...(spec.notes ?? []).flatMap((note) => ["", note]),
    "",
    `Exit codes: ${EXIT_HELP}.`,
    "",
  ].join("\n");
}

/** A whole number in words such as `--brokers 4`. */
export function wholeNumber(min: number, max: number): (zod: Zod) => z.ZodType<number> {
  const rule = `must be a whole number from ${min} to ${max}`;
  return (zod) =>
    zod.string().regex(/^\d{1,16}$/, rule).transform(Number)
      .refine((n) => n >= min && n <= max, rule);
}

const DURATION_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A duration such as `500ms`, `5s` or `2m`, in milliseconds. */
export function duration(): (zod: Zod) => z.ZodType<number> {
  const rule = "must be a time above 0 such as 500ms, 5s, 2m or 1h";
  return (zod) =>
    zod.string().regex(/^\d{1,9}(\.\d{1,3})?(ms|s|m|h)$/, rule)
      .transform((text) => parseFloat(text) * DURATION_MS[text.replace(/[\d.]/g, "")])
      .refine((ms) => ms > 0 && ms <= 365 * 24 * 3_600_000, rule);
}

/** The longest topic name, in bytes. */
export const TOPIC_BYTES_MAX = 128;

/** A topic's name. It becomes part of a path on disk, so only a few characters are allowed. */
export function topicName(): (zod: Zod) => z.ZodType<string> {
  const rule = `must be 1 to ${TOPIC_BYTES_MAX} letters, digits, '_', '.' or '-', ` +
    "and begin with a letter, digit or '_'";
  return (zod) => zod.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/, rule);
}

/** One of a few words. */
export function oneOf(...words: string[]): (zod: Zod) => z.ZodType<string> {
  return (zod) =>
    zod.string().refine((word) => words.includes(word), `must be one of: ${words.join(", ")}`);
}

/** A path: not empty, without NUL, of a length the kernel takes. */
export function pathName(): (zod: Zod) => z.ZodType<string> {
  return (zod) =>
    zod.string().min(1, "must not be empty")
      .refine((path) => !path.includes("\0"), "must not contain NUL")
      .refine(
        (path) => path.split("/").every((part) => new TextEncoder().encode(part).length <= 255),
        "must have no part longer than 255 bytes",
      )
      .refine((path) => path.length < 4096, "must be shorter than 4096 bytes");
}

/** The candidate that differs from `word` by at most two edits, if there is just one nearest. */
export function nearest(word: string, candidates: string[]): string | undefined {
  let best: string | undefined;
  let bestEdits = 3;
  for (const candidate of candidates) {
    const edits = candidate.startsWith(word) && word.length > 1 ? 1 : editDistance(word, candidate);
    if (edits < bestEdits) [best, bestEdits] = [candidate, edits];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}

function quote(text: string): string {
  const short = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  return JSON.stringify(short);
}
