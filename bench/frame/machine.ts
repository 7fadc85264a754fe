/**
 * What the figures were measured on.
 *
 * @module
 */
import { findCompiler } from "../../tools/compiler.ts";
import { measuredFolder } from "./measure.ts";

/** The machine of a run. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryGiB: number;
  kernel: string;
  deno: string;
  v8: string;
  compiler: string;
  /** Build of the C library. */
  variant: string;
  /** Folder that files are measured in, and what it lies on. */
  folder: string;
  filesystem: string;
  /** Load of the last minute when the run began: above the number of cores nothing counts. */
  load: number;
}

/** Looks at this machine. */
export async function describeMachine(): Promise<Machine> {
  const cpuinfo = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
  const folder = measuredFolder();
  const compiler = await findCompiler().then(({ version }) => version, () => "none");
  return {
    cpu: /^model name\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    memoryGiB: Math.round(Deno.systemMemoryInfo().total / 2 ** 30),
    kernel: `${Deno.build.os} ${Deno.osRelease()}`,
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    compiler,
    variant: Deno.env.get("KEELSON_LIBRARY") ?? (Deno.env.get("KEELSON_VARIANT") || "release"),
    folder,
    filesystem: filesystemOf(folder),
    load: Deno.loadavg()[0],
  };
}

/** Type and device of the file system that holds a path: `ext4 (/dev/vda)`. */
export function filesystemOf(path: string): string {
  let best = { length: -1, words: "unknown" };
  const real = Deno.realPathSync(path);
  for (const line of Deno.readTextFileSync("/proc/self/mountinfo").trim().split("\n")) {
    const [before, after] = line.split(" - ");
    const point = before.split(" ")[4];
    const [type, device] = after.split(" ");
    const holds = real === point || real.startsWith(point === "/" ? "/" : `${point}/`);
    if (holds && point.length >= best.length) {
      best = { length: point.length, words: `${type} (${device})` };
    }
  }
  return best.words;
}

/** One line. */
export function machineLine(machine: Machine): string {
  const { cpu, cores, memoryGiB, kernel, deno, compiler, variant, folder, filesystem, load } =
    machine;
  return `${cpu}, ${cores} cores, ${memoryGiB} GiB; ${kernel}; Deno ${deno}; ${compiler}; ` +
    `${variant} build; ${folder} on ${filesystem}; load ${load.toFixed(2)}`;
}
