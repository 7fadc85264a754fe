/**
 * How values travel between the main program and the Workers of a pool: one tag and some bytes.
 *
 * Numbers, strings, bytes and plain data (a tree of arrays and objects) have short forms; everything
 * else that can be cloned goes through `node:v8`, which costs some 20 us a value.
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
  /** 4 bytes. */
  int32: 4,
  /** 8 bytes. */
  number: 5,
  /** A length of 4 bytes and UTF-8. */
  string: 6,
  /** A length of 4 bytes and the bytes. */
  bytes: 7,
  /** A count of 4 bytes and the values. */
  array: 8,
  /** A count of 4 bytes, and for each property its name, as a string, and its value. */
  object: 9,
  /** A length of 4 bytes and what `node:v8` wrote. */
  clone: 10,
  /** Not a value: many of them, for a function that is called for each; as an array. */
  list: 11,
} as const;

const FIRST_BYTES = 64 * 1024;
/** Plain data deeper than this, or of more objects and arrays, goes through `node:v8`, which knows
 * cycles and what is there twice. */
const DEPTH_MAX = 32;
const CONTAINERS_MAX = 1000;
/** Shorter texts are copied unit by unit: cheaper than a call. */
const SHORT_TEXT = 24;

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
  #containers = 0;

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
    const start = this.at;
    this.#containers = 0;
    if (this.#plain(value, 0)) return;
    this.at = start;
    const bytes = v8().serialize(value);
    this.#raw(TAG.clone, bytes);
  }

  /** Writes many values as one. */
  list(values: readonly unknown[], from: number, to: number): void {
    this.#head(TAG.list, to - from);
    for (let at = from; at < to; at++) this.value(values[at]);
  }

  /** False: not plain data; what was written of it is to be dropped. */
  #plain(value: unknown, depth: number): boolean {
    switch (typeof value) {
      case "number":
        this.#number(value);
        return true;
      case "string":
        this.#text(value);
        return true;
      case "undefined":
        this.#tag(TAG.undefined);
        return true;
      case "boolean":
        this.#tag(value ? TAG.true : TAG.false);
        return true;
      case "object":
        if (value !== null) return this.#object(value, depth);
        this.#tag(TAG.null);
        return true;
      default:
        return false;
    }
  }

  #object(value: object, depth: number): boolean {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Uint8Array.prototype) {
      this.#raw(TAG.bytes, value as Uint8Array);
      return true;
    }
    if (depth === DEPTH_MAX || ++this.#containers > CONTAINERS_MAX) return false;
    if (prototype === Array.prototype) {
      const array = value as unknown[];
      // Neither holes nor further properties.
      if (Object.keys(array).length !== array.length) return false;
      this.#head(TAG.array, array.length);
      for (const item of array) if (!this.#plain(item, depth + 1)) return false;
      return true;
    }
    if (prototype !== Object.prototype) return false;
    const keys = Object.keys(value);
    this.#head(TAG.object, keys.length);
    for (const key of keys) {
      if (key === "__proto__") return false;
      this.#text(key);
      if (!this.#plain((value as Record<string, unknown>)[key], depth + 1)) return false;
    }
    return true;
  }

  #tag(tag: number): void {
    this.reserve(1);
    this.bytes[this.at++] = tag;
  }

  #head(tag: number, count: number): void {
    this.reserve(5);
    this.bytes[this.at] = tag;
    this.#view.setUint32(this.at + 1, count, true);
    this.at += 5;
  }

  #number(value: number): void {
    this.reserve(9);
    if ((value | 0) === value && !Object.is(value, -0)) {
      this.bytes[this.at] = TAG.int32;
      this.#view.setInt32(this.at + 1, value, true);
      this.at += 5;
    } else {
      this.bytes[this.at] = TAG.number;
      this.#view.setFloat64(this.at + 1, value, true);
      this.at += 9;
    }
  }

  #raw(tag: number, bytes: Uint8Array): void {
    this.#head(tag, bytes.length);
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  #text(text: string): void {
    this.reserve(5 + 3 * text.length); // UTF-8 has at most 3 bytes for a UTF-16 unit
    const start = this.at + 5;
    let bytes = text.length;
    if (text.length > SHORT_TEXT || !this.#ascii(text, start)) {
      bytes = encoder.encodeInto(text, this.bytes.subarray(start)).written;
    }
    this.bytes[this.at] = TAG.string;
    this.#view.setUint32(this.at + 1, bytes, true);
    this.at = start + bytes;
  }

  #ascii(text: string, start: number): boolean {
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index);
      if (unit > 127) return false;
      this.bytes[start + index] = unit;
    }
    return true;
  }
}

/** Reads what a {@linkcode ValueWriter} wrote. */
export class ValueReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** The number at a place. */
  uint32(at: number): number {
    return this.#view.getUint32(at, true);
  }

  /** Whether what stands at a place is many values. */
  isList(at: number): boolean {
    return this.#bytes[at] === TAG.list;
  }

  /** The value at a place. `bytes` 0: undefined. */
  value(at: number, bytes: number): unknown {
    if (bytes === 0) return undefined;
    this.#at = at;
    return this.#next();
  }

  /** The values that {@linkcode ValueWriter.list} wrote. */
  list(at: number): unknown[] {
    this.#at = at + 1;
    return this.#array();
  }

  #next(): unknown {
    switch (this.#bytes[this.#at++]) {
      case TAG.null:
        return null;
      case TAG.true:
        return true;
      case TAG.false:
        return false;
      case TAG.int32:
        this.#at += 4;
        return this.#view.getInt32(this.#at - 4, true);
      case TAG.number:
        this.#at += 8;
        return this.#view.getFloat64(this.#at - 8, true);
      case TAG.string:
        return this.#text();
      case TAG.bytes:
        return this.#raw();
      case TAG.array:
        return this.#array();
      case TAG.object:
        return this.#object();
      case TAG.clone:
        return v8().deserialize(this.#raw());
      default:
        return undefined;
    }
  }

  #count(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  #raw(): Uint8Array {
    const length = this.#count();
    this.#at += length;
    return this.#bytes.slice(this.#at - length, this.#at);
  }

  #text(): string {
    const length = this.#count(), start = this.#at, end = start + length;
    this.#at = end;
    if (length > SHORT_TEXT) return decoder.decode(this.#bytes.subarray(start, end));
    let text = "";
    for (let at = start; at < end; at++) {
      const unit = this.#bytes[at];
      if (unit > 127) return decoder.decode(this.#bytes.subarray(start, end));
      text += String.fromCharCode(unit);
    }
    return text;
  }

  #array(): unknown[] {
    const count = this.#count(), values: unknown[] = [];
    for (let index = 0; index < count; index++) values.push(this.#next());
    return values;
  }

  #object(): Record<string, unknown> {
    const count = this.#count(), value: Record<string, unknown> = {};
    for (let index = 0; index < count; index++) {
      this.#at++; // the tag of a string
      const key = this.#text();
      value[key] = this.#next();
    }
    return value;
  }
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
