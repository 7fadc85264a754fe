#include "sync/sleep_lock.h"

#include "base/random.h"
#include "tests/c/harness.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLACES 16u

/* What lies in the region: the lock, then this. */
typedef struct {
    uint64_t first, second; /* equal unless somebody is inside, or died inside */
    _Atomic uint32_t ready, order;
    uint64_t got[8];
} guarded;

typedef struct {
    kl_region *region;
    kl_sleep_lock lock;
    uint32_t self;
    guarded *it;
} end;

static char path[512];

static void grip(end *one) {
    uint64_t bytes = kl_sleep_lock_memory_bytes(PLACES);
    uint8_t *data = kl_region_data(one->region);
    KL_CHECK_LE(0, kl_region_join(one->region, 0));
    KL_CHECK_EQ(kl_sleep_lock_grip(&one->lock, data, bytes, one->region), KL_OK);
    int32_t self = kl_region_thread_join(one->region);
    KL_CHECK_LT(0, self);
    one->self = (uint32_t)self;
    one->it = (guarded *)(void *)(data + bytes);
}

/* Each end has a thread id of its own, also on one thread. */
static end attach(void) {
    end one = {0};
    KL_CHECK_EQ(kl_region_attach(&one.region, path, NULL), KL_OK);
    grip(&one);
    return one;
}

static end create(void) {
    end one = {0};
    snprintf(path, sizeof path, "%s/region", kl_test_folder());
    kl_region_spec spec = {.kind = 1};
    uint64_t bytes = kl_sleep_lock_memory_bytes(PLACES);
    KL_CHECK_EQ(kl_region_create(&one.region, path, bytes + sizeof(guarded), &spec), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_format(kl_region_data(one.region), PLACES), KL_OK);
    KL_CHECK_EQ(kl_region_publish(one.region), KL_OK);
    grip(&one);
    return one;
}

static void close_end(end *one) {
    kl_region_close(one->region);
}

KL_TEST(kl_sleep_lock_format_and_grip_refuse_what_cannot_be) {
    for (uint32_t places = 0; places < 20; places++) {
        bool good = places == 2 || places == 4 || places == 8 || places == 16;
        KL_CHECK_EQ(kl_sleep_lock_memory_bytes(places) != 0, good);
        if (!good) KL_CHECK_EQ(kl_sleep_lock_format(NULL, places), KL_ERR_ARGUMENT);
    }
    KL_CHECK_EQ(kl_sleep_lock_memory_bytes(2 * KL_SLEEP_LOCK_PLACES_MAX), 0);
    end one = create();
    kl_sleep_lock lock;
    void *data = kl_region_data(one.region);
    kl_sleep_lock_header *header = data;
    uint64_t bytes = kl_sleep_lock_memory_bytes(PLACES);
    KL_CHECK_EQ(kl_sleep_lock_grip(&lock, data, bytes - 1, one.region), KL_ERR_CORRUPT);
    header->version++;
    KL_CHECK_EQ(kl_sleep_lock_grip(&lock, data, bytes, one.region), KL_ERR_VERSION);
    header->version--;
    header->places = 3;
    KL_CHECK_EQ(kl_sleep_lock_grip(&lock, data, bytes, one.region), KL_ERR_CORRUPT);
    header->places = 2 * PLACES;
    KL_CHECK_EQ(kl_sleep_lock_grip(&lock, data, bytes, one.region), KL_ERR_CORRUPT);
    header->magic++;
    KL_CHECK_EQ(kl_sleep_lock_grip(&lock, data, bytes, one.region), KL_ERR_CORRUPT);
    close_end(&one);
}

KL_TEST(kl_sleep_lock_L4_only_the_owner_of_a_ticket_can_leave) {
    end a = create(), b = attach();
    uint64_t first, second;
    KL_CHECK_EQ(kl_sleep_lock_try_lock(&a.lock, a.self, &first), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_try_lock(&b.lock, b.self, &second), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_sleep_lock_leave(&b.lock, b.self, first), KL_ERR_FENCED);
    KL_CHECK_EQ(kl_sleep_lock_enter(&b.lock, b.self, &second), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_sleep_lock_leave(&a.lock, a.self, second), KL_ERR_FENCED);
    KL_CHECK_EQ(kl_sleep_lock_look(&a.lock, a.self, second), KL_ERR_FENCED);
    KL_CHECK_EQ(kl_sleep_lock_look(&b.lock, b.self, second), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_sleep_lock_look(&a.lock, a.self, first), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_count(&a.lock), 2);
    KL_CHECK_EQ(kl_sleep_lock_leave(&a.lock, a.self, first), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_leave(&a.lock, a.self, first), KL_ERR_FENCED);
    KL_CHECK_EQ(kl_sleep_lock_leave(&a.lock, a.self, UINT64_MAX), KL_ERR_FENCED);
    KL_CHECK_EQ(kl_sleep_lock_look(&b.lock, b.self, second), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_leave(&b.lock, b.self, second), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_verify(&a.lock), KL_OK);
    close_end(&b);
    close_end(&a);
}

/* ---- a dull model ---- */

typedef struct {
    uint32_t who;
    uint64_t ticket;
} waiter;

typedef struct {
    end ends[3];
    waiter queue[PLACES];
    uint32_t count;
} model;

static void model_enter(model *m, uint32_t who, bool waiting) {
    uint64_t ticket = 0;
    end *one = &m->ends[who];
    int32_t status = waiting ? kl_sleep_lock_enter(&one->lock, one->self, &ticket)
                             : kl_sleep_lock_try_lock(&one->lock, one->self, &ticket);
    bool empty = m->count == 0;
    if (!waiting && !empty) {
        KL_CHECK_EQ(status, KL_ERR_AGAIN);
    } else if (status ==
               KL_ERR_LIMIT) { /* those who gave up count until the head has passed them */
        KL_CHECK_EQ(kl_sleep_lock_count(&one->lock), PLACES);
    } else {
        KL_CHECK_LT(m->count, PLACES);
        KL_CHECK_EQ(status, empty ? KL_OK : KL_ERR_AGAIN);
        m->queue[m->count++] = (waiter){who, ticket};
    }
}

static void model_leave(model *m, uint32_t at) {
    waiter gone = m->queue[at];
    end *one = &m->ends[gone.who];
    KL_CHECK_EQ(kl_sleep_lock_leave(&one->lock, one->self, gone.ticket), KL_OK);
    m->count--;
    memmove(&m->queue[at], &m->queue[at + 1], (m->count - at) * sizeof(waiter));
}

static void model_abandon(model *m, uint32_t who) {
    uint32_t kept = 0, gone = 0;
    bool owner = m->count > 0 && m->queue[0].who == who;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->queue[i].who == who)
            gone++;
        else
            m->queue[kept++] = m->queue[i];
    }
    m->count = kept;
    KL_CHECK_EQ(kl_sleep_lock_abandon(&m->ends[who].lock, m->ends[who].self), gone);
    if (!owner) return;
    if (m->count == 0) { /* the next one is told; his leave mends it */
        uint64_t ticket;
        end *one = &m->ends[0];
        KL_CHECK_EQ(kl_sleep_lock_try_lock(&one->lock, one->self, &ticket), KL_OWNER_DEAD);
        KL_CHECK_EQ(kl_sleep_lock_leave(&one->lock, one->self, ticket), KL_OK);
    } else {
        end *one = &m->ends[m->queue[0].who];
        KL_CHECK_EQ(kl_sleep_lock_look(&one->lock, one->self, m->queue[0].ticket), KL_OWNER_DEAD);
        model_leave(m, 0);
    }
}

static void model_look(model *m) {
    for (uint32_t i = 0; i < m->count; i++) {
        end *one = &m->ends[m->queue[i].who];
        KL_CHECK_EQ(kl_sleep_lock_look(&one->lock, one->self, m->queue[i].ticket),
                    i == 0 ? KL_OK : KL_ERR_AGAIN);
    }
}

/* Sets every counter of an unused lock to `ticket`. */
static void preset(kl_sleep_lock *lock, uint64_t ticket) {
    lock->header->head = lock->header->tail = ticket;
    lock->header->broken = lock->header->mended = ticket;
    for (uint64_t i = 0; i < PLACES; i++)
        lock->places[(ticket + i) & lock->mask] = (ticket + i) >> lock->turn_shift << 32;
}

static void run_model(uint64_t first_ticket, uint32_t rounds) {
    model m = {.ends = {create(), attach(), attach()}};
    preset(&m.ends[0].lock, first_ticket);
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t dice = (uint32_t)kl_random_below(&random, 20);
        uint32_t who = (uint32_t)kl_random_below(&random, 3);
        if (dice < 8)
            model_enter(&m, who, true);
        else if (dice < 10)
            model_enter(&m, who, false);
        else if (dice < 15 && m.count > 0)
            model_leave(&m, 0);
        else if (dice < 17 && m.count > 0)
            model_leave(&m, (uint32_t)kl_random_below(&random, m.count));
        else if (dice == 17 && round % 8 == 0)
            model_abandon(&m, who);
        else
            model_look(&m);
        if (round % 64 == 0) KL_CHECK_EQ(kl_sleep_lock_verify(&m.ends[0].lock), KL_OK);
    }
    while (m.count > 0) model_leave(&m, m.count - 1);
    KL_CHECK_EQ(kl_sleep_lock_count(&m.ends[0].lock), 0);
    for (uint32_t i = 3; i-- > 0;) close_end(&m.ends[i]);
}

KL_TEST(kl_sleep_lock_does_what_a_list_would_do) {
    run_model(0, kl_test_slow() ? 3000 : 20000);
}

KL_TEST(kl_sleep_lock_does_so_where_32_bits_and_63_bits_wrap) {
    run_model(UINT32_MAX - 500ull, 3000);
    run_model(((uint64_t)UINT32_MAX << 4) - 500ull, 3000); /* the turn */
    run_model((1ull << 63) - 500ull, 3000);
    run_model(UINT64_MAX - 500ull, 3000);
}

/* ---- many ---- */

static uint32_t rounds_each(void) {
    return getenv("KEELSON_LONG") ? 60000 : kl_test_slow() ? 500 : 4000;
}

static void count_up(end *one, uint32_t rounds) {
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t ticket;
        int32_t status = kl_sleep_lock_lock(&one->lock, one->self, &ticket, KL_FOREVER, NULL);
        KL_CHECK_EQ(status, KL_OK);
        KL_CHECK_EQ(one->it->first, one->it->second);
        one->it->first++;
        if (i % 512 == 0) usleep(50); /* make the others sleep */
        one->it->second++;
        KL_CHECK_EQ(kl_sleep_lock_leave(&one->lock, one->self, ticket), KL_OK);
    }
}

static void count_up_in_thread(void *argument, uint32_t index) {
    end one = *(end *)argument;
    (void)index;
    one.self = (uint32_t)kl_region_thread_join(one.region);
    count_up(&one, rounds_each());
}

KL_TEST(kl_sleep_lock_L1_excludes_four_threads) {
    end one = create();
    kl_test_threads(4, count_up_in_thread, &one);
    KL_CHECK_EQ(one.it->second, 4 * rounds_each());
    KL_CHECK_EQ(kl_sleep_lock_verify(&one.lock), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_count(&one.lock), 0);
    close_end(&one);
}

static int count_up_in_child(void *argument) {
    (void)argument;
    end one = attach();
    count_up(&one, rounds_each());
    close_end(&one);
    return 0;
}

KL_TEST(kl_sleep_lock_L1_excludes_three_processes) {
    end one = create();
    int children[3];
    for (uint32_t i = 0; i < 3; i++) children[i] = kl_test_fork(count_up_in_child, NULL);
    for (uint32_t i = 0; i < 3; i++) KL_CHECK_EQ(kl_test_join(children[i]), 0);
    KL_CHECK_EQ(one.it->second, 3 * rounds_each());
    KL_CHECK_EQ(kl_sleep_lock_count(&one.lock), 0);
    close_end(&one);
}

/* Takes its turn as soon as `index` others are before it, and notes when. */
static void queue_up(void *argument, uint32_t index) {
    end one = *(end *)argument;
    one.self = (uint32_t)kl_region_thread_join(one.region);
    while (kl_sleep_lock_count(&one.lock) < index + 1) usleep(100);
    uint64_t ticket;
    KL_CHECK_EQ(kl_sleep_lock_lock(&one.lock, one.self, &ticket, KL_FOREVER, NULL), KL_OK);
    one.it->got[index] = ++one.it->first;
    KL_CHECK_EQ(kl_sleep_lock_leave(&one.lock, one.self, ticket), KL_OK);
}

static void unlock_when_six_wait(void *argument, uint32_t index) {
    if (index < 6) {
        queue_up(argument, index);
        return;
    }
    end *one = argument;
    while (kl_sleep_lock_count(&one->lock) < 7) usleep(100);
    usleep(1000); /* let them sleep */
    KL_CHECK_EQ(kl_sleep_lock_leave(&one->lock, one->self, one->it->second), KL_OK);
}

KL_TEST(kl_sleep_lock_L2_serves_first_come_first) {
    end one = create();
    KL_CHECK_EQ(kl_sleep_lock_try_lock(&one.lock, one.self, &one.it->second), KL_OK);
    kl_test_threads(7, unlock_when_six_wait, &one);
    for (uint32_t i = 0; i < 6; i++) KL_CHECK_EQ(one.it->got[i], i + 1);
    close_end(&one);
}

KL_TEST(kl_sleep_lock_lock_gives_up_at_its_timeout_or_when_stopped) {
    end a = create(), b = attach();
    uint64_t held, ticket;
    _Atomic uint32_t stop = 1;
    KL_CHECK_EQ(kl_sleep_lock_lock(&a.lock, a.self, &held, 0, NULL), KL_OK);
    uint64_t started_ns = kl_test_now_ns();
    KL_CHECK_EQ(kl_sleep_lock_lock(&b.lock, b.self, &ticket, 20 * KL_NS_PER_MS, NULL),
                KL_ERR_TIMEOUT);
    KL_CHECK_LE(20 * KL_NS_PER_MS, kl_test_now_ns() - started_ns);
    KL_CHECK_EQ(kl_sleep_lock_lock(&b.lock, b.self, &ticket, KL_FOREVER, &stop), KL_ERR_STOPPED);
    KL_CHECK_EQ(kl_sleep_lock_look(&b.lock, b.self, ticket), KL_ERR_FENCED);
    KL_CHECK_EQ(kl_sleep_lock_leave(&a.lock, a.self, held), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_count(&a.lock), 0);
    kl_region_poison(a.region);
    KL_CHECK_EQ(kl_sleep_lock_lock(&a.lock, a.self, &held, 0, NULL), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_lock(&b.lock, b.self, &ticket, KL_FOREVER, NULL), KL_ERR_POISONED);
    close_end(&b);
    close_end(&a);
}

/* ---- death ---- */

static int die_inside(void *argument) {
    (void)argument;
    end one = attach();
    uint64_t ticket;
    kl_sleep_lock_lock(&one.lock, one.self, &ticket, KL_FOREVER, NULL);
    one.it->first++; /* and second never */
    atomic_fetch_add(&one.it->ready, 1);
    kill(getpid(), SIGKILL);
    return 0;
}

static int die_in_queue(void *argument) {
    (void)argument;
    end one = attach();
    uint64_t ticket;
    kl_sleep_lock_enter(&one.lock, one.self, &ticket);
    kill(getpid(), SIGKILL);
    return 0;
}

static void let_die(int (*body)(void *argument)) {
    KL_CHECK_EQ(kl_test_join(kl_test_fork(body, NULL)), 128 + SIGKILL);
}

KL_TEST(kl_sleep_lock_of_a_killed_owner_goes_to_the_next_who_is_told_until_it_is_mended) {
    end one = create();
    uint64_t ticket;
    for (uint32_t round = 0; round < 5; round++) {
        let_die(die_inside);
        let_die(die_inside); /* is told, and dies before it has mended */
        let_die(die_in_queue);
        uint64_t started_ns = kl_test_now_ns();
        KL_CHECK_EQ(kl_sleep_lock_lock(&one.lock, one.self, &ticket, KL_NS_PER_S, NULL),
                    KL_OWNER_DEAD);
        KL_CHECK_LT(kl_test_now_ns() - started_ns, KL_NS_PER_S);
        one.it->second = one.it->first;
        KL_CHECK_EQ(kl_sleep_lock_leave(&one.lock, one.self, ticket), KL_OK);
        KL_CHECK_EQ(kl_sleep_lock_try_lock(&one.lock, one.self, &ticket), KL_OK);
        let_die(die_in_queue); /* behind us: nothing */
        KL_CHECK_EQ(kl_sleep_lock_leave(&one.lock, one.self, ticket), KL_OK);
        KL_CHECK_EQ(kl_sleep_lock_try_lock(&one.lock, one.self, &ticket), KL_OK);
        KL_CHECK_EQ(kl_sleep_lock_leave(&one.lock, one.self, ticket), KL_OK);
        KL_CHECK_EQ(kl_sleep_lock_verify(&one.lock), KL_OK);
    }
    close_end(&one);
}

KL_TEST(kl_sleep_lock_try_lock_and_a_full_queue_get_past_the_dead) {
    end one = create();
    uint64_t ticket;
    let_die(die_inside);
    KL_CHECK_EQ(kl_sleep_lock_try_lock(&one.lock, one.self, &ticket), KL_OWNER_DEAD);
    KL_CHECK_EQ(kl_sleep_lock_leave(&one.lock, one.self, ticket), KL_OK);
    for (uint32_t i = 0; i < PLACES; i++) let_die(die_in_queue);
    KL_CHECK_EQ(kl_sleep_lock_count(&one.lock), 1); /* each one passed the one before */
    KL_CHECK_LE(0, kl_sleep_lock_enter(&one.lock, one.self, &ticket));
    KL_CHECK_EQ(kl_sleep_lock_leave(&one.lock, one.self, ticket), KL_OK);
    close_end(&one);
}

static int work_until_killed(void *argument) {
    (void)argument;
    end one = attach();
    volatile guarded *it = one.it;
    for (;;) {
        uint64_t ticket;
        int32_t status = kl_sleep_lock_lock(&one.lock, one.self, &ticket, KL_FOREVER, NULL);
        if (status < 0) return 2;
        if (status == KL_OWNER_DEAD) it->second = it->first;
        if (it->first != it->second) return 3; /* two inside, or a death nobody was told of */
        it->first++;
        it->second++;
        if (kl_sleep_lock_leave(&one.lock, one.self, ticket) != KL_OK) return 4;
    }
}

KL_TEST(kl_sleep_lock_keeps_its_word_while_processes_are_killed_at_random) {
    end one = create();
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    int children[3];
    for (uint32_t i = 0; i < 3; i++) children[i] = kl_test_fork(work_until_killed, NULL);
    uint32_t rounds = getenv("KEELSON_LONG") ? 1000 : kl_test_slow() ? 5 : 25;
    for (uint32_t round = 0; round < rounds; round++) {
        usleep((useconds_t)kl_random_below(&random, 8000));
        uint64_t victim = kl_random_below(&random, 3);
        kill(children[victim], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[victim]), 128 + SIGKILL);
        children[victim] = kl_test_fork(work_until_killed, NULL);
    }
    for (uint32_t i = 0; i < 3; i++) {
        kill(children[i], SIGKILL);
        KL_CHECK_EQ(kl_test_join(children[i]), 128 + SIGKILL);
    }
    uint64_t ticket;
    KL_CHECK_LE(0, kl_sleep_lock_lock(&one.lock, one.self, &ticket, KL_NS_PER_S, NULL));
    KL_CHECK_LE(one.it->first - one.it->second, 1);
    KL_CHECK_LT(10, one.it->first);
    KL_CHECK_EQ(kl_sleep_lock_leave(&one.lock, one.self, ticket), KL_OK);
    KL_CHECK_EQ(kl_sleep_lock_verify(&one.lock), KL_OK);
    close_end(&one);
}

/* ---- hostile memory ---- */

KL_TEST(kl_sleep_lock_answers_scribbled_memory_with_codes) {
    end one = create();
    uint8_t *data = kl_region_data(one.region);
    uint64_t bytes = kl_sleep_lock_memory_bytes(PLACES), ticket = 0;
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    for (uint32_t round = 0; round < (kl_test_slow() ? 50u : 400u); round++) {
        bool all = round % 2 == 0;
        for (uint64_t i = KL_LINE_BYTES; i < bytes; i++)
            if (all || kl_random_below(&random, 8) == 0) data[i] = (uint8_t)kl_random_u64(&random);
        KL_CHECK_LE(kl_sleep_lock_enter(&one.lock, one.self, &ticket), KL_OWNER_DEAD);
        KL_CHECK_LE(kl_sleep_lock_look(&one.lock, one.self, ticket), KL_OWNER_DEAD);
        KL_CHECK_LE(kl_sleep_lock_try_lock(&one.lock, one.self, &ticket), KL_OWNER_DEAD);
        KL_CHECK_LE(kl_sleep_lock_leave(&one.lock, one.self, ticket), KL_OWNER_DEAD);
        KL_CHECK_LE(kl_sleep_lock_lock(&one.lock, one.self, &ticket, KL_NS_PER_US, NULL),
                    KL_OWNER_DEAD);
        KL_CHECK_LE(kl_sleep_lock_abandon(&one.lock, one.self), PLACES);
        KL_CHECK_LE(kl_sleep_lock_verify(&one.lock), KL_OK);
        KL_CHECK_LE(kl_sleep_lock_count(&one.lock), PLACES);
    }
    close_end(&one);
}
