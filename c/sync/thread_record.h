/* thread_record: what one thread keeps for one domain (an epoch, an rcu, hazards), found in a few
 * instructions and given back when the thread ends.
 *
 *   record     made by its thread at the first use of a domain; read and written by that thread, by
 *              the domain under the lock below, and freed by its thread only
 *   serial     of the domain, 0 once the domain is closed; written under the lock
 *   lists      of a domain's records and of a thread's: under the lock, one for the process
 *
 * Always: a record belongs to one thread and one domain, and a thread has at most one of each
 * domain. `end` is called once for each record that `begin` made: by its thread when that ends
 * (normally, by pthread_exit, cancelled, or as a terminated Worker), or when the domain is closed.
 * Serials are never used twice, so what is left of a closed domain means no other.
 * A thread that uses more than KL_THREAD_RECORDS_CACHED domains in turn looks through a list.
 * Progress: here is wait-free for a thread that has a record; the rest takes the lock for a few
 * instructions and those of begin and end. Not for use in a child of fork.
 *
 * May these run at the same time, on one domain?  here  each  close
 *                                          here   yes   yes   no
 *                                          each   yes   yes   no
 *                                          close  no    no    no
 * The end of a thread may overlap all of them.
 */
#ifndef KL_SYNC_THREAD_RECORD_H
#define KL_SYNC_THREAD_RECORD_H

#include <stdatomic.h>

#include "base/status.h"

#define KL_THREAD_RECORDS_CACHED 8u /* a power of two */

typedef struct kl_thread_record kl_thread_record;
typedef struct kl_thread_domain kl_thread_domain;

/* The first member of what a domain keeps per thread. */
struct kl_thread_record {
    _Atomic uint64_t serial;
    kl_thread_domain *domain;
    kl_thread_record *next_of_thread;
    kl_thread_record *next_of_domain;
};

struct kl_thread_domain {
    uint64_t serial;
    uint32_t record_bytes;
    /* Both under the lock: they use no domain and block for a few instructions only. */
    int32_t (*begin)(kl_thread_domain *domain, kl_thread_record *record); /* KL_OK, or no record */
    void (*end)(kl_thread_domain *domain, kl_thread_record *record);
    kl_thread_record *records;
};

/* Records are zeroed, line-aligned blocks of `record_bytes`, handed to `begin`. */
void kl_thread_domain_open(kl_thread_domain *domain, uint32_t record_bytes,
                           int32_t (*begin)(kl_thread_domain *, kl_thread_record *),
                           void (*end)(kl_thread_domain *, kl_thread_record *));

/* Ends all of its records. No thread uses the domain any more. */
void kl_thread_domain_close(kl_thread_domain *domain);

/* Calls `visit` for each record, under the lock. */
void kl_thread_domain_each(kl_thread_domain *domain,
                           void (*visit)(void *argument, kl_thread_record *record), void *argument);

/* Ends the calling thread's record, if it has one; KL_ERR_NOT_FOUND. */
int32_t kl_thread_record_leave(kl_thread_domain *domain);

/* The calling thread's record, made now when `make`; NULL: it has none, or (with kl_fail) there was
 * no memory or `begin` refused. */
kl_thread_record *kl_thread_record_find(kl_thread_domain *domain, bool make);

/* initial-exec: two instructions instead of a call into the loader; 64 bytes of the little room that
 * the loader keeps for libraries that are opened late. */
extern _Thread_local __attribute__((tls_model("initial-exec")))
kl_thread_record *kl_thread_records[KL_THREAD_RECORDS_CACHED];

static inline kl_thread_record *kl_thread_record_here(kl_thread_domain *domain) {
    kl_thread_record *record = kl_thread_records[domain->serial % KL_THREAD_RECORDS_CACHED];
    /* relaxed: only this thread's own domains are compared, and those are not being closed. */
    if (__builtin_expect(record != NULL &&
                             atomic_load_explicit(&record->serial, memory_order_relaxed) ==
                                 domain->serial,
                         1))
        return record;
    return kl_thread_record_find(domain, true);
}

#endif
