/** What a person sees: the page in a real browser, fed by a node that exists only in numbers. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { startDashboard } from "../../../../lib/app/dashboard/server.ts";
import { needs } from "../../../allowed_skips.ts";
import { Browser } from "../browser.ts";
import { crowded, FakeNode, record } from "../fake_node.ts";
import { lowContrastTexts } from "./contrast.ts";

/** The text of an element. */
const text = (selector: string) =>
  `document.querySelector(${JSON.stringify(selector)}).textContent`;
/** The card of the process whose heading is this. */
const card = (name: string) =>
  `[...document.querySelectorAll(".process")].find((it) => it.querySelector("h3").textContent === ${
    JSON.stringify(name)
  })`;
const live = `${text("#connection-text")} === "Live"`;

/** Runs a test against a page that is open and live. */
async function looking(
  body: (browser: Browser, node: FakeNode, port: number) => Promise<void>,
  prepare: (node: FakeNode) => void = () => {},
): Promise<void> {
  const node = new FakeNode();
  prepare(node);
  const dashboard = await startDashboard(node, { port: 0 });
  try {
    await using browser = await Browser.start();
    await browser.look(1280, 900, "light");
    await browser.open(dashboard.url);
    await browser.until(live);
    await browser.until(`${text("#published")} !== "–"`);
    await body(browser, node, dashboard.port);
    assertEquals(browser.complaints(), [], "the browser complained");
    assertEquals(browser.requestsOutside(dashboard.url), [], "the page asked somebody else");
  } finally {
    await dashboard.close();
  }
}

Deno.test(needs("chromium", "page: the numbers it shows move with the node", async () => {
  await looking(async (browser, node) => {
    assertEquals(await browser.value(text("#verdict-title")), "All is well");
    const flowing = setInterval(() => node.pass(12_500, 200), 250);
    try {
      node.pass(1_000_000);
      node.state.publishToDeliverMicros = { p50: 58.2, p99: 412.7, p999: 2_310 };
      node.state.ackDurableMicros = { p50: 318, p99: 1_912 };
      node.state.subscribers[0].lag = 1_204_551;
      node.records = [record(1_000_000, "the newest line")];
      await browser.until(`${text("#ordered")} >= "1,000,000"`);
      const before = await browser.value<string>(text("#published"));
      await browser.until(`${text("#published")} !== ${JSON.stringify(before)}`);
      const shown = await Promise.all(
        ["deliver-p50", "deliver-p99", "deliver-p999", "ack-p50", "ack-p99"].map((id) =>
          browser.value(text(`#${id}`))
        ),
      );
      assertEquals(shown, ["58.2 µs", "413 µs", "2.31 ms", "318 µs", "1.91 ms"]);
      assertStringIncludes(await browser.value(text("#subscribers")), "1.20 Mbehind");
      assertStringIncludes(await browser.value(text("#newest")), "the newest line");
      // 12,500 every 250 ms, seen through timers of a busy machine
      await browser.until(`/^[3-7]\\d\\.\\d K\\/s$/.test(${text("#records-now")})`);
      await browser.until(`/MB\\/s$/.test(${text("#bytes-now")})`);
      const label = `document.querySelector("#records-chart").getAttribute("aria-label")`;
      await browser.until(`/line chart of the last \\d+ seconds: now /.test(${label})`);
      assert(await browser.value<number>(inked("#records-chart")) > 500, "the chart is empty");
    } finally {
      clearInterval(flowing);
    }
  });
}));

/** How many pixels of a canvas are not transparent. */
function inked(selector: string): string {
  return `(() => {
    const canvas = document.querySelector(${JSON.stringify(selector)});
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((byte, index) => index % 4 === 3 && byte > 0).length;
  })()`;
}

Deno.test(
  needs("chromium", "page: a broker that dies is dead within 2 s, then alive again", async () => {
    await looking(async (browser, node) => {
      const state = `${card("Broker 1")}.querySelector(".state").textContent`;
      const shape = `${card("Broker 1")}.querySelector("use").getAttribute("href")`;
      assertEquals(await browser.value(`[${state}, ${shape}]`), ["alive", "#shape-alive"]);
      node.state.brokers[1].alive = false;
      await browser.until(`${state} === "dead" && ${shape} === "#shape-dead"`, 2_000);
      assertEquals(await browser.value(text("#verdict-title")), "Broker 1 is dead");
      Object.assign(node.state.brokers[1], { alive: true, pid: 5_000, restarts: 1 });
      await browser.until(`${state} === "restarted" && ${shape} === "#shape-warning"`, 2_000);
      assertStringIncludes(await browser.value(`${card("Broker 1")}.textContent`), "restarts1");
      const title = await browser.value(text("#verdict-title"));
      assertEquals(title, "Broker 1 died and was started again");
      await browser.until(`${text("#announce")}.includes("Broker 1 is alive again.")`);
      await browser.until(`${state} === "alive" && ${shape} === "#shape-alive"`, 7_000);
      node.state.sequencer.alive = false;
      await browser.until(`${card("Sequencer")}.dataset.life === "dead"`, 2_000);
    });
  }),
);

Deno.test(needs("chromium", "page: what the checker finds is an alarm", async () => {
  await looking(async (browser, node) => {
    assertEquals(await browser.value(text("#check-lost dd")), "0none");
    node.state.lost = 2;
    node.state.outOfOrder = 1;
    await browser.until(`${text("#verdict-title")} === "2 records lost, 1 out of order"`, 2_000);
    assertEquals(await browser.value(text("#check-lost dd")), "2alarm");
    assertEquals(await browser.value(text("#check-duplicates dd")), "0none");
    assertEquals(await browser.value("document.title"), "Alarm – Keelson");
  });
}));

Deno.test(needs("chromium", "page: the text of a hostile record does nothing", async () => {
  const hostile = [
    `<script>window.broken = 1</script>`,
    `<img src=x onerror="window.broken = 2">`,
    `</script></style></ol></main><h1>mine</h1>`,
    `\u202egnp.exe \u0000 \u001b[2J`,
    `שלום עולם`,
    `z${"\u0301".repeat(300)}`,
    "x".repeat(1 << 20),
    `javascript:window.broken=3`,
    `\ud800`,
  ];
  await looking(async (browser, node) => {
    node.records = hostile.map((text, index) => record(100 - index, text));
    node.records.push(record(1, "/wAB", { encoding: "base64", bytes: 3 }), record(0, ""));
    node.state.topics[0].name = node.state.topic = `<b onmouseover="window.broken=4">t</b>`;
    await browser.until(`document.querySelectorAll("#newest li").length === 11`);
    const shown = await browser.value<string[]>(
      `[...document.querySelectorAll("#newest .text")].map((it) => it.textContent)`,
    );
    assertEquals(shown.slice(0, 3), hostile.slice(0, 3));
    assertEquals(shown[3], "‹U+202E›gnp.exe ‹NUL› ‹ESC›[2J");
    assert(shown[5].length < 10, "the pile of accents still stands");
    assertEquals(shown[6], `${"x".repeat(400)} … (cut; 1,048,576 bytes in all)`);
    assertEquals(shown.slice(8), ["‹U+D800›", "/wAB (not text: base64)", "(empty)"]);
    assertEquals(await browser.value("typeof window.broken"), "undefined");
    assertEquals(await browser.value(`document.querySelectorAll("h1, img").length`), 1);
    assertEquals(await browser.value(`document.querySelectorAll("script").length`), 1);
    // a right-to-left line and a pile of accents stay inside their own row
    const heights = await browser.value<number[]>(
      `[...document.querySelectorAll("#newest li")].map((it) => it.getBoundingClientRect().height)`,
    );
    assertEquals(new Set(heights.map(Math.round)).size, 1);
  });
}));

Deno.test(
  needs(
    "chromium",
    "page: the newest records stand still while paused, by keyboard too",
    async () => {
      await looking(async (browser, node) => {
        node.records = [record(1, "one")];
        await browser.until(`${text("#newest")}.includes("one")`);
        for (let tabs = 0; tabs < 20; tabs++) {
          await browser.press("Tab");
          if (await browser.value(`document.activeElement.id === "pause"`)) break;
        }
        assertEquals(await browser.value("document.activeElement.id"), "pause");
        await browser.press(" ");
        assertEquals(await browser.value(`document.activeElement.ariaPressed`), "true");
        node.records = [record(5, "five"), record(1, "one")];
        await browser.until(`${text("#newest-note")} === "paused, 4 newer"`);
        assert(!await browser.value(`${text("#newest")}.includes("five")`));
        await browser.press("Enter");
        await browser.until(`${text("#newest")}.includes("five")`);
        assertEquals(await browser.value(text("#newest-note")), "");
      });
    },
  ),
);

Deno.test(needs("chromium", "page: says that the node gives no numbers, and recovers", async () => {
  await looking(async (browser, node) => {
    node.failure = new Error("the node of ./data is changing hands");
    await browser.until(`${text("#verdict-detail")} === "the node of ./data is changing hands"`);
    node.failure = undefined;
    await browser.until(`${text("#verdict-title")} === "All is well"`);
  });
}));

Deno.test(
  needs("chromium", "page: reconnects when the server is back on the same port", async () => {
    const node = new FakeNode();
    let dashboard = await startDashboard(node, { port: 0 });
    try {
      await using browser = await Browser.start();
      await browser.open(dashboard.url);
      await browser.until(live);
      await dashboard.close();
      await browser.until(`${text("#connection-text")} === "Reconnecting"`, 5_000);
      await browser.until(
        `/^What you see is \\d+ seconds? old\\.$/.test(${text("#verdict-detail")})`,
      );
      assertStringIncludes(await browser.value("document.title"), "not live");
      dashboard = await startDashboard(node, { port: dashboard.port });
      node.pass(77);
      await browser.until(`${live} && ${text("#published")} === "77"`, 5_000);
      assertEquals(await browser.value(text("#verdict-title")), "All is well");
      const unexpected = browser.complaints().filter((words) => !words.includes("net::ERR_"));
      assertEquals(unexpected, []);
    } finally {
      await dashboard.close();
    }
  }),
);

Deno.test(
  needs("chromium", "page: fits a phone, whatever the node is called and counts", async () => {
    const wide = `[...document.querySelectorAll("body *")].filter((it) => {
    const box = it.getBoundingClientRect();
    return box.right > document.documentElement.clientWidth + 0.5 && box.width > 1 && !it.closest(".records, .topic, .plot, svg, .step b");
  }).map((it) => it.outerHTML.slice(0, 100))`;
    const overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    for (const prepare of [() => {}, crowded]) {
      await looking(async (browser) => {
        for (const width of [320, 360, 600, 768, 1024]) {
          await browser.look(width, 740, "dark");
          await browser.until(`document.documentElement.clientWidth === ${width}`);
          assertEquals(await browser.value(overflow), 0, `scrolls sideways at ${width} px`);
          assertEquals(await browser.value(wide), [], `sticks out at ${width} px`);
        }
      }, prepare);
    }
  }),
);

Deno.test(
  needs("chromium", "page: text is readable in light and dark, calm and alarmed", async () => {
    await looking(async (browser, node) => {
      node.records = [record(1, "a line"), record(0, "x".repeat(500))];
      node.state.publishers = [{ topic: "lines", pid: 1, session: "1", published: 9, durable: 2 }];
      for (const mood of ["well", "warning", "alarm"]) {
        node.state.brokers[0].alive = mood === "well";
        node.state.lost = mood === "alarm" ? 1 : 0;
        await browser.until(`document.querySelector("#verdict").dataset.mood === "${mood}"`);
        for (const scheme of ["light", "dark"] as const) {
          await browser.look(1280, 900, scheme);
          await browser.until(`matchMedia("(prefers-color-scheme: ${scheme})").matches`);
          assertEquals(await browser.value(lowContrastTexts), [], `${mood}, ${scheme}`);
        }
      }
    });
  }),
);

interface AxNode {
  role?: { value: string };
  name?: { value: string };
  ignored: boolean;
}

Deno.test(
  needs(
    "chromium",
    "page: a screen reader finds landmarks, headings, tables and charts",
    async () => {
      await looking(async (browser) => {
        const { nodes } = await browser.call<{ nodes: AxNode[] }>("Accessibility.getFullAXTree");
        const names = (role: string) =>
          nodes.filter((node) => !node.ignored && node.role?.value === role)
            .map((node) => node.name?.value ?? "");
        for (const landmark of ["banner", "main", "contentinfo"]) {
          assertEquals(names(landmark).length, 1, landmark);
        }
        const headings = names("heading");
        for (const name of ["Keelson", "Latency", "Subscribers", "Newest records", "Broker 0"]) {
          assert(headings.includes(name), `no heading ${name} among ${headings}`);
        }
        const tables = names("table");
        assertEquals(tables.length, 4);
        assert(tables.every((name) => name !== ""), "a table without a caption");
        const images = [...names("image"), ...names("img")];
        assert(images.length >= 2 && images.every((name) => name !== ""), "a chart without a text");
        assertEquals(names("status").length, 1);
        for (const name of names("button")) assert(name !== "", "a button without a name");
        const order = await browser.value<number[]>(
          `[...document.querySelectorAll("h1, h2, h3")].map((it) => Number(it.tagName[1]))`,
        );
        assert(
          order.every((level, index) => index === 0 || level <= order[index - 1] + 1),
          `${order}`,
        );
        assertEquals(await browser.value("document.documentElement.lang"), "en");
      });
    },
  ),
);

Deno.test(
  needs(
    "chromium",
    "page: reads its state aloud when asked, and keeps its peace otherwise",
    async () => {
      await looking(async (browser, node) => {
        await browser.until(`${text("#announce")}.startsWith("The page is live.")`);
        await browser.value(`globalThis.spoken = 0, new MutationObserver(() => globalThis.spoken++)
      .observe(document.querySelector("#announce"), { childList: true, characterData: true })`);
        const flowing = setInterval(() => node.pass(100), 100);
        try {
          node.state.lost = 2;
          // flapping brokers, and numbers that never rest, are at most one message in four seconds
          for (let round = 0; round < 6; round++) {
            node.state.brokers[round % 2].alive = round % 4 > 1;
            await new Promise((resolve) => setTimeout(resolve, 260));
          }
        } finally {
          clearInterval(flowing);
        }
        const spoken = await browser.value<number>("globalThis.spoken");
        assert(spoken <= 2, `${spoken} messages in two seconds`);
        await browser.until(
          `/Broker \\d is (dead|alive again)\\./.test(${text("#announce")})`,
          6_000,
        );
        await browser.value(`document.querySelector("#speak").click()`);
        await browser.until(`${text("#announce")}.includes("records in order")`, 6_000);
      });
    },
  ),
);

Deno.test(
  needs(
    "chromium",
    "page: nothing moves for people who asked for less motion, or otherwise",
    async () => {
      await looking(async (browser, node) => {
        for (const value of ["reduce", "no-preference"]) {
          const features = [{ name: "prefers-reduced-motion", value }];
          await browser.call("Emulation.setEmulatedMedia", { features });
          node.pass(1_000);
          await browser.until(`${text("#published")} !== "0"`);
          assertEquals(await browser.value("document.getAnimations().length"), 0);
        }
      });
    },
  ),
);
