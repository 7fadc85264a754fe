/**
 * The only reasons for which a test may be skipped. A test that needs something a plain machine may
 * lack is registered through {@linkcode needs}; the runner fails for every other skip, and for a skip
 * whose tool is there.
 *
 * @module
 */

/** Something a test may need beyond Deno and a C compiler. */
export type Tool = keyof typeof ALLOWED_SKIPS;

/** One allowed reason. */
export interface AllowedSkip {
  /** Why the plain machine may lack it, and how to get it. */
  reason: string;
  /** Whether it is here. */
  present: () => boolean;
}

/** Every allowed reason by the name used in `[needs <name>]`. */
export const ALLOWED_SKIPS = {
  chromium: {
    reason: "no chromium on PATH to look at the page with (apt install chromium)",
    present: () => onPath("chromium") || onPath("chromium-browser") || onPath("google-chrome"),
  },
  clang: {
    reason: "no clang beside gcc to compare with (apt install clang-19)",
    present: () => onPath("clang") || onPath("clang-19"),
  },
  gcc: {
    reason: "no gcc beside clang to compare with (apt install gcc)",
    present: () => onPath("gcc"),
  },
  asan: {
    reason: "the compiler has no address sanitizer library (apt install libclang-rt-19-dev)",
    present: () => false, // only the runner asks, after a compiler has failed to link it
  },
  tsan: {
    reason: "the compiler has no thread sanitizer library (apt install libclang-rt-19-dev)",
    present: () => false,
  },
  root: {
    reason: "needs root, for example to mount a file system that is cut off",
    present: () => Deno.uid() === 0,
  },
  user: {
    reason: "runs as root, whom permission bits do not stop",
    present: () => Deno.uid() !== 0,
  },
  e2fsprogs: {
    reason: "no mkfs.ext4 (apt install e2fsprogs)",
    present: () => onPath("mkfs.ext4") || exists("/usr/sbin/mkfs.ext4"),
  },
  loop: {
    reason: "no loop device may be attached here (needs root and /dev/loop-control)",
    present: () => Deno.uid() === 0 && exists("/dev/loop-control") && attachesLoops(),
  },
  gpu: {
    reason: "no WebGPU adapter, not even a software one",
    present: () => false, // only an asynchronous request can tell; the test asks for itself
  },
  emulator: {
    reason: "no emulated arm64 (apt install qemu-user-static clang-19 lld-19 " +
      "libc6-dev-arm64-cross libgcc-12-dev-arm64-cross)",
    present: () => false, // only the runner asks, after it has failed to link or start a program
  },
  hardware: {
    reason: "needs that machine itself, not an emulator: see EMULATOR_LACKS",
    present: () => Deno.build.arch === "aarch64",
  },
  cores: {
    reason: "needs two processors that run at the same time",
    present: () => navigator.hardwareConcurrency >= 2,
  },
} as const satisfies Record<string, AllowedSkip>;

/** C tests that no user-mode emulator can run, and what it lacks (robust futexes: set_robust_list fails
 * there; advice about memory; transparent huge pages). */
export const EMULATOR_LACKS: Readonly<Record<string, string>> = {
  kl_region_create_and_attach_prefault_every_page:
    "madvise: qemu-user drops every advice, MADV_POPULATE_WRITE too",
  kl_numa_N5_pages_lie_where_they_were_bound:
    "move_pages, which says where a page lies: qemu-user does not know it",
};

/**
 * A test that runs only where a tool is present; its name ends with `[needs <tool>]`.
 *
 * @example
 * ```ts ignore
 * Deno.test(needs("chromium", "the page shows records", async () => {}));
 * ```
 */
export function needs(
  tool: Tool,
  name: string,
  fn: (t: Deno.TestContext) => void | Promise<void>,
  options: Omit<Deno.TestDefinition, "name" | "fn" | "ignore"> = {},
): Deno.TestDefinition {
  const ignore = !ALLOWED_SKIPS[tool].present();
  return { ...options, name: `${name} [needs ${tool}]`, ignore, fn };
}

/** Why a skip is allowed, or undefined when it is not. */
export function allowedReason(testName: string): string | undefined {
  const tool = /\[needs (\w+)\]$/.exec(testName)?.[1];
  if (!tool || !(tool in ALLOWED_SKIPS)) return undefined;
  if (tool === "hardware") return EMULATOR_LACKS[testName.replace(/ \[.*$/, "")];
  const skip: AllowedSkip = ALLOWED_SKIPS[tool as Tool];
  return skip.present() ? undefined : skip.reason;
}

let loops: boolean | undefined;

/** In a container that shows /dev/loop-control the kernel may still refuse. */
function attachesLoops(): boolean {
  if (loops !== undefined) return loops;
  const image = Deno.makeTempFileSync({ prefix: "keelson-loop-" });
  try {
    Deno.truncateSync(image, 1 << 20);
    const run = (...args: string[]) => new Deno.Command("losetup", { args }).outputSync();
    const { success, stdout } = run("--find", "--show", image);
    if (success) run("--detach", new TextDecoder().decode(stdout).trim());
    return loops = success;
  } catch {
    return loops = false;
  } finally {
    Deno.removeSync(image);
  }
}

function onPath(name: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((folder) => exists(`${folder}/${name}`));
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
