#include "exec/task_graph.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tests/c/harness.h"

#define NODES_MAX 400u

/* A driver that keeps what is ready and runs it one by one, in random order. */
typedef struct {
    kl_task_graph *graph;
    uint32_t ready[NODES_MAX], count;
    uint32_t order[NODES_MAX], ended; /* as they ended */
} bench;

static void keep_ready(void *context, uint32_t node) {
    bench *it = context;
    it->ready[it->count++] = node;
}

static kl_task_graph *make(uint32_t nodes, uint32_t edges) {
    kl_task_graph *graph = NULL;
    KL_CHECK_EQ(kl_task_graph_make(&graph, nodes, edges), KL_OK);
    return graph;
}

static void add_nodes(kl_task_graph *graph, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        KL_CHECK_EQ(kl_task_graph_add(graph, i % 7, i * 3), (int32_t)i);
}

/* Runs to the end; `fails` names nodes that fail. False: it never ended. */
static bool run(bench *it, kl_random *random, const uint8_t *fails) {
    it->count = it->ended = 0;
    bool over = kl_task_graph_start(it->graph, keep_ready, it) == 1;
    while (!over && it->count > 0) {
        uint32_t pick = (uint32_t)kl_random_below(random, it->count);
        uint32_t node = it->ready[pick];
        it->ready[pick] = it->ready[--it->count];
        int32_t status = KL_OK;
        if (!kl_task_graph_begin(it->graph, node))
            status = KL_ERR_STOPPED;
        else if (fails && fails[node])
            status = KL_ERR_IO;
        else
            it->order[it->ended++] = node;
        over = kl_task_graph_end(it->graph, node, status, keep_ready, it);
    }
    return over;
}

KL_TEST(G1_kl_task_graph_a_task_is_ready_once_after_all_before_it) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    bench it = {.graph = make(4, 4)};
    add_nodes(it.graph, 4); /* a diamond: 0, then 1 and 2, then 3 */
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 0, 1), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 0, 2), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 1, 3), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 2, 3), KL_OK);
    for (uint32_t round = 0; round < 20; round++) { /* a graph runs again and again */
        KL_CHECK(run(&it, &random, NULL));
        KL_CHECK_EQ(it.ended, 4);
        KL_CHECK_EQ(it.order[0], 0);
        KL_CHECK_EQ(it.order[3], 3);
        kl_task_graph_outcome outcome;
        KL_CHECK_EQ(kl_task_graph_read_outcome(it.graph, &outcome), KL_OK);
        KL_CHECK_EQ(outcome.done, 4);
        KL_CHECK_EQ(outcome.first_failed, UINT32_MAX);
    }
    KL_CHECK_EQ(kl_task_graph_function(it.graph, 2), 2);
    KL_CHECK_EQ(kl_task_graph_argument(it.graph, 2), 6);
    uint32_t before[4];
    KL_CHECK_EQ(kl_task_graph_before(it.graph, 3, before, 4), 2);
    KL_CHECK(before[0] == 1 && before[1] == 2);
    kl_task_graph_free(it.graph);
}

KL_TEST(G2_kl_task_graph_refuses_a_cycle_when_the_edge_is_added_and_names_its_path) {
    kl_task_graph *graph = make(32, 64);
    add_nodes(graph, 32);
    KL_CHECK_EQ(kl_task_graph_precede(graph, 5, 5), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "cycle: 5 -> 5");
    KL_CHECK_EQ(kl_task_graph_precede(graph, 9, 4), KL_OK); /* against the order of adding */
    KL_CHECK_EQ(kl_task_graph_precede(graph, 4, 7), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(graph, 7, 2), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(graph, 2, 9), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "cycle: 9 -> 4 -> 7 -> 2 -> 9");
    uint32_t path[4] = {0};
    KL_CHECK_EQ(kl_task_graph_cycle(graph, path, 4), 4);
    KL_CHECK(path[0] == 9 && path[1] == 4 && path[2] == 7 && path[3] == 2);
    for (uint32_t i = 10; i < 31; i++) KL_CHECK_EQ(kl_task_graph_precede(graph, i, i + 1), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(graph, 31, 10), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "(14 more) -> 10");
    KL_CHECK_EQ(kl_task_graph_edges(graph), 3 + 21); /* what was refused changed nothing */
    KL_CHECK_EQ(kl_task_graph_verify(graph), KL_OK);
    kl_task_graph_free(graph);
}

/* Whether `from` reaches `to`, the dull way. */
static bool reaches(uint8_t edges[40][40], uint32_t count, uint32_t from, uint32_t to) {
    uint8_t seen[40] = {0};
    uint32_t stack[40], depth = 0;
    stack[depth++] = from;
    while (depth > 0) {
        uint32_t node = stack[--depth];
        if (node == to) return true;
        for (uint32_t next = 0; next < count; next++)
            if (edges[node][next] && !seen[next]) {
                seen[next] = 1;
                stack[depth++] = next;
            }
    }
    return false;
}

KL_TEST(G2_G5_kl_task_graph_random_edges_are_judged_as_by_a_search) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < 300; round++) {
        uint8_t edges[40][40] = {{0}};
        uint32_t count = 2 + (uint32_t)kl_random_below(&random, 38), expected = 0;
        kl_task_graph *graph = make(40, 800);
        add_nodes(graph, count);
        for (uint32_t i = 0; i < 4 * count; i++) {
            uint32_t a = (uint32_t)kl_random_below(&random, count);
            uint32_t b = (uint32_t)kl_random_below(&random, count);
            bool cycle = reaches(edges, count, b, a);
            KL_CHECK_EQ(kl_task_graph_precede(graph, a, b), cycle ? KL_ERR_ARGUMENT : KL_OK);
            if (cycle) {
                uint32_t path[40];
                uint32_t length = kl_task_graph_cycle(graph, path, 40);
                KL_CHECK(path[0] == b && path[length - 1] == a);
                for (uint32_t at = 0; at + 1 < length; at++)
                    KL_CHECK(edges[path[at]][path[at + 1]]);
                continue;
            }
            expected += !edges[a][b]; /* G5: said twice is said once */
            edges[a][b] = 1;
        }
        KL_CHECK_EQ(kl_task_graph_edges(graph), expected);
        KL_CHECK_EQ(kl_task_graph_verify(graph), KL_OK);
        kl_task_graph_free(graph);
    }
}

KL_TEST(G3_kl_task_graph_a_failed_task_skips_all_behind_it_and_the_run_ends) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    bench it = {.graph = make(6, 6)};
    uint8_t fails[6] = {0, 1, 0, 0, 0, 0};
    add_nodes(it.graph, 6); /* 0 -> 1 -> 2 -> 3, 0 -> 4 -> 3, 5 alone */
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 0, 1), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 1, 2), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 2, 3), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 0, 4), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 4, 3), KL_OK);
    for (uint32_t round = 0; round < 20; round++) {
        KL_CHECK(run(&it, &random, fails));
        kl_task_graph_outcome outcome;
        KL_CHECK_EQ(kl_task_graph_read_outcome(it.graph, &outcome), KL_OK);
        KL_CHECK_EQ(outcome.done, 3);
        KL_CHECK_EQ(outcome.failed, 1);
        KL_CHECK_EQ(outcome.skipped, 2);
        KL_CHECK_EQ(outcome.first_failed, 1);
        KL_CHECK_EQ(outcome.status, KL_ERR_IO);
        KL_CHECK_EQ(kl_task_graph_state(it.graph, 2), KL_TASK_SKIPPED);
        KL_CHECK_EQ(kl_task_graph_state(it.graph, 3), KL_TASK_SKIPPED);
        KL_CHECK_EQ(kl_task_graph_state(it.graph, 4), KL_TASK_DONE);
    }
    KL_CHECK(run(&it, &random, NULL)); /* and the next run knows nothing of it */
    KL_CHECK_EQ(it.ended, 6);
    kl_task_graph_free(it.graph);
}

KL_TEST(G4_kl_task_graph_limits_are_errors_that_name_them) {
    kl_task_graph *graph = NULL;
    KL_CHECK_EQ(kl_task_graph_make(&graph, 0, 1), KL_ERR_ARGUMENT);
    KL_CHECK(graph == NULL);
    KL_CHECK_EQ(kl_task_graph_make(&graph, KL_TASK_GRAPH_NODES_MAX + 1, 1), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "1 to 1048576 tasks");
    KL_CHECK_EQ(kl_task_graph_make(&graph, 1, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_task_graph_make(&graph, 1, KL_TASK_GRAPH_EDGES_MAX + 1), KL_ERR_ARGUMENT);
    graph = make(3, 2);
    add_nodes(graph, 3);
    KL_CHECK_EQ(kl_task_graph_add(graph, 0, 0), KL_ERR_LIMIT);
    KL_CHECK_CONTAINS(kl_status_last(), "at most 3 tasks");
    KL_CHECK_EQ(kl_task_graph_precede(graph, 0, 3), KL_ERR_ARGUMENT);
    KL_CHECK_CONTAINS(kl_status_last(), "no task 3");
    KL_CHECK_EQ(kl_task_graph_precede(graph, UINT32_MAX, 0), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_task_graph_precede(graph, 0, 1), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(graph, 1, 2), KL_OK);
    KL_CHECK_EQ(kl_task_graph_precede(graph, 0, 2), KL_ERR_LIMIT);
    KL_CHECK_CONTAINS(kl_status_last(), "at most 2 dependencies");
    KL_CHECK_EQ(kl_task_graph_precede(graph, 0, 1), KL_OK); /* G5: there already */
    KL_CHECK_EQ(kl_task_graph_state(graph, 3), KL_ERR_ARGUMENT);
    kl_task_graph_free(graph);
    kl_task_graph_free(NULL);
}

KL_TEST(kl_task_graph_without_tasks_is_over_at_once) {
    bench it = {.graph = make(1, 1)};
    KL_CHECK_EQ(kl_task_graph_start(it.graph, keep_ready, &it), 1);
    KL_CHECK_EQ(kl_task_graph_start(it.graph, keep_ready, &it), 1);
    kl_task_graph_free(it.graph);
}

KL_TEST(kl_task_graph_refuses_changes_and_a_second_start_while_it_runs) {
    bench it = {.graph = make(4, 4)};
    add_nodes(it.graph, 2);
    KL_CHECK_EQ(kl_task_graph_start(it.graph, keep_ready, &it), KL_OK);
    kl_task_graph_outcome outcome;
    KL_CHECK_EQ(kl_task_graph_start(it.graph, keep_ready, &it), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_task_graph_add(it.graph, 0, 0), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_task_graph_precede(it.graph, 0, 1), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_task_graph_read_outcome(it.graph, &outcome), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_task_graph_state(it.graph, 0), KL_ERR_AGAIN);
    KL_CHECK(!kl_task_graph_end(it.graph, 0, KL_OK, keep_ready, &it));
    KL_CHECK(kl_task_graph_end(it.graph, 1, KL_OK, keep_ready, &it));
    KL_CHECK_EQ(kl_task_graph_add(it.graph, 0, 0), 2);
    kl_task_graph_free(it.graph);
}

KL_TEST(kl_task_graph_cancelled_begins_nothing_more_and_ends) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    bench it = {.graph = make(NODES_MAX, NODES_MAX)};
    add_nodes(it.graph, 100); /* 50 chains of two */
    for (uint32_t i = 0; i < 50; i++) KL_CHECK_EQ(kl_task_graph_precede(it.graph, i, 50 + i), 0);
    KL_CHECK_EQ(kl_task_graph_start(it.graph, keep_ready, &it), KL_OK);
    KL_CHECK(kl_task_graph_begin(it.graph, 0));
    kl_task_graph_cancel(it.graph);
    bool over = kl_task_graph_end(it.graph, 0, KL_OK, keep_ready, &it); /* it had begun */
    for (uint32_t i = 1; i < it.count; i++) {
        KL_CHECK(!over);
        KL_CHECK(!kl_task_graph_begin(it.graph, it.ready[i]));
        over = kl_task_graph_end(it.graph, it.ready[i], KL_ERR_STOPPED, keep_ready, &it);
    }
    KL_CHECK(over);
    kl_task_graph_outcome outcome;
    KL_CHECK_EQ(kl_task_graph_read_outcome(it.graph, &outcome), KL_OK);
    KL_CHECK_EQ(outcome.done, 1);
    KL_CHECK_EQ(outcome.cancelled, 50);
    KL_CHECK_EQ(outcome.skipped, 49);
    KL_CHECK_EQ(outcome.failed, 0);
    KL_CHECK(run(&it, &random, NULL)); /* forgotten by the next start */
    KL_CHECK_EQ(it.ended, 100);
    kl_task_graph_free(it.graph);
}

/* What must become of each node, by a walk in topological order (node numbers are one). */
static void oracle(uint32_t count, uint8_t edges[200][200], const uint8_t *fails, uint8_t *states) {
    for (uint32_t node = 0; node < count; node++) {
        bool skip = false;
        for (uint32_t before = 0; before < node; before++)
            if (edges[before][node] && states[before] != KL_TASK_DONE) skip = true;
        states[node] = skip ? KL_TASK_SKIPPED : fails[node] ? KL_TASK_FAILED : KL_TASK_DONE;
    }
}

KL_TEST(G7_kl_task_graph_1000_random_graphs_end_as_the_oracle_says) {
    static uint8_t edges[200][200];
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    bench it;
    for (uint32_t round = 0; round < (kl_test_slow() ? 100 : 1000); round++) {
        uint32_t count = 1 + (uint32_t)kl_random_below(&random, 200), renamed[200], place[200];
        uint8_t fails[200], states[200];
        memset(edges, 0, sizeof edges);
        it.graph = make(200, 4000);
        add_nodes(it.graph, count);
        for (uint32_t i = 0; i < count; i++) { /* the graph knows node i as renamed[i] */
            uint32_t j = (uint32_t)kl_random_below(&random, i + 1);
            renamed[i] = renamed[j];
            renamed[j] = i;
            fails[i] = kl_random_below(&random, 20) == 0;
        }
        for (uint64_t i = kl_random_below(&random, 4 * count); i > 0; i--) {
            uint32_t a = (uint32_t)kl_random_below(&random, count);
            uint32_t b = (uint32_t)kl_random_below(&random, count);
            if (a >= b) continue;
            edges[a][b] = 1;
            KL_CHECK_EQ(kl_task_graph_precede(it.graph, renamed[a], renamed[b]), KL_OK);
        }
        oracle(count, edges, fails, states);
        uint8_t renamed_fails[200];
        for (uint32_t i = 0; i < count; i++) renamed_fails[renamed[i]] = fails[i];
        KL_CHECK(run(&it, &random, renamed_fails));
        for (uint32_t i = 0; i < count; i++)
            KL_CHECK_EQ(kl_task_graph_state(it.graph, renamed[i]), states[i]);
        for (uint32_t i = 0; i < it.ended; i++) place[it.order[i]] = i;
        for (uint32_t a = 0; a < count; a++)
            for (uint32_t b = a + 1; b < count; b++)
                if (edges[a][b] && states[b] == KL_TASK_DONE)
                    KL_CHECK_LT(place[renamed[a]], place[renamed[b]]);
        KL_CHECK_EQ(kl_task_graph_verify(it.graph), KL_OK);
        kl_task_graph_free(it.graph);
    }
}

/* ---- many threads ---- */

#define WIDE_NODES 20000u
#define WIDE_EDGES 100000u

typedef struct {
    kl_task_graph *graph;
    pthread_mutex_t mutex;
    uint32_t ready[WIDE_NODES], count;
    bool over;
    uint32_t written[WIDE_NODES]; /* plain: the graph must order it */
    uint32_t runs[WIDE_NODES];
} crowd;

static void give_ready(void *context, uint32_t node) {
    crowd *it = context;
    pthread_mutex_lock(&it->mutex);
    it->ready[it->count++] = node;
    pthread_mutex_unlock(&it->mutex);
}

typedef struct {
    uint32_t nodes[WIDE_NODES], count;
} own_ready;

static void keep_own(void *context, uint32_t node) {
    own_ready *own = context;
    own->nodes[own->count++] = node;
}

/* Each thread keeps what it made ready, so that the join counters alone order the nodes' writes. */
static void crowd_worker(void *argument, uint32_t index) {
    crowd *it = argument;
    (void)index;
    uint32_t before[64];
    own_ready own;
    for (own.count = 0;;) {
        uint32_t node;
        if (own.count > 0) {
            node = own.nodes[--own.count];
        } else {
            pthread_mutex_lock(&it->mutex);
            bool over = it->over;
            node = it->count > 0 ? it->ready[--it->count] : UINT32_MAX;
            pthread_mutex_unlock(&it->mutex);
            if (over) return;
            if (node == UINT32_MAX) continue;
        }
        uint32_t count = kl_task_graph_before(it->graph, node, before, 64), sum = node;
        for (uint32_t i = 0; i < count; i++) {
            if (it->runs[before[i]] != 1) kl_test_fail(__FILE__, __LINE__, "%u ran early", node);
            sum += it->written[before[i]];
        }
        it->written[node] = sum;
        it->runs[node]++;
        if (!kl_task_graph_end(it->graph, node, KL_OK, keep_own, &own)) continue;
        pthread_mutex_lock(&it->mutex);
        it->over = true;
        pthread_mutex_unlock(&it->mutex);
    }
}

KL_TEST(G1_G7_kl_task_graph_on_threads_orders_the_writes_of_1e5_edges) {
    static crowd it;
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    uint32_t nodes = kl_test_slow() ? WIDE_NODES / 10 : WIDE_NODES;
    it.graph = make(WIDE_NODES, WIDE_EDGES);
    add_nodes(it.graph, nodes);
    for (uint32_t i = 0; i < nodes * 5; i++) {
        uint32_t a = (uint32_t)kl_random_below(&random, nodes - 1);
        /* Near ones: chains long enough to hurt, and few successors for each node. */
        uint32_t b = a + 1 + (uint32_t)kl_random_below(&random, nodes - 1 - a < 50 ? 1 : 50);
        KL_CHECK_EQ(kl_task_graph_precede(it.graph, a, b), KL_OK);
    }
    pthread_mutex_init(&it.mutex, NULL);
    for (uint32_t round = 0; round < 3; round++) {
        memset(it.runs, 0, sizeof it.runs);
        it.over = false;
        it.count = 0;
        KL_CHECK_EQ(kl_task_graph_start(it.graph, give_ready, &it), KL_OK);
        kl_test_threads(3, crowd_worker, &it);
        kl_task_graph_outcome outcome;
        KL_CHECK_EQ(kl_task_graph_read_outcome(it.graph, &outcome), KL_OK);
        KL_CHECK_EQ(outcome.done, nodes);
        uint32_t before[64];
        for (uint32_t node = 0; node < nodes; node++) {
            uint32_t count = kl_task_graph_before(it.graph, node, before, 64), sum = node;
            for (uint32_t i = 0; i < count; i++) sum += it.written[before[i]];
            KL_CHECK_EQ(it.written[node], sum);
            KL_CHECK_EQ(it.runs[node], 1);
        }
    }
    kl_task_graph_free(it.graph);
}
