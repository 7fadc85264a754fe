/// <reference lib="dom" />
/**
 * Puts numbers into the elements of the page. Text goes in through `textContent` only, and only when
 * it changed, so that a selection, a focus or a screen reader's place survives the next snapshot.
 */
import { printable } from "../record_text.ts";
import type {
  BrokerState,
  DashboardSnapshot,
  PublisherState,
  SubscriberState,
  TopicState,
} from "../source.ts";
import { byteCount, count, micros, plural, shortCount, tableCount } from "./format.ts";
import type { ShownRecord } from "./page_stream.ts";
import type { Headline, Mood } from "./summary.ts";

/** Rows of a table and cards of processes that are shown; the rest is counted. */
const rowsMax = 12, processesMax = 65;

const shapes: Record<Mood, string> = {
  well: "#shape-alive",
  warning: "#shape-warning",
  alarm: "#shape-dead",
  waiting: "#shape-waiting",
};

/** The element with this id; the page is ours, so a missing one is a bug. */
export function byId<E extends Element = HTMLElement>(id: string): E {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element as unknown as E;
}

/** Sets the text of an element when it is another one. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows the sentence at the top. */
export function showHeadline({ mood, title, detail }: Headline): void {
  setData(byId("verdict"), "mood", mood);
  setShape(byId("verdict-shape"), shapes[mood]);
  setText(byId("verdict-title"), title);
  setText(byId("verdict-detail"), detail);
}

/** Shows everything of a snapshot but the charts and the headline. */
export function showSnapshot(snapshot: DashboardSnapshot, restarted: number[]): void {
  setText(byId("topic"), printable(snapshot.topic));
  for (const id of ["lost", "duplicates", "outOfOrder"] as const) showCheck(id, snapshot[id]);
  showFlow(snapshot);
  const { publishToDeliverMicros: deliver, ackDurableMicros: ack } = snapshot;
  setText(byId("deliver-p50"), micros(deliver.p50));
  setText(byId("deliver-p99"), micros(deliver.p99));
  setText(byId("deliver-p999"), micros(deliver.p999));
  setText(byId("ack-p50"), micros(ack.p50));
  setText(byId("ack-p99"), micros(ack.p99));
  showTable("subscribers", snapshot.subscribers, subscriberRow, "Nobody reads now.");
  showTable("publishers", snapshot.publishers, publisherRow, "Nobody writes now.");
  showTable("topics", snapshot.topics, topicRow, "No topic yet.");
  showProcesses(snapshot, restarted);
}

function showCheck(id: "lost" | "duplicates" | "outOfOrder", value: number): void {
  const check = byId(`check-${id}`);
  setText(byId(id), value < 1_000_000 ? count(value) : shortCount(value));
  setText(check.querySelector("span")!, value === 0 ? "none" : "alarm");
  check.toggleAttribute("data-wrong", value !== 0);
}

function showFlow({ published, ordered, durable, delivered }: DashboardSnapshot): void {
  const behind = (value: number, before: number, waiting: string, done: string) =>
    before > value ? `${shortCount(before - value)} ${waiting}` : done;
  setText(byId("published"), total(published));
  setText(byId("ordered"), total(ordered));
  setText(byId("durable"), total(durable));
  setText(byId("delivered"), total(delivered));
  setText(
    byId("ordered-note"),
    behind(ordered, published, "to order", "all of them"),
  );
  setText(byId("durable-note"), behind(durable, ordered, "to sync", "all of them"));
  setText(byId("delivered-note"), behind(delivered, ordered, "on the way", "all of them"));
}

/** Every digit moves, up to a million million. */
function total(value: number): string {
  return value < 1e12 ? count(value) : shortCount(value);
}

/** First cell (a row header): a name and what stands small below it; then the number cells. */
interface Row {
  name: string;
  under: string;
  cells: { text: string; under?: string }[];
}

function subscriberRow({ label, topic, pid, position, lag }: SubscriberState): Row {
  const behind = lag > 0 ? shortCount(lag) : "0";
  return {
    name: label ?? topic,
    under: `${label === undefined ? "" : `${topic} · `}pid\u00a0${pid}`,
    cells: [{ text: tableCount(position) }, {
      text: behind,
      under: lag > 0 ? "behind" : "caught up",
    }],
  };
}

function publisherRow({ label, topic, pid, session, published, durable }: PublisherState): Row {
  return {
    name: label ?? `session ${session}`,
    under: `${topic} · pid\u00a0${pid}`,
    cells: [{ text: tableCount(published) }, {
      text: tableCount(durable),
      under: durable >= published ? "all" : `${shortCount(published - durable)} to go`,
    }],
  };
}

function topicRow({ name, records, durableRecords, logged }: TopicState): Row {
  return {
    name,
    under: logged ? "logged to disk" : "in memory only",
    cells: [{ text: tableCount(records) }, { text: logged ? tableCount(durableRecords) : "–" }],
  };
}

function showTable<T>(id: string, items: T[], toRow: (item: T) => Row, none: string): void {
  const body = byId<HTMLTableSectionElement>(id);
  const shown = items.slice(0, rowsMax).map(toRow);
  resize(body, shown.length, (row) => {
    const name = row.appendChild(document.createElement("th"));
    name.scope = "row";
    name.append(document.createElement("bdi"), small());
    for (let cell = 0; cell < 2; cell++) {
      const td = row.appendChild(document.createElement("td"));
      td.append(document.createElement("span"), small());
    }
  }, "tr");
  shown.forEach((row, index) => {
    const [name, ...cells] = body.children[index].children;
    setText(name.children[0], printable(row.name));
    setText(name.children[1], printable(row.under));
    setTitle(name as HTMLElement, printable(`${row.name}, ${row.under}`));
    row.cells.forEach((cell, column) => {
      setText(cells[column].children[0], cell.text);
      setText(cells[column].children[1], cell.under ?? "");
    });
  });
  const hidden = items.length - shown.length;
  setText(byId(`${id}-more`), items.length === 0 ? none : hidden > 0 ? `and ${hidden} more` : "");
}

function small(): HTMLElement {
  const element = document.createElement("small");
  element.className = "under";
  return element;
}

/** What a process can be seen to be; each has its own word and shape. */
type Life = "alive" | "dead" | "restarted";

const lifeShapes: Record<Life, string> = {
  alive: "#shape-alive",
  dead: "#shape-dead",
  restarted: "#shape-warning",
};

function showProcesses({ brokers, sequencer }: DashboardSnapshot, restarted: number[]): void {
  const list = byId("processes");
  const shown = brokers.slice(0, processesMax - 1);
  resize(list, shown.length + 1, (item) => {
    item.className = "card process";
    const head = item.appendChild(document.createElement("div"));
    head.className = "head";
    const state = document.createElement("p");
    state.className = "state";
    head.append(shape(), document.createElement("h3"), state);
    item.append(document.createElement("dl"));
  }, "li");
  showProcess(list.children[0], "Sequencer", sequencer.alive ? "alive" : "dead", [
    ["process", processId(sequencer.pid)],
    ["role", "total order"],
  ]);
  shown.forEach((broker, index) => {
    const life = !broker.alive ? "dead" : restarted.includes(broker.index) ? "restarted" : "alive";
    showProcess(list.children[index + 1], `Broker ${broker.index}`, life, facts(broker));
  });
}

function facts({ pid, durableRecords, logBytes, restarts }: BrokerState): [string, string][] {
  return [
    ["process", processId(pid)],
    ["durable", shortCount(durableRecords)],
    ["log", byteCount(logBytes)],
    ["restarts", shortCount(restarts)],
  ];
}

function processId(pid: number): string {
  return pid > 0 ? String(pid) : "none";
}

function showProcess(item: Element, name: string, life: Life, rows: [string, string][]): void {
  setData(item as HTMLElement, "life", life);
  setShape(item.querySelector("use")!, lifeShapes[life]);
  setText(item.querySelector("h3")!, name);
  setText(item.querySelector(".state")!, life);
  const list = item.querySelector("dl")!;
  while (list.children.length > rows.length * 2) list.lastElementChild!.remove();
  while (list.children.length < rows.length * 2) {
    list.append(document.createElement("dt"), document.createElement("dd"));
  }
  rows.forEach(([term, value], index) => {
    setText(list.children[index * 2], term);
    setText(list.children[index * 2 + 1], value);
  });
}

/** Shows the newest records. */
export function showNewest(records: ShownRecord[]): void {
  const list = byId("newest");
  byId("newest-none").hidden = records.length > 0;
  resize(list, records.length, (item) => {
    for (const name of ["order", "from", "text", "size"]) {
      item.appendChild(document.createElement("span")).className = name;
    }
    const text = item.querySelector(".text")!;
    const mark = document.createElement("span");
    mark.className = "mark";
    text.append(document.createElement("bdi"), mark);
  }, "li");
  records.forEach((record, index) => {
    const [order, from, text, size] = list.children[index].children;
    setText(order, `#${count(record.totalOrder)}`);
    setText(from, printable(record.topic));
    const { topic, session, sequence } = record;
    setTitle(from as HTMLElement, printable(`${topic}, session ${session}, record ${sequence}`));
    setText(text.children[0], printable(record.text));
    const kind = record.encoding === "base64" ? " (not text: base64)" : "";
    const whole = record.cut ? ` … (cut; ${plural(record.bytes, "byte")} in all)` : "";
    setText(text.children[1], record.bytes === 0 ? "(empty)" : whole + kind);
    setText(size, byteCount(record.bytes));
  });
}

function resize(
  parent: Element,
  length: number,
  fill: (child: HTMLElement) => void,
  tag: "li" | "tr",
): void {
  while (parent.children.length > length) parent.lastElementChild!.remove();
  while (parent.children.length < length) {
    const child = document.createElement(tag);
    fill(child);
    parent.append(child);
  }
}

function shape(): SVGElement {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(namespace, "use"));
  return svg;
}

/** What the mouse tells about an element that may be too narrow for its text. */
function setTitle(element: HTMLElement, title: string): void {
  if (element.title !== title) element.title = title;
}

/** Lets an svg `use` element show another shape of the page. */
export function setShape(use: Element, id: string): void {
  if (use.getAttribute("href") !== id) use.setAttribute("href", id);
}

/** Sets a `data-` attribute when it is another one. */
export function setData(element: HTMLElement, name: string, value: string): void {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}
