import { assert, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { libraryPath, preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { Region } from "../../lib/mem/region.ts";

preload("base", "mem");

const ROOT = import.meta.dirname!.replace(/\/tests\/mem$/, "");
const MODULE = `file://${ROOT}/lib/mem/region.ts`;

function freshName(): string {
  return `test-${crypto.randomUUID()}`;
}

/** The code name of what `fn` throws; the message must fit. */
function refusal(fn: () => unknown, message: RegExp = /^Cannot /): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  assert(!error.message.includes("\n"), "one line");
  return error.codeName;
}

/** A Deno process that runs `script` with what `flags` grants, its lines as they come. */
function start(script: string, flags: string[] = ["-A"]) {
  const file = Deno.makeTempFileSync({ prefix: "keelson-script-", suffix: ".ts" });
  Deno.writeTextFileSync(file, script);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-lock", `--config=${ROOT}/deno.json`, ...flags, file],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  return {
    pid: child.pid,
    async line(): Promise<string> {
      while (!text.includes("\n")) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`ended early, said: ${text}`);
        text += value;
      }
      const [first, ...rest] = text.split("\n");
      text = rest.join("\n");
      return first;
    },
    async end(signal?: Deno.Signal): Promise<number> {
      if (signal) child.kill(signal);
      while (!(await reader.read()).done) { /* to the end */ }
      Deno.removeSync(file);
      return (await child.status).code;
    },
  };
}

Deno.test("Region.create() and attach() give the same zeroed bytes", () => {
  const name = freshName();
  using first = Region.create(name, { bytes: 10_000 });
  using second = Region.attach(name);
  assertEquals([first.bytes, second.bytes], [10_000, 10_000]);
  assertEquals(first.path, `/dev/shm/keelson-${Deno.uid()}/${name}`);
  assertEquals(first.read(0, new Uint8Array(10_000)), new Uint8Array(10_000));
  first.write(9_997, Uint8Array.of(1, 2, 3));
  assertEquals(second.read(9_996, new Uint8Array(4)), Uint8Array.of(0, 1, 2, 3));
  const part = new Uint8Array(10);
  second.read(9_997, part.subarray(4, 7));
  assertEquals(part, Uint8Array.of(0, 0, 0, 0, 1, 2, 3, 0, 0, 0));
  first.write(10_000, new Uint8Array(0));
  Region.remove(name);
  assertEquals(refusal(() => Region.attach(name), /No such file/), "KL_ERR_NOT_FOUND");
  assertEquals(second.read(9_997, new Uint8Array(1))[0], 1);
});

Deno.test("Region.create() in a folder keeps the bytes when all have closed", () => {
  const folder = Deno.makeTempDirSync();
  try {
    {
      using region = Region.create("state", { bytes: 5, folder, prefault: true });
      assertEquals(region.path, `${folder}/state`);
      region.write(0, new TextEncoder().encode("hello"));
    }
    using again = Region.attach("state", { folder });
    assertEquals(new TextDecoder().decode(again.read(0, new Uint8Array(5))), "hello");
    assertEquals(
      refusal(() => Region.create("state", { bytes: 5, folder }), /exists already/),
      "KL_ERR_EXISTS",
    );
    Region.remove("state", { folder });
    assertEquals([...Deno.readDirSync(folder)].length, 0);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("Region refuses names that are none, with one clear line", () => {
  const names = ["", ".", "..", "../x", "a/b", "/etc/passwd", "-rf", ".a", "a b", "a\nb", "a\0b"];
  names.push("x".repeat(129), "x".repeat(300), "\u{ff41}", "é", "a\n");
  for (const name of names) {
    for (const folder of [undefined, "/tmp"]) {
      const told = /a region's name is 1 to 128 letters/;
      assertEquals(refusal(() => Region.create(name, { bytes: 1, folder }), told), "KL_ERR_NAME");
      assertEquals(refusal(() => Region.attach(name, { folder }), told), "KL_ERR_NAME");
      assertEquals(refusal(() => Region.remove(name, { folder }), told), "KL_ERR_NAME");
    }
  }
  for (const name of [undefined, null, 5, {}, []] as unknown as string[]) {
    assertEquals(refusal(() => Region.attach(name)), "KL_ERR_NAME");
  }
  Region.create("x".repeat(128), { bytes: 1 }).close();
  Region.remove("x".repeat(128));
});

Deno.test("Region refuses options and ranges outside of what it holds", () => {
  const name = freshName();
  for (const bytes of [0, -1, 1.5, NaN, Infinity, 2 ** 60, "5", undefined] as number[]) {
    assertEquals(refusal(() => Region.create(name, { bytes })), "KL_ERR_ARGUMENT");
  }
  for (const role of [-1, 1.5, NaN, 2 ** 32, "1"] as number[]) {
    assertEquals(refusal(() => Region.create(name, { bytes: 1, role }), /role/), "KL_ERR_ARGUMENT");
  }
  for (const folder of ["", "a\0b", 7] as string[]) {
    assertEquals(refusal(() => Region.create(name, { bytes: 1, folder })), "KL_ERR_ARGUMENT");
  }
  assertEquals(
    refusal(() => Region.create(name, { bytes: 1, folder: "/no/such/folder" }), /No such file/),
    "KL_ERR_NOT_FOUND",
  );
  assertEquals(
    refusal(() => Region.create(name, { bytes: 2 ** 45 }), /needs 32.* \/dev\/shm has .* free/),
    "KL_ERR_NO_SPACE",
  );
  using region = Region.create(name, { bytes: 100 });
  Region.remove(name);
  const buffer = new Uint8Array(10);
  for (const offset of [91, 101, -1, 0.5, NaN, Infinity, 2 ** 53, "1", null] as number[]) {
    assertEquals(refusal(() => region.read(offset, buffer), /holds 100 bytes/), "KL_ERR_ARGUMENT");
    assertEquals(refusal(() => region.write(offset, buffer), /holds 100 bytes/), "KL_ERR_ARGUMENT");
  }
  assertEquals(refusal(() => region.read(0, new Uint8Array(101))), "KL_ERR_ARGUMENT");
  for (const bytes of [undefined, null, [1], new ArrayBuffer(4)] as unknown as Uint8Array[]) {
    assertEquals(refusal(() => region.write(0, bytes), /Uint8Array/), "KL_ERR_ARGUMENT");
  }
});

Deno.test("Region.attach() refuses what is not a region, and remove() leaves it alone", () => {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(`${folder}/diary`, "dear diary", { mode: 0o600 });
    assertEquals(
      refusal(() => Region.attach("diary", { folder }), /not a Keelson region/),
      "KL_ERR_FOREIGN",
    );
    assertEquals(refusal(() => Region.remove("diary", { folder })), "KL_ERR_FOREIGN");
    assertEquals(Deno.readTextFileSync(`${folder}/diary`), "dear diary");
    Region.create("r", { bytes: 5000, folder }).close();
    Deno.symlinkSync(`${folder}/r`, `${folder}/link`);
    assertEquals(
      refusal(() => Region.attach("link", { folder }), /symbolic link/),
      "KL_ERR_PERMISSION",
    );
    Deno.truncateSync(`${folder}/r`, 9000);
    assertEquals(
      refusal(() => Region.attach("r", { folder }), /holds 9000 bytes/),
      "KL_ERR_TRUNCATED",
    );
    Region.remove("r", { folder });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("Region.view() is the memory itself until close()", () => {
  const name = freshName();
  const region = Region.create(name, { bytes: 64 });
  using other = Region.attach(name);
  Region.remove(name);
  const view = region.view();
  view[5] = 9;
  assertEquals(other.read(5, new Uint8Array(1))[0], 9);
  other.write(6, Uint8Array.of(8));
  assertEquals([view[6], view.length], [8, 64]);
  assertEquals(Atomics.add(new Int32Array(view.buffer), 2, 5), 0);
  assertEquals(other.read(8, new Uint8Array(1))[0], 5);
  const taken = region.view().buffer.transfer(); // a user who should not: the next view is a fresh one
  assertEquals([view.length, region.view().length, region.view()[5]], [0, 64, 9]);
  const last = region.view();
  region.close();
  assertEquals([last.length, last[5], last.buffer.detached], [0, undefined, true]);
  assertEquals(new Uint8Array(taken)[5], 0); // zeros, not a crash
  new Uint8Array(taken)[5] = 1;
  assertEquals(other.read(5, new Uint8Array(1))[0], 9);
  region.close();
  assert(region.closed);
  for (const use of [() => region.view(), () => region.participants(), () => region.reap()]) {
    assertEquals(refusal(use), "KL_ERR_CLOSED");
  }
  assertEquals(refusal(() => region.read(0, new Uint8Array(1))), "KL_ERR_CLOSED");
  assertEquals(refusal(() => region.write(0, new Uint8Array(1))), "KL_ERR_CLOSED");
  assertEquals(refusal(() => region.poisoned), "KL_ERR_CLOSED");
});

Deno.test("Region.participants() sees another process come and be killed", async () => {
  const name = freshName();
  using region = Region.create(name, { bytes: 64, role: 1 });
  const child = start(`
    import { Region } from "${MODULE}";
    const region = Region.attach("${name}", { role: 2 });
    region.write(0, Uint8Array.of(42));
    console.log(region.id);
    setInterval(() => {}, 1000);
  `);
  const id = Number(await child.line());
  assertEquals(region.read(0, new Uint8Array(1))[0], 42);
  const seen = () =>
    region.participants().map(({ id, role, pid, alive }) => [id, role, pid, alive]);
  const me = [region.id, 1, Deno.pid, true];
  assertEquals(seen(), [me, [id, 2, child.pid, true]]);
  assert(Math.abs(region.participants()[1].joinedAtMs - Date.now()) < 60_000);
  await child.end("SIGKILL");
  assertEquals(seen(), [me, [id, 2, child.pid, false]]);
  assertEquals(region.reap(), 1);
  assertEquals(seen(), [me]);
  using next = Region.attach(name);
  assert(next.id !== id);
  Region.remove(name);
});

Deno.test("Region.participants() sees a Worker go that is terminated", async () => {
  const name = freshName();
  using region = Region.create(name, { bytes: 64 });
  const script = `import { Region } from "${MODULE}";
    postMessage(Region.attach("${name}").id); setInterval(() => {}, 1000);`;
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  const id = await new Promise<number>((resolve) => worker.onmessage = (e) => resolve(e.data));
  assertEquals(region.participants().map((one) => one.id), [region.id, id]);
  worker.terminate();
  URL.revokeObjectURL(url);
  for (let i = 0; i < 200 && region.participants().length > 1; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assertEquals(region.participants().map((one) => one.id), [region.id]);
  Region.remove(name);
});

Deno.test("Region cut by another process is poisoned, and this process lives", () => {
  const folder = Deno.makeTempDirSync();
  try {
    using region = Region.create("r", { bytes: 100_000, folder });
    using other = Region.attach("r", { folder });
    const view = region.view();
    assert(!region.poisoned);
    Deno.truncateSync(`${folder}/r`, 16_384);
    assertEquals(view[70_000], 0);
    view[80_000] = 1;
    assert(region.poisoned && other.poisoned);
    const told = /has lost the page at offset/;
    assertEquals(refusal(() => region.read(0, new Uint8Array(1)), told), "KL_ERR_POISONED");
    assertEquals(refusal(() => other.write(0, new Uint8Array(1))), "KL_ERR_POISONED");
    assertEquals(refusal(() => region.participants()), "KL_ERR_POISONED");
    assertEquals(refusal(() => Region.attach("r", { folder })), "KL_ERR_TRUNCATED");
    Region.remove("r", { folder });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("Region works with FFI granted for the library only, but for view()", async () => {
  const name = freshName();
  const child = start(
    `
    import { Region } from "${MODULE}";
    using region = Region.create("${name}", { bytes: 1000 });
    using other = Region.attach("${name}");
    region.write(990, Uint8Array.of(1, 2, 3));
    console.log([...other.read(990, new Uint8Array(3))].join(), region.participants().length);
    try {
      region.view();
    } catch (error) {
      console.log(error.codeName, error.message.includes("--allow-ffi"));
    }
    Region.remove("${name}");
  `,
    [`--allow-ffi=${libraryPath()}`, "--allow-read", "--allow-env"],
  );
  assertEquals(await child.line(), "1,2,3 2");
  assertEquals(await child.line(), "KL_ERR_PERMISSION true");
  assertEquals(await child.end(), 0);
});

Deno.test("Region that is never closed lets the process end", async () => {
  const name = freshName();
  const child = start(`
    import { Region } from "${MODULE}";
    const region = Region.create("${name}", { bytes: 1000 });
    region.view()[0] = 5;
    console.log("done");
  `);
  assertEquals(await child.line(), "done");
  assertEquals(await child.end(), 0);
  using region = Region.attach(name);
  assertEquals(region.read(0, new Uint8Array(1))[0], 5);
  assertEquals(region.participants().filter((one) => one.alive).length, 1);
  Region.remove(name);
});

Deno.test("Region.read() and write() carry many megabytes", () => {
  const name = freshName();
  using region = Region.create(name, { bytes: 40_000_000 });
  Region.remove(name);
  const bytes = new Uint8Array(39_999_999).fill(3);
  region.write(1, bytes);
  assertEquals(region.read(0, new Uint8Array(3)), Uint8Array.of(0, 3, 3));
  const back = region.read(0, new Uint8Array(40_000_000));
  assert(back.indexOf(0, 1) === -1 && back[39_999_999] === 3);
});
