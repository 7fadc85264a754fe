/**
 * The data folder of a node while it is ours: locked, with the small state that `run` keeps in it.
 *
 * @module
 */
import { KeelsonError } from "../base/error.ts";
import { Folder } from "../file/folder.ts";
import { Manifest } from "../file/manifest.ts";
import { Failure } from "./failure.ts";
import type { SmallState } from "./input_sessions.ts";

/** "KINP": unfinished inputs. */
const INPUTS_KIND = 0x504e494b;

/** Reads the list of unfinished inputs of a data folder, which may be in use; undefined without one. */
export function readInputs(path: string): Uint8Array | undefined {
  try {
    using manifest = new Manifest(inputsPath(path), { kind: INPUTS_KIND, readOnly: true });
    return manifest.read();
  } catch (error) {
    if (error instanceof KeelsonError && error.codeName === "KL_ERR_NOT_FOUND") return undefined;
    throw error;
  }
}

function inputsPath(path: string): string {
  return `${path}/inputs.manifest`;
}

/** A locked data folder. */
export class DataFolder implements Disposable {
  readonly #folder: Folder;
  #inputs: Manifest | undefined;

  /** Makes the folder when there is none; throws a {@linkcode Failure} when another node owns it. */
  constructor(path: string, program: string) {
    try {
      this.#folder = new Folder(path, { create: true, program });
    } catch (error) {
      if (!(error instanceof KeelsonError) || error.codeName !== "KL_ERR_LOCKED") throw error;
      throw new Failure(
        `the data folder ${path} is owned by another live node: ${error.detail}`,
        undefined,
        { cause: error },
      );
    }
  }

  /** Which inputs were begun and not finished. */
  inputs(): SmallState {
    this.#inputs ??= new Manifest(inputsPath(this.#folder.path), {
      kind: INPUTS_KIND,
      create: true,
    });
    return this.#inputs;
  }

  /** Gives the folder back. Closing twice is nothing. */
  close(): void {
    this.#inputs?.close();
    this.#folder.close();
  }

  /** {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
