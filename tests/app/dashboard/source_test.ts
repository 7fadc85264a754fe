import { assertEquals } from "@std/assert";
import { startDashboard } from "../../../lib/app/dashboard/server.ts";
import { FakeNode } from "./fake_node.ts";

Deno.test("DashboardSource: /snapshot.json gives every number of the snapshot as it was", async () => {
  const node = new FakeNode();
  node.pass(2 ** 40);
  node.state.publishToDeliverMicros = { p50: 58.25, p99: 1e6, p999: null };
  node.state.topics.push({ name: 'a "b" <c>', records: 1, durableRecords: 0, logged: false });
  const dashboard = await startDashboard(node, { port: 0 });
  try {
    const snapshot = await (await fetch(`${dashboard.url}snapshot.json`)).json();
    assertEquals({ ...snapshot, at: 0 }, { ...node.state, at: 0 });
  } finally {
    await dashboard.close();
  }
});
