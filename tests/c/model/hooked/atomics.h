/* atomics: included by the compiler (-include) before everything else in hooked objects: each
 * atomic operation and fence becomes a call with the place in the source it stands at. The
 * functions are the killer's (tests/c/model/steps.c) or the explorer's.
 *
 * Values travel as 64 bits: integers up to that size, bool and pointers. The address is evaluated
 * once. With KL_HOOKED_PLAIN (the explorer's objects) memcpy and its like call it, too; all other
 * plain accesses reach it through what -fsanitize=thread puts into the code. */
#ifndef KL_HOOKED_ATOMICS_H
#define KL_HOOKED_ATOMICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef KL_HOOKED_PLAIN
#define KL_HAND_SLOTS 4u /* lockfree/hand_table.h: what the explorer follows has to be small */
#endif

enum kl_hook_op {
    KL_HOOK_LOAD,
    KL_HOOK_STORE,
    KL_HOOK_EXCHANGE,
    KL_HOOK_ADD,
    KL_HOOK_SUB,
    KL_HOOK_OR,
    KL_HOOK_AND,
    KL_HOOK_XOR,
    KL_HOOK_STRONG,
    KL_HOOK_WEAK,
    KL_HOOK_FENCE,
    KL_HOOK_OP_COUNT
};

/* One atomic operation in the source; one per place it was compiled to. */
typedef struct {
    const char *file;
    const char *function;
    uint32_t line;
    uint32_t op;
    uint32_t number; /* of the place in the source, counted from 1 by who is called; 0: not yet */
} kl_hook_site;

uint64_t kl_hook_load(kl_hook_site *site, const volatile void *address, uint32_t bytes, int order);
void kl_hook_store(kl_hook_site *site, volatile void *address, uint32_t bytes, uint64_t value,
                   int order);
/* KL_HOOK_EXCHANGE to KL_HOOK_XOR: the value before. */
uint64_t kl_hook_change(kl_hook_site *site, volatile void *address, uint32_t bytes, uint64_t value,
                        int order);
bool kl_hook_compare_exchange(kl_hook_site *site, volatile void *address, uint32_t bytes,
                              uint64_t *expected, uint64_t desired, int success, int failure);
void kl_hook_fence(kl_hook_site *site, int order);
void kl_hook_init(volatile void *address, uint32_t bytes, uint64_t value);
void kl_hook_pause(void);
void *kl_hook_memcpy(void *to, const void *from, size_t bytes);
void *kl_hook_memmove(void *to, const void *from, size_t bytes);
void *kl_hook_memset(void *to, int value, size_t bytes);
int kl_hook_memcmp(const void *a, const void *b, size_t bytes);

#define KL_HOOK_SITE(which) static kl_hook_site kl_site = {__FILE__, __func__, __LINE__, which, 0}

#define KL_HOOK_VALUE(p, name)           \
    union {                              \
        __typeof__((void)0, *(p)) value; \
        uint64_t bits;                   \
    } name = {.bits = 0}

#define KL_HOOK_BYTES(p) ((uint32_t)sizeof(*(p)))

#define KL_HOOKED_LOAD(p, order)                                                      \
    __extension__({                                                                   \
        KL_HOOK_SITE(KL_HOOK_LOAD);                                                   \
        KL_HOOK_VALUE(p, kl_result);                                                  \
        kl_result.bits = kl_hook_load(&kl_site, (p), KL_HOOK_BYTES(p), (int)(order)); \
        kl_result.value;                                                              \
    })

#define KL_HOOKED_STORE(p, v, order)                                                 \
    __extension__({                                                                  \
        KL_HOOK_SITE(KL_HOOK_STORE);                                                 \
        KL_HOOK_VALUE(p, kl_given);                                                  \
        kl_given.value = (__typeof__(kl_given.value))(v);                            \
        kl_hook_store(&kl_site, (p), KL_HOOK_BYTES(p), kl_given.bits, (int)(order)); \
    })

#define KL_HOOKED_CHANGE(which, p, v, order)                                              \
    __extension__({                                                                       \
        KL_HOOK_SITE(which);                                                              \
        KL_HOOK_VALUE(p, kl_given);                                                       \
        kl_given.value = (__typeof__(kl_given.value))(v);                                 \
        kl_given.bits =                                                                   \
            kl_hook_change(&kl_site, (p), KL_HOOK_BYTES(p), kl_given.bits, (int)(order)); \
        kl_given.value;                                                                   \
    })

#define KL_HOOKED_COMPARE(which, p, e, v, success, failure)                                       \
    __extension__({                                                                               \
        KL_HOOK_SITE(which);                                                                      \
        KL_HOOK_VALUE(p, kl_wanted);                                                              \
        KL_HOOK_VALUE(p, kl_given);                                                               \
        __typeof__(kl_given.value) *kl_expected = (e);                                            \
        kl_wanted.value = *kl_expected;                                                           \
        kl_given.value = (__typeof__(kl_given.value))(v);                                         \
        bool kl_done = kl_hook_compare_exchange(&kl_site, (p), KL_HOOK_BYTES(p), &kl_wanted.bits, \
                                                kl_given.bits, (int)(success), (int)(failure));   \
        if (!kl_done) *kl_expected = kl_wanted.value;                                             \
        kl_done;                                                                                  \
    })

#undef atomic_init
#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and
#undef atomic_fetch_and_explicit
#undef atomic_fetch_xor
#undef atomic_fetch_xor_explicit
#undef atomic_thread_fence
#undef atomic_flag_test_and_set
#undef atomic_flag_test_and_set_explicit
#undef atomic_flag_clear
#undef atomic_flag_clear_explicit

#define atomic_init(p, v)                                   \
    __extension__({                                         \
        KL_HOOK_VALUE(p, kl_given);                         \
        kl_given.value = (__typeof__(kl_given.value))(v);   \
        kl_hook_init((p), KL_HOOK_BYTES(p), kl_given.bits); \
    })

#define atomic_load_explicit(p, order)         KL_HOOKED_LOAD(p, order)
#define atomic_store_explicit(p, v, order)     KL_HOOKED_STORE(p, v, order)
#define atomic_exchange_explicit(p, v, order)  KL_HOOKED_CHANGE(KL_HOOK_EXCHANGE, p, v, order)
#define atomic_fetch_add_explicit(p, v, order) KL_HOOKED_CHANGE(KL_HOOK_ADD, p, v, order)
#define atomic_fetch_sub_explicit(p, v, order) KL_HOOKED_CHANGE(KL_HOOK_SUB, p, v, order)
#define atomic_fetch_or_explicit(p, v, order)  KL_HOOKED_CHANGE(KL_HOOK_OR, p, v, order)
#define atomic_fetch_and_explicit(p, v, order) KL_HOOKED_CHANGE(KL_HOOK_AND, p, v, order)
#define atomic_fetch_xor_explicit(p, v, order) KL_HOOKED_CHANGE(KL_HOOK_XOR, p, v, order)
#define atomic_compare_exchange_strong_explicit(p, e, v, success, failure) \
    KL_HOOKED_COMPARE(KL_HOOK_STRONG, p, e, v, success, failure)
#define atomic_compare_exchange_weak_explicit(p, e, v, success, failure) \
    KL_HOOKED_COMPARE(KL_HOOK_WEAK, p, e, v, success, failure)

#define atomic_load(p)         atomic_load_explicit(p, memory_order_seq_cst)
#define atomic_store(p, v)     atomic_store_explicit(p, v, memory_order_seq_cst)
#define atomic_exchange(p, v)  atomic_exchange_explicit(p, v, memory_order_seq_cst)
#define atomic_fetch_add(p, v) atomic_fetch_add_explicit(p, v, memory_order_seq_cst)
#define atomic_fetch_sub(p, v) atomic_fetch_sub_explicit(p, v, memory_order_seq_cst)
#define atomic_fetch_or(p, v)  atomic_fetch_or_explicit(p, v, memory_order_seq_cst)
#define atomic_fetch_and(p, v) atomic_fetch_and_explicit(p, v, memory_order_seq_cst)
#define atomic_fetch_xor(p, v) atomic_fetch_xor_explicit(p, v, memory_order_seq_cst)
#define atomic_compare_exchange_strong(p, e, v) \
    atomic_compare_exchange_strong_explicit(p, e, v, memory_order_seq_cst, memory_order_seq_cst)
#define atomic_compare_exchange_weak(p, e, v) \
    atomic_compare_exchange_weak_explicit(p, e, v, memory_order_seq_cst, memory_order_seq_cst)

/* A flag is a byte. */
#define atomic_flag_test_and_set_explicit(p, order) \
    KL_HOOKED_CHANGE(KL_HOOK_EXCHANGE, (_Atomic uint8_t *)(void *)(p), 1, order)
#define atomic_flag_clear_explicit(p, order) \
    KL_HOOKED_STORE((_Atomic uint8_t *)(void *)(p), 0, order)
#define atomic_flag_test_and_set(p) atomic_flag_test_and_set_explicit(p, memory_order_seq_cst)
#define atomic_flag_clear(p)        atomic_flag_clear_explicit(p, memory_order_seq_cst)

#define atomic_thread_fence(order)             \
    __extension__({                            \
        KL_HOOK_SITE(KL_HOOK_FENCE);           \
        kl_hook_fence(&kl_site, (int)(order)); \
    })

#undef atomic_signal_fence
#define atomic_signal_fence(order) __asm__ volatile("" ::: "memory")

#if defined(__x86_64__)
#define __builtin_ia32_pause() kl_hook_pause()
#endif

#ifdef KL_HOOKED_PLAIN
#define memcpy(to, from, bytes)  kl_hook_memcpy((to), (from), (bytes))
#define memmove(to, from, bytes) kl_hook_memmove((to), (from), (bytes))
#define memset(to, value, bytes) kl_hook_memset((to), (value), (bytes))
#define memcmp(a, b, bytes)      kl_hook_memcmp((a), (b), (bytes))
/* The code under test is the one without a sanitizer. */
#undef __SANITIZE_THREAD__
#ifdef __clang__
#pragma clang diagnostic ignored "-Wbuiltin-macro-redefined"
#undef __has_feature
#define __has_feature(x) 0
#endif
#endif

#endif
