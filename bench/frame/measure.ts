/**
 * Runs the sides of one row in turn: A B C, A B C, ...
 *
 * @module
 */
import { judgeRow, type RowRecord, type SideRecord } from "./judge.ts";
import {
  type BenchContext,
  Missing,
  type RowDefinition,
  type RowResult,
  type Sample,
  type Session,
} from "./row.ts";

/** The seed of every row, unless `SEED` says another: the same records in every run. */
export const SEED_DEFAULT = 20_240_229;

/** Where files are measured: `KEELSON_BENCH_FOLDER`, else `/var/tmp`, which is rarely in memory. */
export function measuredFolder(): string {
  return Deno.env.get("KEELSON_BENCH_FOLDER") ?? "/var/tmp";
}

/** Measures one row in this process. */
export async function measureRow(row: RowDefinition, smoke: boolean): Promise<RowResult> {
  const started = performance.now();
  const folder = await Deno.makeTempDir({ dir: measuredFolder(), prefix: "keelson-bench-" });
  const seed = Number(Deno.env.get("SEED") ?? SEED_DEFAULT);
  const context: BenchContext = {
    smoke,
    size: (sizes) => smoke ? sizes.smoke : sizes.full,
    seed,
    folder,
  };
  const sessions: Session[] = [];
  try {
    const own = await row.own.open({ ...context, folder: await inside(folder, "own") });
    sessions.push(own);
    const others: (SideRecord & { session?: Session })[] = [];
    for (const [at, contender] of (row.others ?? []).entries()) {
      const side = await openSide(contender, { ...context, folder: await inside(folder, `${at}`) });
      if (side.session) sessions.push(side.session);
      others.push({ contender, samples: [], ...side });
    }
    const record: RowRecord = { own: [], others, seed, seconds: 0 };
    await runRounds(row, own, record, others, smoke);
    record.seconds = (performance.now() - started) / 1000;
    return judgeRow(row, record);
  } finally {
    for (const session of sessions.reverse()) await session.close?.();
    await Deno.remove(folder, { recursive: true });
  }
}

async function inside(folder: string, name: string): Promise<string> {
  await Deno.mkdir(`${folder}/${name}`);
  return `${folder}/${name}`;
}

async function openSide(
  contender: NonNullable<RowDefinition["others"]>[number],
  context: BenchContext,
): Promise<{ session?: Session; missing?: string }> {
  try {
    return { session: await contender.open(context) };
  } catch (error) {
    if (error instanceof Missing) return { missing: error.message };
    throw error;
  }
}

/** Whoever goes first meets the colder caches, so sides take turns in that, too. */
async function runRounds(
  row: RowDefinition,
  own: Session,
  record: RowRecord,
  others: (SideRecord & { session?: Session })[],
  smoke: boolean,
): Promise<void> {
  const { rounds = { smoke: 2, full: 5 }, rehearse = true, bracket = false } = row;
  const count = smoke ? rounds.smoke : rounds.full;
  const present = others.filter(({ session }) => session);
  for (let round = rehearse ? -1 : 0; round < count; round++) {
    const ours = async () => keep(record.own, await own.round(), round);
    const theirs = present.map(({ session, samples }) => async () =>
      keep(samples, await session!.round(), round)
    );
    const order = bracket ? [...theirs, ours, ...theirs] : [ours, ...theirs];
    for (const step of round % 2 === 0 ? order : order.reverse()) await step();
  }
}

function keep(samples: Sample[], sample: Sample, round: number): void {
  if (!(Number.isFinite(sample.value) && sample.value > 0)) {
    throw new Error(`a round came to ${sample.value}, which is no figure`);
  }
  if (round >= 0) samples.push(sample);
}
