import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { preloadCompletion } from "../../lib/exec/completion.ts";
import {
  type DurableLog,
  followLog,
  listLogCursors,
  openLog,
  openLogCursor,
  type OpenLogOptions,
  removeLogCursor,
  scanLog,
  statLog,
} from "../../lib/log/durable_log.ts";

preload("base", "exec", "log");
await preloadCompletion();

const ROOT = new URL("../..", import.meta.url);
const small: OpenLogOptions = { segmentBytes: 65536, ringBytes: 65536 };

async function withFolder(body: (folder: string) => Promise<void> | void): Promise<void> {
  const parent = Deno.makeTempDirSync({ prefix: "keelson-test-" });
  try {
    await body(`${parent}/log`);
  } finally {
    Deno.removeSync(parent, { recursive: true });
  }
}

function word(number: number, bytes = 500): Uint8Array {
  const data = new Uint8Array(bytes);
  new DataView(data.buffer).setUint32(0, number, true);
  return data;
}

function numberOf({ bytes }: { bytes: Uint8Array }): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}

function fill(log: DurableLog, count: number): number[] {
  const addresses = Array.from({ length: count }, (_, number) => log.append(word(number)));
  log.commitSync();
  return addresses;
}

function segments(folder: string): number {
  return [...Deno.readDirSync(folder)].filter(({ name }) => name.startsWith("segment-")).length;
}

Deno.test("DurableLog.truncateBefore lets the log begin at a record and gives space back", () =>
  withFolder(async (folder) => {
    using log = openLog(folder, small);
    const at = fill(log, 1000);
    const before = segments(folder);
    assertEquals(await log.truncateBefore(at[900]), at[900]);
    assertEquals(log.firstAddress, at[900]);
    assert(segments(folder) < before - 4);
    assertEquals([...log.scan()].map(numberOf), Array.from({ length: 100 }, (_, i) => 900 + i));
    assertEquals(await log.truncateBefore(at[10]), at[900], "never backwards");
    const inside = await assertRejects(() => log.truncateBefore(at[950] + 8), KeelsonError);
    assertStringIncludes(inside.message, `lies inside the frame at address ${at[950]}`);
    const early = await assertRejects(() => log.truncateBefore(2 ** 40), KeelsonError);
    assertStringIncludes(early.message, "not durable yet");
    for (const bad of [-1, 0.5, NaN, 2 ** 53, "5" as unknown as number]) {
      const error = await assertRejects(() => log.truncateBefore(bad), KeelsonError);
      assertEquals(error.codeName, "KL_ERR_ARGUMENT");
    }
    const gone = assertThrows(() => [...scanLog(folder, { from: at[10] })], KeelsonError);
    assertStringIncludes((gone as KeelsonError).message, "was truncated away");
    const both = await Promise.allSettled([
      log.truncateBefore(at[950] + 8),
      log.truncateBefore(at[940]),
    ]);
    assertEquals(both.map(({ status }) => status), ["rejected", "fulfilled"], "each its own");
  }));

Deno.test("openLog with retainBytes keeps about so much", () =>
  withFolder(async (folder) => {
    using log = openLog(folder, { ...small, retainBytes: 200_000 });
    for (let round = 0; round < 40; round++) fill(log, 100);
    const deadline = performance.now() + 10_000;
    while (log.durableAddress - log.firstAddress > 400_000 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const kept = log.durableAddress - log.firstAddress;
    assert(kept >= 200_000 && kept <= 400_000, `${kept}`);
    assert(segments(folder) <= 8);
  }));

Deno.test("LogCursor survives its process and holds truncation back", () =>
  withFolder(async (folder) => {
    using log = openLog(folder, small);
    const at = fill(log, 500);
    {
      using cursor = openLogCursor(folder, "audit", { from: at[100] });
      assertEquals(cursor.address, at[100]);
      await cursor.move(at[200]);
      const back = await assertRejects(() => cursor.move(at[100]), KeelsonError);
      assertStringIncludes(back.message, `stands at address ${at[200]}`);
      for (const bad of [-1, 0.5, NaN, 2 ** 53]) {
        await assertRejects(() => cursor.move(bad), KeelsonError);
        assertThrows(() => cursor.moveSync(bad), KeelsonError);
      }
      const twice = assertThrows(() => openLogCursor(folder, "audit"), KeelsonError);
      assertEquals((twice as KeelsonError).codeName, "KL_ERR_LOCKED");
    }
    assertEquals(await log.truncateBefore(at[400]), at[200]);
    using cursor = openLogCursor(folder, "audit");
    assertEquals(cursor.address, at[200]);
    cursor.close();
    cursor.close();
    assertEquals(
      (assertThrows(() => cursor.address, KeelsonError) as KeelsonError).codeName,
      "KL_ERR_HANDLE",
    );
    openLogCursor(folder, "end", { from: "end" }).close();
    assertEquals(listLogCursors(folder), ["audit", "end"]);
    removeLogCursor(folder, "audit");
    assertEquals(await log.truncateBefore(at[400]), at[400]);
    for (const name of ["", "a/b", "../x", "x".repeat(65)]) {
      assertThrows(() => openLogCursor(folder, name), KeelsonError);
    }
  }));

Deno.test("DurableLog.append with durability sync resolves when the record is durable", () =>
  withFolder(async (folder) => {
    using log = openLog(folder, small);
    const addresses = await Promise.all(
      [1, 2, 3].map((number) => log.append(word(number), { durability: "sync" })),
    );
    assert(log.durableAddress > Math.max(...addresses));
    const bad = { durability: "never" as "sync" };
    assertThrows(() => log.append(word(4), bad), KeelsonError, "durability is never");
    for (const tag of [-1, 65_536, 0.5, NaN]) {
      assertThrows(() => log.append(word(4), { tag }), KeelsonError, "expected 0 to 65535");
    }
    log.append(word(4), { tag: 65_535 });
    assertEquals([...log.scan({ uncommitted: true })].map(({ tag }) => tag), [0, 0, 0, 65_535]);
  }));

Deno.test("DurableLog.follow gives records as they become durable, and ends with the signal", () =>
  withFolder(async (folder) => {
    using log = openLog(folder, small);
    const stop = new AbortController();
    const seen: number[] = [];
    const reading = (async () => {
      for await (const record of log.follow({ signal: stop.signal })) {
        seen.push(numberOf(record));
        if (seen.length === 300) stop.abort(new Error("enough"));
      }
    })();
    for (let number = 0; number < 300; number++) {
      log.append(word(number));
      if (number % 50 === 49) await log.commit();
    }
    await assertRejects(() => reading, Error, "enough");
    assertEquals(seen, Array.from({ length: 300 }, (_, i) => i));
  }));

Deno.test("followLog is woken by a log that another process writes", () =>
  withFolder(async (folder) => {
    openLog(folder, small).close();
    const script = `
      import { openLog } from "${ROOT.href}lib/log/durable_log.ts";
      const log = openLog(Deno.args[0]);
      for (let n = 0; n < 100; n++) {
        const record = new Uint8Array(8);
        new DataView(record.buffer).setUint32(0, n, true);
        await log.append(record, { durability: "sync" });
      }
      log.close();
      Deno.exit(0);`;
    const file = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.writeTextFile(file, script);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-lock", file, folder],
      cwd: ROOT,
      stdin: "null",
    }).spawn();
    const seen: number[] = [];
    const signal = AbortSignal.timeout(30_000);
    for await (const record of followLog(folder, { signal })) {
      seen.push(numberOf(record));
      if (seen.length === 100) break;
    }
    assertEquals(seen, Array.from({ length: 100 }, (_, i) => i));
    assertEquals((await child.status).code, 0);
    await Deno.remove(file);
  }));

Deno.test("statLog tells where a log stands, beside its writer and without one", () =>
  withFolder(async (folder) => {
    const absent = await assertRejects(() => statLog(folder), KeelsonError);
    assertEquals(absent.codeName, "KL_ERR_NOT_FOUND");
    {
      using log = openLog(folder, small);
      const at = fill(log, 300);
      await log.truncateBefore(at[200]);
      log.append(word(300));
      const live = await statLog(folder);
      assertEquals(live.live, true);
      assertEquals(live.firstAddress, at[200]);
      assertEquals(live.durableAddress, log.durableAddress);
      assertEquals(live.tailAddress, log.tailAddress);
      assertEquals(live.segments, segments(folder));
      assertEquals(live.bytesUsed, (live.segments + live.spares) * live.segmentBytes);
    }
    const rest = await statLog(folder);
    assertEquals([rest.live, rest.tailAddress], [false, rest.durableAddress]);
  }));
