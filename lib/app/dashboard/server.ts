/**
 * The live page of a node: a small web server on loopback that only ever reads.
 *
 * ```
 * GET /               the page, one self-contained file
 * GET /events         server-sent events: "snapshot" 4 times a second, "newest" when it changed,
 *                     "problem" once a second while the source fails
 * GET /snapshot.json  one snapshot
 * GET /health         {"status":"ok"}
 * ```
 *
 * Nothing here changes the node's state, so there is no token to ask for; {@linkcode refusal} keeps
 * other sites' pages out. The source is sampled only while somebody is connected, once for all
 * viewers. A viewer that reads slower than that skips snapshots: each one is complete in itself.
 *
 * @module
 */
import page from "./generated/dashboard.html" with { type: "text" };
import { type Endpoint, hostInUrl, refusal } from "./access.ts";
import { shorten } from "./record_text.ts";
import type { DashboardSource, NewestRecord } from "./source.ts";

/** Options for {@linkcode startDashboard}. */
export interface DashboardOptions {
  /** TCP port; 0 picks a free one. */
  port: number;
  /** Address to listen on. Anything but loopback lets others on the network look. @default {"127.0.0.1"} */
  hostname?: string;
  /** Time between two snapshots while somebody looks. @default {250} */
  sampleIntervalMs?: number;
}

/** A running dashboard. */
export interface Dashboard {
  /** The port it listens on. */
  readonly port: number;
  /** Where to point a browser. */
  readonly url: string;
  /** Ends every stream and stops listening. Closing twice is nothing. */
  close(): Promise<void>;
}

/** Pages that may be open at once. */
const viewersMax = 32;
/** Newest records a viewer gets. */
const newestMax = 50;
/** Chunks that may wait for a slow viewer before it skips snapshots. */
const queueMax = 4;
/** Beats without a single chunk read after which a viewer is taken for gone. */
const stalledBeatsMax = 240;
/** How long `close` waits for answers that are under way. */
const closeGraceMs = 1_000;

/**
 * Starts the dashboard.
 *
 * @throws {Error} when the port is taken, forbidden or no port at all; one line that says what to do.
 */
export async function startDashboard(
  source: DashboardSource,
  options: DashboardOptions,
): Promise<Dashboard> {
  const { port, hostname = "127.0.0.1", sampleIntervalMs = 250 } = options;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error(`Cannot serve the dashboard on port ${port}: a port is 0 to 65535`);
  }
  const headers = await pageHeaders(page);
  const viewers = new Viewers(source, sampleIntervalMs);
  const abort = new AbortController();
  const endpoint: Endpoint = { hostname, port };
  const answer = (request: Request): Response => {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return line(405, "The dashboard only answers GET and HEAD.", { allow: "GET, HEAD" });
    }
    const path = new URL(request.url).pathname;
    const refused = refusal(request.headers, path, endpoint);
    if (refused !== undefined) return line(403, refused);
    const response = route(path, request.method === "HEAD", source, viewers, headers);
    return request.method === "HEAD" ? new Response(null, response) : response;
  };
  const server = listen(hostname, port, abort.signal, answer);
  endpoint.port = server.addr.port;

  let closing: Promise<void> | undefined;
  const shown = hostname === "0.0.0.0" || hostname === "::" ? "127.0.0.1" : hostInUrl(hostname);
  return {
    port: endpoint.port,
    url: `http://${shown}:${endpoint.port}/`,
    close: () => closing ??= stop(server, viewers, abort),
  };
}

function listen(
  hostname: string,
  port: number,
  signal: AbortSignal,
  answer: (request: Request) => Response,
): Deno.HttpServer<Deno.NetAddr> {
  const onError = () =>
    line(500, "The dashboard failed to answer; the node itself is not touched.");
  try {
    return Deno.serve({ hostname, port, signal, onError, onListen: () => {} }, answer);
  } catch (cause) {
    const start = `Cannot serve the dashboard on ${hostInUrl(hostname)}:${port}`;
    if (cause instanceof Deno.errors.AddrInUse) {
      const advice = "another program listens there; --port 0 picks a free one";
      throw new Error(`${start}: port ${port} is in use (${advice})`, { cause });
    }
    if (cause instanceof Deno.errors.PermissionDenied || cause instanceof Deno.errors.NotCapable) {
      const advice = "use a port above 1023, allow net access, or --port 0 picks a free one";
      throw new Error(`${start}: not permitted (${advice})`, { cause });
    }
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new Error(`${start}: ${reason} (is the address one of this machine?)`, { cause });
  }
}

async function stop(
  server: Deno.HttpServer,
  viewers: Viewers,
  abort: AbortController,
): Promise<void> {
  viewers.close();
  const deadline = setTimeout(() => abort.abort(), closeGraceMs);
  try {
    await server.shutdown();
    await server.finished;
  } finally {
    clearTimeout(deadline);
  }
}

function route(
  path: string,
  headOnly: boolean,
  source: DashboardSource,
  viewers: Viewers,
  headers: HeadersInit,
): Response {
  switch (path) {
    case "/":
      return new Response(page, { headers });
    case "/events":
      return headOnly ? new Response(null, { headers: eventHeaders }) : viewers.open();
    case "/snapshot.json":
      return snapshotResponse(source);
    case "/health":
      return new Response('{"status":"ok"}\n', { headers: jsonHeaders });
    default:
      return line(404, "Nothing here. The dashboard is at /.");
  }
}

function snapshotResponse(source: DashboardSource): Response {
  try {
    return new Response(`${JSON.stringify(source.snapshot())}\n`, { headers: jsonHeaders });
  } catch (error) {
    return line(503, `The node gives no snapshot now: ${firstLine(error)}`);
  }
}

/** The open event streams, and the timer that feeds them while there are any. */
class Viewers {
  readonly #source: DashboardSource;
  readonly #intervalMs: number;
  readonly #open = new Set<Viewer>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #beat = 0;
  #newest = "";
  #closed = false;

  constructor(source: DashboardSource, intervalMs: number) {
    this.#source = source;
    this.#intervalMs = intervalMs;
  }

  open(): Response {
    if (this.#closed) return line(503, "The node is stopping.");
    if (this.#open.size >= viewersMax) {
      return line(503, `Already ${viewersMax} viewers; close one of the other pages.`);
    }
    let viewer: Viewer;
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        viewer = { controller, stalledBeats: 0, fresh: true };
        controller.enqueue(encoder.encode("retry: 1000\n\n"));
      },
      cancel: () => this.#leave(viewer),
    }, { highWaterMark: queueMax });
    this.#open.add(viewer!);
    this.#timer ??= setInterval(() => this.#sample(), this.#intervalMs);
    this.#sample();
    return new Response(stream, { headers: eventHeaders });
  }

  close(): void {
    this.#closed = true;
    for (const viewer of [...this.#open]) this.#end(viewer);
  }

  #sample(): void {
    const beat = this.#beat++;
    try {
      const snapshot = event("snapshot", this.#source.snapshot());
      const newest = event("newest", this.#source.newest().slice(0, newestMax).map(forPage));
      const changed = newest !== this.#newest;
      this.#newest = newest;
      const both = encoder.encode(newest + snapshot);
      const one = changed ? both : encoder.encode(snapshot);
      for (const viewer of this.#open) this.#send(viewer, viewer.fresh ? both : one);
    } catch (error) {
      // Said once a second: often enough to show that the server lives, seldom enough to be cheap.
      if (beat % Math.max(1, Math.round(1_000 / this.#intervalMs)) !== 0) return;
      const chunk = encoder.encode(event("problem", { message: firstLine(error) }));
      for (const viewer of this.#open) this.#send(viewer, chunk, viewer.fresh);
    }
  }

  #send(viewer: Viewer, chunk: Uint8Array<ArrayBuffer>, stillFresh = false): void {
    if ((viewer.controller.desiredSize ?? 0) <= 0) {
      viewer.fresh = true; // it may have missed a change of the newest records
      if (++viewer.stalledBeats >= stalledBeatsMax) this.#end(viewer);
      return;
    }
    viewer.stalledBeats = 0;
    viewer.fresh = stillFresh;
    viewer.controller.enqueue(chunk);
  }

  #end(viewer: Viewer): void {
    this.#leave(viewer);
    viewer.controller.close();
  }

  #leave(viewer: Viewer): void {
    this.#open.delete(viewer);
    if (this.#open.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

interface Viewer {
  controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  /** Beats in a row at which its queue was full. */
  stalledBeats: number;
  /** Whether it needs the newest records although they did not change. */
  fresh: boolean;
}

const encoder = new TextEncoder();

function event(name: string, data: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** A record as the page gets it: nobody needs a megabyte of text four times a second. */
function forPage(record: NewestRecord): NewestRecord & { cut: boolean } {
  const text = shorten(record.text);
  const shownBytes = record.encoding === "base64"
    ? Math.floor(text.replace(/=+$/, "").length * 3 / 4)
    : encoder.encode(text).length;
  return { ...record, topic: shorten(record.topic, 100), text, cut: shownBytes < record.bytes };
}

function firstLine(error: unknown): string {
  return shorten((error instanceof Error ? error.message : String(error)).split("\n")[0]);
}

const commonHeaders: Record<string, string> = {
  "cache-control": "no-store, no-transform",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
};
const jsonHeaders = { ...commonHeaders, "content-type": "application/json; charset=utf-8" };
const eventHeaders = { ...commonHeaders, "content-type": "text/event-stream; charset=utf-8" };

function line(status: number, text: string, extra: Record<string, string> = {}): Response {
  const headers = { ...commonHeaders, "content-type": "text/plain; charset=utf-8", ...extra };
  return new Response(`${text}\n`, { status, headers });
}

/** Headers of the page: only the very script and style in the file may run, nothing is loaded. */
async function pageHeaders(html: string): Promise<Record<string, string>> {
  const scripts = await sourceHashes(html, /<script>([^]*?)<\/script>/g);
  const styles = await sourceHashes(html, /<style>([^]*?)<\/style>/g);
  const policy = [
    "default-src 'none'",
    `script-src ${scripts}`,
    `style-src ${styles}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return {
    ...commonHeaders,
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": policy.join("; "),
    "cross-origin-opener-policy": "same-origin",
  };
}

async function sourceHashes(html: string, element: RegExp): Promise<string> {
  const hashes: string[] = [];
  for (const [, text] of html.matchAll(element)) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
    hashes.push(`'sha256-${digest.toBase64()}'`);
  }
  return hashes.join(" ") || "'none'";
}
