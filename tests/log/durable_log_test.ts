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
  DurableLog,
  type LogRecord,
  openLog,
  type OpenLogOptions,
  scanLog,
  verifyLog,
} from "../../lib/log/durable_log.ts";

preload("base", "exec", "log");
await preloadCompletion();

/** Small files, so that tests cross segments and laps of the ring. */
const small: OpenLogOptions = { segmentBytes: 65536, ringBytes: 65536 };

async function withFolder(body: (folder: string) => Promise<void> | void): Promise<void> {
  const parent = Deno.makeTempDirSync({ prefix: "keelson-test-" });
  try {
    await body(`${parent}/log`);
  } finally {
    Deno.removeSync(parent, { recursive: true });
  }
}

function failure(body: () => unknown): KeelsonError {
  return assertThrows(body, KeelsonError) as KeelsonError;
}

function record(number: number, bytes = 100): Uint8Array {
  const data = new Uint8Array(bytes).fill(number & 0xff);
  new DataView(data.buffer).setUint32(0, number, true);
  return data;
}

function numbers(records: Iterable<LogRecord>): number[] {
  return [...records].map(({ bytes }) =>
    new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  );
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

Deno.test("openLog makes a log that gives back what was appended, also after it is opened again", () =>
  withFolder((folder) => {
    {
      using log = openLog(folder, small);
      assertEquals(log.recovery.text, "");
      for (const number of upTo(500)) log.append(record(number, 4 + number));
      assertEquals(numbers(log.scan()), []);
      assertEquals(numbers(log.scan({ uncommitted: true })), upTo(500));
      log.commitSync();
      assertEquals(log.durableAddress, log.tailAddress);
      assertEquals(numbers(log.scan()), upTo(500));
    }
    using log = openLog(folder, { create: false, ringBytes: 65536 });
    assertEquals(log.recovery, {
      cutBytes: 0,
      cutAddress: 0,
      drainedBytes: 0,
      rewrittenBytes: 0,
      droppedBytes: 0,
      text: "",
    });
    for (const { bytes, index } of log.scan()) {
      const number = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
      assertEquals(bytes, record(number, 4 + number) as Uint8Array<ArrayBuffer>);
      assertEquals(index, 0);
    }
  }));

Deno.test("DurableLog.append answers addresses from which a scan can begin", () =>
  withFolder((folder) => {
    using log = openLog(folder, small);
    const addresses = upTo(50).map((number) => log.append(record(number)));
    log.commitSync();
    addresses.forEach((address, number) => {
      assertEquals(numbers(log.scan({ from: address, to: address + 1 })), [number]);
    });
    const [first] = log.scan();
    assertEquals(numbers(log.scan({ from: first.nextAddress })), upTo(50).slice(1));
    assertEquals(numbers(log.scan({ to: addresses[7] })), upTo(7));
    assertEquals(numbers(log.scan({ from: log.tailAddress })), []);
    assertEquals(
      failure(() => [...log.scan({ from: addresses[3] + 8 })]).codeName,
      "KL_ERR_ARGUMENT",
    );
    assertEquals(
      failure(() => [...log.scan({ from: addresses[3] + 1 })]).codeName,
      "KL_ERR_ARGUMENT",
    );
  }));

Deno.test("DurableLog.appendMany appends a batch whose records share an address", () =>
  withFolder((folder) => {
    using log = openLog(folder, small);
    log.append(record(0));
    const address = log.appendMany([record(1), new Uint8Array(), record(3)]);
    log.appendMany([]);
    log.commitSync();
    const records = [...log.scan()];
    assertEquals(records.map(({ index }) => index), [0, 0, 1, 2]);
    assertEquals(records.map(({ bytes }) => bytes.length), [100, 100, 0, 100]);
    assertEquals(records.slice(1).map((found) => found.address), [address, address, address]);
    assertEquals(numbers([records[3]]), [3]);
  }));

Deno.test("DurableLog.commit resolves when what was appended is durable, for many callers at once", () =>
  withFolder(async (folder) => {
    using log = openLog(folder, small);
    await log.commit(); // nothing to do
    await Promise.all(
      upTo(200).map(async (number) => {
        const address = log.append(record(number));
        await log.commit();
        assert(log.durableAddress > address);
      }),
    );
    for (const number of upTo(20)) {
      const address = log.append(record(200 + number));
      await log.commit();
      assert(log.durableAddress > address);
    }
    assertEquals(numbers(log.scan()), upTo(220));
  }));

Deno.test("DurableLog.close resolves commits that are pending, and closing twice is nothing", () =>
  withFolder(async (folder) => {
    const log = openLog(folder, small);
    log.append(record(0));
    const pending = log.commit();
    log.close();
    await pending;
    log.close();
    log[Symbol.dispose]();
    await log[Symbol.asyncDispose]();
    for (
      const call of [
        () => log.append(record(1)),
        () => log.appendMany([record(1)]),
        () => log.commitSync(),
        () => log.flush(),
        () => log.tailAddress,
        () => log.state(),
        () => [...log.scan()],
      ]
    ) assertEquals(failure(call).codeName, "KL_ERR_CLOSED");
    const error = await assertRejects(() => log.commit(), KeelsonError) as KeelsonError;
    assertEquals(error.codeName, "KL_ERR_CLOSED");
    assertEquals(numbers(scanLog(folder)), [0]);
  }));

Deno.test("DurableLog in an await using block commits before it closes", () =>
  withFolder(async (folder) => {
    {
      await using log = openLog(folder, small);
      log.append(record(0));
    }
    assertEquals(numbers(scanLog(folder)), [0]);
  }));

Deno.test("openLog names the process that has the log open", () =>
  withFolder((folder) => {
    using _log = openLog(folder, small);
    const error = failure(() => openLog(folder));
    assertEquals(error.codeName, "KL_ERR_LOCKED");
    assertStringIncludes(error.message, String(Deno.pid));
  }));

Deno.test("openLog refuses bad options at the door", () =>
  withFolder((folder) => {
    const bad: unknown[] = [
      { segmentBytes: 1000 },
      { segmentBytes: 65537 },
      { segmentBytes: -1 },
      { segmentBytes: NaN },
      { segmentBytes: 2 ** 40 },
      { ringBytes: 100_000 },
      { ringBytes: 1.5 },
      { ringBytes: 2 ** 31 },
      { create: 1 },
      { sharedRing: "yes" },
      { durability: "sync" },
      { recovery: "hope" },
    ];
    for (const options of bad) {
      const error = failure(() => openLog(folder, options as OpenLogOptions));
      assertEquals(error.codeName, "KL_ERR_ARGUMENT", JSON.stringify(options));
    }
    assertEquals(failure(() => openLog(folder, { create: false })).codeName, "KL_ERR_NOT_FOUND");
    assertEquals(failure(() => openLog(`${folder}/a/b`)).codeName, "KL_ERR_NOT_FOUND");
    assertEquals(failure(() => openLog("")).codeName, "KL_ERR_NAME");
    assertEquals(failure(() => openLog(7 as unknown as string)).codeName, "KL_ERR_ARGUMENT");
    assertEquals(failure(() => [...scanLog(folder)]).codeName, "KL_ERR_NOT_FOUND");
  }));

Deno.test("DurableLog.append refuses what is not a record, and nothing is lost", () =>
  withFolder((folder) => {
    using log = openLog(folder, small);
    const limit = log.state().recordBytesMax;
    const detached = new Uint8Array(8);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    const bad: [unknown, string][] = [
      ["text", "KL_ERR_ARGUMENT"],
      [undefined, "KL_ERR_ARGUMENT"],
      [new ArrayBuffer(8), "KL_ERR_ARGUMENT"],
      [detached, "KL_ERR_ARGUMENT"],
      [new Uint8Array(limit + 1), "KL_ERR_LIMIT"],
    ];
    for (const [value, codeName] of bad) {
      assertEquals(failure(() => log.append(value as Uint8Array)).codeName, codeName);
    }
    assertStringIncludes(
      failure(() => log.append(new Uint8Array(limit + 1))).message,
      String(limit),
    );
    assertEquals(
      failure(() => log.appendMany([record(0), "x" as unknown as Uint8Array])).codeName,
      "KL_ERR_ARGUMENT",
    );
    assertEquals(log.tailAddress, 0);
    log.append(new Uint8Array());
    log.append(new Uint8Array(limit));
    log.append(new Uint8Array(new SharedArrayBuffer(32)).fill(7));
    log.append(new Uint8Array([1, 2, 3, 4]).subarray(1, 3));
    log.commitSync();
    assertEquals([...log.scan()].map(({ bytes }) => bytes.length), [0, limit, 32, 2]);
    assertEquals([...log.scan()][3].bytes, new Uint8Array([2, 3]));
  }));

Deno.test("scanLog reads records that are larger than its buffer", () =>
  withFolder((folder) => {
    {
      using log = openLog(folder, { segmentBytes: 1 << 20, ringBytes: 4 << 20 });
      for (const number of upTo(5)) log.append(record(number, 100 + number * 300_000));
    }
    assertEquals([...scanLog(folder)].map(({ bytes }) => bytes.length), [
      100,
      300_100,
      600_100,
      900_100,
      1_200_100,
    ]);
    assertEquals(numbers(scanLog(folder)), upTo(5));
  }));

Deno.test("scanLog may be left before its end", () =>
  withFolder((folder) => {
    using log = openLog(folder, small);
    for (const number of upTo(100)) log.append(record(number));
    log.commitSync();
    for (let round = 0; round < 50; round++) {
      for (const { bytes } of scanLog(folder)) {
        assertEquals(bytes.length, 100);
        break;
      }
    }
  }));

Deno.test("DurableLog without a shared ring keeps buffered records in the page cache", () =>
  withFolder((folder) => {
    using log = openLog(folder, { ...small, sharedRing: false });
    assertEquals(log.state().sharedRing, false);
    log.append(record(0));
    assertEquals(log.state().flushedAddress, log.tailAddress);
    assertEquals(numbers(scanLog(folder, { uncommitted: true })), [0]);
  }));

Deno.test("verifyLog finds nothing wrong with a good log and the place of a flipped bit", () =>
  withFolder(async (folder) => {
    {
      using log = openLog(folder, small);
      for (const number of upTo(100)) log.append(record(number));
      log.appendMany([record(100), record(101)]);
    }
    const good = await verifyLog(folder);
    assertEquals(good.problems, []);
    assertEquals(good.recordCount, 102);
    assertEquals(good.clean, true);
    const path = `${folder}/segment-0000000000000000.kls`;
    {
      using file = Deno.openSync(path, { read: true, write: true });
      file.seekSync(4096 + 3 * 136 + 50, Deno.SeekMode.Start);
      file.writeSync(new Uint8Array([0xee]));
    }
    const bad = await verifyLog(folder);
    assertEquals(bad.problemCount, 1);
    assertStringIncludes(bad.problems[0], path);
    assertStringIncludes(bad.problems[0], `offset ${4096 + 3 * 136}`);
    assertEquals(bad.recordCount, 101);
    assertEquals(failure(() => openLog(folder)).codeName, "KL_ERR_CORRUPT");
    await assertRejects(() => verifyLog(`${folder}/nowhere`), KeelsonError, "KL_ERR_NOT_FOUND");
  }));

Deno.test("DurableLog is what openLog answers", () =>
  withFolder((folder) => {
    using log = openLog(folder, small);
    assert(log instanceof DurableLog);
    assertEquals(log.firstAddress, 0);
  }));

Deno.test("openLog after kill -9 has every record that append answered for", async () => {
  await withFolder(async (folder) => {
    const program = `
      import { openLog } from ${
      JSON.stringify(import.meta.resolve("../../lib/log/durable_log.ts"))
    };
      const log = openLog(Deno.args[0], { segmentBytes: 65536, ringBytes: 65536 });
      const out = new Uint8Array(4), view = new DataView(out.buffer);
      for (let number = [...log.scan()].length; ; number++) {
        const bytes = new Uint8Array(100).fill(number & 0xff);
        new DataView(bytes.buffer).setUint32(0, number, true);
        log.append(bytes);
        if (number % 50 === 0) log.commitSync();
        view.setUint32(0, number + 1, true);
        Deno.stdout.writeSync(out);
      }`;
    let acknowledged = 0;
    for (const milliseconds of [0, 40]) {
      const child = new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "-A",
          "--no-check",
          `data:application/typescript,${encodeURIComponent(program)}`,
          folder,
        ],
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      let killer: ReturnType<typeof setTimeout> | undefined;
      let rest = new Uint8Array();
      for await (const chunk of child.stdout) {
        killer ??= setTimeout(() => child.kill("SIGKILL"), milliseconds);
        const bytes = new Uint8Array(rest.length + chunk.length);
        bytes.set(rest);
        bytes.set(chunk, rest.length);
        const whole = bytes.length - bytes.length % 4;
        if (whole > 0) acknowledged = new DataView(bytes.buffer).getUint32(whole - 4, true);
        rest = bytes.slice(whole);
      }
      clearTimeout(killer);
      assertEquals((await child.status).signal, "SIGKILL");
      using log = openLog(folder, small);
      const found = numbers(log.scan());
      assert(found.length >= acknowledged, `${found.length} of ${acknowledged}`);
      assertEquals(found, upTo(found.length));
    }
    assert(acknowledged > 0);
  });
});
