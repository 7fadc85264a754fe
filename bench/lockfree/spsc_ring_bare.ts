/**
 * The ring in bare C: what the same bursts cost without TypeScript and FFI.
 *
 * @module
 */
import { bareProgram } from "../frame/bare_program.ts";
import type { Contender } from "../frame/row.ts";
import { BURST, ringSample, ringWords } from "./spsc_ring_work.ts";

export const bareCRing: Contender = {
  name: "bare C",
  kind: "baseline",
  note: "the same bursts in one C program, the inlined calls on u64",
  async open(context) {
    const program = await bareProgram("bench/lockfree/spsc_ring_bare.c");
    const words = ringWords(context);
    return {
      async round() {
        const { success, stdout } = await new Deno.Command(program, {
          args: [String(words), String(BURST)],
          stdin: "null",
        }).output();
        if (!success) throw new Error(`${program} failed`);
        const [seconds, digest] = new TextDecoder().decode(stdout).trim().split(" ").map(Number);
        return ringSample(words, seconds, digest);
      },
    };
  },
};
