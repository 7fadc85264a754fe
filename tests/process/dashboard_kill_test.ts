/** Somebody looks at the page of a real node while one of its brokers is killed. */
import { assert, assertEquals } from "@std/assert";
import { needs } from "../allowed_skips.ts";
import { Browser } from "../app/dashboard/browser.ts";

const root = new URL("../../", import.meta.url).pathname;

/** A node of its own in a fresh folder, ended and removed with the test. */
class RunningNode implements AsyncDisposable {
  private constructor(readonly data: string, private readonly process: Deno.ChildProcess) {}

  static async start(...more: string[]): Promise<RunningNode> {
    const data = await Deno.makeTempDir({ prefix: "keelson-dashboard-" });
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", `${root}lib/app/cli.ts`, "run", "--data", data, ...more],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    return new RunningNode(data, process);
  }

  /** The address of the page, as soon as the node has told it. */
  async url(): Promise<string> {
    for (let wait = 0; wait < 300; wait++) {
      const text = await Deno.readTextFile(`${this.data}/node.json`).catch(() => "{}");
      const { port } = JSON.parse(text || "{}");
      if (port) return `http://127.0.0.1:${port}/`;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error("the node told no port within 15 s");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.process.kill("SIGTERM");
    } catch { /* it has ended already */ }
    const timer = setTimeout(() => this.process.kill("SIGKILL"), 8_000);
    await this.process.status;
    clearTimeout(timer);
    await Deno.remove(this.data, { recursive: true });
  }
}

const card = `[...document.querySelectorAll(".process")]
  .find((it) => it.querySelector("h3").textContent === "Broker 1")`;
const state = `${card}.querySelector(".state").textContent`;
const pid = `Number(${card}.querySelector("dd").textContent)`;
const number = (id: string) =>
  `Number(document.querySelector("#${id}").textContent.replaceAll(",", ""))`;

Deno.test(
  needs(
    "chromium",
    "page of a running node: a broker killed under its eyes, and what follows",
    async () => {
      await using node = await RunningNode.start("--brokers", "2", "--rate", "400", "--port", "0");
      const url = await node.url();
      await using browser = await Browser.start();
      await browser.open(url);
      await browser.until(`document.querySelector("#connection-text").textContent === "Live"`);
      await browser.until(`${number("durable")} > 100 && ${number("delivered")} > 100`, 20_000);
      await browser.until(`${state} === "alive"`);
      await browser.until(`document.querySelectorAll("#newest li").length > 5`);

      const killed = await browser.value<number>(pid);
      assert(killed > 0, "the page shows no process id");
      Deno.kill(killed, "SIGKILL");
      await browser.until(`${state} === "dead" || ${state} === "restarted"`, 2_000);
      await browser.until(`${state} !== "dead" && ${pid} !== ${killed} && ${pid} > 0`, 5_000);
      await browser.until(`${state} === "alive"`, 10_000);

      const before = await browser.value<number>(number("durable"));
      await browser.until(`${number("durable")} > ${before + 200}`, 10_000);
      const found = await Promise.all(
        ["lost", "duplicates", "outOfOrder"].map((id) => browser.value(number(id))),
      );
      assertEquals(found, [0, 0, 0], "lost, duplicates, out of order");
      assertEquals(browser.complaints(), []);
      assertEquals(browser.requestsOutside(url), []);
    },
  ),
);
