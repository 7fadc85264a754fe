// ffi/generated/groups.ts: made by `deno task gen` from c/. Do not edit.

import { BASE } from "./base.ts";
import { BROKER } from "./broker.ts";
import { EXEC } from "./exec.ts";
import { FILE } from "./file.ts";
import { LOCKFREE } from "./lockfree.ts";
import { LOG } from "./log.ts";
import { MEM } from "./mem.ts";
import { SYNC } from "./sync.ts";

/** One symbol group per folder of `c/`. */
export const GROUPS = {
  base: BASE,
  broker: BROKER,
  exec: EXEC,
  file: FILE,
  lockfree: LOCKFREE,
  log: LOG,
  mem: MEM,
  sync: SYNC,
} as const;

/** A folder of `c/` whose functions can be called. */
export type GroupName =
  | "base"
  | "broker"
  | "exec"
  | "file"
  | "lockfree"
  | "log"
  | "mem"
  | "sync";
