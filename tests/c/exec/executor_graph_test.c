#include "exec/executor.h"

#include "tests/c/harness.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/random.h"

#define WIDE_NODES 20000u
#define WIDE_EDGES 100000u

typedef struct {
    kl_task_graph *graph;
    uint64_t written[WIDE_NODES]; /* plain: the run must order it */
    uint32_t runs[WIDE_NODES], fails[WIDE_NODES];
    uint64_t spin_ns;
    _Atomic uint32_t begun;
    uint32_t cancel_at;
} field;

/* argument: the node. Adds up what those before it wrote. */
static int32_t add_up(void *context, uint32_t function, uint64_t node) {
    field *it = context;
    uint32_t before[256];
    uint32_t count = kl_task_graph_before(it->graph, (uint32_t)node, before, 256);
    uint64_t sum = function;
    for (uint32_t i = 0; i < count; i++) sum += it->written[before[i]];
    it->written[node] = sum;
    it->runs[node]++;
    uint64_t end_ns = it->spin_ns > 0 ? kl_clock_monotonic_ns() + it->spin_ns : 0;
    while (end_ns > 0 && kl_clock_monotonic_ns() < end_ns) kl_cpu_pause();
    if (it->cancel_at > 0 && atomic_fetch_add(&it->begun, 1) + 1 == it->cancel_at)
        kl_task_graph_cancel(it->graph);
    return it->fails[node] ? KL_ERR_IO : KL_OK;
}

static field *make_field(uint32_t nodes) {
    field *it = calloc(1, sizeof *it);
    KL_CHECK_EQ(kl_task_graph_make(&it->graph, WIDE_NODES, WIDE_EDGES), KL_OK);
    for (uint32_t i = 0; i < nodes; i++)
        KL_CHECK_EQ(kl_task_graph_add(it->graph, i + 1, i), (int32_t)i);
    return it;
}

static void edge(field *it, uint32_t before, uint32_t after) {
    KL_CHECK_EQ(kl_task_graph_precede(it->graph, before, after), KL_OK);
}

static void free_field(field *it) {
    kl_task_graph_free(it->graph);
    free(it);
}

static kl_executor *open_lanes(uint32_t lanes) {
    kl_executor *executor = NULL;
    kl_executor_options options = {.lanes = lanes, .threads = true};
    KL_CHECK_EQ(kl_executor_open(&executor, &options), KL_OK);
    return executor;
}

static kl_task_graph_outcome run(kl_executor *executor, field *it) {
    kl_task_graph_outcome outcome;
    memset(it->runs, 0, sizeof it->runs);
    atomic_store(&it->begun, 0);
    KL_CHECK_EQ(kl_executor_run_graph(executor, it->graph, add_up, it), KL_OK);
    KL_CHECK_EQ(kl_task_graph_read_outcome(it->graph, &outcome), KL_OK);
    return outcome;
}

/* Every node ran once, after those before it. */
static void check_sums(const field *it) {
    uint32_t before[256];
    for (uint32_t node = 0; node < kl_task_graph_nodes(it->graph); node++) {
        uint32_t count = kl_task_graph_before(it->graph, node, before, 256);
        uint64_t sum = node + 1;
        for (uint32_t i = 0; i < count; i++) sum += it->written[before[i]];
        KL_CHECK_EQ(it->written[node], sum);
        KL_CHECK_EQ(it->runs[node], 1);
    }
}

KL_TEST(G7_kl_executor_runs_pipeline_diamond_ten_alone_and_chain) {
    kl_executor *executor = open_lanes(2);
    field *alone = make_field(10), *diamond = make_field(4), *chain = make_field(5000);
    field *pipeline = make_field(60); /* 20 items through 3 stages, each stage one at a time */
    edge(diamond, 0, 1);
    edge(diamond, 0, 2);
    edge(diamond, 1, 3);
    edge(diamond, 2, 3);
    for (uint32_t i = 0; i + 1 < 5000; i++) edge(chain, i, i + 1);
    for (uint32_t item = 0; item < 20; item++)
        for (uint32_t stage = 0; stage < 3; stage++) {
            if (stage > 0) edge(pipeline, item * 3 + stage - 1, item * 3 + stage);
            if (item > 0) edge(pipeline, (item - 1) * 3 + stage, item * 3 + stage);
        }
    field *all[] = {alone, diamond, chain, pipeline};
    for (uint32_t round = 0; round < 10; round++) /* each again and again */
        for (uint32_t i = 0; i < 4; i++) {
            KL_CHECK_EQ(run(executor, all[i]).done, kl_task_graph_nodes(all[i]->graph));
            check_sums(all[i]);
        }
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
    for (uint32_t i = 0; i < 4; i++) free_field(all[i]);
}

KL_TEST(G1_G7_kl_executor_orders_the_writes_of_a_random_graph_of_1e5_edges) {
    uint32_t nodes = kl_test_slow() ? WIDE_NODES / 10 : WIDE_NODES;
    kl_executor *executor = open_lanes(3);
    field *it = make_field(nodes);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint32_t degree[WIDE_NODES] = {0};
    for (uint32_t i = 0; i < nodes * 5; i++) {
        uint32_t a = (uint32_t)kl_random_below(&random, nodes - 1);
        uint64_t far = nodes - 1 - a < 100 ? nodes - 1 - a : 100; /* sums stay below 2^64 or wrap */
        uint32_t b = a + 1 + (uint32_t)kl_random_below(&random, far);
        if (degree[b]++ < 200) edge(it, a, b);
    }
    for (uint32_t round = 0; round < 5; round++) {
        KL_CHECK_EQ(run(executor, it).done, nodes);
        check_sums(it);
    }
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
    free_field(it);
}

KL_TEST(G3_kl_executor_a_failed_task_skips_those_behind_it_and_the_run_ends) {
    kl_executor *executor = open_lanes(2);
    field *it = make_field(300); /* 100 chains of three */
    for (uint32_t i = 0; i < 100; i++) {
        edge(it, i, 100 + i);
        edge(it, 100 + i, 200 + i);
        it->fails[i] = i % 10 == 0;
        it->fails[100 + i] = i % 10 == 1;
    }
    kl_task_graph_outcome outcome = run(executor, it);
    KL_CHECK_EQ(outcome.failed, 20);
    KL_CHECK_EQ(outcome.skipped, 30);
    KL_CHECK_EQ(outcome.done, 250);
    KL_CHECK_EQ(outcome.status, KL_ERR_IO);
    for (uint32_t i = 0; i < 100; i++) {
        KL_CHECK_EQ(it->runs[100 + i], i % 10 != 0);
        KL_CHECK_EQ(it->runs[200 + i], i % 10 > 1);
    }
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
    free_field(it);
}

KL_TEST(kl_executor_a_cancelled_graph_ends) {
    kl_executor *executor = open_lanes(2);
    field *it = make_field(5000);
    for (uint32_t i = 0; i + 10 < 5000; i++) edge(it, i, i + 10);
    it->cancel_at = 1000;
    kl_task_graph_outcome outcome = run(executor, it);
    KL_CHECK(outcome.done >= 1000 && outcome.done <= 1100);
    KL_CHECK_EQ(outcome.done + outcome.cancelled + outcome.skipped, 5000);
    it->cancel_at = 0;
    KL_CHECK_EQ(run(executor, it).done, 5000);
    check_sums(it);
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
    free_field(it);
}

/* Longest way through the graph, in nodes. */
static uint32_t critical_path(const field *it, uint32_t nodes) {
    uint32_t *length = calloc(nodes, sizeof *length), before[256], longest = 0;
    for (uint32_t node = 0; node < nodes; node++) { /* numbers are in topological order */
        uint32_t count = kl_task_graph_before(it->graph, node, before, 256);
        for (uint32_t i = 0; i < count; i++)
            if (length[before[i]] > length[node]) length[node] = length[before[i]];
        if (++length[node] > longest) longest = length[node];
    }
    free(length);
    return longest;
}

typedef struct {
    uint64_t ns_each;
    uint32_t each;
} burners;

static void burn(void *argument, uint32_t index) {
    const burners *it = argument;
    (void)index;
    for (uint32_t i = 0; i < it->each; i++) {
        uint64_t end_ns = kl_clock_monotonic_ns() + it->ns_each;
        while (kl_clock_monotonic_ns() < end_ns) kl_cpu_pause();
    }
}

static uint64_t time_of_graph(kl_executor *executor, field *it) {
    uint64_t start_ns = kl_clock_monotonic_ns();
    KL_CHECK_EQ(run(executor, it).done, kl_task_graph_nodes(it->graph));
    return kl_clock_monotonic_ns() - start_ns;
}

/* What a busy machine leaves of its processors: how much longer than alone do two plain threads take
 * for the same work, just now? At least 1. */
static double slowness(uint64_t work_ns, uint32_t lanes, uint64_t each_ns) {
    burners work = {each_ns, (uint32_t)(work_ns / lanes / each_ns)};
    uint64_t start_ns = kl_clock_monotonic_ns();
    kl_test_threads(lanes, burn, &work);
    double factor = (double)(kl_clock_monotonic_ns() - start_ns) / (double)(work_ns / lanes);
    return factor > 1 ? factor : 1;
}

KL_TEST(G6_kl_executor_makespan_lies_within_the_bounds_of_graham) {
    const uint32_t nodes = 400, lanes = 2;
    const uint64_t each_ns = 100 * KL_NS_PER_US;
    kl_executor *executor = open_lanes(lanes);
    field *it = make_field(nodes);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t i = 0; i < nodes * 2; i++) {
        uint32_t a = (uint32_t)kl_random_below(&random, nodes - 1);
        edge(it, a, a + 1 + (uint32_t)kl_random_below(&random, nodes - 1 - a));
    }
    it->spin_ns = each_ns;
    uint64_t path_ns = critical_path(it, nodes) * each_ns, work_ns = nodes * each_ns;
    bool within = kl_test_slow() || kl_cpu_count() < lanes; /* no times are judged there */
    uint64_t end_ns = kl_clock_monotonic_ns() + 15 * KL_NS_PER_S;
    for (uint32_t round = 0; round < 3 || (!within && kl_clock_monotonic_ns() < end_ns); round++) {
        uint64_t ns = time_of_graph(executor, it);
        KL_CHECK(ns >= path_ns && ns >= work_ns / lanes); /* nothing is faster than physics */
        if (within) continue;
        /* Graham: work/P + critical path; a third more for what the machine does meanwhile. */
        double limit = (double)(work_ns / lanes + path_ns) * 4 / 3;
        within = (double)ns <= limit * slowness(work_ns, lanes, each_ns);
    }
    KL_CHECK(within);
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
    free_field(it);
}

KL_TEST(kl_executor_an_empty_graph_is_over_at_once) {
    kl_executor *executor = open_lanes(1);
    field *it = make_field(1), *empty = make_field(0);
    KL_CHECK_EQ(kl_executor_run_graph(executor, empty->graph, add_up, empty), KL_OK);
    KL_CHECK_EQ(run(executor, it).done, 1);
    KL_CHECK_EQ(kl_executor_close(executor, true), KL_OK);
    free_field(it);
    free_field(empty);
}
