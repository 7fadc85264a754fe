#include "exec/idle_set.h"

bool kl_idle_set_begin_search(kl_idle_set *set, uint32_t most) {
    /* relaxed: one more or less does no harm; end_search has the fence. */
    if (atomic_load_explicit(&set->searching, memory_order_relaxed) >= most) return false;
    atomic_fetch_add_explicit(&set->searching, 1, memory_order_relaxed);
    return true;
}

void kl_idle_set_end_search(kl_idle_set *set) {
    /* relaxed: the fence below orders it. */
    atomic_fetch_sub_explicit(&set->searching, 1, memory_order_relaxed);
    /* S1, seq_cst: partner is the fence P1 of a publisher that saw us searching: the look for more that
     * follows (or the one after announce) sees its work, and who sleeps. */
    atomic_thread_fence(memory_order_seq_cst);
}

uint32_t kl_idle_set_announce(kl_idle_set *set, uint32_t member) {
    /* Before the bit is seen: who takes it away notifies, which leaves this key. */
    uint32_t key = kl_event_count_prepare(&set->events[member]);
    /* relaxed: the fence below orders it. */
    atomic_fetch_or_explicit(&set->idle, 1ull << member, memory_order_relaxed);
    /* I1, seq_cst: partner is the fence P1 in published. */
    atomic_thread_fence(memory_order_seq_cst);
    return key;
}

void kl_idle_set_retract(kl_idle_set *set, uint32_t member) {
    /* acquire: partner is the release in wake_one: who called us in vain has work that we see. */
    atomic_fetch_and_explicit(&set->idle, ~(1ull << member), memory_order_acquire);
}

void kl_idle_set_sleep(kl_idle_set *set, uint32_t member, uint32_t key, uint64_t timeout_ns,
                       const _Atomic uint32_t *stop) {
    kl_event_count_wait(&set->events[member], key, timeout_ns, stop);
    kl_idle_set_retract(set, member);
}

bool kl_idle_set_wake_one(kl_idle_set *set) {
    for (;;) {
        /* relaxed: called after a fence, or after reading this word. */
        uint64_t idle = atomic_load_explicit(&set->idle, memory_order_relaxed);
        if (idle == 0) return false;
        /* The lowest: the same few are woken, the others sleep on with their cold caches. */
        uint32_t member = (uint32_t)__builtin_ctzll(idle);
        uint64_t bit = 1ull << member;
        /* release: partner is the acquire in retract. Whoever takes the bit away wakes. */
        uint64_t before = atomic_fetch_and_explicit(&set->idle, ~bit, memory_order_release);
        if ((before & bit) == 0) continue; /* bounded: others took it, or the member left */
        kl_event_count_notify_all(&set->events[member]);
        return true;
    }
}

void kl_idle_set_wake_all(kl_idle_set *set) {
    for (uint32_t member = 0; member < KL_IDLE_SET_MEMBERS_MAX; member++)
        kl_event_count_notify_all(&set->events[member]);
}
