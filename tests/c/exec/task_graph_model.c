/* task_graph under the memory models: what comes after a node sees what the nodes before it wrote,
 * whoever counted the last one down; the last of the run hands all of it to whoever asks next. */
#include "exec/task_graph.h"

#include <stdatomic.h>

#include "tests/c/model/explorer.h"

static kl_task_graph *graph;
static uint32_t written[4], ready_count;
static _Atomic uint32_t over;

static void look_at_ready(void *context, uint32_t node) {
    (void)context;
    if (node < 2) return; /* the roots are told apart by their thread */
    KL_MODEL_CHECK_EQ(written[0], 10);
    KL_MODEL_CHECK_EQ(written[1], 11);
    ready_count++;
}

static void make(uint32_t nodes) {
    KL_MODEL_CHECK_EQ(kl_task_graph_make(&graph, nodes, 4), KL_OK);
    for (uint32_t i = 0; i < nodes; i++) KL_MODEL_CHECK_EQ(kl_task_graph_add(graph, i, i), i);
}

/* Two nodes before one. */
static void make_join(void) {
    make(3);
    KL_MODEL_CHECK_EQ(kl_task_graph_precede(graph, 0, 2), KL_OK);
    KL_MODEL_CHECK_EQ(kl_task_graph_precede(graph, 1, 2), KL_OK);
    KL_MODEL_CHECK_EQ(kl_task_graph_start(graph, look_at_ready, NULL), KL_OK);
}

static void end_node(uint32_t node, int32_t status) {
    written[node] = 10 + node;
    if (kl_task_graph_end(graph, node, status, look_at_ready, NULL))
        atomic_store_explicit(&over, 1, memory_order_relaxed);
}
static void end_0(void) {
    end_node(0, KL_OK);
}
static void end_1(void) {
    end_node(1, KL_OK);
}
static void fail_1(void) {
    end_node(1, KL_ERR_IO);
}
static void check_ready(void) {
    KL_MODEL_CHECK_EQ(ready_count, 1);
}
KL_MODEL(G1_kl_task_graph_model_the_last_one_before_has_seen_all, .setup = make_join,
         .threads = {end_0, end_1}, .finally = check_ready)

/* One fails: what is behind it is skipped, by whoever comes last, and the run ends. */
static void check_skipped(void) {
    kl_task_graph_outcome outcome;
    KL_MODEL_CHECK_EQ(ready_count, 0);
    KL_MODEL_CHECK_EQ(kl_task_graph_read_outcome(graph, &outcome), KL_OK);
    KL_MODEL_CHECK_EQ(outcome.failed, 1);
    KL_MODEL_CHECK_EQ(outcome.skipped, 1);
    KL_MODEL_CHECK_EQ(outcome.first_failed, 1);
    KL_MODEL_CHECK_EQ(outcome.status, KL_ERR_IO);
}
KL_MODEL(G3_kl_task_graph_model_one_of_two_fails, .setup = make_join, .threads = {end_0, fail_1},
         .finally = check_skipped)

static void fail_0(void) {
    end_node(0, KL_ERR_IO);
}
static void check_both_failed(void) {
    kl_task_graph_outcome outcome;
    KL_MODEL_CHECK_EQ(kl_task_graph_read_outcome(graph, &outcome), KL_OK);
    KL_MODEL_CHECK_EQ(outcome.failed, 2);
    KL_MODEL_CHECK_EQ(outcome.skipped, 1);
    KL_MODEL_CHECK(outcome.first_failed <= 1);
}
KL_MODEL(G3_kl_task_graph_model_both_fail, .setup = make_join, .threads = {fail_0, fail_1},
         .finally = check_both_failed)

/* Two nodes alone: whoever ends the last hands the other's writes to the next start. */
static void make_two(void) {
    make(2);
    KL_MODEL_CHECK_EQ(kl_task_graph_start(graph, look_at_ready, NULL), KL_OK);
}
static void read_when_over(void) {
    kl_task_graph_outcome outcome;
    if (kl_task_graph_read_outcome(graph, &outcome) != KL_OK) return;
    kl_model_expect("over in time", true);
    KL_MODEL_CHECK_EQ(outcome.done, 2);
    KL_MODEL_CHECK_EQ(written[0], 10);
    KL_MODEL_CHECK_EQ(written[1], 11);
}
KL_MODEL(G1_kl_task_graph_model_the_end_of_a_run_shows_all_of_it, .setup = make_two,
         .threads = {end_0, end_1, read_when_over})

/* cancel beside begin: what is not begun is ended as cancelled, and the run ends either way. */
static void begin_0(void) {
    end_node(0, kl_task_graph_begin(graph, 0) ? KL_OK : KL_ERR_STOPPED);
}
static void cancel(void) {
    kl_task_graph_cancel(graph);
}
static void make_one(void) {
    make(1);
    KL_MODEL_CHECK_EQ(kl_task_graph_start(graph, look_at_ready, NULL), KL_OK);
}
static void check_over(void) {
    kl_task_graph_outcome outcome;
    KL_MODEL_CHECK_EQ(kl_task_graph_read_outcome(graph, &outcome), KL_OK);
    KL_MODEL_CHECK_EQ(outcome.done + outcome.cancelled, 1);
}
KL_MODEL(kl_task_graph_model_cancel_beside_begin, .setup = make_one, .threads = {begin_0, cancel},
         .finally = check_over)
