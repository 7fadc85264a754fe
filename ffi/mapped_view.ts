/**
 * Zero-copy views of C memory. They need FFI granted without a path; all else in Keelson does not.
 *
 * @module
 */

/** Whether {@linkcode mappedBuffer} may be called: `--allow-ffi` without a path, or `-A`. */
export function mayMap(): boolean {
  return Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}

/**
 * An `ArrayBuffer` over memory that C owns and never unmaps. Nothing is copied or freed. Each call
 * makes another buffer over the same bytes.
 */
export function mappedBuffer(address: bigint, bytes: number): ArrayBuffer {
  const pointer = Deno.UnsafePointer.create(address);
  if (pointer === null) throw new TypeError("address 0 cannot be mapped");
  return Deno.UnsafePointerView.getArrayBuffer(pointer, bytes);
}
