/**
 * Memory that several Workers and processes of one host share by name, with a list of who uses it.
 *
 * @module
 */
import { KL_PARTICIPANT, KL_REGION_REQUEST } from "../../ffi/generated/layout.ts";
import { type Symbols, symbols } from "../../ffi/library.ts";
import { mappedBuffer, mayMap } from "../../ffi/mapped_view.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";

/** Where a region lies. */
export interface RegionPlace {
  /**
   * Folder of the file that holds the region. Use it for more room than shared memory has. A region
   * in a folder does not survive a reboot either. @default {this user's part of `/dev/shm`}
   */
  folder?: string;
  /** Accept a folder on a network file system; only one host may then use it. @default {false} */
  allowNetwork?: boolean;
}

/** Options for {@linkcode Region.attach}. */
export interface RegionAttachOptions extends RegionPlace {
  /** A number for others to see in {@linkcode Region.participants}. @default {0} */
  role?: number;
  /** Touch every page now: costs 0.6 ms a MiB, and no first access is slow later. @default {false} */
  prefault?: boolean;
}

/** Options for {@linkcode Region.create}. */
export interface RegionCreateOptions extends RegionAttachOptions {
  /** How many bytes of data; all of them are zero, and reserved, when it is there. */
  bytes: number;
}

/** Somebody who has a region open. */
export interface RegionParticipant {
  /** Never given to anybody else in this region. */
  id: number;
  /** Place in the table of 64. */
  slot: number;
  /** What it said of itself when it came. */
  role: number;
  /** Its process. For people: a pid is soon another process's. */
  pid: number;
  /** When it came, in milliseconds since 1970. */
  joinedAtMs: number;
  /** Whether it still has the region open: false at once when its process dies, however it dies. */
  alive: boolean;
}

const BY_NAME = 0;
const BY_PATH = 1;
const PREFAULT = 1;
const ALLOW_NETWORK = 2;
/** `KL_REGION_KIND_PLAIN`: bytes that are the caller's own affair. */
const KIND_PLAIN = 0x49414c50;
const PARTICIPANTS = 64;
const COPY_BYTES_MAX = 2 ** 30;
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const outHandle = new Uint32Array(1);
let mem: Symbols<"mem"> | undefined;

/**
 * A range of memory that several processes and Workers see at once.
 *
 * Everyone reads and writes the same bytes at memory speed; nothing orders or protects them. Use it
 * for data that has one writer, or below a protocol of your own. A peer that dies leaves the bytes as they
 * are; {@linkcode Region.participants} says who is still there. The bytes outlive every process, until
 * {@linkcode Region.remove} or a reboot.
 *
 * A region that another process truncates becomes *poisoned*: each later call throws
 * `KL_ERR_POISONED`, and nobody crashes.
 *
 * @example Two attaches of one region, as two processes would have them
 * ```ts
 * import { Region } from "@keelson/keelson";
 *
 * const name = `example-${crypto.randomUUID()}`;
 * using writer = Region.create(name, { bytes: 4096 });
 * using reader = Region.attach(name);
 * writer.write(100, new TextEncoder().encode("hello"));
 * const text = new TextDecoder().decode(reader.read(100, new Uint8Array(5)));
 * console.assert(text === "hello");
 * console.assert(reader.participants().length === 2);
 * Region.remove(name);
 * ```
 */
export class Region implements Disposable {
  /** Bytes of data. */
  readonly bytes: number;
  /** The file behind it. */
  readonly path: string;
  /** This attach in {@linkcode Region.participants}. */
  readonly id: number;
  #handle: number;
  #mem: Symbols<"mem">;
  #buffer: ArrayBuffer | undefined;

  private constructor(mem: Symbols<"mem">, handle: number, path: string) {
    this.#mem = mem;
    this.#handle = handle;
    this.path = path;
    this.bytes = check(mem.kl_region_handle_bytes(handle), "open a region");
    this.id = mem.kl_region_handle_self(handle);
  }

  /**
   * Makes a region. It appears whole, under its name, or not at all.
   *
   * @param name 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`
   * @throws {KeelsonError} `KL_ERR_EXISTS`; `KL_ERR_NO_SPACE` when it does not fit, with nothing left
   * behind; `KL_ERR_NAME`, `KL_ERR_ARGUMENT`, `KL_ERR_PERMISSION`, `KL_ERR_NETWORK_FS`
   *
   * @example
   * ```ts
   * import { Region } from "@keelson/keelson";
   *
   * const folder = Deno.makeTempDirSync();
   * {
   *   using region = Region.create("state", { bytes: 1_000_000, folder });
   *   region.write(0, Uint8Array.of(1, 2, 3));
   * }
   * Deno.removeSync(folder, { recursive: true });
   * ```
   */
  static create(name: string, options: RegionCreateOptions): Region {
    const action = `create the region ${quote(name)}`;
    const bytes = options?.bytes;
    if (!Number.isSafeInteger(bytes) || bytes < 1) {
      refuse(action, `bytes must be a whole number from 1 on, not ${String(bytes)}`);
    }
    return Region.#open(action, name, options, bytes);
  }

  /**
   * Opens a region that another has created.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`; `KL_ERR_FOREIGN` when the file is something else;
   * `KL_ERR_FENCED` when it is from before the last reboot; `KL_ERR_TRUNCATED`, `KL_ERR_CORRUPT`,
   * `KL_ERR_VERSION`, `KL_ERR_POISONED`, `KL_ERR_PERMISSION`; `KL_ERR_LIMIT` for the 65th participant
   *
   * @example
   * ```ts
   * import { KeelsonError, Region } from "@keelson/keelson";
   *
   * try {
   *   Region.attach("nobody-made-this");
   * } catch (error) {
   *   console.assert(error instanceof KeelsonError && error.codeName === "KL_ERR_NOT_FOUND");
   * }
   * ```
   */
  static attach(name: string, options: RegionAttachOptions = {}): Region {
    return Region.#open(`attach to the region ${quote(name)}`, name, options);
  }

  /**
   * Takes the name away. Whoever has the region open keeps it; the memory is freed with the last.
   * What is not a region is not removed.
   *
   * @example
   * ```ts
   * import { Region } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * Region.create(name, { bytes: 1 }).close();
   * Region.remove(name);
   * ```
   */
  static remove(name: string, place: RegionPlace = {}): void {
    const action = `remove the region ${quote(name)}`;
    const { where, text } = locate(action, name, place);
    mem ??= symbols("mem");
    check(mem.kl_region_handle_unlink(text, text.length, where), action);
  }

  static #open(action: string, name: string, options: RegionAttachOptions, bytes = 0): Region {
    const { where, text } = locate(action, name, options);
    const role = options.role ?? 0;
    if (!Number.isInteger(role) || role < 0 || role > 0xffff_ffff) {
      refuse(action, `role must be a whole number from 0 to 2^32 - 1, not ${role}`);
    }
    const request = new DataView(new ArrayBuffer(KL_REGION_REQUEST.bytes));
    const flags = (options.prefault ? PREFAULT : 0) | (options.allowNetwork ? ALLOW_NETWORK : 0);
    request.setFloat64(KL_REGION_REQUEST.dataBytes, bytes, true);
    request.setUint32(KL_REGION_REQUEST.where, where, true);
    request.setUint32(KL_REGION_REQUEST.flags, flags, true);
    request.setUint32(KL_REGION_REQUEST.kind, KIND_PLAIN, true);
    request.setUint32(KL_REGION_REQUEST.role, role, true);
    const known = mem ??= symbols("mem");
    const open = bytes > 0 ? known.kl_region_handle_create : known.kl_region_handle_attach;
    check(open(text, text.length, request, outHandle), action);
    const handle = outHandle[0];
    const path = new Uint8Array(4096);
    const pathBytes = known.kl_region_handle_path(handle, path, path.length);
    return new Region(known, handle, decoder.decode(path.subarray(0, pathBytes)));
  }

  /**
   * Copies bytes out: as many as `into` holds, from `offset` on. Answers `into`.
   *
   * @example
   * ```ts
   * import { Region } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using region = Region.create(name, { bytes: 16 });
   * console.assert(region.read(8, new Uint8Array(8))[0] === 0);
   * Region.remove(name);
   * ```
   */
  read<Buffer extends Uint8Array>(offset: number, into: Buffer): Buffer {
    this.#checkRange("read", offset, into);
    for (let at = 0; at < into.byteLength; at += COPY_BYTES_MAX) {
      const part = at === 0 && into.byteLength <= COPY_BYTES_MAX
        ? into
        : into.subarray(at, at + COPY_BYTES_MAX);
      const status = this.#mem.kl_region_handle_read(
        this.#handle,
        offset + at,
        part as Uint8Array<ArrayBuffer>,
        part.byteLength,
      );
      if (status < 0) check(status, `read ${this.#range(offset, into)}`);
    }
    return into;
  }

  /**
   * Copies bytes in, all of `from`, to `offset` and on.
   *
   * @example
   * ```ts
   * import { Region } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using region = Region.create(name, { bytes: 16 });
   * region.write(8, Uint8Array.of(1, 2, 3));
   * Region.remove(name);
   * ```
   */
  write(offset: number, from: Uint8Array): void {
    this.#checkRange("write", offset, from);
    for (let at = 0; at < from.byteLength; at += COPY_BYTES_MAX) {
      const part = at === 0 && from.byteLength <= COPY_BYTES_MAX
        ? from
        : from.subarray(at, at + COPY_BYTES_MAX);
      const status = this.#mem.kl_region_handle_write(
        this.#handle,
        offset + at,
        part as Uint8Array<ArrayBuffer>,
        part.byteLength,
      );
      if (status < 0) check(status, `write ${this.#range(offset, from)}`);
    }
  }

  /**
   * The data itself, without a copy: what others store shows in it, and the other way round. Plain
   * `Atomics` work on it, `Atomics.wait` does not. {@linkcode Region.close} makes it empty. Transfer none
   * of its buffer: a transferred one would read zeros after the close.
   *
   * @throws {KeelsonError} `KL_ERR_PERMISSION` unless FFI is granted without a path (`--allow-ffi`); then
   * {@linkcode Region.read} and {@linkcode Region.write} remain
   *
   * @example
   * ```ts
   * import { Region } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using region = Region.create(name, { bytes: 16 });
   * const view = region.view();
   * view[3] = 7;
   * console.assert(region.read(3, new Uint8Array(1))[0] === 7);
   * Region.remove(name);
   * ```
   */
  view(): Uint8Array<ArrayBuffer> {
    const action = `map the region ${this.path}`;
    this.#checkOpen(action);
    if (this.#buffer === undefined || this.#buffer.detached) {
      if (!mayMap()) {
        throw new KeelsonError(STATUS.KL_ERR_PERMISSION, action, {
          detail: "a view of shared memory needs FFI without a path (--allow-ffi); " +
            "read() and write() work without it",
        });
      }
      const address = this.#mem.kl_region_handle_address(this.#handle);
      this.#buffer = mappedBuffer(address, this.bytes);
    }
    return new Uint8Array(this.#buffer);
  }

  /**
   * Who has the region open, and who died having it open and was not cleaned up yet.
   *
   * @example
   * ```ts
   * import { Region } from "@keelson/keelson";
   *
   * const name = `example-${crypto.randomUUID()}`;
   * using region = Region.create(name, { bytes: 16, role: 3 });
   * const [me] = region.participants();
   * console.assert(me.id === region.id && me.pid === Deno.pid && me.role === 3 && me.alive);
   * Region.remove(name);
   * ```
   */
  participants(): RegionParticipant[] {
    const action = `list the participants of the region ${this.path}`;
    this.#checkOpen(action);
    const out = new DataView(new ArrayBuffer(PARTICIPANTS * KL_PARTICIPANT.bytes));
    const count = check(
      this.#mem.kl_region_handle_participants(this.#handle, out, PARTICIPANTS),
      action,
    );
    return Array.from({ length: Math.min(count, PARTICIPANTS) }, (_, index) => {
      const at = index * KL_PARTICIPANT.bytes;
      return {
        id: out.getUint32(at + KL_PARTICIPANT.id, true),
        slot: out.getUint32(at + KL_PARTICIPANT.slot, true),
        role: out.getUint32(at + KL_PARTICIPANT.role, true),
        pid: out.getInt32(at + KL_PARTICIPANT.pid, true),
        joinedAtMs: Number(out.getBigUint64(at + KL_PARTICIPANT.joinedAt, true) / 1_000_000n),
        alive: out.getUint8(at + KL_PARTICIPANT.alive) !== 0,
      };
    });
  }

  /** Frees the places of participants that died, and answers how many. Joining does it by need. */
  reap(): number {
    const action = `clean up the region ${this.path}`;
    this.#checkOpen(action);
    return check(this.#mem.kl_region_handle_reap(this.#handle), action);
  }

  /** Whether the region was damaged in use (truncated by another process): good for closing only. */
  get poisoned(): boolean {
    this.#checkOpen(`look at the region ${this.path}`);
    return this.#mem.kl_region_handle_check(this.#handle) === STATUS.KL_ERR_POISONED;
  }

  /** Whether {@linkcode Region.close} was called. */
  get closed(): boolean {
    return this.#handle === 0;
  }

  /** Leaves the region; views become empty. Closing twice is nothing. */
  close(): void {
    if (this.#handle === 0) return;
    const handle = this.#handle;
    this.#handle = 0;
    if (this.#buffer !== undefined && !this.#buffer.detached) this.#buffer.transfer(0);
    this.#buffer = undefined;
    this.#mem.kl_region_handle_close(handle);
  }

  /** {@linkcode Region.close}, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #range(offset: number, buffer: Uint8Array): string {
    return `${buffer.byteLength} bytes at offset ${offset} of the region ${this.path}`;
  }

  #checkOpen(action: string): void {
    if (this.#handle === 0) throw new KeelsonError(STATUS.KL_ERR_CLOSED, action);
  }

  #checkRange(verb: string, offset: number, buffer: Uint8Array): void {
    if (this.#handle === 0) this.#checkOpen(`${verb} the region ${this.path}`);
    if (!(buffer instanceof Uint8Array)) {
      refuse(`${verb} the region ${this.path}`, "the bytes must be a Uint8Array");
    }
    if (
      !Number.isSafeInteger(offset) || offset < 0 || offset > this.bytes - buffer.byteLength
    ) {
      refuse(`${verb} ${this.#range(offset, buffer)}`, `it holds ${this.bytes} bytes`);
    }
  }
}

/** Checks the name at the door, where it can still be shown, and says where the region lies. */
function locate(
  action: string,
  name: string,
  place: RegionPlace,
): { where: number; text: Uint8Array<ArrayBuffer> } {
  if (typeof name !== "string" || !NAME.test(name)) {
    throw new KeelsonError(STATUS.KL_ERR_NAME, action, {
      detail: "a region's name is 1 to 128 letters, digits, '_', '.' or '-', " +
        "and does not begin with '.' or '-'",
    });
  }
  if (place.folder === undefined) return { where: BY_NAME, text: encoder.encode(name) };
  if (typeof place.folder !== "string" || place.folder === "" || place.folder.includes("\0")) {
    refuse(action, "the folder must be a path");
  }
  return { where: BY_PATH, text: encoder.encode(`${place.folder}/${name}`) };
}

/** A name as it may stand in a message: one line, not endless. */
function quote(name: unknown): string {
  const text = JSON.stringify(String(name));
  return text.length <= 80 ? text : `${text.slice(0, 76)}..."`;
}
