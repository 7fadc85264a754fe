/**
 * Opens every symbol group before an example runs: a library opened inside a test with resource
 * sanitizers counts as a leak, and an example should not have to know.
 *
 * @module
 */
import { preload } from "../ffi/library.ts";

preload();
