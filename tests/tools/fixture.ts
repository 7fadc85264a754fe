/**
 * A small tree in the shape of the project, for testing the tools on something that can be broken.
 *
 * @module
 */

/** The checkout these tests belong to. */
export const ROOT = import.meta.dirname!.replace(/\/tests\/tools$/, "");

/** Files of a tree that builds: one unit, one layout, one status list. */
export const TINY_TREE: Record<string, string> = {
  "c/base/status.h": `/* status: codes */
#include <stdint.h>
#define KL_API __attribute__((visibility("default")))
#define KL_STATUS_LIST(X) \\
    X(KL_OK, 0, "done")   \\
    X(KL_ERR_IO, -8, "the system said no")
`,
  "c/base/layout_hash.h": "#define KL_LAYOUT_HASH 1u\n#define KL_ABI_VERSION 1u\n",
  "c/base/box.h": `/* box: two numbers */
#include "base/status.h"
typedef struct { uint32_t tall; uint64_t wide_side; } kl_box;
/* layout: kl_box tall wide_side */
KL_API uint32_t kl_box_area(uint32_t tall, uint32_t wide);
/* ffi: nonblocking */
KL_API int32_t kl_box_fill(const uint8_t *name, uint32_t bytes,
                           double offset);
uint32_t kl_box_inner(void);
`,
  "c/base/box.c": `#include "base/box.h"
uint32_t kl_box_inner(void) { return 1; }
uint32_t kl_box_area(uint32_t tall, uint32_t wide) { return tall * wide * kl_box_inner(); }
int32_t kl_box_fill(const uint8_t *name, uint32_t bytes, double offset) {
    (void)name;
    return bytes > 0 ? (int32_t)offset : 0;
}
`,
};

/** Writes a tree into a fresh folder that goes with the object. */
export async function makeTree(files: Record<string, string> = TINY_TREE): Promise<
  { root: string } & AsyncDisposable
> {
  const root = await Deno.makeTempDir({ prefix: "keelson-tree-" });
  for (const [path, text] of Object.entries(files)) {
    await Deno.mkdir(`${root}/${path.replace(/[^/]*$/, "")}`, { recursive: true });
    await Deno.writeTextFile(`${root}/${path}`, text);
  }
  return { root, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

/** Runs Deno and gives what it said. */
export async function runDeno(
  args: string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: options.cwd,
    env: { NO_COLOR: "1", RUST_BACKTRACE: "0", ...options.env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
