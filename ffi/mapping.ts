/**
 * Shared memory as an `ArrayBuffer`, where FFI is granted for all paths. Everything works without:
 * whoever asks copies instead.
 *
 * @module
 */

/**
 * The bytes at an address, in place; `null` where `--allow-ffi` names paths, which forbids it. The memory
 * must stay mapped for ever (mem/region sees to that).
 */
export function mapMemory(address: bigint, bytes: number): Uint8Array<ArrayBuffer> | null {
  try {
    const pointer = Deno.UnsafePointer.create(address);
    return pointer && new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, bytes));
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return null;
    throw error;
  }
}
