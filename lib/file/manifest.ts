/**
 * A small state in a file, replaced whole: after a crash it is the old one or the new one.
 *
 * @module
 */
import { symbols } from "../../ffi/library.ts";
import { check, KeelsonError, refuse, STATUS } from "../base/error.ts";
import { encodePath } from "./folder.ts";

/** Largest payload of a manifest, in bytes. */
export const MANIFEST_PAYLOAD_BYTES_MAX = 4032;

/** Options for {@linkcode Manifest}. */
export interface ManifestOptions {
  /** Whose state it is, a number from 0 to 2^32-1 of the caller's choice; a file of another kind is
   * refused. */
  kind: number;
  /** Make the file when it does not exist. @default {false} */
  create?: boolean;
  /** For looking only, while another process may write; each read is a fresh look.
   * @default {false} */
  readOnly?: boolean;
}

// kl_manifest_flag
const CREATE = 1, READ_ONLY = 4;

/**
 * An open manifest. One process writes it (the one that holds the folder's lock), any may read.
 *
 * @example
 * ```ts
 * import { Manifest } from "./manifest.ts";
 *
 * const folder = Deno.makeTempDirSync();
 * using manifest = new Manifest(`${folder}/state`, { kind: 1, create: true });
 * manifest.write(new Uint8Array([1, 2, 3])); // durable when it returns
 * if (manifest.read()?.length !== 3) throw new Error("lost");
 * Deno.removeSync(folder, { recursive: true });
 * ```
 */
export class Manifest implements Disposable {
  /** As it was given. */
  readonly path: string;
  #handle: number;

  /**
   * Opens the file, or makes it.
   *
   * @throws {KeelsonError} `KL_ERR_NOT_FOUND`; `KL_ERR_FOREIGN` (no manifest, or of another kind);
   * `KL_ERR_CORRUPT` with what is wrong with both slots; `KL_ERR_TRUNCATED`; `KL_ERR_VERSION`
   */
  constructor(path: string, options: ManifestOptions) {
    const action = `open the manifest ${path}`;
    const text = encodePath(path, action);
    const kind = options.kind;
    if (!Number.isInteger(kind) || kind < 0 || kind > 0xffffffff) {
      refuse(action, `kind is ${kind}: expected an integer from 0 to 4294967295`);
    }
    const flags = (options.create ? CREATE : 0) | (options.readOnly ? READ_ONLY : 0);
    this.path = path;
    this.#handle = check(
      symbols("file").kl_manifest_handle_open(text, text.length, kind, flags),
      action,
    );
  }

  /** The payload of the last write, undefined when there never was one. */
  read(): Uint8Array<ArrayBuffer> | undefined {
    const action = `read the manifest ${this.path}`;
    const out = new Uint8Array(MANIFEST_PAYLOAD_BYTES_MAX);
    const { kl_manifest_handle_read } = symbols("file");
    const bytes = kl_manifest_handle_read(this.#open(action), out, out.length);
    if (bytes === STATUS.KL_ERR_NOT_FOUND) return undefined;
    return out.slice(0, check(bytes, action));
  }

  /**
   * Replaces the payload; it is on the disk when this returns (about 0.1 ms, waiting). After a
   * failure every later write fails in the same way until the file is opened again.
   *
   * @throws {KeelsonError} `KL_ERR_LIMIT` over {@linkcode MANIFEST_PAYLOAD_BYTES_MAX} bytes;
   * `KL_ERR_IO`, `KL_ERR_NO_SPACE`
   */
  write(payload: Uint8Array): void {
    const action = `write the manifest ${this.path}`;
    if (!(payload instanceof Uint8Array)) refuse(action, "the payload is a Uint8Array");
    const { kl_manifest_handle_write } = symbols("file");
    check(
      kl_manifest_handle_write(this.#open(action), payload as BufferSource, payload.byteLength),
      action,
    );
  }

  /** Closing twice is nothing. */
  close(): void {
    if (this.#handle === 0) return;
    const handle = this.#handle;
    this.#handle = 0;
    check(symbols("file").kl_manifest_handle_close(handle), `close the manifest ${this.path}`);
  }

  /** The same as {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #open(action: string): number {
    if (this.#handle === 0) throw new KeelsonError(STATUS.KL_ERR_CLOSED, action);
    return this.#handle;
  }
}
