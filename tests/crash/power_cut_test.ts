/** A power cut for real: ext4 on a loop device, and the ioctl that makes it forget what was not written. */
import { assert } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { openLog, verifyLog } from "../../lib/log/durable_log.ts";
import { ALLOWED_SKIPS, needs } from "../allowed_skips.ts";

preload("base", "log");

const WRITER = new URL("power_cut_writer.ts", import.meta.url).pathname;
const IMAGE_BYTES = 64 * 1024 * 1024;
/** _IOR('X', 125, u32): EXT4_IOC_SHUTDOWN, and its flag "do not even flush the journal". */
const SHUTDOWN = 0x8004587dn, NO_LOG_FLUSH = 2;
const O_RDONLY = 0;
const ROUNDS = Deno.env.get("KEELSON_LONG") ? 50 : 5;

const libc = Deno.dlopen("libc.so.6", {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
});

function cutPower(mounted: string): void {
  const fd = libc.symbols.open(new TextEncoder().encode(`${mounted}\0`), O_RDONLY);
  const answer = libc.symbols.ioctl(fd, SHUTDOWN, new Uint32Array([NO_LOG_FLUSH]));
  libc.symbols.close(fd);
  assert(answer === 0, "the file system takes the shutdown ioctl");
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
  if (!success) {
    throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  }
}

/** Lets a writer live for a while, cuts the power, and checks what the disk kept. */
async function oneCut(folder: string, seed: number): Promise<void> {
  const image = `${folder}/image`, mounted = `${folder}/mounted`;
  await Deno.writeFile(image, new Uint8Array());
  await Deno.truncate(image, IMAGE_BYTES);
  await run("mkfs.ext4", "-q", image);
  await run("mount", "-o", "loop", image, mounted);
  const writer = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-lock", WRITER, `${mounted}/log`, String(seed)],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let told = "";
  const reading = (async () => {
    for await (const text of writer.stdout.pipeThrough(new TextDecoderStream())) told += text;
  })();
  const deadline = performance.now() + 30_000;
  const enough = 20 + seed % 200;
  while (told.split("\n").length < enough && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, seed % 7));
  }
  cutPower(mounted);
  try {
    writer.kill("SIGKILL");
  } catch { /* it has met the failing disk already */ }
  await writer.status;
  await reading;
  await run("umount", mounted);
  await run("mount", "-o", "loop", image, mounted);
  try {
    const acknowledged = Number(told.trimEnd().split("\n").at(-1) || -1);
    check(`${mounted}/log`, acknowledged, seed);
    assert((await verifyLog(`${mounted}/log`)).problemCount === 0, `SEED=${seed}: damaged`);
  } finally {
    await run("umount", mounted);
  }
}

function check(folder: string, acknowledged: number, seed: number): void {
  using log = openLog(folder, { create: acknowledged < 0 });
  let next: number | undefined;
  for (const { bytes } of log.scan()) {
    const number = new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0, true);
    const whole = bytes.subarray(8).every((byte) => byte === (number & 0xff));
    assert(whole && (next === undefined || number === next), `SEED=${seed}: record ${number}`);
    next = number + 1;
  }
  const found = next === undefined ? -1 : next - 1;
  assert(found >= acknowledged, `SEED=${seed}: ${found} is the last, ${acknowledged} was durable`);
}

const missing = ALLOWED_SKIPS.e2fsprogs.present() ? "loop" : "e2fsprogs";

Deno.test(needs(missing, "a log keeps every acknowledged record over a power cut", async () => {
  const folder = await Deno.makeTempDir({ dir: "/dev/shm", prefix: "keelson-test-" });
  await Deno.mkdir(`${folder}/mounted`);
  const first = Number(Deno.env.get("SEED") ?? Date.now() % 1_000_000);
  try {
    for (let round = 0; round < ROUNDS; round++) await oneCut(folder, first + round);
  } finally {
    await run("umount", "-q", `${folder}/mounted`).catch(() => {});
    await Deno.remove(folder, { recursive: true });
  }
}));
