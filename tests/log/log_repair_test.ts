import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { openLog, repairLog, scanLog, verifyLog } from "../../lib/log/durable_log.ts";

preload("base", "log");

const RECORDS = 300;

function damagedLog(folder: string): void {
  const log = openLog(folder, { segmentBytes: 65536, ringBytes: 65536 });
  for (let number = 0; number < RECORDS; number++) log.append(new Uint8Array(1000).fill(number));
  log.close();
  using file = Deno.openSync(`${folder}/segment-0000000000000001.kls`, { read: true, write: true });
  file.seekSync(20_000, Deno.SeekMode.Start);
  file.writeSync(new Uint8Array([1, 2, 3, 4]));
}

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const parent = Deno.makeTempDirSync({ prefix: "keelson-test-" });
  try {
    await body(`${parent}/log`);
  } finally {
    Deno.removeSync(parent, { recursive: true });
  }
}

Deno.test("repairLog says first, then leaves out what is damaged and keeps it beside", () =>
  withFolder(async (folder) => {
    damagedLog(folder);
    const dry = await repairLog(folder, { dryRun: true });
    assertEquals({ changed: dry.changed, problems: dry.problemCount }, {
      changed: false,
      problems: 1,
    });
    assertStringIncludes(dry.lines[1], "would drop 1032 bytes");
    assertEquals((await verifyLog(folder)).problemCount, 1);
    const done = await repairLog(folder);
    assertEquals(done.droppedBytes, 1032);
    assert(done.changed);
    assertEquals((await verifyLog(folder)).problemCount, 0);
    assertEquals([...scanLog(folder)].length, RECORDS - 1);
    assertEquals([...Deno.readDirSync(`${folder}/dropped`)].length, 1);
    assertEquals((await repairLog(folder)).changed, false);
  }));

Deno.test("repairLog in point-in-time mode ends the log before the damage", () =>
  withFolder(async (folder) => {
    damagedLog(folder);
    await repairLog(folder, { mode: "point-in-time" });
    const left = [...scanLog(folder)];
    assert(left.length > 50 && left.length < 100, `${left.length}`);
    openLog(folder, { recovery: "absolute" }).close();
  }));

Deno.test("openLog repairs only when the recovery mode says so", () =>
  withFolder(async (folder) => {
    damagedLog(folder);
    await assertRejects(async () => await openLog(folder), KeelsonError, "checksum");
    using log = openLog(folder, { recovery: "skip-corrupt" });
    assertEquals(log.recovery.droppedBytes, 1032);
    assertStringIncludes(log.recovery.text, "kept in dropped/");
    assertEquals([...log.scan()].length, RECORDS - 1);
    const busy = await assertRejects(() => repairLog(folder), KeelsonError);
    assertEquals(busy.codeName, "KL_ERR_LOCKED");
  }));

Deno.test("repairLog refuses what is no log, and bad options", () =>
  withFolder(async (folder) => {
    assertEquals(
      (await assertRejects(() => repairLog(folder), KeelsonError)).codeName,
      "KL_ERR_NOT_FOUND",
    );
    await assertRejects(() => repairLog(folder, { mode: "all" as "skip" }), KeelsonError, "mode");
    await assertRejects(
      () => repairLog(folder, { dryRun: 1 as unknown as boolean }),
      KeelsonError,
      "dryRun",
    );
  }));
