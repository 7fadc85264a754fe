#include "sync/thread_record.h"

#include "tests/c/harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

typedef struct {
    kl_thread_record record;
    uint32_t value;
} record;

typedef struct {
    kl_thread_domain domain;
    uint32_t begun, ended, refused;
    uint32_t begun_max;
} domain;

static int32_t begin(kl_thread_domain *it, kl_thread_record *made) {
    domain *own = (domain *)(void *)it;
    if (own->begun - own->ended >= own->begun_max) {
        own->refused++;
        return kl_fail(KL_ERR_LIMIT, "enough");
    }
    own->begun++;
    KL_CHECK_EQ(((record *)(void *)made)->value, 0);
    return KL_OK;
}

static void end(kl_thread_domain *it, kl_thread_record *made) {
    (void)made;
    ((domain *)(void *)it)->ended++;
}

static void open_domain(domain *it, uint32_t begun_max) {
    *it = (domain){.begun_max = begun_max};
    kl_thread_domain_open(&it->domain, sizeof(record), begin, end);
}

static record *here(domain *it) {
    return (record *)(void *)kl_thread_record_here(&it->domain);
}

KL_TEST(kl_thread_record_here_is_the_same_until_the_thread_leaves) {
    domain it;
    open_domain(&it, 1);
    KL_CHECK(kl_thread_record_find(&it.domain, false) == NULL);
    KL_CHECK_EQ(kl_thread_record_leave(&it.domain), KL_ERR_NOT_FOUND);
    record *first = here(&it);
    first->value = 7;
    KL_CHECK(here(&it) == first);
    KL_CHECK(kl_thread_record_find(&it.domain, false) == &first->record);
    KL_CHECK_EQ(kl_thread_record_leave(&it.domain), KL_OK);
    KL_CHECK_EQ(kl_thread_record_leave(&it.domain), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(it.ended, 1);
    KL_CHECK_EQ(here(&it)->value, 0);
    kl_thread_domain_close(&it.domain);
    KL_CHECK_EQ(it.begun, 2);
    KL_CHECK_EQ(it.ended, 2);
}

KL_TEST(kl_thread_record_keeps_domains_apart_that_share_a_place_in_the_cache) {
    enum { COUNT = 3 * KL_THREAD_RECORDS_CACHED + 1 };
    static domain many[COUNT];
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < COUNT; i++) open_domain(&many[i], 1);
        for (uint32_t i = 0; i < COUNT; i++) here(&many[i])->value = i + 1;
        for (uint32_t i = 0; i < COUNT; i++) KL_CHECK_EQ(here(&many[i])->value, i + 1);
        for (uint32_t i = 0; i < COUNT; i++) kl_thread_domain_close(&many[i].domain);
        for (uint32_t i = 0; i < COUNT; i++) KL_CHECK_EQ(many[i].ended, 1);
    }
}

KL_TEST(kl_thread_record_here_is_nothing_when_begin_refuses_or_the_domain_is_closed) {
    domain it;
    open_domain(&it, 0);
    for (uint32_t i = 0; i < 3; i++) KL_CHECK(here(&it) == NULL);
    KL_CHECK_EQ(kl_status_detail_code(), KL_ERR_LIMIT);
    KL_CHECK_EQ(it.refused, 3);
    it.begun_max = 1;
    KL_CHECK(here(&it) != NULL);
    kl_thread_domain_close(&it.domain);
    KL_CHECK(here(&it) == NULL);
    KL_CHECK_EQ(kl_status_detail_code(), KL_ERR_CLOSED);
    KL_CHECK_EQ(it.ended, 1);
}

/* ---- threads that end while domains close ---- */

#define DOMAINS 12u

typedef struct {
    domain domains[DOMAINS];
    _Atomic uint32_t used;
} several;

static void use_all(void *argument, uint32_t index) {
    several *it = argument;
    for (uint32_t i = 0; i < 100; i++) {
        record *own = here(&it->domains[(i * 7 + index) % DOMAINS]);
        own->value++;
        if (i % 40 == 39) kl_thread_record_leave(&it->domains[i % DOMAINS].domain);
    }
    atomic_fetch_add_explicit(&it->used, 1, memory_order_release);
}

static void *close_all(void *argument) {
    several *it = argument;
    /* Nobody uses them any more; but the threads are still ending. */
    while (atomic_load_explicit(&it->used, memory_order_acquire) < 4) sched_yield();
    for (uint32_t i = 0; i < DOMAINS; i++) kl_thread_domain_close(&it->domains[i].domain);
    return NULL;
}

KL_TEST(kl_thread_record_ends_once_whether_its_thread_or_its_domain_is_first) {
    static several it;
    for (uint32_t round = 0; round < (kl_test_slow() ? 20u : 100u); round++) {
        for (uint32_t i = 0; i < DOMAINS; i++) open_domain(&it.domains[i], 4);
        atomic_store_explicit(&it.used, 0, memory_order_relaxed);
        pthread_t closer;
        KL_CHECK_EQ(pthread_create(&closer, NULL, close_all, &it), 0);
        kl_test_threads(4, use_all, &it);
        pthread_join(closer, NULL);
        for (uint32_t i = 0; i < DOMAINS; i++) {
            KL_CHECK_LE(4, it.domains[i].begun);
            KL_CHECK_EQ(it.domains[i].begun, it.domains[i].ended);
            KL_CHECK_EQ(it.domains[i].refused, 0);
        }
    }
}

static pthread_key_t later_key;
static domain *later;

static void use_later(void *value) {
    (void)value;
    here(later)->value = 1; /* when the records have been given back already, or not yet */
}

static void use_at_the_end(void *argument, uint32_t index) {
    (void)argument, (void)index;
    here(later)->value = 1;
    pthread_setspecific(later_key, later);
}

KL_TEST(kl_thread_record_may_be_used_by_what_else_runs_at_the_end_of_a_thread) {
    static domain it;
    later = &it;
    open_domain(&it, 3);
    KL_CHECK_EQ(pthread_key_create(&later_key, use_later), 0);
    for (uint32_t i = 0; i < 5; i++) kl_test_threads(3, use_at_the_end, NULL);
    KL_CHECK_LE(15, it.begun);
    KL_CHECK_EQ(it.begun, it.ended);
    KL_CHECK_EQ(pthread_key_delete(later_key), 0);
    kl_thread_domain_close(&it.domain);
}
