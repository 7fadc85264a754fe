/**
 * The door for the processes that `run` starts: `keelson role NAME TASK`, where the task is JSON. Not
 * for people: without a parent that speaks frames such a process ends at once.
 *
 * @module
 */
import { complain, EXIT, Failure } from "../failure.ts";

/** The kinds of processes a node consists of, and what starts each. */
const ROLES: Record<string, (task: never) => Promise<never>> = {
  broker: async (task) => (await import("./host.ts")).hostRole(task),
  sequencer: async (task) => (await import("./host.ts")).hostRole(task),
  check: async (task) => (await import("./check.ts")).check(task),
  "publish-input": async (task) => (await import("./publish_input.ts")).publishInput(task),
  "publish-telemetry": async (task) =>
    (await import("./publish_telemetry.ts")).publishTelemetry(task),
};

/** Runs a role until it ends the process; gives the exit code when it failed. */
export async function startRole([name, task]: string[]): Promise<number> {
  const role = Object.hasOwn(ROLES, name ?? "") ? ROLES[name] : undefined;
  if (!role) throw new Failure(`unknown role ${JSON.stringify(name)}`, EXIT.usage);
  const understood = parsed(task);
  try {
    return await role(understood as never);
  } catch (error) {
    return complain(error, ""); // `run` says who it was
  }
}

function parsed(task: string | undefined): unknown {
  try {
    return JSON.parse(task ?? "");
  } catch {
    throw new Failure("a role takes its task as JSON; start nodes with: keelson run", EXIT.usage);
  }
}
