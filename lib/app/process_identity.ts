/**
 * Which process is meant: a pid alone may have been given to another since. Reads `/proc`.
 *
 * @module
 */

/** A process, so that a later one with the same pid is not taken for it. */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks between boot and the start of the process (`/proc/PID/stat`, field 22). */
  startTime: number;
  /** `/proc/sys/kernel/random/boot_id` */
  bootId: string;
}

/** The identity of this process, or of another that runs now; undefined when there is none. */
export function identityOf(pid: number): ProcessIdentity | undefined {
  const startTime = startTimeOf(pid);
  return startTime === undefined ? undefined : { pid, startTime, bootId: bootId() };
}

/** Whether just this process still runs. A zombie has ended. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identity.bootId === bootId() && startTimeOf(identity.pid) === identity.startTime;
}

/** Identifies the current boot. */
export function bootId(): string {
  return boot ??= Deno.readTextFileSync("/proc/sys/kernel/random/boot_id").trim();
}

let boot: string | undefined;

function startTimeOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  } catch {
    return undefined;
  }
  // The second field is the program's name in parentheses, and may contain anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, startTime] = [fields[0], Number(fields[19])];
  return state === "Z" || state === "X" || !Number.isFinite(startTime) ? undefined : startTime;
}
