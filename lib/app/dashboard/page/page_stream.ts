/// <reference lib="dom" />
/** The page's end of `/events`: stays connected, and says when it is not. */
import type { DashboardSnapshot, NewestRecord } from "../source.ts";

/** A record as the server sends it; `cut` when there is more of it. */
export type ShownRecord = NewestRecord & { cut: boolean };

/** Whether numbers are coming in. */
export type Connection = "connecting" | "live" | "reconnecting";

/** What the page does with what arrives. */
export interface StreamHandlers {
  snapshot(snapshot: DashboardSnapshot): void;
  newest(records: ShownRecord[]): void;
  /** The server lives but the node gives no numbers; undefined when it does again. */
  problem(message: string | undefined): void;
  connection(state: Connection): void;
}

/** Silence after which the connection is taken for dead: the server speaks at least once a second. */
const silenceMs = 3_500;
/** The browser itself waits longer and longer; a local server is back within a second or two. */
const retryMs = 700;

/** Connects, and connects again for as long as the page is open. */
export function follow(path: string, handlers: StreamHandlers): void {
  let events: EventSource | undefined;
  let heardAt = performance.now();
  let lost = false;

  const connect = () => {
    events?.close();
    heardAt = performance.now();
    events = new EventSource(path);
    events.addEventListener("snapshot", (message) => {
      heard();
      handlers.problem(undefined);
      handlers.snapshot(JSON.parse(message.data));
    });
    events.addEventListener("newest", (message) => {
      heard();
      handlers.newest(JSON.parse(message.data));
    });
    events.addEventListener("problem", (message) => {
      heard();
      handlers.problem(JSON.parse(message.data).message);
    });
    events.addEventListener("error", retry);
  };
  const heard = () => {
    heardAt = performance.now();
    lost = false;
    handlers.connection("live");
  };
  const retry = () => {
    if (lost) return;
    lost = true;
    events?.close();
    handlers.connection("reconnecting");
    setTimeout(() => {
      lost = false;
      connect();
    }, retryMs);
  };

  handlers.connection("connecting");
  connect();
  setInterval(() => {
    if (performance.now() - heardAt > silenceMs) retry();
  }, 500);
}
