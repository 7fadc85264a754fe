/**
 * A headless Chromium for tests, driven over its DevTools protocol with nothing but a WebSocket.
 *
 * @module
 */

/** Where Chromium may be installed, in order of preference. */
const binaryNames = ["chromium", "chromium-browser", "google-chrome"];
const startMs = 20_000;
const callMs = 20_000;

/** The path of a Chromium, or undefined: then tests that need one are ignored. */
export const chromiumPath: string | undefined = findChromium();

function findChromium(): string | undefined {
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    for (const name of binaryNames) {
      const path = `${folder}/${name}`;
      try {
        if (Deno.statSync(path).isFile) return path;
      } catch {
        // not there: the next one
      }
    }
  }
  return undefined;
}

/** What the DevTools protocol sends on its own. */
export interface BrowserEvent {
  method: string;
  // deno-lint-ignore no-explicit-any
  params: any;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
  timer: ReturnType<typeof setTimeout>;
}

/** A browser with one tab. */
export class Browser implements AsyncDisposable {
  /** Everything the tab reported: console, exceptions, requests, security findings. */
  readonly events: BrowserEvent[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #pending = new Map<number, Pending>();
  #session: string | undefined;
  #lastId = 0;

  private constructor(child: Deno.ChildProcess, profile: string, socket: WebSocket) {
    this.#child = child;
    this.#profile = profile;
    this.#socket = socket;
    socket.onmessage = (message) => this.#take(JSON.parse(message.data));
  }

  /** Starts Chromium with a profile of its own, and opens an empty tab. */
  static async start(): Promise<Browser> {
    const profile = await Deno.makeTempDir({ prefix: "keelson-browser-" });
    const child = new Deno.Command(chromiumPath!, {
      args: [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-extensions",
        "--disable-sync",
        "--mute-audio",
        "--no-first-run",
        "--no-default-browser-check",
        "--hide-scrollbars",
        `--user-data-dir=${profile}`,
        "--remote-debugging-port=0",
        "about:blank",
      ],
      env: { HOME: profile },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    let browser: Browser | undefined;
    try {
      browser = new Browser(child, profile, await connect(await debuggerUrl(profile)));
      await browser.#openTab();
      return browser;
    } catch (error) {
      if (browser !== undefined) await browser[Symbol.asyncDispose]();
      else await endProcess(child, profile);
      throw error;
    }
  }

  async #openTab(): Promise<void> {
    const { targetId } = await this.call<{ targetId: string }>("Target.createTarget", {
      url: "about:blank",
    });
    const attached = await this.call<{ sessionId: string }>("Target.attachToTarget", {
      targetId,
      flatten: true,
    });
    this.#session = attached.sessionId;
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await this.call(`${domain}.enable`);
  }

  /** One call of the protocol, to the tab once there is one. */
  call<T = unknown>(method: string, params: Record<string, unknown> = {}): Promise<T> {
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const timer = setTimeout(() => {
      this.#pending.delete(id);
      reject(new Error(`chromium did not answer ${method} within ${callMs} ms`));
    }, callMs);
    this.#pending.set(id, { resolve, reject, timer });
    this.#socket.send(JSON.stringify({ id, method, params, sessionId: this.#session }));
    return promise as Promise<T>;
  }

  #take(message: {
    id?: number;
    result?: unknown;
    error?: { message: string };
    method?: string;
    params?: unknown;
  }): void {
    if (message.id === undefined) {
      this.events.push({ method: message.method!, params: message.params });
      return;
    }
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    this.#pending.delete(message.id);
    clearTimeout(pending.timer);
    if (message.error !== undefined) pending.reject(new Error(message.error.message));
    else pending.resolve(message.result);
  }

  /** Opens a page and waits until it is loaded. */
  async open(url: string): Promise<void> {
    const { errorText } = await this.call<{ errorText?: string }>("Page.navigate", { url });
    if (errorText !== undefined) throw new Error(`${url}: ${errorText}`);
    await this.until(`document.readyState === "complete" && location.href !== "about:blank"`);
  }

  /** The value of an expression in the page. */
  async value<T = unknown>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.call<{
      result: { value: T };
      exceptionDetails?: { exception?: { description?: string }; text: string };
    }>("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails !== undefined) {
      const { exception, text } = exceptionDetails;
      throw new Error(`in the page: ${exception?.description ?? text} (${expression})`);
    }
    return result.value;
  }

  /** Waits until an expression is true in the page; gives the milliseconds it took. */
  async until(expression: string, limitMs = 10_000): Promise<number> {
    const start = performance.now();
    while (!await this.value<boolean>(`Boolean(${expression})`)) {
      if (performance.now() - start > limitMs) {
        throw new Error(`after ${limitMs} ms this is still not so in the page: ${expression}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    return performance.now() - start;
  }

  /** Presses a key, as a person at a keyboard would. */
  async press(key: "Tab" | "Enter" | " "): Promise<void> {
    const code = { Tab: 9, Enter: 13, " ": 32 }[key];
    const text = { Tab: undefined, Enter: "\r", " ": " " }[key];
    const event = { key, windowsVirtualKeyCode: code, code: key === " " ? "Space" : key };
    await this.call("Input.dispatchKeyEvent", { type: "keyDown", text, ...event });
    await this.call("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  /** Sets the size of the window and the colour scheme. */
  async look(width: number, height: number, scheme: "light" | "dark"): Promise<void> {
    const mobile = width < 600;
    const metrics = { width, height, deviceScaleFactor: 1, mobile };
    await this.call("Emulation.setDeviceMetricsOverride", metrics);
    await this.call("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: scheme }],
    });
  }

  /** Everything the browser found fault with: errors, warnings, broken rules of the page's policy. */
  complaints(): string[] {
    const words = this.events.flatMap(({ method, params }) => {
      if (method === "Runtime.exceptionThrown") {
        const { text, exception } = params.exceptionDetails;
        return [`exception: ${exception?.description ?? text}`];
      }
      if (method === "Log.entryAdded" && params.entry.level !== "verbose") {
        return [`${params.entry.level}: ${params.entry.text}`];
      }
      if (method === "Runtime.consoleAPICalled") {
        return [`console.${params.type}: ${JSON.stringify(params.args.map(argumentText))}`];
      }
      return [];
    });
    return words;
  }

  /** Requests of the tab that went anywhere but to this address. */
  requestsOutside(url: string): string[] {
    return this.events.filter(({ method }) => method === "Network.requestWillBeSent")
      .map(({ params }) => String(params.request.url))
      .filter((asked) => !asked.startsWith(url) && !/^(data|about):/.test(asked));
  }

  /** A picture of the whole page, as PNG. */
  async picture(): Promise<Uint8Array> {
    const { data } = await this.call<{ data: string }>("Page.captureScreenshot", {
      captureBeyondViewport: true,
    });
    return Uint8Array.fromBase64(data);
  }

  /** Ends the browser and removes its profile. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => {
      this.#socket.onclose = resolve;
      if (this.#socket.readyState === WebSocket.CLOSED) resolve(undefined);
    });
    this.#session = undefined;
    await this.call("Browser.close").catch(() => this.#socket.close());
    await closed;
    await endProcess(this.#child, this.#profile);
  }
}

function argumentText(argument: { value?: unknown; description?: string }): unknown {
  return argument.value ?? argument.description;
}

/** Chromium writes the port it picked, and the path of its debugger, into its profile. */
async function debuggerUrl(profile: string): Promise<string> {
  const deadline = performance.now() + startMs;
  while (performance.now() < deadline) {
    const text = await Deno.readTextFile(`${profile}/DevToolsActivePort`).catch(() => "");
    const [port, path] = text.split("\n");
    if (path) return `ws://127.0.0.1:${port}${path}`;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`chromium did not start within ${startMs} ms`);
}

function connect(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url);
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject(new Error("chromium closed its debugger"));
  });
}

async function endProcess(child: Deno.ChildProcess, profile: string): Promise<void> {
  const timer = setTimeout(() => child.kill("SIGKILL"), 3_000);
  await child.status;
  clearTimeout(timer);
  // its helper processes may still be writing for a moment
  for (let attempt = 0; attempt < 50; attempt++) {
    try {
      await Deno.remove(profile, { recursive: true });
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
