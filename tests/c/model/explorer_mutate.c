/* Weakens the orders of c/ that the program's models execute, one at a time, and looks whether some
 * model fails. Only steps that are one weaker are tried: what an order still weaker allows contains
 * what these allow. One line for each, separated by tabs:
 *   weakened FILE LINE FUNCTION OPERATION ORDER WEAKER caught-by | - SECONDS
 *   reached  FILE LINE FUNCTION OPERATION ORDER     (relaxed: nothing to weaken)
 *   touches  FILE LINE                              (first of all: what the models execute)
 *   broken   MODEL WORDS                            (fails as written) */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/c/model/explorer_state.h"

#define MODELS_MAX 64u

typedef struct {
    const kl_model *model;
    bool touched[SITES_MAX + 1];
    double seconds;
    uint32_t caught;
} candidate;

static candidate candidates[MODELS_MAX];
static uint32_t candidate_count;

static const char *const order_names[] = {"relaxed", "consume", "acquire",
                                          "release", "acq_rel", "seq_cst"};
static const char *const op_names[KL_HOOK_OP_COUNT] = {
    "load",      "store",     "exchange",         "fetch_add",        "fetch_sub", "fetch_or",
    "fetch_and", "fetch_xor", "compare_exchange", "compare_exchange", "fence"};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint32_t memory_of(const kl_model *model) {
    uint32_t memories = model->memories ? model->memories : KL_MODEL_RA;
    return memories & KL_MODEL_RA    ? KL_MODEL_RA
           : memories & KL_MODEL_TSO ? KL_MODEL_TSO
                                     : KL_MODEL_SC;
}

/* Runs every model as written; remembers what it executes and how long it takes. */
static bool run_as_written(void) {
    bool good = true;
    for (const kl_model *model = kl_explorer_models; model; model = model->next) {
        if (candidate_count == MODELS_MAX) abort();
        double started = now();
        if (kl_explorer) memset(X.touched, 0, sizeof X.touched);
        int result = kl_explorer_search(model, memory_of(model));
        if (result != 0) {
            printf("broken\t%s\t%s\n", model->name, result == 1 ? X.failure : "too large");
            good = false;
            continue;
        }
        candidate *made = &candidates[candidate_count++];
        made->model = model;
        made->seconds = now() - started;
        memcpy(made->touched, X.touched, sizeof made->touched);
    }
    return good;
}

/* Those that caught most first, then the quick ones. */
static int by_promise(const void *a, const void *b) {
    const candidate *left = *(candidate *const *)a, *right = *(candidate *const *)b;
    if (left->caught != right->caught) return left->caught > right->caught ? -1 : 1;
    return left->seconds < right->seconds ? -1 : left->seconds > right->seconds;
}

static void try_one(uint32_t number, uint32_t which, uint8_t weaker) {
    const kl_hook_site *site = &X.sites[number];
    candidate *order[MODELS_MAX];
    uint32_t count = 0;
    double started = now();
    const char *caught = "-";
    for (uint32_t i = 0; i < candidate_count; i++)
        if (candidates[i].touched[number]) order[count++] = &candidates[i];
    qsort(order, count, sizeof *order, by_promise);
    X.weakened[number][which] = (uint8_t)(weaker + 1);
    for (uint32_t i = 0; i < count && *caught == '-'; i++) {
        if (kl_explorer_search(order[i]->model, memory_of(order[i]->model)) == 0) continue;
        caught = order[i]->model->name;
        order[i]->caught++;
    }
    X.weakened[number][which] = 0;
    printf("weakened\t%s\t%u\t%s\t%s%s\t%s\t%s\t%s\t%.2f\n", site->file, site->line, site->function,
           op_names[site->op], which ? " that fails" : "",
           order_names[X.site_orders[number][which]], order_names[weaker], caught, now() - started);
    fflush(stdout);
    if (getenv("KEELSON_MODEL_SHOW") && *caught != '-') {
        printf("# %s\n", X.failure);
        kl_explorer_print_schedule();
    }
}

/* The orders one step weaker; how many. */
static uint32_t weaker_than(uint8_t op, uint32_t which, uint8_t order, uint8_t *out) {
    bool both = which == 0 && op != KL_HOOK_LOAD && op != KL_HOOK_STORE;
    switch (order) {
    case memory_order_seq_cst:
        out[0] = both                  ? memory_order_acq_rel
                 : op == KL_HOOK_STORE ? memory_order_release
                                       : memory_order_acquire;
        return 1;
    case memory_order_acq_rel:
        out[0] = memory_order_acquire;
        out[1] = memory_order_release;
        return 2;
    case memory_order_relaxed: return 0;
    default: out[0] = memory_order_relaxed; return 1;
    }
}

/* KEELSON_MODEL_ONLY: parts of paths, or FILE:LINE, separated by commas; none: everything. */
static bool is_wanted(const kl_hook_site *site) {
    const char *only = getenv("KEELSON_MODEL_ONLY");
    if (!only) return true;
    char place[256];
    snprintf(place, sizeof place, "%s:%u,", site->file, site->line);
    while (*only) {
        size_t bytes = strcspn(only, ",");
        bool exact = memchr(only, ':', bytes) != NULL;
        char part[256];
        snprintf(part, sizeof part, "%.*s%s", (int)bytes, only, exact ? "," : "");
        if (exact ? strcmp(place, part) == 0 : strstr(place, part) != NULL) return true;
        only += bytes + (only[bytes] == ',');
    }
    return false;
}

static void weaken(uint32_t number) {
    const kl_hook_site *site = &X.sites[number];
    bool compares = site->op == KL_HOOK_STRONG || site->op == KL_HOOK_WEAK;
    bool reached = false;
    for (uint32_t i = 0; i < candidate_count; i++) reached |= candidates[i].touched[number];
    if (!reached || strncmp(site->file, "c/", 2) != 0) return;
    if (!is_wanted(site)) return;
    uint32_t tried = 0;
    for (uint32_t which = 0; which < 1u + compares; which++) {
        uint8_t weaker[2];
        uint32_t count =
            weaker_than((uint8_t)site->op, which, X.site_orders[number][which], weaker);
        for (uint32_t i = 0; i < count; i++) try_one(number, which, weaker[i]);
        tried += count;
    }
    if (tried == 0)
        printf("reached\t%s\t%u\t%s\t%s\t%s\n", site->file, site->line, site->function,
               op_names[site->op], order_names[X.site_orders[number][0]]);
}

int kl_explorer_mutate(void) {
    bool good = run_as_written();
    for (uint32_t number = 1; kl_explorer && number <= X.site_count; number++)
        for (uint32_t i = 0; i < candidate_count; i++)
            if (candidates[i].touched[number]) {
                printf("touches\t%s\t%u\n", X.sites[number].file, X.sites[number].line);
                break;
            }
    for (uint32_t number = 1; kl_explorer && number <= X.site_count; number++) weaken(number);
    return good ? 0 : 1;
}
