/**
 * The disk itself as a side of a row: the best pattern it offers, measured in the same rounds.
 *
 * @module
 */
import { statfsSync } from "node:fs";
import { symbols } from "../../ffi/library.ts";
import { check } from "../../lib/base/error.ts";
import { filesystemOf } from "./machine.ts";
import type { BenchContext, Contender, Sample } from "./row.ts";

const MODE_SYNC = 0;
const MODE_STREAM = 1;
const GB = 1e9;
const MiB = 1024 * 1024;

async function measure(
  folder: string,
  mode: number,
  blockBytes: number,
  count: number,
): Promise<number> {
  const path = new TextEncoder().encode(folder);
  const { kl_device_measure } = symbols("file");
  const found = await kl_device_measure(path, path.byteLength, mode, blockBytes, count);
  return found > 0 ? found : check(found, `measure the device under ${folder}`);
}

function sample(value: number, records: number): Sample {
  return { value, records, durability: "durable", digest: "-" };
}

/** Sequential writing of allocated blocks, synced at the end: GB/s. */
export const DEVICE_STREAM: Contender = {
  name: "device sequential write",
  kind: "baseline",
  note: "overwrites 1 MiB blocks of an allocated file, synced at the end: the best of buffered, " +
    "direct, and direct with two in flight",
  open(context) {
    refuseMemory(context.folder);
    const blocks = context.size({ smoke: 32, full: 4096 });
    return {
      round: async () =>
        sample(await measure(context.folder, MODE_STREAM, MiB, blocks) / GB, blocks),
    };
  },
};

/** One synchronous write of an allocated block: microseconds, median. */
export function deviceSync(blockBytes = 4096): Contender {
  return {
    name: "device synchronous write",
    kind: "baseline",
    note: `median of overwriting ${blockBytes} B of an allocated file with fdatasync, or with ` +
      "O_DIRECT and RWF_DSYNC, whichever is quicker",
    open(context) {
      refuseMemory(context.folder);
      const count = context.size({ smoke: 20, full: 500 });
      return {
        round: async () =>
          sample(await measure(context.folder, MODE_SYNC, blockBytes, count) / 1000, count),
      };
    },
  };
}

/** A file system in memory is no device: a row that compares with one would lie. */
export function refuseMemory(folder: string): void {
  const words = filesystemOf(folder);
  if (!/^(tmpfs|ramfs)/.test(words)) return;
  throw new Error(
    `${folder} lies in memory (${words}): name a folder on a disk with ` +
      "KEELSON_BENCH_FOLDER",
  );
}

/** Bytes that may still be written to a folder. */
export function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Refuses a true run that would fill the disk. */
export function requireFree({ smoke, folder }: BenchContext, gib: number): void {
  const free = freeBytes(folder) / 2 ** 30;
  if (smoke || free >= gib) return;
  throw new Error(
    `${folder} has ${free.toFixed(0)} GiB free and this row wants ${gib}: make room, ` +
      "or name another disk with KEELSON_BENCH_FOLDER",
  );
}
