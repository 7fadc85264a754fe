/** What the program says when something is wrong: one line, an exit code, and nothing half-created. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { COMMANDS } from "../../lib/app/cli.ts";
import { keelson, TestFolder } from "../process/keelson_process.ts";

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

interface Case {
  name: string;
  /** `@` is a fresh folder. */
  args: string[];
  code: number;
  says: string;
}

const CASES: Case[] = [
  { name: "an unknown command", args: ["rnu"], code: 2, says: "did you mean run?" },
  {
    name: "an unknown option",
    args: ["run", "--prot", "1"],
    code: 2,
    says: "did you mean --port?",
  },
  { name: "a bad number", args: ["run", "--brokers", "nine"], code: 2, says: "from 1 to 8" },
  { name: "a bad port", args: ["run", "--port", "65536"], code: 2, says: "from 0 to 65535" },
  { name: "a bad time", args: ["run", "--for", "5"], code: 2, says: "such as 500ms" },
  { name: "a topic with ..", args: ["run", "--topic", ".."], code: 2, says: "--topic must be" },
  { name: "a topic with /", args: ["pub", "a/b"], code: 2, says: "TOPIC must be" },
  {
    name: "a topic of 300 letters",
    args: ["sub", "x".repeat(300)],
    code: 2,
    says: "TOPIC must be",
  },
  { name: "no topic", args: ["sub"], code: 2, says: "TOPIC is missing" },
  { name: "one word too many", args: ["topics", "all"], code: 2, says: "one word too many" },
  {
    name: "a bad position",
    args: ["sub", "t", "--from", "-1"],
    code: 2,
    says: "start, end or a whole",
  },
  { name: "a role without a task", args: ["role", "broker"], code: 2, says: "start nodes with" },
  {
    name: "an input that is missing",
    args: ["run", "--data", "@/d", "--input", "@/none"],
    code: 4,
    says: "does not exist; check the name",
  },
  {
    name: "an input that is a folder",
    args: ["run", "--data", "@/d", "--input", "@"],
    code: 4,
    says: "is a folder; name a file",
  },
  {
    name: "a data folder whose parent is missing",
    args: ["run", "--data", "@/none/d", "--no-dashboard"],
    code: 4,
    says: "KL_ERR_NOT_FOUND",
  },
  {
    name: "a data folder that is a file",
    args: ["run", "--data", "@/file", "--no-dashboard"],
    code: 4,
    says: "@/file",
  },
  {
    name: "a data folder that is none of ours to write",
    args: ["run", "--data", "/proc/self", "--no-dashboard"],
    code: 4,
    says: "/proc/self",
  },
  {
    name: "sub on a folder that does not exist",
    args: ["sub", "lines", "--data", "@/d"],
    code: 4,
    says: "there is no data folder",
  },
  {
    name: "pub without a node",
    args: ["pub", "lines", "@/file", "--data", "@"],
    code: 4,
    says: "no node runs on",
  },
  {
    name: "topics of a folder without a node",
    args: ["topics", "--data", "@"],
    code: 4,
    says: "@",
  },
  { name: "stat of a foreign folder", args: ["stat", "@"], code: 4, says: "holds neither a node" },
  { name: "verify of nothing", args: ["verify", "@/none"], code: 4, says: "does not exist" },
  { name: "verify of a file", args: ["verify", "@/file"], code: 4, says: "is not a folder" },
];

for (const { name, args, code, says } of CASES) {
  Deno.test(`keelson says in one line what is wrong with ${name}`, async () => {
    using folder = new TestFolder();
    folder.file("file", "some bytes\n");
    const before = [...Deno.readDirSync(folder.path)].map((entry) => entry.name);
    const ended = await keelson(args.map((word) => word.replace("@", folder.path)));
    assertEquals(textOf(ended.stdout), "");
    assertStringIncludes(ended.stderr, says.replace("@", folder.path));
    assertEquals([ended.stderr.split("\n").length, ended.stderr.slice(0, 9)], [2, "keelson: "]);
    assertEquals(ended.code, code, ended.stderr);
    assertEquals([...Deno.readDirSync(folder.path)].map((entry) => entry.name), before);
  });
}

Deno.test("keelson run says which port is in use, and has created nothing", async () => {
  using folder = new TestFolder();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const ended = await keelson(["run", "--data", `${folder.path}/d`, "--port", String(port)]);
  assertEquals(ended.code, 4);
  assertEquals(ended.stderr.split("\n").length, 2);
  assertStringIncludes(ended.stderr, `port ${port} is in use`);
  assertEquals([...Deno.readDirSync(folder.path)], []);
});

Deno.test("keelson says what it can do, for every command with an example", async () => {
  const overview = textOf((await keelson(["--help"])).stdout);
  for (const name of Object.keys(COMMANDS)) assertStringIncludes(overview, `  ${name} `);
  assert(!overview.includes("role"), "the processes of a node are no commands");
  const helps = await Promise.all(Object.keys(COMMANDS).map((name) => keelson([name, "--help"])));
  for (const { code, stdout, stderr } of helps) {
    assertEquals([code, stderr], [0, ""]);
    for (const part of ["Usage: keelson", "xample", "Exit codes:"]) {
      assertStringIncludes(textOf(stdout), part);
    }
  }
  const nothing = await keelson([]);
  assertEquals([nothing.code, textOf(nothing.stdout)], [2, ""]);
  assertStringIncludes(textOf((await keelson(["--version"])).stdout), "keelson 0.");
});

Deno.test("keelson shows a stack only when KEELSON_DEBUG asks for it", async () => {
  const args = ["sub", "lines", "--data", "/nowhere/at/all"];
  const debug = await keelson(args, { env: { KEELSON_DEBUG: "1" } });
  assertStringIncludes(debug.stderr, "    at ");
  assert(!(await keelson(args)).stderr.includes("    at "));
});
