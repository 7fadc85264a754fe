/**
 * What can go wrong for the person at the terminal, and what the program says about it: one line
 * with what was wrong, the limit, and what to do, and an exit code that a script can rely on.
 *
 * @module
 */

/** The exit codes of every command. */
export const EXIT = {
  ok: 0,
  /** The check of `run` found loss, duplicates or disorder; or `verify` found problems. */
  check: 1,
  /** The command line was wrong. Nothing was done. */
  usage: 2,
  /** The input was not taken whole: the time was over, or a record was too long. */
  incomplete: 3,
  /** A port, folder, permission, disk or mapping was not as needed. */
  environment: 4,
  interrupted: 130,
  terminated: 143,
} as const;

/** The same codes for `--help`. */
export const EXIT_HELP =
  "0 done; 1 the check found loss, duplicates or disorder, or verify found " +
  "problems; 2 wrong command line; 3 input incomplete; 4 environment (port, folder, permission, " +
  "disk, mapping); 130, 143 ended by SIGINT, SIGTERM";

/** An end of the program that is not a bug: its message is the line to print. */
export class Failure extends Error {
  override readonly name = "Failure";
  constructor(
    message: string,
    /** With what the process ends. */
    readonly exitCode: number = EXIT.environment,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The one line and the exit code for anything that was thrown. */
export function explain(error: unknown): { line: string; exitCode: number } {
  if (error instanceof Failure) return { line: oneLine(error.message), exitCode: error.exitCode };
  if (!(error instanceof Error)) {
    return { line: oneLine(String(error)), exitCode: EXIT.environment };
  }
  const exitCode = EXIT.environment;
  if (error.name === "KeelsonError") return { line: oneLine(lowerFirst(error.message)), exitCode };
  return { line: oneLine(`${lowerFirst(error.message)} (${error.name})`), exitCode };
}

/** Prints the line of an error; with `KEELSON_DEBUG=1` the stack too. Gives the exit code. */
export function complain(error: unknown, prefix = "keelson: "): number {
  const { line, exitCode } = explain(error);
  const debug = Deno.env.get("KEELSON_DEBUG") === "1" && error instanceof Error;
  const text = debug ? `${prefix}${line}\n${error.stack}\n` : `${prefix}${line}\n`;
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  } catch { /* nobody listens; the exit code still says it */ }
  return exitCode;
}

/** What a file operation failed with, in words; `what` is e.g. `the input file "x"`. */
export function fileFailure(error: unknown, what: string): Failure {
  const cause = { cause: error };
  if (error instanceof Deno.errors.NotFound) {
    return new Failure(`${what} does not exist; check the name`, EXIT.environment, cause);
  }
  if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable) {
    return new Failure(
      `no permission for ${what}; change its mode or run as its owner`,
      EXIT.environment,
      cause,
    );
  }
  if (error instanceof Failure) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new Failure(`cannot use ${what}: ${reason}`, EXIT.environment, cause);
}

function oneLine(text: string): string {
  // deno-lint-ignore no-control-regex -- a message may quote a name with control characters
  return text.replace(/\s*\n\s*/g, "; ").replace(/[\u0000-\u001f\u007f]/g, "?");
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}
