/// <reference lib="dom" />
/** The dashboard in the browser: takes the stream in, keeps the history, draws. */
import type { DashboardSnapshot } from "../source.ts";
import { Announcer } from "./page_announcer.ts";
import { lineChart } from "./page_charts.ts";
import { byteCount, count, plural, seconds, shortCount, unknown } from "./format.ts";
import {
  byId,
  setData,
  setShape,
  setText,
  showHeadline,
  showNewest,
  showSnapshot,
} from "./page_panels.ts";
import { RateHistory, type RatePoint } from "./rates.ts";
import { type Connection, follow, type ShownRecord } from "./page_stream.ts";
import { changes, headline, RestartWatch } from "./summary.ts";

/** How often the text alternatives of the charts change: a screen reader may be in the middle of one. */
const alternativeMs = 5_000;

const history = new RateHistory();
const restarts = new RestartWatch();
const announcer = new Announcer(byId("announce"));
const records = lineChart(byId("records-chart"), [
  { label: "published", color: "--accent", dashed: false, value: (p) => p.publishedPerSecond },
  { label: "durable", color: "--accent-2", dashed: true, value: (p) => p.durablePerSecond },
], shortCount);
const bytes = lineChart(byId("bytes-chart"), [
  { label: "payload", color: "--accent", dashed: false, value: (p) => p.bytesPerSecond },
], byteCount);

let snapshot: DashboardSnapshot | undefined;
let restarted: number[] = [];
let newest: ShownRecord[] = [];
let connection: Connection = "connecting";
let problem: string | undefined;
let paused = false;
let pausedAtOrder = 0;
let drawing = false;
let alternativeAt = -alternativeMs;
let heardAt = 0;

follow("events", {
  snapshot(next) {
    if (snapshot !== undefined) announcer.say(...changes(snapshot, next));
    snapshot = next;
    restarted = restarts.recent(next);
    heardAt = Date.now();
    history.push(next);
    draw();
  },
  newest(next) {
    newest = next;
    draw();
  },
  problem(message) {
    if (message !== undefined && problem === undefined) {
      announcer.say("The node gives no numbers now.");
    }
    problem = message;
    draw();
  },
  connection(state) {
    if (state === connection) return;
    if (state === "reconnecting") announcer.say("Connection lost, reconnecting.");
    else if (state === "live") announcer.say("The page is live.", spokenSummary());
    connection = state;
    draw();
  },
});

/** Draws at the next frame; a hidden page draws nothing until it is looked at again. */
function draw(): void {
  showTitle();
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    showConnection();
    if (snapshot !== undefined) {
      showSnapshot(snapshot, restarted);
      showThroughput();
    }
    showRecords();
  });
}

function showTitle(): void {
  const alarm = snapshot !== undefined && headline(snapshot).mood === "alarm";
  const state = alarm ? "Alarm – " : connection === "live" ? "" : "(not live) ";
  document.title = `${state}Keelson`;
}

function showConnection(): void {
  const words = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting" };
  const shapes = {
    connecting: "#shape-waiting",
    live: "#shape-alive",
    reconnecting: "#shape-waiting",
  };
  const pill = byId("connection");
  setData(pill, "state", connection);
  setShape(pill.querySelector("use")!, shapes[connection]);
  setText(byId("connection-text"), words[connection]);
  document.body.toggleAttribute("data-stale", snapshot !== undefined && !isFresh());
  if (isFresh()) {
    if (snapshot !== undefined) showHeadline(headline(snapshot, restarted));
  } else if (problem !== undefined && connection === "live") {
    showHeadline({ mood: "warning", title: "The node gives no numbers", detail: problem });
  } else if (snapshot !== undefined) {
    const silence = seconds((Date.now() - heardAt) / 1_000);
    showHeadline({
      mood: "waiting",
      title: "Waiting for the node",
      detail: `What you see is ${silence} old.`,
    });
  }
}

function isFresh(): boolean {
  return connection === "live" && problem === undefined;
}

function showThroughput(): void {
  const { latest, points } = history;
  setText(
    byId("records-now"),
    latest === undefined ? unknown : `${shortCount(latest.publishedPerSecond!)}/s`,
  );
  setText(
    byId("bytes-now"),
    latest === undefined ? unknown : `${byteCount(latest.bytesPerSecond!)}/s`,
  );
  setText(byId("updated"), new Date(snapshot!.at).toLocaleTimeString());
  records.draw(points);
  bytes.draw(points);
  if (performance.now() - alternativeAt < alternativeMs) return;
  alternativeAt = performance.now();
  describe("records", "Records", (point) => point.publishedPerSecond, shortCount);
  describe("bytes", "Bytes", (point) => point.bytesPerSecond, byteCount);
}

/** Writes what a chart shows in words: below it, and as its alternative. */
function describe(
  id: "records" | "bytes",
  what: string,
  value: (point: RatePoint) => number | null,
  format: (value: number) => string,
): void {
  const values = history.points.map(value).filter((rate) => rate !== null);
  if (values.length === 0) return;
  const span = (history.points.at(-1)!.at - history.points[0].at) / 1_000;
  const low = format(Math.min(...values)), high = format(Math.max(...values));
  setText(byId(`${id}-range`), `Low ${low}, high ${high} in the last ${seconds(span)}`);
  byId(`${id}-chart`).setAttribute(
    "aria-label",
    `${what} per second, line chart of the last ${seconds(span)}: now ${format(values.at(-1)!)}, ` +
      `lowest ${low}, highest ${high}.`,
  );
}

function showRecords(): void {
  const newestOrder = newest[0]?.totalOrder ?? 0;
  if (!paused) showNewest(newest);
  const missed = newestOrder - pausedAtOrder;
  const note = paused ? (missed > 0 ? `paused, ${count(missed)} newer` : "paused") : "";
  setText(byId("newest-note"), note);
}

function spokenSummary(): string {
  if (snapshot === undefined) return "";
  const { title, detail } = headline(snapshot);
  const rate = history.latest?.publishedPerSecond ?? 0;
  return `${title}. ${detail} ${plural(snapshot.ordered, "record")} in order, ` +
    `${plural(Math.round(rate), "record")} a second.`;
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  pausedAtOrder = newest[0]?.totalOrder ?? 0;
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(paused));
  byId("newest-scroll").toggleAttribute("data-paused", paused);
  draw();
});

byId("speak").addEventListener("click", () => {
  announcer.say(spokenSummary() || "No numbers yet.");
});

const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => {
  records.recolor();
  bytes.recolor();
});

// keeps "What you see is … old" true while nothing arrives
setInterval(() => {
  if (!isFresh()) draw();
}, 1_000);
