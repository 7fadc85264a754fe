/* ordered_lock: locks that are taken in an order, and a checker that says when they are not.
 *
 * Locks of one purpose form a class with a name and a rank. A thread may block for a lock only while
 * all it holds is of lower rank; of the same class (only) by growing key; rank 0 means: no rank.
 * The checker, when it is on, looks at every acquisition before it blocks, and besides ranks keeps
 * a graph of classes: an edge A -> B for "B was acquired while A was held". An acquisition that would
 * close a cycle is reported when the second order is met for the first time, by whichever thread,
 * even though nothing deadlocks, with the sites of both orders.
 *
 *   classes      added under the checker's mutex, read by everybody; never changed or removed
 *   edges        one bit for each pair, set under the mutex, read without
 *   edge sites, reports, totals   under the mutex
 *   thread       what a thread holds and its own counts; written by that thread only
 *
 * Always: a violation is counted and reported, and the acquisition goes on as if nothing had been
 * said. The counts are exact once the threads stand still: one acquisition for each lock or
 * successful try_lock, one violation for each pair of a held lock and an acquired one that breaks
 * a rule. Reported in full is the first of each kind and pair of classes. The graph stays free of
 * cycles: an edge that would close one is not added.
 * Rules, by kind: RANK lower than one held; EQUAL rank of another class; KEY not above one held of
 * its class; AGAIN this very lock is held and its class is not recursive (the caller then waits for
 * itself); CYCLE against the graph; DEPTH more than KL_ORDER_DEPTH_MAX held (acquired, but from there
 * on not looked at). try_lock cannot deadlock: it breaks no rule and adds no edge from what is held,
 * but what it got is held, and counts for what comes after. Release in any order.
 * Processes: the graph and the reports are of one process. Ranks hold between processes when they
 * agree on them (sync/ordered_lock_handle keeps them with the lock).
 * Off (the default): one relaxed load of a flag that nobody writes, for each call. On: no locked
 * instruction and no system call, unless an edge is new or a rule is broken.
 * Progress: that of the lock beneath. Death: the checker is not shared between processes.
 * Source: Linux, Documentation/locking/lockdep-design.rst; FreeBSD witness(4).
 *
 * May these run at the same time?  any with any; unlock is the owner's only. Turning the checker on or
 * off while locks are held is allowed: what was acquired before is unknown to it.
 */
#ifndef KL_SYNC_ORDERED_LOCK_H
#define KL_SYNC_ORDERED_LOCK_H

#include "sync/mutex.h"
#include "sync/sleep_lock.h"
#include "sync/ticket_lock.h"

#define KL_ORDER_CLASSES_MAX    128u
#define KL_ORDER_DEPTH_MAX      16u
#define KL_ORDER_REPORTS_MAX    64u
#define KL_ORDER_NAME_BYTES_MAX 63u

#define KL_ORDER_TEXT_(x)  #x
#define KL_ORDER_TEXT(x)   KL_ORDER_TEXT_(x)
#define KL_ORDER_HERE      (__FILE__ ":" KL_ORDER_TEXT(__LINE__)) /* the site of a call */
#define KL_ORDER_RECURSIVE 1u /* flag of a class: who holds a lock may take it again */

enum kl_order_kind {
    KL_ORDER_RANK,
    KL_ORDER_EQUAL,
    KL_ORDER_KEY,
    KL_ORDER_AGAIN,
    KL_ORDER_CYCLE,
    KL_ORDER_DEPTH,
    KL_ORDER_KINDS
};

/* A broken rule. Sites are "file:line" or whatever the caller gave; never NULL. The earlier ones are
 * of the edge that leads from `acquired` towards `held`; "" but for a CYCLE. */
typedef struct {
    uint32_t kind;
    uint32_t held, acquired; /* classes */
    const char *held_site, *acquired_site;
    const char *earlier_held_site, *earlier_acquired_site;
    uint64_t held_key, acquired_key;
} kl_order_report;

typedef struct {
    uint64_t acquired; /* by lock and try_lock, recursive ones included */
    uint64_t tried;    /* of these by try_lock */
    uint64_t released;
    uint64_t violations[KL_ORDER_KINDS];
    uint64_t edges;
    uint32_t classes;
    uint32_t depth_max;
} kl_order_counts;

/* Finds or makes a class: its number (> 0), KL_ERR_EXISTS (the name has another rank or flags),
 * KL_ERR_LIMIT, KL_ERR_ARGUMENT (name of 1 to KL_ORDER_NAME_BYTES_MAX bytes). */
int32_t kl_order_class(const char *name, uint32_t rank, uint32_t flags);
const char *kl_order_class_name(uint32_t number); /* "?" for a number of none */

/* Off costs nothing; on begins with nothing held, and keeps the graph and the counts. */
void kl_order_check(bool on);
kl_order_counts kl_order_count(void);
/* The index-th report since the process began: KL_OK, KL_ERR_NOT_FOUND (not so many, or more than
 * KL_ORDER_REPORTS_MAX newer ones). */
int32_t kl_order_report_at(uint64_t index, kl_order_report *out);
uint64_t kl_order_reports(void);
/* Called for every report, on the thread that broke the rule, before it blocks. NULL: nobody. */
void kl_order_on_report(void (*tell)(const kl_order_report *report));
/* Forgets edges, counts and reports; classes stay. For tests. Nobody may lock meanwhile. */
void kl_order_reset(void);

/* ---- locks ---- */

enum kl_ordered_lock_kind {
    KL_ORDERED_MUTEX = 1,
    KL_ORDERED_TICKET = 2, /* of a recursive class */
    KL_ORDERED_SLEEP = 3,
    KL_ORDERED_BARE_TICKET = 4
};

/* A lock and its place in the order. Of one process; its fields are for this unit only. */
typedef struct {
    void *lock;
    kl_region *region;
    uint64_t key;
    uint64_t ticket; /* of a sleep lock: written by its owner */
    uint32_t kind;
    uint32_t class_number;
    uint32_t depth;               /* of a recursive one: written by its owner */
    _Atomic(const void *) holder; /* of a recursive one: means the owner's thread */
} kl_ordered_lock;

void kl_ordered_lock_of_mutex(kl_ordered_lock *ordered, kl_mutex *mutex, kl_region *region,
                              uint32_t class_number, uint64_t key);
void kl_ordered_lock_of_ticket(kl_ordered_lock *ordered, kl_ticket_lock *lock,
                               uint32_t class_number, uint64_t key);
void kl_ordered_lock_of_sleep(kl_ordered_lock *ordered, kl_sleep_lock *lock, uint32_t class_number,
                              uint64_t key);

extern _Atomic uint32_t kl_order_is_on; /* by kl_order_check only */

static inline bool kl_order_checks(void) {
    /* relaxed: no partner; whoever turns it on says itself from when on. */
    return __builtin_expect(atomic_load_explicit(&kl_order_is_on, memory_order_relaxed) != 0, 0);
}

/* What the checker is told. `id` names the lock (its address, or a number that is its alone). */
void kl_order_before(const void *id, uint32_t class_number, uint64_t key, const char *site);
void kl_order_acquired(const void *id, uint32_t class_number, uint64_t key, const char *site,
                       bool tried);
void kl_order_released(const void *id);
/* Whether kl_order_before would add an edge or report something; it does neither. */
bool kl_order_is_new(const void *id, uint32_t class_number, uint64_t key);
/* Says later where a lock that this thread holds was acquired. */
void kl_order_set_site(const void *id, const char *site);

/* What lock, try_lock and unlock do but for the shortest way. */
int32_t kl_ordered_lock_lock_any(kl_ordered_lock *ordered, uint64_t timeout_ns, const char *site);
int32_t kl_ordered_lock_try_lock_any(kl_ordered_lock *ordered, const char *site);
int32_t kl_ordered_lock_unlock_any(kl_ordered_lock *ordered);

/* Nothing is to be done but what the ticket lock beneath does. */
static inline bool kl_ordered_lock_is_bare(const kl_ordered_lock *ordered) {
    return ordered->kind == KL_ORDERED_BARE_TICKET && !kl_order_checks();
}

/* As the lock beneath: KL_OK, KL_OWNER_DEAD (mutex, sleep lock), KL_ERR_TIMEOUT (not the ticket
 * lock, which takes no timeout), KL_ERR_*. */
static inline int32_t kl_ordered_lock_lock(kl_ordered_lock *ordered, uint64_t timeout_ns,
                                           const char *site) {
    if (!kl_ordered_lock_is_bare(ordered))
        return kl_ordered_lock_lock_any(ordered, timeout_ns, site);
    kl_ticket_lock_lock(ordered->lock);
    return KL_OK;
}

static inline int32_t kl_ordered_lock_try_lock(kl_ordered_lock *ordered, const char *site) {
    return kl_ordered_lock_is_bare(ordered) ? kl_ticket_lock_try_lock(ordered->lock)
                                            : kl_ordered_lock_try_lock_any(ordered, site);
}

static inline int32_t kl_ordered_lock_unlock(kl_ordered_lock *ordered) {
    if (!kl_ordered_lock_is_bare(ordered)) return kl_ordered_lock_unlock_any(ordered);
    kl_ticket_lock_unlock(ordered->lock);
    return KL_OK;
}

#endif
