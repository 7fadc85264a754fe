import { assert, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { preload } from "../../ffi/library.ts";
import { KeelsonError } from "../../lib/base/error.ts";
import { type SimulatedTopology, Topology } from "../../lib/mem/topology.ts";

preload("base", "mem");

const FIXTURES = new URL("./fixtures/", import.meta.url).pathname;

function refusal(fn: () => unknown, message: RegExp = /^Cannot /): string {
  const error = assertThrows(fn);
  assertInstanceOf(error, KeelsonError);
  assertMatch(error.message, message);
  return error.codeName;
}

Deno.test("Topology N1 N2 simulated: distances, processors, the nearest, the least loaded", () => {
  using ring = Topology.simulate({ shape: "ring", nodes: 4, cpusPerNode: 2 });
  assertEquals([0, 1, 2, 3].map((to) => ring.distance(0, to)), [10, 20, 30, 20]);
  assertEquals([0, 1, 2, 3].map((node) => ring.cpusOfNode(node)), [[0, 1], [2, 3], [4, 5], [6, 7]]);
  assertEquals([ring.nodeOfCpu(7), ring.nodeOfCpu(8), ring.nodeOfCpu(-1)], [
    3,
    undefined,
    undefined,
  ]);
  assertEquals(ring.nearest(1), [1, 0, 2, 3]);
  for (const node of [0, 1, 2, 3]) {
    assertEquals(ring.leastLoaded(), node);
    ring.addLoad(node, 2);
  }
  ring.addLoad(2, -1);
  assertEquals(ring.leastLoaded(), 2);
  using uniform = Topology.simulate({ shape: "uniform", cpusPerNode: 8, bytesPerNode: 4096 });
  assertEquals([uniform.nodeCount, uniform.nodeOfCpu(7), uniform.bytesOfNode(0)], [1, 0, 4096]);
  using two = Topology.simulate({ shape: "two-sockets" });
  assertEquals([two.distance(0, 1), two.distance(1, 1)], [20, 10]);
});

Deno.test("Topology N5 detect() agrees with /sys", () => {
  using machine = Topology.detect();
  const cpus = Array.from({ length: machine.nodeCount }, (_, node) => machine.cpusOfNode(node));
  const online = Deno.readTextFileSync("/sys/devices/system/cpu/online").trim().split(",")
    .flatMap((range) => {
      const [first, last = first] = range.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
  assertEquals(cpus.flat().sort((a, b) => a - b), online);
  machine.runOn(machine.nodeOfCpu(online[0])!);
});

Deno.test("Topology N5 detect() reads the trees of other machines", () => {
  using two = Topology.detect(`${FIXTURES}two_sockets`);
  assertEquals([two.nodeCount, two.nodeOfCpu(20), two.distance(0, 1)], [2, 0, 21]);
  using ring = Topology.detect(`${FIXTURES}four_socket_ring`);
  assertEquals(ring.nearest(3), [3, 0, 2, 1]);
  using gaps = Topology.detect(`${FIXTURES}gaps`);
  assertEquals([gaps.nodeCount, gaps.cpusOfNode(1), gaps.nodeOfCpu(5)], [3, [], undefined]);
  using none = Topology.detect(`${FIXTURES}no_nodes`);
  assertEquals([none.nodeCount, none.cpusOfNode(0)], [1, [0, 2]]);
});

Deno.test("Topology refuses what cannot be with one line", async () => {
  const root = await Deno.makeTempDir();
  await Deno.mkdir(`${root}/devices/system/cpu`, { recursive: true });
  assertEquals(refusal(() => Topology.detect(root), /cpu\/online/), "KL_ERR_NOT_FOUND");
  await Deno.symlink("online", `${root}/devices/system/cpu/online`);
  assertEquals(refusal(() => Topology.detect(root), /cpu\/online/), "KL_ERR_IO");
  await Deno.remove(root, { recursive: true });
  for (const bad of ["", "a\0b", "x".repeat(5000), 5 as unknown as string]) {
    assertMatch(refusal(() => Topology.detect(bad)), /KL_ERR_(NAME|ARGUMENT)/);
  }
  const shapes = [
    { shape: "torus" },
    { shape: "toString" },
    { shape: "ring", nodes: 0 },
    { shape: "ring", nodes: 33 },
    { shape: "ring", cpusPerNode: 65 },
    { shape: "ring", nodes: -1 },
    { shape: "ring", bytesPerNode: NaN },
    { shape: "ring", bytesPerNode: -1 },
    { shape: "ring", bytesPerNode: 2 ** 53 },
  ] as SimulatedTopology[];
  for (const shape of shapes) {
    assertEquals(refusal(() => Topology.simulate(shape)), "KL_ERR_ARGUMENT", JSON.stringify(shape));
  }
  const two = Topology.simulate({ shape: "two-sockets" });
  for (const node of [2, -1, NaN, 0.5]) {
    assertEquals(refusal(() => two.distance(0, node)), "KL_ERR_ARGUMENT");
    assertEquals(refusal(() => two.nearest(node)), "KL_ERR_ARGUMENT");
    assertEquals(refusal(() => two.addLoad(node, 1)), "KL_ERR_ARGUMENT");
  }
  two.close();
  two.close();
  assertEquals(refusal(() => two.leastLoaded()), "KL_ERR_HANDLE");
  assert(two.distance(0, 1) === 20);
});
