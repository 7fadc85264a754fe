/**
 * How values travel between the main program and the Workers of a pool: one tag and some bytes.
 *
 * Numbers, strings, bytes and plain data have short forms; everything else that can be cloned goes through
 * `node:v8`, which is loaded with the first of them and costs some 20 us a value.
 *
 * @module
 */
import { KeelsonError } from "../base/error.ts";

/** The first byte of a value. */
const TAG = {
  undefined: 0,
  null: 1,
  true: 2,
  false: 3,
  number: 4,
  string: 5,
  bytes: 6,
  json: 7,
  clone: 8,
  /** Not a value: many of them, for a function that is called for each. */
  list: 9,
} as const;

const FIRST_BYTES = 64 * 1024;
/** Plain data deeper than this goes through `node:v8`, which knows cycles. */
const JSON_DEPTH_MAX = 32;

type V8 = Pick<typeof import("node:v8"), "serialize" | "deserialize">;

let loadedV8: V8 | undefined;

function v8(): V8 {
  return loadedV8 ??= (globalThis as unknown as {
    process: { getBuiltinModule(name: string): V8 };
  }).process.getBuiltinModule("node:v8");
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A growing buffer that values are written into, one behind the other. */
export class ValueWriter {
  /** What was written, from 0 to {@linkcode at}. */
  bytes = new Uint8Array(FIRST_BYTES);
  /** Where the next value goes. */
  at = 0;
  #view = new DataView(this.bytes.buffer);

  /** Makes room for `more` bytes behind `at`. */
  reserve(more: number): void {
    if (this.at + more <= this.bytes.length) return;
    let length = this.bytes.length;
    while (length < this.at + more) length *= 2;
    const bytes = new Uint8Array(length);
    bytes.set(this.bytes.subarray(0, this.at));
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }

  /** Writes a number at `at`, without moving on. */
  patch(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  /** Moves on to a multiple of 4. */
  pad(): void {
    this.reserve(4);
    while (this.at % 4 !== 0) this.bytes[this.at++] = 0;
  }

  /** Writes a value. Throws what cannot be cloned, with nothing written. */
  value(value: unknown): void {
    this.reserve(16);
    switch (typeof value) {
      case "number":
        this.bytes[this.at] = TAG.number;
        this.#view.setFloat64(this.at + 1, value, true);
        this.at += 9;
        return;
      case "string":
        return this.#text(TAG.string, value);
      case "undefined":
        this.bytes[this.at++] = TAG.undefined;
        return;
      case "boolean":
        this.bytes[this.at++] = value ? TAG.true : TAG.false;
        return;
      default:
        return this.#object(value);
    }
  }

  /** Writes many values as one. */
  list(values: readonly unknown[], from: number, to: number): void {
    this.reserve(8);
    this.bytes[this.at] = TAG.list;
    this.#view.setUint32(this.at + 1, to - from, true);
    this.at += 5;
    for (let at = from; at < to; at++) {
      this.reserve(4);
      const start = this.at;
      this.at += 4;
      this.value(values[at]);
      this.#view.setUint32(start, this.at - start - 4, true);
    }
  }

  #object(value: unknown): void {
    if (value === null) {
      this.bytes[this.at++] = TAG.null;
    } else if (Object.getPrototypeOf(value) === Uint8Array.prototype) {
      this.#raw(TAG.bytes, value as Uint8Array);
    } else if (isJson(value, 0)) {
      this.#text(TAG.json, JSON.stringify(value));
    } else {
      this.#raw(TAG.clone, v8().serialize(value));
    }
  }

  #raw(tag: number, bytes: Uint8Array): void {
    this.reserve(1 + bytes.length);
    this.bytes[this.at] = tag;
    this.bytes.set(bytes, this.at + 1);
    this.at += 1 + bytes.length;
  }

  #text(tag: number, text: string): void {
    this.reserve(1 + 3 * text.length); // UTF-8 has at most 3 bytes for a UTF-16 unit
    this.bytes[this.at] = tag;
    const { written } = encoder.encodeInto(text, this.bytes.subarray(this.at + 1));
    this.at += 1 + written;
  }
}

/** Whether JSON gives exactly this back: plain objects and arrays of strings, finite numbers, booleans
 * and null. */
function isJson(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth === JSON_DEPTH_MAX) return false;
  const prototype = Object.getPrototypeOf(value);
  if (prototype === Array.prototype) {
    const array = value as unknown[];
    // Holes would come back as null, and further properties not at all.
    if (Object.keys(array).length !== array.length) return false;
    return array.every((item) => isJson(item, depth + 1));
  }
  if (prototype !== Object.prototype) return false;
  for (const key of Reflect.ownKeys(value as object)) {
    const { enumerable, get, value: item } = Object.getOwnPropertyDescriptor(value, key)!;
    if (typeof key === "symbol" || key === "__proto__" || key === "toJSON") return false;
    if (!enumerable || get || !isJson(item, depth + 1)) return false;
  }
  return true;
}

/** Reads the value at `from` that takes `bytes`. */
export function readValue(
  buffer: Uint8Array,
  view: DataView,
  from: number,
  bytes: number,
): unknown {
  const start = from + 1, end = from + bytes;
  if (bytes === 0) return undefined;
  switch (buffer[from]) {
    case TAG.null:
      return null;
    case TAG.true:
      return true;
    case TAG.false:
      return false;
    case TAG.number:
      return view.getFloat64(start, true);
    case TAG.string:
      return decoder.decode(buffer.subarray(start, end));
    case TAG.bytes:
      return buffer.slice(start, end);
    case TAG.json:
      return JSON.parse(decoder.decode(buffer.subarray(start, end)));
    case TAG.clone:
      return v8().deserialize(buffer.slice(start, end));
    case TAG.list:
      return readList(buffer, view, from);
    default:
      return undefined;
  }
}

/** Whether what stands at `from` are many values. */
export function isList(buffer: Uint8Array, from: number, bytes: number): boolean {
  return bytes > 0 && buffer[from] === TAG.list;
}

/** Reads the values that {@linkcode ValueWriter.list} wrote. */
export function readList(buffer: Uint8Array, view: DataView, from: number): unknown[] {
  const count = view.getUint32(from + 1, true);
  const values = new Array<unknown>(count);
  let at = from + 5;
  for (let index = 0; index < count; index++) {
    const bytes = view.getUint32(at, true);
    values[index] = readValue(buffer, view, at + 4, bytes);
    at += 4 + bytes;
  }
  return values;
}

/** What is told of an error in a Worker. */
interface ToldError {
  name: string;
  message: string;
  stack?: string;
  keelson?: { code: number; action: string; detail: string };
}

/** An error as text that {@linkcode readError} understands. */
export function tellError(error: unknown): string {
  if (!(error instanceof Error)) {
    return JSON.stringify({ name: "Error", message: String(error) } satisfies ToldError);
  }
  const { name, message, stack } = error;
  const keelson = error instanceof KeelsonError
    ? { code: error.code, action: error.action, detail: error.detail }
    : undefined;
  return JSON.stringify({ name, message, stack, keelson } satisfies ToldError);
}

/** Errors that keep their class; others keep their name. */
const CLASSES = new Map<string, ErrorConstructor>(
  [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map((
    constructor,
  ) => [constructor.name, constructor as ErrorConstructor]),
);

/** The error of a Worker, with its own stack. */
export function readError(text: unknown): Error {
  const { name, message, stack, keelson } = JSON.parse(String(text)) as ToldError;
  const error = keelson
    ? new KeelsonError(keelson.code, keelson.action, { detail: keelson.detail })
    : new (CLASSES.get(name) ?? Error)(message);
  if (error.name !== name) {
    Object.defineProperty(error, "name", { value: name, configurable: true });
  }
  if (stack !== undefined) error.stack = stack;
  return error;
}
