import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type Dashboard, startDashboard } from "../../../lib/app/dashboard/server.ts";
import { FakeNode, record } from "./fake_node.ts";

type Fields = Record<string, string>;

/** Runs a test against a dashboard of a fake node, and closes it whatever happens. */
async function serving(
  body: (dashboard: Dashboard, node: FakeNode) => Promise<void>,
  sampleIntervalMs = 20,
): Promise<void> {
  const node = new FakeNode();
  const dashboard = await startDashboard(node, { port: 0, sampleIntervalMs });
  try {
    await body(dashboard, node);
  } finally {
    await dashboard.close();
  }
}

/** A request byte by byte: `fetch` would not let a test lie about Host or Origin. */
async function ask(
  port: number,
  method: string,
  path: string,
  fields: Fields = {},
): Promise<{ status: number; headers: Headers; body: string }> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const all: Fields = { Host: `127.0.0.1:${port}`, Connection: "close", ...fields };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await connection.write(new TextEncoder().encode(`${method} ${path} HTTP/1.1\r\n${lines}\r\n`));
  const bytes: number[] = [];
  const buffer = new Uint8Array(65_536);
  for (let read; (read = await connection.read(buffer)) !== null;) {
    bytes.push(...buffer.subarray(0, read));
  }
  const text = new TextDecoder().decode(new Uint8Array(bytes));
  const [head, ...rest] = text.split("\r\n\r\n");
  const [first, ...headerLines] = head.split("\r\n");
  const headers = new Headers(
    headerLines.map((line) => line.split(/: ?(.*)/s).slice(0, 2) as [string, string]),
  );
  return { status: Number(first.split(" ")[1]), headers, body: rest.join("\r\n\r\n") };
}

interface Event {
  name: string;
  // deno-lint-ignore no-explicit-any
  data: any;
}

/** Reads server-sent events until `enough`, then hangs up; false from the server's end when it ended. */
async function listen(url: string, enough: (events: Event[]) => boolean): Promise<Event[]> {
  const abort = new AbortController();
  const response = await fetch(`${url}events`, { signal: abort.signal });
  assertEquals(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const events: Event[] = [];
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const blocks = text.split("\n\n");
    text = blocks.pop()!;
    for (const block of blocks) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(block) ?? [];
      if (name !== undefined) events.push({ name, data: JSON.parse(data) });
    }
    if (enough(events)) break;
  }
  abort.abort();
  return events;
}

Deno.test("startDashboard() serves the page with headers that let nothing else in", async () => {
  await serving(async ({ port, url }) => {
    assertEquals(url, `http://127.0.0.1:${port}/`);
    const { status, headers, body } = await ask(port, "GET", "/");
    assertEquals(status, 200);
    assertEquals(headers.get("content-type"), "text/html; charset=utf-8");
    assertEquals(headers.get("cache-control"), "no-store, no-transform");
    assertEquals(headers.get("x-content-type-options"), "nosniff");
    const policy = headers.get("content-security-policy")!;
    for (const part of ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"]) {
      assertStringIncludes(policy, part);
    }
    assert(!/unsafe|https?:|\*/.test(policy), policy);
    assertStringIncludes(body, "<title>Keelson</title>");
  });
});

Deno.test("startDashboard() serves a page that is one file and names no other", async () => {
  await serving(async ({ port }) => {
    const { body } = await ask(port, "GET", "/");
    assert(new TextEncoder().encode(body).length < 400_000);
    const markup = body.replace(/<(script|style)>[^]*?<\/\1>/g, "");
    assert(!/\b(src|srcset)=|@import|<(link(?![^>]*rel="icon")|iframe|object|embed)/.test(markup));
    const addresses = [...markup.matchAll(/href="([^"]*)"/g)].map(([, address]) => address);
    const outside = addresses.filter((address) => !/^(#|data:image|snapshot\.json)/.test(address));
    assertEquals(outside, []);
  });
});

Deno.test("startDashboard() answers /health and 404 for everything it does not know", async () => {
  await serving(async ({ port }) => {
    const health = await ask(port, "GET", "/health");
    assertEquals([health.status, JSON.parse(health.body)], [200, { status: "ok" }]);
    for (const path of ["/nothing", "/index.html", "//", "/events/", "/%2e%2e/etc/passwd"]) {
      const { status, body, headers } = await ask(port, "GET", path);
      assertEquals(status, 404, path);
      assertEquals(body.trim().split("\n").length, 1);
      assertEquals(headers.get("x-content-type-options"), "nosniff");
    }
  });
});

Deno.test("startDashboard() refuses every method but GET and HEAD", async () => {
  await serving(async ({ port }, node) => {
    assertEquals((await ask(port, "OPTIONS", "*")).status, 405);
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"]) {
      const { status, headers } = await ask(port, method, "/events", { "Content-Length": "0" });
      assertEquals([status, headers.get("allow")], [405, "GET, HEAD"], method);
    }
    assertEquals(node.snapshotCalls, 0);
  });
});

Deno.test("startDashboard() answers HEAD without a body, and without opening a stream", async () => {
  await serving(async ({ port }, node) => {
    for (const path of ["/", "/health", "/events"]) {
      const { status, body } = await ask(port, "HEAD", path);
      assertEquals([status, body], [200, ""], path);
    }
    assertEquals(node.snapshotCalls, 0);
  });
});

Deno.test("startDashboard() refuses a foreign Host and a foreign Origin on every path", async () => {
  await serving(async ({ port }, node) => {
    const lies: Fields[] = [
      { Host: "evil.example" },
      { Host: `evil.example:${port}` },
      { Host: `127.0.0.1:${port + 1}` },
      { Origin: "http://evil.example" },
      { Origin: "null" },
      { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors" },
    ];
    for (const path of ["/", "/events", "/snapshot.json", "/health", "/nothing"]) {
      for (const fields of lies) {
        const { status, body } = await ask(port, "GET", path, fields);
        assertEquals(status, 403, `${path} ${JSON.stringify(fields)}`);
        assertEquals(body.trim().split("\n").length, 1);
      }
    }
    assertEquals(node.snapshotCalls, 0);
    const { status } = await ask(port, "GET", "/", { Host: `localhost:${port}` });
    assertEquals(status, 200);
  });
});

Deno.test("startDashboard() streams snapshots, and the newest records when they change", async () => {
  await serving(async ({ url }, node) => {
    node.records = [record(1, "first")];
    let told = false;
    const events = await listen(url, (events) => {
      node.pass(10);
      if (events.length > 5 && !told) {
        node.records = [record(2, "second"), record(1, "first")];
        told = true;
      }
      return events.filter((event) => event.name === "newest").length === 2;
    });
    const newest = events.filter((event) => event.name === "newest").map((event) => event.data);
    assertEquals(newest.map((records) => records[0].text), ["first", "second"]);
    const published = events.filter((event) => event.name === "snapshot")
      .map((event) => event.data.published);
    assert(published.length >= 3, `only ${published.length} snapshots`);
    assert(published.at(-1) > published[0], "the numbers stand still");
  });
});

Deno.test("startDashboard() takes no snapshot while nobody looks", async () => {
  await serving(async ({ url }, node) => {
    await new Promise((resolve) => setTimeout(resolve, 100));
    assertEquals(node.snapshotCalls, 0);
    await listen(url, (events) => events.length >= 3);
    // hanging up reaches the server a moment later
    let calls = -1;
    for (let wait = 0; wait < 50 && calls !== node.snapshotCalls; wait++) {
      calls = node.snapshotCalls;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assertEquals(calls, node.snapshotCalls);
  });
});

Deno.test("startDashboard() asks the source once for all viewers", async () => {
  await serving(async ({ url }, node) => {
    let started = 0;
    const viewers = Array.from({ length: 6 }, () =>
      listen(url, (events) => {
        started = Math.max(started, node.snapshotCalls);
        return events.filter((event) => event.name === "snapshot").length >= 10;
      }));
    await Promise.all(viewers);
    // 10 beats each, plus one at every arrival
    assert(node.snapshotCalls < 40, `${node.snapshotCalls} snapshots for 6 viewers`);
  });
});

Deno.test("startDashboard() sends long records cut and says so, and at most 50 of them", async () => {
  await serving(async ({ url }, node) => {
    const many = Array.from({ length: 80 }, (_, index) => record(80 - index, "short"));
    node.records = [
      record(99, "é".repeat(1 << 19)),
      record(98, "AAAA".repeat(1 << 18), { encoding: "base64", bytes: 3 << 18 }),
      record(97, "AAE=", { encoding: "base64", bytes: 2 }),
      ...many,
    ];
    const events = await listen(url, (events) => events.some((event) => event.name === "newest"));
    const { data } = events.find((event) => event.name === "newest")!;
    assertEquals(data.length, 50);
    // deno-lint-ignore no-explicit-any
    assertEquals(data.slice(0, 4).map((it: any) => it.cut), [true, true, false, false]);
    assertEquals([data[0].text.length, data[0].bytes], [400, 1 << 20]);
  });
});

Deno.test("startDashboard() says what is wrong when the source fails, and goes on when it recovers", async () => {
  await serving(async ({ url, port }, node) => {
    node.failure = new Error("no node lives in ./data\n    at somewhere");
    const direct = await ask(port, "GET", "/snapshot.json");
    assertEquals(direct.status, 503);
    assertEquals(direct.body, "The node gives no snapshot now: no node lives in ./data\n");
    const events = await listen(url, (events) => {
      if (events.some((event) => event.name === "problem")) node.failure = undefined;
      return events.some((event) => event.name === "snapshot");
    });
    assertEquals(events.find((event) => event.name === "problem")!.data, {
      message: "no node lives in ./data",
    });
  });
});

Deno.test("startDashboard() refuses more viewers than it can feed", async () => {
  await serving(async ({ url }) => {
    const abort = new AbortController();
    const { signal } = abort;
    const open = () => fetch(`${url}events`, { signal });
    const responses = await Promise.all(Array.from({ length: 32 }, open));
    assert(responses.every((response) => response.status === 200));
    const refused = await open();
    assertEquals([refused.status, (await refused.text()).split("\n").length], [503, 2]);
    abort.abort();
    await Promise.all(responses.map((response) => response.body!.cancel().catch(() => {})));
  });
});

Deno.test("startDashboard() survives a viewer that never reads", async () => {
  await serving(async ({ port, url }, node) => {
    node.records = Array.from({ length: 50 }, (_, index) => record(index, "x".repeat(400)));
    using stuck = await Deno.connect({ hostname: "127.0.0.1", port });
    const request = `GET /events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`;
    await stuck.write(new TextEncoder().encode(request));
    let order = 100;
    const events = await listen(url, (events) => {
      node.records = node.records.map((old) => ({ ...old, totalOrder: order++ }));
      return events.length >= 60;
    });
    assert(events.length >= 60);
  }, 2);
});

Deno.test("startDashboard().close() ends open streams at once, and twice is nothing", async () => {
  const node = new FakeNode();
  const dashboard = await startDashboard(node, { port: 0 });
  let closing: Promise<void> | undefined;
  const events = await listen(dashboard.url, (events) => {
    if (events.length > 0) closing ??= dashboard.close();
    return false; // only the end of the stream ends this
  });
  assert(events.length >= 1);
  const start = performance.now();
  await closing;
  await dashboard.close();
  assert(performance.now() - start < 900, "close took its grace time");
  await assertRejects(() => fetch(`${dashboard.url}health`));
});

Deno.test("startDashboard() says in one line that the port is taken and what to do", async () => {
  await serving(async ({ port }) => {
    const error = await assertRejects(() => startDashboard(new FakeNode(), { port }), Error);
    assertStringIncludes(error.message, `port ${port} is in use`);
    assertStringIncludes(error.message, "--port 0");
    assertEquals(error.message.split("\n").length, 1);
  });
});

Deno.test("startDashboard() refuses what is no port and no address of this machine", async () => {
  for (const port of [-1, 65_536, 1.5, NaN]) {
    const error = await assertRejects(() => startDashboard(new FakeNode(), { port }), Error);
    assertStringIncludes(error.message, "0 to 65535");
  }
  const elsewhere = { port: 0, hostname: "192.0.2.1" };
  const error = await assertRejects(() => startDashboard(new FakeNode(), elsewhere), Error);
  assertStringIncludes(error.message, "192.0.2.1");
  assertEquals(error.message.split("\n").length, 1);
});

Deno.test("startDashboard() listens again on the port it just left", async () => {
  const first = await startDashboard(new FakeNode(), { port: 0 });
  await listen(first.url, (events) => events.length > 0);
  await first.close();
  const second = await startDashboard(new FakeNode(), { port: first.port });
  assertEquals(second.url, first.url);
  await second.close();
});
