/* Dynamic partial order reduction (Flanagan and Godefroid, POPL 2005) beside the sleep sets: at first
 * one transition is tried at each choice, and others are added where the execution shows that it
 * matters: for each step, the earlier steps that do not commute with it and are not ordered before
 * it anyway. Complete executions stay the same; fewer begin that turn out to be repetitions. */
#include <stdlib.h>

#include "tests/c/model/explorer_state.h"

#define ALL_KILLS (0x1fu << KILL)

static uint32_t process_of(uint32_t transition) {
    return (transition & ~7u) == DRAIN ? transition : transition & 7;
}

void kl_explorer_begin_choice(choice *made) {
    uint32_t timeouts = made->enabled >> TIMEOUT;
    bool everything = X.full || X.model->preemptions != 0 || timeouts != 0;
    made->todo = everything ? made->enabled : 1u << made->current | (made->enabled & ALL_KILLS);
    made->event = X.event_count;
}

static bool depends(const traced *a, const traced *b) {
    if (!kl_explorer_commute_plainly(&a->plain, &b->plain)) return true;
    return !kl_explorer_commutes(&a->done, &b->done);
}

static void join(uint16_t *to, const uint16_t *from) {
    for (uint32_t i = 0; i < PROCESSES; i++)
        if (to[i] < from[i]) to[i] = from[i];
}

static bool is_before(uint32_t earlier, const uint16_t *clock) {
    return earlier + 1 <= clock[X.trace[earlier].process];
}

/* Who could take the first step of what does not depend on step `earlier`, up to step `later`: a
 * mask of processes. `clock`: what comes before `later`. */
static uint32_t first_steps(uint32_t earlier, uint32_t later, const uint16_t *clock) {
    uint32_t firsts = 0, seen = 0;
    for (uint32_t k = earlier + 1; k <= later; k++) {
        const uint16_t *own = k == later ? clock : X.trace[k].clock;
        uint32_t bit = 1u << X.trace[k].process;
        if (k < later && is_before(earlier, own)) continue;
        bool first = (seen & bit) == 0;
        for (uint32_t other = earlier + 1; first && other < k; other++)
            first = !is_before(other, own) || is_before(earlier, X.trace[other].clock);
        seen |= bit;
        if (first) firsts |= bit;
    }
    return firsts;
}

/* Sees to it that what leads to step `later` is also tried before step `earlier`. */
static void add_alternative(uint32_t earlier, uint32_t later, const uint16_t *clock) {
    choice *before = &X.choices[X.trace[earlier].choice];
    uint32_t firsts = first_steps(earlier, later, clock) & before->enabled;
    if (firsts == 0)
        before->todo |= before->enabled;
    else if (((before->todo | before->sleep) & firsts) == 0)
        before->todo |= firsts & -firsts;
}

/* Two locks of one mutex are tried in both orders, though the unlock between them is in the way. */
static void swap_locks(uint32_t index, const uint16_t *clock) {
    const traced *now = &X.trace[index];
    for (uint32_t i = index; i-- > 0;) {
        const traced *earlier = &X.trace[i];
        if (earlier->done.kind != STEP_LOCK || earlier->done.address != now->done.address) continue;
        if (earlier->process == now->process || is_before(i, clock)) return;
        add_alternative(i, index, clock);
        return;
    }
}

/* What came before a step for other reasons than that it does not commute with it. */
static void join_causes(const traced *now, uint32_t index, uint16_t *clock) {
    uint32_t last = X.last_of[now->process];
    if (last > 0) join(clock, X.trace[last - 1].clock);
    if (now->woken_by > 0) join(clock, X.trace[now->woken_by - 1].clock);
    bool of_all = (now->transition & ~7u) == TIMEOUT;
    for (uint32_t p = 0; p < PROCESSES; p++) {
        bool joined = now->done.kind == STEP_JOIN && p == now->done.address;
        if ((of_all || joined) && X.last_of[p] > 0) join(clock, X.trace[X.last_of[p] - 1].clock);
    }
    for (uint32_t i = index; i-- > 0;) { /* a store and its way to memory */
        const traced *other = &X.trace[i];
        if (other->process == now->process || (other->process & 7) != (now->process & 7)) continue;
        bool stored = now->process >= DRAIN && other->stored != 0 && other->stored == now->stored;
        bool drained = now->process < DRAIN && now->done.needs_drain;
        if (stored || drained) join(clock, other->clock);
    }
}

void kl_explorer_trace(uint32_t transition, uint32_t choice_index) {
    uint32_t index = X.event_count - 1, process = process_of(transition);
    traced *now = &X.trace[index];
    if (index >= X.first_new) {
        *now = (traced){.done = X.done,
                        .plain = X.plain,
                        .transition = (uint8_t)transition,
                        .process = (uint8_t)process,
                        .choice = choice_index,
                        .stored = X.stored,
                        .woken_by = X.woken_by[process & 7]};
        uint16_t clock[PROCESSES] = {0};
        bool heavy = now->done.kind == STEP_HEAVY;
        join_causes(now, index, clock);
        if (now->done.kind == STEP_LOCK) swap_locks(index, clock);
        for (uint32_t i = index; i-- > 0;) {
            const traced *earlier = &X.trace[i];
            if (is_before(i, clock) || (earlier->process & 7) == (process & 7) ||
                !depends(earlier, now))
                continue;
            /* A heavy fence waits for these: what it may be swapped with is the store itself. */
            if (heavy && earlier->process >= DRAIN) continue;
            add_alternative(i, index, clock);
            join(clock, earlier->clock);
        }
        for (uint32_t i = 0; heavy && i < index; i++) join(clock, X.trace[i].clock);
        clock[process] = (uint16_t)(index + 1);
        memcpy(now->clock, clock, sizeof clock);
    }
    if (process < DRAIN) X.woken_by[process] = 0;
    X.last_of[process] = (uint16_t)(index + 1);
}

/* ---- for the explorer's own tests: different outcomes, however often each was reached ---- */

#define OUTCOMES_MAX 65536u

static uint64_t *outcomes;
static uint32_t outcome_count;

static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

/* What each thread did and read; and, but for RA, in which order what does not commute was done. */
void kl_explorer_note_outcome(void) {
    uint16_t turns[PROCESSES] = {0}, turn_of[EVENTS_MAX];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < X.event_count; i++) turn_of[i] = ++turns[X.trace[i].process];
    for (uint32_t i = 0; i < X.event_count; i++) {
        const event *e = &X.events[i];
        uint64_t hash = mix(mix(0xcbf29ce484222325u, e->transition), turn_of[i]);
        hash = mix(mix(mix(hash, e->read), e->written), e->failed);
        if (e->what.site) hash = mix(hash, e->what.site->number);
        for (uint32_t p = 0; X.memory != KL_MODEL_RA && p < PROCESSES; p++) {
            uint32_t before = X.trace[i].clock[p];
            hash = mix(hash, before > 0 ? turn_of[before - 1] : 0);
        }
        sum += hash * hash;
    }
    sum |= 1;
    if (!outcomes || outcome_count == OUTCOMES_MAX / 2) return;
    uint32_t at = (uint32_t)(sum >> 40) % OUTCOMES_MAX;
    while (outcomes[at] != 0 && outcomes[at] != sum) at = (at + 1) % OUTCOMES_MAX;
    if (outcomes[at] == 0) outcome_count++;
    outcomes[at] = sum;
}

uint32_t kl_model_count_outcomes(const kl_model *model, uint32_t memory, bool reduced) {
    outcomes = calloc(OUTCOMES_MAX, sizeof *outcomes);
    outcome_count = 0;
    if (!reduced) setenv("KEELSON_MODEL_FULL", "1", 1);
    int result = kl_explorer_search(model, memory);
    unsetenv("KEELSON_MODEL_FULL");
    free(outcomes);
    outcomes = NULL;
    return result == 0 ? outcome_count : 0;
}
