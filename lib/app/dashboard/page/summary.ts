/** What the numbers mean, in sentences: the headline, and what a screen reader is told. */
import type { DashboardSnapshot } from "../source.ts";
import { count, plural } from "./format.ts";

/** How good or bad it is; each has its own word and shape on the page, never only a colour. */
export type Mood = "well" | "warning" | "alarm" | "waiting";

/** The sentence at the top of the page. */
export interface Headline {
  mood: Mood;
  title: string;
  detail: string;
}

/** How long a restart stays in sight: a broker may be back before the next snapshot. */
export const restartShownMs = 5_000;

/** Remembers which brokers were started again of late. */
export class RestartWatch {
  readonly #seen = new Map<number, { restarts: number; at: number }>();

  /** Takes the next snapshot in and gives the brokers that were started again lately. */
  recent({ at, brokers }: DashboardSnapshot): number[] {
    for (const { index, restarts } of brokers) {
      const before = this.#seen.get(index);
      if (before === undefined) this.#seen.set(index, { restarts, at: -Infinity });
      else if (restarts > before.restarts) this.#seen.set(index, { restarts, at });
      else before.restarts = restarts;
    }
    return brokers.map(({ index }) => index).filter((index) =>
      Math.abs(at - this.#seen.get(index)!.at) < restartShownMs
    );
  }
}

/** Judges a snapshot; `restarted` are the brokers that were started again lately. */
export function headline(snapshot: DashboardSnapshot, restarted: number[] = []): Headline {
  const wrong = [
    snapshot.lost > 0 ? `${plural(snapshot.lost, "record")} lost` : "",
    snapshot.duplicates > 0 ? plural(snapshot.duplicates, "duplicate") : "",
    snapshot.outOfOrder > 0 ? `${count(snapshot.outOfOrder)} out of order` : "",
  ].filter((text) => text !== "");
  if (wrong.length > 0) {
    return {
      mood: "alarm",
      title: sentence(wrong),
      detail: "The checker compared what was acknowledged with what a subscriber received.",
    };
  }
  const dead = deadRoles(snapshot);
  if (dead.length > 0) {
    return {
      mood: "warning",
      title: `${capital(list(dead))} ${dead.length === 1 ? "is" : "are"} dead`,
      detail: "The checker has found nothing lost; the node starts it again.",
    };
  }
  if (restarted.length > 0) {
    return {
      mood: "warning",
      title: `${capital(list(restarted.map((index) => `broker ${index}`)))} died and ` +
        `${restarted.length === 1 ? "was" : "were"} started again`,
      detail: "The checker has found nothing lost.",
    };
  }
  return {
    mood: "well",
    title: "All is well",
    detail: `${plural(snapshot.brokers.length, "broker")} and the sequencer are alive. ` +
      "No acknowledged record is lost, doubled or out of order.",
  };
}

/** The roles that nobody fills now, by name. */
export function deadRoles(snapshot: DashboardSnapshot): string[] {
  const dead = snapshot.brokers.filter((broker) => !broker.alive)
    .map((broker) => `broker ${broker.index}`);
  if (!snapshot.sequencer.alive) dead.push("the sequencer");
  return dead;
}

/** What changed for the worse or the better since the last look, as sentences worth interrupting for. */
export function changes(before: DashboardSnapshot, now: DashboardSnapshot): string[] {
  const wasDead = new Set(deadRoles(before)), isDead = new Set(deadRoles(now));
  const said: string[] = [];
  for (const role of isDead) if (!wasDead.has(role)) said.push(`${capital(role)} is dead.`);
  for (const role of wasDead) if (!isDead.has(role)) said.push(`${capital(role)} is alive again.`);
  for (const { index, restarts } of now.brokers) {
    const earlier = before.brokers.find((broker) => broker.index === index);
    const role = `broker ${index}`;
    const unseen = !wasDead.has(role) && !isDead.has(role);
    if (unseen && earlier !== undefined && restarts > earlier.restarts) {
      said.push(`${capital(role)} died and was started again.`);
    }
  }
  if (now.lost > before.lost) said.push(`Alarm: ${plural(now.lost, "record")} lost.`);
  if (now.duplicates > before.duplicates) {
    said.push(`Alarm: ${plural(now.duplicates, "duplicate")}.`);
  }
  if (now.outOfOrder > before.outOfOrder) {
    said.push(`Alarm: ${plural(now.outOfOrder, "record")} out of order.`);
  }
  return said;
}

function list(names: string[]): string {
  if (names.length <= 1) return names.join("");
  if (names.length > 4) return `${count(names.length)} processes`;
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

function sentence(parts: string[]): string {
  return capital(parts.join(", "));
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
