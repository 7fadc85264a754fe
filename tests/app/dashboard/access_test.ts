import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { hostInUrl, refusal } from "../../../lib/app/dashboard/access.ts";

const local = { hostname: "127.0.0.1", port: 4660 };

function allowed(headers: Record<string, string>, endpoint = local, path = "/events"): boolean {
  return refusal(new Headers(headers), path, endpoint) === undefined;
}

Deno.test("refusal() lets the loopback names with the right port in", () => {
  for (const host of ["127.0.0.1:4660", "localhost:4660", "LOCALHOST:4660", "[::1]:4660"]) {
    assert(allowed({ host }), host);
    assert(allowed({ host, origin: `http://${host}` }), host);
  }
});

Deno.test("refusal() stops foreign names: a rebound name points here but is not ours", () => {
  const foreign = [
    "evil.example:4660",
    "evil.example",
    "127.0.0.1",
    "127.0.0.1:4661",
    "127.0.0.1:46600",
    "127.0.0.1.evil.example:4660",
    "localhost.:4660",
    "0.0.0.0:4660",
    "[::]:4660",
    "192.168.1.4:4660",
    "",
    "127.0.0.1:4660:4660",
    "a@127.0.0.1:4660",
  ];
  for (const host of foreign) assert(!allowed({ host }), host);
  assert(!allowed({}), "no Host at all");
});

Deno.test("refusal() stops other origins", () => {
  const host = "127.0.0.1:4660";
  const foreign = [
    "http://evil.example",
    "null",
    "http://127.0.0.1:4661",
    "https://127.0.0.1:4660",
    "http://localhost:4660",
    "file://",
    "",
  ];
  for (const origin of foreign) assert(!allowed({ host, origin }), origin);
});

Deno.test("refusal() lets another site link to the page but not load from it", () => {
  const headers = { host: "127.0.0.1:4660", "sec-fetch-site": "cross-site" };
  assert(!allowed({ ...headers, "sec-fetch-mode": "no-cors" }));
  assert(!allowed({ ...headers, "sec-fetch-mode": "navigate" }, local, "/snapshot.json"));
  assert(allowed({ ...headers, "sec-fetch-mode": "navigate" }, local, "/"));
  assert(allowed({ ...headers, "sec-fetch-site": "same-origin" }));
  assert(allowed({ ...headers, "sec-fetch-site": "none" }));
});

Deno.test("refusal() takes the name it was told to listen on, and addresses when it listens everywhere", () => {
  const named = { hostname: "Node7.lan", port: 80 };
  assert(allowed({ host: "node7.lan" }, named));
  assert(allowed({ host: "node7.lan:80" }, named));
  assert(!allowed({ host: "node8.lan" }, named));
  for (const hostname of ["0.0.0.0", "::"]) {
    const everywhere = { hostname, port: 4660 };
    assert(allowed({ host: "192.168.1.4:4660" }, everywhere));
    assert(allowed({ host: "[fe80::1]:4660" }, everywhere));
    assert(!allowed({ host: "evil.example:4660" }, everywhere));
    assert(!allowed({ host: "192.168.1.4.evil.example:4660" }, everywhere));
  }
});

Deno.test("refusal() says in one line what to do", () => {
  const text = refusal(new Headers({ host: "evil.example" }), "/", local)!;
  assertStringIncludes(text, "127.0.0.1:4660");
  assertEquals(text.split("\n").length, 1);
});

Deno.test("hostInUrl() writes IPv6 in brackets", () => {
  assertEquals(["::1", "[::1]", "127.0.0.1", "Node7.LAN"].map(hostInUrl), [
    "[::1]",
    "[::1]",
    "127.0.0.1",
    "node7.lan",
  ]);
});
