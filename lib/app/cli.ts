/**
 * The entry of the program. Loads only the command that was asked for.
 *
 * @module
 */
import { complain, EXIT, EXIT_HELP, Failure } from "./failure.ts";
import type { CommandSpec, Parsed } from "./arguments.ts";

/** A command: what it takes, and what it does. Gives the exit code. */
export interface Command {
  spec: CommandSpec;
  run(options: Parsed): Promise<number>;
}

/** Every command that people call, with one line about it. */
export const COMMANDS: Record<
  string,
  { about: string; load: () => Promise<{ command: Command }> }
> = {
  run: { about: "run a local node, the main job", load: () => import("./commands/run.ts") },
  pub: { about: "publish lines to a topic", load: () => import("./commands/pub.ts") },
  sub: { about: "print the records of a topic", load: () => import("./commands/sub.ts") },
  topics: { about: "list the topics", load: () => import("./commands/topics.ts") },
  stat: { about: "show the state of a node or a log", load: () => import("./commands/stat.ts") },
  verify: { about: "check every byte on disk", load: () => import("./commands/verify.ts") },
  repair: { about: "mend damaged logs", load: () => import("./commands/repair.ts") },
  log: { about: "work on a durable log", load: () => import("./commands/log.ts") },
  path: {
    about: "print the library's file, for --allow-ffi",
    load: () => import("./commands/path.ts"),
  },
};

/** Runs one command line; gives the exit code. */
export async function main(words: string[]): Promise<number> {
  const [name, ...rest] = words;
  try {
    if (name === "role") return await (await import("./roles/start.ts")).startRole(rest);
    if (name === undefined) {
      console.error(overview());
      return EXIT.usage;
    }
    if (name === "--version") return await print(await version());
    if (name === "--help" || name === "-h" || (name === "help" && rest.length === 0)) {
      return await print(overview());
    }
    if (name === "help") return await help(rest[0]);
    if (rest.includes("--help") || rest.includes("-h")) return await help(name);
    const { spec, run } = await commandOf(name);
    const { parseCommand } = await import("./arguments.ts");
    return await run(await parseCommand(spec, rest));
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return EXIT.ok; // the reader has seen enough
    return complain(error);
  }
}

async function commandOf(name: string): Promise<Command> {
  if (Object.hasOwn(COMMANDS, name)) return (await COMMANDS[name].load()).command;
  const { nearest } = await import("./arguments.ts");
  const near = nearest(name, [...Object.keys(COMMANDS), "help"]);
  const hint = near ? `; did you mean ${near}?` : "";
  throw new Failure(
    `unknown command ${JSON.stringify(name)}${hint} (see keelson --help)`,
    EXIT.usage,
  );
}

async function help(name: string): Promise<number> {
  const { spec } = await commandOf(name);
  const { helpText } = await import("./arguments.ts");
  return await print(helpText(spec));
}

function overview(): string {
  const rows = Object.entries(COMMANDS).map(([name, { about }]) => `  ${name.padEnd(9)}${about}`);
  return [
    "keelson: durable shared memory on one host",
    "",
    "Usage: keelson COMMAND [operands] [options]     (in a checkout: deno task cli COMMAND ...)",
    "",
    ...rows,
    "",
    "keelson COMMAND --help tells more, with an example.",
    "",
    `Exit codes: ${EXIT_HELP}.`,
  ].join("\n");
}

async function version(): Promise<string> {
  const meta = await import("../../deno.json", { with: { type: "json" } });
  return `keelson ${meta.default.version}`;
}

async function print(text: string): Promise<number> {
  const { printLine } = await import("./standard_output.ts");
  printLine(text.trimEnd());
  return EXIT.ok;
}

if (import.meta.main) {
  // Whatever nobody waited for still ends as one line.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    Deno.exit(complain(event.reason, Deno.args[0] === "role" ? "" : undefined));
  });
  Deno.exit(await main(Deno.args));
}
