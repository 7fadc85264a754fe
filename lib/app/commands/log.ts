/**
 * `keelson log`
 *
 * @module
 */
import {
  type DurableLog,
  followLog,
  type LogRecord,
  openLog,
  scanLog,
  statLog,
  verifyLog,
} from "../../log/durable_log.ts";
import { oneOf, pathName, wholeNumber } from "../arguments.ts";
import type { Command } from "../cli.ts";
import { EXIT, Failure, fileFailure } from "../failure.ts";
import { joinRecord, LineSplitter, RecordTooLong } from "../framing.ts";
import { repairOne } from "./repair.ts";
import { ProgressBar } from "../progress_bar.ts";
import { count, size } from "../report.ts";
import { OutputBuffer, printLine } from "../standard_output.ts";

const ACTIONS = ["append", "cat", "stat", "verify", "repair", "truncate"];
/** Tag of a last line without LF. */
const UNTERMINATED = 1;
const BATCH_BYTES = 256 << 10;
const ADDRESS = wholeNumber(0, Number.MAX_SAFE_INTEGER);

/** The command. */
export const command: Command = {
  spec: {
    name: "log",
    summary: "works on a durable log: appends, prints, checks, repairs, truncates",
    operands: [
      { name: "ACTION", help: ACTIONS.join(", "), schema: oneOf(...ACTIONS) },
      { name: "DIR", help: "the log's folder; append makes it", schema: pathName() },
      {
        name: "ARGUMENT",
        help: "append: FILE, - or nothing for standard input; truncate: ADDRESS",
        optional: true,
      },
    ],
    options: {
      from: { value: "N", help: "cat: begin at this address", schema: ADDRESS },
      count: { value: "N", help: "cat: end after N records", schema: ADDRESS },
      follow: { help: "cat: wait for more at the end" },
      uncommitted: { help: "cat: also what is not durable yet" },
      mode: {
        value: "MODE",
        help: "repair: skip (default) what is damaged, or end the log at a point-in-time",
        schema: oneOf("skip", "point-in-time"),
      },
      "dry-run": { help: "repair: only say what would be done" },
      json: { help: "stat, cat: one JSON object for each" },
    },
    examples: [
      "keelson log append ./log access.log     one record for each line, durable at the end",
      "keelson log cat ./log --follow          the lines again, those to come included",
      "keelson log truncate ./log 1048576      forget what lies before this address",
    ],
    notes: [
      "Records are framed as run frames them; cat gives the bytes of the file back.",
      "verify prints one line for each problem; then the exit code is 1.",
    ],
  },
  run: async (options) => {
    const folder = options.DIR as string, argument = options.ARGUMENT as string | undefined;
    const action = options.ACTION as string;
    if (argument !== undefined && action !== "append" && action !== "truncate") {
      throw new Failure(`${argument} is one word too many (see keelson log --help)`, EXIT.usage);
    }
    if (action === "append") return await append(folder, argument ?? "-");
    if (action === "cat") return await cat(folder, options);
    if (action === "stat") return await stat(folder, options.json === true);
    if (action === "verify") return await verify(folder);
    if (action === "truncate") return await truncate(folder, argument);
    const mode = options.mode as "skip" | "point-in-time" | undefined;
    return await repairOne(folder, { mode, dryRun: options["dry-run"] === true });
  },
};

async function chunksOf(input: string): Promise<AsyncIterable<Uint8Array>> {
  if (input === "-") return Deno.stdin.readable;
  try {
    return (await Deno.open(input)).readable;
  } catch (error) {
    throw fileFailure(error, `read ${input}`);
  }
}

async function append(folder: string, input: string): Promise<number> {
  const chunks = await chunksOf(input);
  await using log = openLog(folder);
  const appender = new Appender(log);
  using _bar = new ProgressBar(() => ({
    share: undefined,
    text: `${count(appender.records)} appended`,
  }));
  const splitter = new LineSplitter(Math.min(log.state().recordBytesMax - 4, 2 ** 28));
  try {
    for await (const chunk of chunks) {
      splitter.push(chunk);
      appender.take(splitter);
    }
    splitter.end();
    appender.take(splitter);
  } catch (error) {
    appender.flush();
    if (!(error instanceof RecordTooLong)) throw error;
    const name = input === "-" ? "standard input" : input;
    throw new Failure(
      `${name}: ${error.message}; the ${count(appender.records)} records before it were appended`,
    );
  }
  appender.flush();
  await log.commit();
  printLine(`${count(appender.records)} records appended to ${folder}, durable`);
  return EXIT.ok;
}

/** Appends lines in batches. */
class Appender {
  records = 0;
  #batch: Uint8Array[] = [];
  #bytes = 0;

  constructor(private readonly log: DurableLog) {}

  take(splitter: LineSplitter): void {
    for (let line = splitter.next(); line; line = splitter.next()) {
      this.records++;
      if (line.unterminated) {
        this.flush();
        this.log.append(line.record, { tag: UNTERMINATED });
        continue;
      }
      this.#batch.push(line.record.slice()); // the splitter's bytes are good until its next call
      this.#bytes += line.record.length;
      if (this.#bytes >= BATCH_BYTES) this.flush();
    }
  }

  flush(): void {
    if (this.#batch.length === 1) this.log.append(this.#batch[0]);
    else if (this.#batch.length > 1) this.log.appendMany(this.#batch);
    this.#batch = [];
    this.#bytes = 0;
  }
}

async function cat(folder: string, options: Record<string, unknown>): Promise<number> {
  const output = new OutputBuffer();
  const print = options.json === true ? printJson : printBytes;
  const from = options.from as number | undefined;
  let left = options.count as number | undefined ?? Infinity;
  if (left === 0) return EXIT.ok;
  if (options.follow === true) {
    if (options.uncommitted === true) {
      throw new Failure("--follow gives what is durable: leave out --uncommitted", EXIT.usage);
    }
    for await (const record of followLog(folder, { from })) {
      print(record, output);
      output.flush();
      if (--left === 0) break;
    }
    return EXIT.ok;
  }
  for (const record of scanLog(folder, { from, uncommitted: options.uncommitted === true })) {
    print(record, output);
    if (--left === 0) break;
  }
  output.flush();
  return EXIT.ok;
}

function printBytes({ bytes, tag }: LogRecord, output: OutputBuffer): void {
  const { into, offset } = output.reserve(bytes.length + 1);
  output.commit(joinRecord(bytes, tag === UNTERMINATED, into, offset));
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function printJson({ address, nextAddress, index, tag, bytes }: LogRecord, output: OutputBuffer) {
  let value: Record<string, string>;
  try {
    value = { text: strict.decode(bytes) };
  } catch {
    value = { base64: bytes.toBase64() };
  }
  output.line(JSON.stringify({ address, nextAddress, index, tag, ...value }));
}

async function stat(folder: string, json: boolean): Promise<number> {
  const found = await statLog(folder);
  if (json) {
    printLine(JSON.stringify(found));
    return EXIT.ok;
  }
  const { firstAddress, durableAddress, tailAddress, bytesUsed, segments, spares, live } = found;
  printLine([
    `addresses    ${firstAddress} to ${tailAddress}, durable up to ${durableAddress}`,
    `files        ${count(segments)} segments and ${count(spares)} spares, ${size(bytesUsed)}`,
    `writer       ${live ? "a process has it open" : "none"}`,
  ].join("\n"));
  return EXIT.ok;
}

async function verify(folder: string): Promise<number> {
  const { problems, problemCount, recordCount, bytesUsed, tornBytes } = await verifyLog(folder);
  for (const problem of problems) printLine(problem);
  if (problemCount > problems.length) {
    printLine(`and ${count(problemCount - problems.length)} more problems`);
  }
  if (problemCount > 0) return EXIT.check;
  const torn = tornBytes > 0 ? `; ${count(tornBytes)} bytes at the end are not whole yet` : "";
  printLine(`sound: ${count(recordCount)} records, ${size(bytesUsed)}${torn}`);
  return EXIT.ok;
}

async function truncate(folder: string, argument: string | undefined): Promise<number> {
  if (argument === undefined || !/^\d{1,16}$/.test(argument)) {
    const what = argument === undefined ? "ADDRESS is missing" : `${argument} is no address`;
    throw new Failure(`${what}: a record's (see keelson log cat --json)`, EXIT.usage);
  }
  await using log = openLog(folder, { create: false });
  const first = await log.truncateBefore(Number(argument));
  const held = first < Number(argument) ? ", where a cursor holds it" : "";
  printLine(`the log begins at address ${first}${held}`);
  return EXIT.ok;
}
