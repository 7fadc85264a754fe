#include "base/handle.h"
#include "base/random.h"
#include "tests/c/harness.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_int destroyed;

static void count_destroy(void *object) {
    (void)object;
    atomic_fetch_add(&destroyed, 1);
}

KL_TEST(kl_handle_enter_gives_the_object_until_it_is_closed) {
    int object;
    atomic_store(&destroyed, 0);
    uint32_t handle = kl_handle_open(KL_HANDLE_LOG, &object, count_destroy);
    KL_CHECK_NE(handle, 0);
    KL_CHECK_EQ(kl_handle_enter(handle, KL_HANDLE_LOG), &object);
    kl_handle_leave(handle);
    KL_CHECK_EQ(kl_handle_close(handle, KL_HANDLE_LOG), KL_OK);
    KL_CHECK_EQ(atomic_load(&destroyed), 1);
    KL_CHECK_EQ(kl_handle_enter(handle, KL_HANDLE_LOG), NULL);
    KL_CHECK_EQ(atomic_load(&destroyed), 1);
}

KL_TEST(kl_handle_close_destroys_after_the_last_leave) {
    int object;
    atomic_store(&destroyed, 0);
    uint32_t handle = kl_handle_open(KL_HANDLE_LOG, &object, count_destroy);
    KL_CHECK_EQ(kl_handle_enter(handle, KL_HANDLE_LOG), &object);
    KL_CHECK_EQ(kl_handle_enter(handle, KL_HANDLE_LOG), &object);
    KL_CHECK_EQ(kl_handle_close(handle, KL_HANDLE_LOG), KL_OK);
    KL_CHECK_EQ(kl_handle_enter(handle, KL_HANDLE_LOG), NULL);
    KL_CHECK_EQ(kl_handle_close(handle, KL_HANDLE_LOG), KL_ERR_HANDLE);
    kl_handle_leave(handle);
    KL_CHECK_EQ(atomic_load(&destroyed), 0);
    KL_CHECK_EQ(kl_handle_enter(handle, KL_HANDLE_LOG), NULL); /* a refused one destroys nothing */
    KL_CHECK_EQ(atomic_load(&destroyed), 0);
    kl_handle_leave(handle);
    KL_CHECK_EQ(atomic_load(&destroyed), 1);
}

KL_TEST(kl_handle_enter_refuses_another_kind) {
    int object;
    atomic_store(&destroyed, 0);
    uint32_t handle = kl_handle_open(KL_HANDLE_LOG, &object, count_destroy);
    KL_CHECK_EQ(kl_handle_enter(handle, KL_HANDLE_REGION), NULL);
    KL_CHECK_EQ(kl_handle_enter(handle, 0), NULL);
    KL_CHECK_EQ(kl_handle_close(handle, KL_HANDLE_REGION), KL_ERR_HANDLE);
    KL_CHECK_EQ(atomic_load(&destroyed), 0);
    KL_CHECK_EQ(kl_handle_close(handle, KL_HANDLE_LOG), KL_OK);
}

KL_TEST(kl_handle_is_open_says_so_until_it_is_closed) {
    int object;
    uint32_t handle = kl_handle_open(KL_HANDLE_LOG, &object, NULL);
    KL_CHECK(kl_handle_is_open(handle, KL_HANDLE_LOG));
    KL_CHECK(!kl_handle_is_open(handle, KL_HANDLE_REGION));
    KL_CHECK(!kl_handle_is_open(handle ^ 1u << 20, KL_HANDLE_LOG));
    KL_CHECK(!kl_handle_is_open(0, KL_HANDLE_LOG));
    KL_CHECK_EQ(kl_handle_enter(handle, KL_HANDLE_LOG), &object);
    KL_CHECK_EQ(kl_handle_close(handle, KL_HANDLE_LOG), KL_OK);
    KL_CHECK(!kl_handle_is_open(handle, KL_HANDLE_LOG)); /* though somebody is inside still */
    kl_handle_leave(handle);
    KL_CHECK(!kl_handle_is_open(handle, KL_HANDLE_LOG));
}

KL_TEST(kl_handle_enter_refuses_forged_numbers) {
    int object;
    uint32_t handle = kl_handle_open(KL_HANDLE_TOPIC, &object, NULL);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    KL_CHECK_EQ(kl_handle_enter(0, KL_HANDLE_TOPIC), NULL);
    KL_CHECK_EQ(kl_handle_enter(UINT32_MAX, KL_HANDLE_TOPIC), NULL);
    KL_CHECK_EQ(kl_handle_close(0, KL_HANDLE_TOPIC), KL_ERR_HANDLE);
    for (int i = 0; i < 100000; i++) {
        uint32_t forged = (uint32_t)kl_random_u64(&random);
        if (forged != handle) KL_CHECK_EQ(kl_handle_enter(forged, KL_HANDLE_TOPIC), NULL);
    }
    for (uint32_t bit = 0; bit < 32; bit++)
        KL_CHECK_EQ(kl_handle_enter(handle ^ 1u << bit, KL_HANDLE_TOPIC), NULL);
    KL_CHECK_EQ(kl_handle_enter(handle, KL_HANDLE_TOPIC), &object); /* they left no trace */
    kl_handle_leave(handle);
    KL_CHECK_EQ(kl_handle_close(handle, KL_HANDLE_TOPIC), KL_OK);
}

KL_TEST(kl_handle_open_answers_0_when_the_table_is_full) {
    static uint32_t handles[KL_HANDLE_COUNT_MAX];
    int object;
    atomic_store(&destroyed, 0);
    KL_CHECK_EQ(kl_handle_live(0), 0);
    for (uint32_t i = 0; i < KL_HANDLE_COUNT_MAX; i++) {
        handles[i] = kl_handle_open(KL_HANDLE_ROLE, &object, count_destroy);
        KL_CHECK_NE(handles[i], 0);
    }
    KL_CHECK_EQ(kl_handle_open(KL_HANDLE_ROLE, &object, count_destroy), 0);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_ROLE), KL_HANDLE_COUNT_MAX);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_LOG), 0);
    KL_CHECK_EQ(atomic_load(&destroyed), 0);
    KL_CHECK_EQ(kl_handle_close(handles[77], KL_HANDLE_ROLE), KL_OK);
    uint32_t again = kl_handle_open(KL_HANDLE_ROLE, &object, count_destroy);
    KL_CHECK_NE(again, 0);
    KL_CHECK_NE(again, handles[77]); /* the same slot, another generation */
    KL_CHECK_EQ(again % KL_HANDLE_COUNT_MAX, handles[77] % KL_HANDLE_COUNT_MAX);
    KL_CHECK_EQ(kl_handle_enter(handles[77], KL_HANDLE_ROLE), NULL);
    handles[77] = again;
    for (uint32_t i = 0; i < KL_HANDLE_COUNT_MAX; i++)
        KL_CHECK_EQ(kl_handle_close(handles[i], KL_HANDLE_ROLE), KL_OK);
    KL_CHECK_EQ(atomic_load(&destroyed), KL_HANDLE_COUNT_MAX + 1);
    KL_CHECK_EQ(kl_handle_live(0), 0);
}

/* The table is full but for one slot, which is so reused through all of its 2^20 generations. */
KL_TEST(kl_handle_open_never_gives_0_when_a_generation_wraps) {
    static uint32_t handles[KL_HANDLE_COUNT_MAX];
    int object;
    if (kl_test_slow()) return;
    for (uint32_t i = 0; i < KL_HANDLE_COUNT_MAX; i++)
        handles[i] = kl_handle_open(KL_HANDLE_ROLE, &object, NULL);
    for (uint32_t round = 0; round < (1u << 20) + 5; round++) {
        uint32_t last = handles[0];
        KL_CHECK_EQ(kl_handle_close(last, KL_HANDLE_ROLE), KL_OK);
        handles[0] = kl_handle_open(KL_HANDLE_ROLE, &object, NULL);
        KL_CHECK(handles[0] != 0 && handles[0] >> 12 != 0 && handles[0] != last);
    }
    for (uint32_t i = 0; i < KL_HANDLE_COUNT_MAX; i++)
        KL_CHECK_EQ(kl_handle_close(handles[i], KL_HANDLE_ROLE), KL_OK);
}

static uint32_t inner_handle;

static void close_inner(void *object) {
    (void)object;
    kl_handle_close(inner_handle, KL_HANDLE_TOPIC);
}

KL_TEST(kl_handle_close_may_be_called_by_a_destroy_function) {
    int object;
    atomic_store(&destroyed, 0);
    inner_handle = kl_handle_open(KL_HANDLE_TOPIC, &object, count_destroy);
    uint32_t outer = kl_handle_open(KL_HANDLE_BROKER, &object, close_inner);
    KL_CHECK_EQ(kl_handle_close(outer, KL_HANDLE_BROKER), KL_OK);
    KL_CHECK_EQ(atomic_load(&destroyed), 1);
}

/* Threads open, enter and close the same few handles; every object knows if it is still whole. */
#define PLACE_COUNT 4

typedef struct {
    atomic_uint whole; /* 1 from open to destroy */
    uint64_t plain;    /* not atomic: the thread checker sees a destroy that races an enter */
} object_t;

static atomic_uint places[PLACE_COUNT];
static atomic_ulong opened_count, closed_count, destroyed_count, entered_count;

static void count(atomic_ulong *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void break_object(void *pointer) {
    object_t *object = pointer;
    KL_CHECK_EQ(atomic_exchange_explicit(&object->whole, 0, memory_order_relaxed), 1);
    object->plain = 0;
    count(&destroyed_count);
    free(object);
}

static void hammer_one(kl_random *random) {
    uint64_t dice = kl_random_below(random, 16);
    atomic_uint *place = &places[kl_random_below(random, PLACE_COUNT)];
    /* relaxed, here and at the exchange: nothing but the slot itself orders object and user. */
    uint32_t handle = atomic_load_explicit(place, memory_order_relaxed);
    if (dice == 0) {
        object_t *object = malloc(sizeof *object);
        atomic_init(&object->whole, 1);
        object->plain = 42;
        uint32_t made = kl_handle_open(KL_HANDLE_LOG, object, break_object);
        KL_CHECK_NE(made, 0);
        count(&opened_count);
        uint32_t old = atomic_exchange_explicit(place, made, memory_order_relaxed);
        if (old != 0 && kl_handle_close(old, KL_HANDLE_LOG) == KL_OK) count(&closed_count);
    } else if (dice <= 2) {
        if (kl_handle_close(handle, KL_HANDLE_LOG) == KL_OK) count(&closed_count);
    } else {
        object_t *object = kl_handle_enter(handle, KL_HANDLE_LOG);
        if (object == NULL) return;
        count(&entered_count);
        KL_CHECK_EQ(atomic_load_explicit(&object->whole, memory_order_relaxed), 1);
        KL_CHECK_EQ(object->plain, 42);
        kl_handle_leave(handle);
    }
}

static void hammer(void *argument, uint32_t index) {
    (void)argument;
    kl_random random;
    kl_random_init(&random, kl_test_seed() + index);
    for (int i = 0; i < (kl_test_slow() ? 20000 : 200000); i++) hammer_one(&random);
}

KL_TEST(kl_handle_close_racing_enters_destroys_exactly_once) {
    kl_test_threads(4, hammer, NULL);
    for (int i = 0; i < PLACE_COUNT; i++)
        if (kl_handle_close(atomic_load(&places[i]), KL_HANDLE_LOG) == KL_OK) count(&closed_count);
    KL_CHECK_EQ(atomic_load(&opened_count), atomic_load(&closed_count));
    KL_CHECK_EQ(atomic_load(&opened_count), atomic_load(&destroyed_count));
    KL_CHECK(atomic_load(&entered_count) > 0);
    KL_CHECK_EQ(kl_handle_live(0), 0);
}

/* All threads close one handle at once while inside: one is told KL_OK, and it is destroyed once. */
static atomic_uint one_handle;
static atomic_int winners;

static void enter_and_close(void *argument, uint32_t index) {
    (void)index;
    uint32_t handle = atomic_load(&one_handle);
    void *object = kl_handle_enter(handle, KL_HANDLE_LOG);
    KL_CHECK(object == NULL || object == argument);
    if (kl_handle_close(handle, KL_HANDLE_LOG) == KL_OK) atomic_fetch_add(&winners, 1);
    if (object != NULL) kl_handle_leave(handle);
}

KL_TEST(kl_handle_close_by_many_threads_has_one_winner) {
    int object;
    for (int round = 0; round < 200; round++) {
        atomic_store(&destroyed, 0);
        atomic_store(&winners, 0);
        atomic_store(&one_handle, kl_handle_open(KL_HANDLE_LOG, &object, count_destroy));
        kl_test_threads(3, enter_and_close, &object);
        KL_CHECK_EQ(atomic_load(&winners), 1);
        KL_CHECK_EQ(atomic_load(&destroyed), 1);
    }
}

static void look_all_the_time(void *argument, uint32_t index) {
    for (int i = 0; i < 2000; i++) {
        if (index == 0)
            KL_CHECK_LE(kl_handle_live(KL_HANDLE_LOG), 1);
        else
            kl_handle_close(
                kl_handle_open(index == 1 ? KL_HANDLE_LOG : KL_HANDLE_ROLE, argument, NULL),
                index == 1 ? KL_HANDLE_LOG : KL_HANDLE_ROLE);
    }
}

KL_TEST(kl_handle_live_counts_while_others_open_and_close) {
    int object;
    kl_test_threads(3, look_all_the_time, &object);
    KL_CHECK_EQ(kl_handle_live(0), 0);
}

KL_TEST(kl_handle_enter_and_leave_cost_is_printed) {
    int object;
    uint32_t handle = kl_handle_open(KL_HANDLE_LOG, &object, NULL);
    const uint64_t rounds = 1000000;
    uint64_t start = kl_test_now_ns();
    for (uint64_t i = 0; i < rounds; i++)
        if (kl_handle_enter(handle, KL_HANDLE_LOG) != NULL) kl_handle_leave(handle);
    printf("# handle enter + leave: %.1f ns\n",
           (double)(kl_test_now_ns() - start) / (double)rounds);
    kl_handle_close(handle, KL_HANDLE_LOG);
}
