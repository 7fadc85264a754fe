import { assertEquals } from "@std/assert";
import { atomicSites, weakenings } from "../../tools/atomic_sites.ts";
import { checkMemoryOrder, parseTable } from "../../tools/memory_order.ts";

const SOURCE = `#include <stdatomic.h>

/* atomic_load_explicit(in, a_comment) */
static void push(kl_x *x) {
    uint64_t head = atomic_load_explicit(&x->head[f(1)], memory_order_acquire);
    while (!atomic_compare_exchange_weak_explicit(&x->tail, &head, head + 1,
                                                  memory_order_acq_rel, memory_order_relaxed)) {
    }
    atomic_thread_fence(memory_order_seq_cst);
}

static uint32_t count(kl_x *x) {
    return atomic_load(&x->count) + atomic_fetch_add_explicit(&x->n, 1, memory_order_relaxed);
}
`;

Deno.test("every atomic operation is found with its place, lines and orders", () => {
  const sites = atomicSites([{ path: "c/lockfree/x.c", text: SOURCE }]);
  assertEquals(
    sites.map(({ unit, place, lines, operation, orders }) => [
      unit,
      place,
      lines,
      operation,
      ...orders,
    ]),
    [
      ["lockfree/x", "push#1", [5, 5], "load", "acquire"],
      ["lockfree/x", "push#2", [6, 7], "compare_exchange", "acq_rel", "relaxed"],
      ["lockfree/x", "push#3", [9, 9], "fence", "seq_cst"],
      ["lockfree/x", "count#1", [13, 13], "load", "seq_cst"],
      ["lockfree/x", "count#2", [13, 13], "fetch_add", "relaxed"],
    ],
  );
});

Deno.test("each order is weakened by one step, and relaxed by none", () => {
  const sites = atomicSites([{ path: "c/lockfree/x.c", text: SOURCE }]);
  assertEquals(
    sites.flatMap(weakenings).map(({ operation, order, weaker }) =>
      `${operation} ${order} ${weaker ?? "-"}`
    ),
    [
      "load acquire relaxed",
      "compare_exchange acq_rel acquire",
      "compare_exchange acq_rel release",
      "fence seq_cst acq_rel",
      "load seq_cst acquire",
      "fetch_add relaxed -",
    ],
  );
});

Deno.test("a table that lacks a place of the sources, or has one too many, is found", () => {
  const problems = checkMemoryOrder([
    {
      path: "c/lockfree/x.c",
      text: "void f(void) {\n    atomic_store_explicit(&a, 1, memory_order_release);\n}\n",
    },
    {
      path: "docs/memory_order.md",
      text: "### lockfree/x\n\n| `g#1` | load | acquire | relaxed | kl_x_model_holds |\n",
    },
  ]);
  assertEquals(problems.length, 2);
  assertEquals(problems[0].includes("lacks lockfree/x:f#1 store release>relaxed"), true);
  assertEquals(problems[1].includes("has lockfree/x:g#1 load acquire>relaxed"), true);
});

Deno.test("a table is read back as it was written", () => {
  const rows = parseTable(
    "### sync/y\n\n| place | operation | order | weaker | caught by |\n| --- | --- | --- | --- | --- |\n" +
      "| `wait#2`   | fence | seq_cst | acq_rel | survives: because |\n",
  );
  assertEquals(rows, [{
    unit: "sync/y",
    place: "wait#2",
    operation: "fence",
    order: "seq_cst",
    weaker: "acq_rel",
    result: "survives: because",
  }]);
});
