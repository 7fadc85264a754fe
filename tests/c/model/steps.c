#include "tests/c/model/steps.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/c/model/hooked/atomics.h"

#undef __builtin_ia32_pause

#define SPIN_MAX 64u

/* Of one thread. */
static _Thread_local struct {
    uint64_t count;
    uint64_t kill_at;
    uint64_t pause_at;
    void (*pause)(void);
    uint64_t random; /* 0: no yields */
    bool within;     /* in the pause hook */
    const kl_hook_site *last;
    char text[160];
} state;

static void yield_perhaps(void) {
    state.random ^= state.random << 13;
    state.random ^= state.random >> 7;
    state.random ^= state.random << 17;
    uint32_t chance = (uint32_t)(state.random >> 40);
    if (chance % 8 == 0) sched_yield();
    if (chance % 8 == 1)
        for (volatile uint32_t spin = 0; spin < chance / 8 % SPIN_MAX; spin = spin + 1) {
        }
}

static void step(const kl_hook_site *site) {
    if (state.within) return;
    state.count++;
    state.last = site;
    if (state.count == state.kill_at) kill(getpid(), SIGKILL);
    if (state.count == state.pause_at) {
        state.within = true;
        state.pause();
        state.within = false;
    }
    if (state.random != 0) yield_perhaps();
}

uint64_t kl_steps_count(void) {
    return state.count;
}

void kl_steps_kill_at(uint64_t k) {
    state.kill_at = k == 0 ? 0 : state.count + k;
}

void kl_steps_pause_at(uint64_t k, void (*hook)(void)) {
    state.pause_at = k == 0 ? 0 : state.count + k;
    if (k == 0) state.within = false;
    state.pause = hook;
}

void kl_steps_yield(uint64_t seed) {
    state.random = seed * 0x9e3779b97f4a7c15u;
}

const char *kl_steps_last(void) {
    static const char *const names[KL_HOOK_OP_COUNT] = {
        "load", "store", "exchange", "add", "sub", "or", "and", "xor", "strong", "weak", "fence"};
    if (!state.last) return "no step yet";
    snprintf(state.text, sizeof state.text, "%s:%u %s in %s", state.last->file, state.last->line,
             names[state.last->op], state.last->function);
    return state.text;
}

/* ---- the operations, all seq_cst ---- */

/* Calls `operation(type, unsigned pointer)` for the word's size. */
#define BY_SIZE(operation)               \
    switch (bytes) {                     \
    case 1: operation(uint8_t); break;   \
    case 2: operation(uint16_t); break;  \
    case 4: operation(uint32_t); break;  \
    default: operation(uint64_t); break; \
    }

uint64_t kl_hook_load(kl_hook_site *site, const volatile void *address, uint32_t bytes, int order) {
    uint64_t value = 0;
    (void)order;
    step(site);
#define LOAD(type) value = __atomic_load_n((const volatile type *)address, __ATOMIC_SEQ_CST)
    BY_SIZE(LOAD)
    return value;
}

void kl_hook_store(kl_hook_site *site, volatile void *address, uint32_t bytes, uint64_t value,
                   int order) {
    (void)order;
    step(site);
#define STORE(type) __atomic_store_n((volatile type *)address, (type)value, __ATOMIC_SEQ_CST)
    BY_SIZE(STORE)
}

uint64_t kl_hook_change(kl_hook_site *site, volatile void *address, uint32_t bytes, uint64_t value,
                        int order) {
    uint64_t before = 0;
    (void)order;
    step(site);
#define CHANGE(how, type) \
    before = __atomic_##how((volatile type *)address, (type)value, __ATOMIC_SEQ_CST)
#define EXCHANGE(type) CHANGE(exchange_n, type)
#define ADD(type)      CHANGE(fetch_add, type)
#define SUB(type)      CHANGE(fetch_sub, type)
#define OR(type)       CHANGE(fetch_or, type)
#define AND(type)      CHANGE(fetch_and, type)
#define XOR(type)      CHANGE(fetch_xor, type)
    switch (site->op) {
    case KL_HOOK_EXCHANGE: BY_SIZE(EXCHANGE) break;
    case KL_HOOK_ADD: BY_SIZE(ADD) break;
    case KL_HOOK_SUB: BY_SIZE(SUB) break;
    case KL_HOOK_OR: BY_SIZE(OR) break;
    case KL_HOOK_AND: BY_SIZE(AND) break;
    default: BY_SIZE(XOR) break;
    }
    return before;
}

bool kl_hook_compare_exchange(kl_hook_site *site, volatile void *address, uint32_t bytes,
                              uint64_t *expected, uint64_t desired, int success, int failure) {
    bool done = false;
    (void)success, (void)failure;
    step(site);
#define COMPARE(type)                                                                        \
    {                                                                                        \
        type wanted = (type) * expected;                                                     \
        done = __atomic_compare_exchange_n((volatile type *)address, &wanted, (type)desired, \
                                           false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);       \
        *expected = wanted;                                                                  \
    }
    BY_SIZE(COMPARE)
    return done;
}

void kl_hook_fence(kl_hook_site *site, int order) {
    (void)order;
    step(site);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void kl_hook_init(volatile void *address, uint32_t bytes, uint64_t value) {
    memcpy((void *)(uintptr_t)address, &value, bytes);
}

void kl_hook_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}
