#include "sync/thread_record.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"

_Thread_local __attribute__((tls_model("initial-exec")))
kl_thread_record *kl_thread_records[KL_THREAD_RECORDS_CACHED];

#define CLOSED UINT64_MAX

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* the thread's list, the latest first */
static int key_error;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t last_serial;

static void set_serial(kl_thread_record *record, uint64_t serial) {
    /* relaxed: partner is the load in kl_thread_record_here, of the same thread or of one that is
     * told by its user that the domain is open. */
    atomic_store_explicit(&record->serial, serial, memory_order_relaxed);
}

static bool is_of(const kl_thread_record *record, const kl_thread_domain *domain) {
    return atomic_load_explicit(&record->serial, memory_order_relaxed) == domain->serial;
}

/* Under the lock. */
static void end_record(kl_thread_record *record) {
    kl_thread_domain *domain = record->domain;
    if (!domain) return;
    domain->end(domain, record);
    kl_thread_record **link = &domain->records;
    while (*link != record) link = &(*link)->next_of_domain;
    *link = record->next_of_domain;
    record->domain = NULL;
    set_serial(record, 0);
}

static int32_t refuse(kl_thread_domain *domain, kl_thread_record *record) {
    (void)domain, (void)record;
    return kl_fail(KL_ERR_CLOSED, "closed while a thread still uses it");
}

static void end_thread(void *list) {
    memset(kl_thread_records, 0, sizeof(kl_thread_records));
    pthread_mutex_lock(&lock);
    for (kl_thread_record *record = list; record; record = record->next_of_thread)
        end_record(record);
    pthread_mutex_unlock(&lock);
    for (kl_thread_record *record = list, *next; record; record = next) {
        next = record->next_of_thread;
        free(record);
    }
}

static void make_key(void) {
    key_error = pthread_key_create(&key, end_thread);
}

void kl_thread_domain_open(kl_thread_domain *domain, uint32_t record_bytes,
                           int32_t (*begin)(kl_thread_domain *, kl_thread_record *),
                           void (*end)(kl_thread_domain *, kl_thread_record *)) {
    /* relaxed: a number, and nothing is concluded from it. */
    uint64_t serial = atomic_fetch_add_explicit(&last_serial, 1, memory_order_relaxed) + 1;
    uint32_t bytes = (record_bytes + KL_LINE_BYTES - 1) / KL_LINE_BYTES * KL_LINE_BYTES;
    *domain = (kl_thread_domain){
        .serial = serial, .record_bytes = bytes, .begin = begin, .end = end, .records = NULL};
}

void kl_thread_domain_close(kl_thread_domain *domain) {
    pthread_mutex_lock(&lock);
    while (domain->records) end_record(domain->records);
    domain->serial = CLOSED; /* no record has it: who comes too late finds `refuse` */
    domain->begin = refuse;
    pthread_mutex_unlock(&lock);
}

void kl_thread_domain_each(kl_thread_domain *domain,
                           void (*visit)(void *argument, kl_thread_record *record),
                           void *argument) {
    pthread_mutex_lock(&lock);
    for (kl_thread_record *record = domain->records; record; record = record->next_of_domain)
        visit(argument, record);
    pthread_mutex_unlock(&lock);
}

/* Takes the records of closed domains out of the calling thread's list and frees them. */
static kl_thread_record *without_closed(kl_thread_record *list) {
    kl_thread_record **link = &list;
    while (*link) {
        kl_thread_record *record = *link;
        if (record->domain) {
            link = &record->next_of_thread;
            continue;
        }
        *link = record->next_of_thread;
        for (uint32_t at = 0; at < KL_THREAD_RECORDS_CACHED; at++)
            if (kl_thread_records[at] == record) kl_thread_records[at] = NULL;
        free(record);
    }
    return list;
}

/* Under the lock. NULL with kl_fail. */
static kl_thread_record *make_record(kl_thread_domain *domain, kl_thread_record *list) {
    kl_thread_record *record = aligned_alloc(KL_LINE_BYTES, domain->record_bytes);
    if (!record) {
        kl_fail(KL_ERR_MEMORY, "no memory for a thread's record");
        return NULL;
    }
    memset(record, 0, domain->record_bytes);
    record->domain = domain;
    record->next_of_thread = list;
    if (pthread_setspecific(key, record) != 0) {
        kl_fail(KL_ERR_MEMORY, "no memory for a thread's record");
    } else if (domain->begin(domain, record) == KL_OK) {
        record->next_of_domain = domain->records;
        domain->records = record;
        set_serial(record, domain->serial);
        return record;
    } else {
        pthread_setspecific(key, list);
    }
    free(record);
    return NULL;
}

kl_thread_record *kl_thread_record_find(kl_thread_domain *domain, bool make) {
    pthread_once(&key_once, make_key);
    if (key_error != 0) {
        kl_fail_errno(KL_ERR_LIMIT, key_error, "no thread-specific key is left");
        return NULL;
    }
    pthread_mutex_lock(&lock);
    kl_thread_record *list = without_closed(pthread_getspecific(key));
    kl_thread_record *record = list;
    while (record && !is_of(record, domain)) record = record->next_of_thread;
    if (record || !make)
        pthread_setspecific(key, list);
    else
        record = make_record(domain, list);
    pthread_mutex_unlock(&lock);
    if (record) kl_thread_records[domain->serial % KL_THREAD_RECORDS_CACHED] = record;
    return record;
}

int32_t kl_thread_record_leave(kl_thread_domain *domain) {
    kl_thread_record *record = kl_thread_record_find(domain, false);
    if (!record) return KL_ERR_NOT_FOUND;
    pthread_mutex_lock(&lock);
    end_record(record);
    pthread_mutex_unlock(&lock);
    return KL_OK;
}
