#include "sync/ordered_lock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WORDS (KL_ORDER_CLASSES_MAX / 64)

static_assert(KL_ORDER_CLASSES_MAX % 64 == 0, "a row of edges is whole words");

typedef struct {
    char name[KL_ORDER_NAME_BYTES_MAX + 1];
    uint32_t rank, flags;
} order_class;

typedef struct {
    const void *id;
    const char *site;
    uint64_t key;
    uint32_t class_number;
    uint32_t depth; /* how often, of a recursive class */
} held_lock;

/* One thread. `generation`: of the checker, when `held` was right. */
typedef struct thread_state {
    struct thread_state *next, **link;
    uint32_t generation;
    uint32_t count;
    _Atomic uint64_t acquired, tried, released;
    _Atomic uint32_t depth_max;
    held_lock held[KL_ORDER_DEPTH_MAX];
} thread_state;

_Atomic uint32_t kl_order_is_on; /* 0, or the generation: how often it was turned on */

/* Class numbers begin at 1; row and column are number - 1. */
static order_class classes[KL_ORDER_CLASSES_MAX];
static _Atomic uint32_t class_count;
static _Atomic uint64_t edges[KL_ORDER_CLASSES_MAX][WORDS];
/* Everything below is guarded by the mutex. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const char *held, *acquired;
} edge_sites[KL_ORDER_CLASSES_MAX][KL_ORDER_CLASSES_MAX];
static uint64_t reported[KL_ORDER_KINDS][KL_ORDER_CLASSES_MAX][WORDS];
static kl_order_report reports[KL_ORDER_REPORTS_MAX];
static uint64_t report_count;
static kl_order_counts totals; /* of threads that ended, and what is counted here */
static thread_state *threads;
static uint32_t generations;

/* The tellers may be set at any time; each report reads it once. */
static _Atomic(void (*)(const kl_order_report *)) teller;

static _Thread_local thread_state *own __attribute__((tls_model("initial-exec")));
static pthread_key_t own_key; /* this and has_key: under the mutex until it is true */
static bool has_key;

/* ---- classes ---- */

static const order_class *class_of(uint32_t number) {
    static const order_class none = {.name = "?"};
    /* acquire: partner is the release in kl_order_class. */
    uint32_t count = atomic_load_explicit(&class_count, memory_order_acquire);
    return number >= 1 && number <= count ? &classes[number - 1] : &none;
}

const char *kl_order_class_name(uint32_t number) {
    return class_of(number)->name;
}

static int32_t find_or_add_class(const char *name, uint32_t rank, uint32_t flags) {
    /* relaxed: under the mutex. */
    uint32_t count = atomic_load_explicit(&class_count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(classes[i].name, name) != 0) continue;
        if (classes[i].rank == rank && classes[i].flags == flags) return (int32_t)i + 1;
        return kl_fail(KL_ERR_EXISTS, "the lock class %s has rank %u, not %u", name,
                       classes[i].rank, rank);
    }
    if (count == KL_ORDER_CLASSES_MAX)
        return kl_fail(KL_ERR_LIMIT, "all %u lock classes are taken", KL_ORDER_CLASSES_MAX);
    memcpy(classes[count].name, name, strlen(name) + 1); /* checked by kl_order_class */
    classes[count].rank = rank;
    classes[count].flags = flags;
    /* release: partner is the acquire in class_of. */
    atomic_store_explicit(&class_count, count + 1, memory_order_release);
    return (int32_t)count + 1;
}

int32_t kl_order_class(const char *name, uint32_t rank, uint32_t flags) {
    size_t bytes = name ? strlen(name) : 0;
    if (bytes == 0 || bytes > KL_ORDER_NAME_BYTES_MAX || (flags & ~KL_ORDER_RECURSIVE) != 0)
        return kl_fail(KL_ERR_ARGUMENT, "a lock class has a name of 1 to %u bytes, not %zu",
                       KL_ORDER_NAME_BYTES_MAX, bytes);
    pthread_mutex_lock(&mutex);
    int32_t number = find_or_add_class(name, rank, flags);
    pthread_mutex_unlock(&mutex);
    return number;
}

/* ---- threads ---- */

static uint64_t own_count(_Atomic uint64_t *count) {
    return atomic_load_explicit(count, memory_order_relaxed); /* a number alone; no partner */
}

static void raise_own(_Atomic uint64_t *count) {
    /* relaxed, no read-modify-write: one writer. */
    atomic_store_explicit(count, own_count(count) + 1, memory_order_relaxed);
}

static void add_counts(kl_order_counts *sum, thread_state *thread) {
    sum->acquired += own_count(&thread->acquired);
    sum->tried += own_count(&thread->tried);
    sum->released += own_count(&thread->released);
    uint32_t depth = atomic_load_explicit(&thread->depth_max, memory_order_relaxed); /* as above */
    if (depth > sum->depth_max) sum->depth_max = depth;
}

static void end_of_thread(void *pointer) {
    thread_state *thread = pointer;
    pthread_mutex_lock(&mutex);
    add_counts(&totals, thread);
    *thread->link = thread->next;
    if (thread->next) thread->next->link = thread->link;
    pthread_mutex_unlock(&mutex);
    own = NULL;
    free(thread);
}

static bool make_key(void) {
    pthread_mutex_lock(&mutex);
    if (!has_key) has_key = pthread_key_create(&own_key, end_of_thread) == 0;
    bool made = has_key;
    pthread_mutex_unlock(&mutex);
    return made;
}

/* NULL: no memory; the thread is not looked at. */
static thread_state *begin_thread(void) {
    bool has_own_key = make_key();
    thread_state *thread = calloc(1, sizeof *thread);
    if (!thread) return NULL;
    if (!has_own_key || pthread_setspecific(own_key, thread) != 0) {
        free(thread);
        return NULL;
    }
    pthread_mutex_lock(&mutex);
    thread->next = threads;
    thread->link = &threads;
    if (threads) threads->link = &thread->next;
    threads = thread;
    pthread_mutex_unlock(&mutex);
    own = thread;
    return thread;
}

/* The calling thread, with what it holds since the checker was turned on; NULL when it is off. */
static thread_state *enter(void) {
    thread_state *thread = own;
    if (__builtin_expect(thread == NULL, 0)) thread = begin_thread();
    uint32_t generation = atomic_load_explicit(&kl_order_is_on, memory_order_relaxed); /* a hint */
    if (!thread || generation == 0) return NULL;
    if (__builtin_expect(thread->generation != generation, 0)) {
        thread->generation = generation;
        thread->count = 0;
    }
    return thread;
}

static held_lock *find(thread_state *thread, const void *id) {
    for (uint32_t i = thread->count; i-- > 0;) /* the newest first; at most KL_ORDER_DEPTH_MAX */
        if (thread->held[i].id == id) return &thread->held[i];
    return NULL;
}

/* ---- rules ---- */

static bool has_edge(uint32_t from, uint32_t to) {
    /* relaxed: a bit that is not seen yet is looked up under the mutex. */
    uint64_t row = atomic_load_explicit(&edges[from - 1][(to - 1) / 64], memory_order_relaxed);
    return (row >> ((to - 1) % 64) & 1) != 0;
}

/* Under the mutex: the class after `from` on a way to `to`; 0: there is no way. */
static uint32_t way_to(uint32_t from, uint32_t to) {
    uint8_t came_from[KL_ORDER_CLASSES_MAX] = {0}; /* the step out of `from`, by class - 1 */
    uint8_t todo[KL_ORDER_CLASSES_MAX];
    uint32_t first = 0, last = 0, count = atomic_load_explicit(&class_count, memory_order_relaxed);
    for (uint32_t next = 1; next <= count; next++) {
        if (!has_edge(from, next)) continue;
        came_from[next - 1] = (uint8_t)next;
        todo[last++] = (uint8_t)next;
    }
    while (first < last) { /* every class comes once */
        uint32_t at = todo[first++];
        if (at == to) return came_from[at - 1];
        for (uint32_t next = 1; next <= count; next++) {
            if (came_from[next - 1] != 0 || !has_edge(at, next)) continue;
            came_from[next - 1] = came_from[at - 1];
            todo[last++] = (uint8_t)next;
        }
    }
    return 0;
}

static_assert(KL_ORDER_CLASSES_MAX <= UINT8_MAX, "a class fits a byte");

/* The rule that acquiring a lock of `class_number` while `held` breaks, without the graph. */
static int32_t broken_rule(const held_lock *held, const void *id, uint32_t class_number,
                           uint64_t key) {
    if (held->id == id) return KL_ORDER_AGAIN;
    if (held->class_number == class_number) return key > held->key ? -1 : KL_ORDER_KEY;
    uint32_t rank = classes[class_number - 1].rank,
             held_rank = classes[held->class_number - 1].rank;
    if (rank == 0 || held_rank == 0 || rank > held_rank) return -1;
    return rank == held_rank ? KL_ORDER_EQUAL : KL_ORDER_RANK;
}

/* Under the mutex: counts, and writes the report of the first of its kind. Whether it did. */
static bool record(kl_order_report *report) {
    totals.violations[report->kind]++;
    uint32_t from = report->held - 1, to = report->acquired - 1;
    uint64_t bit = 1ull << (to % 64), *row = &reported[report->kind][from][to / 64];
    if (*row & bit) return false;
    *row |= bit;
    uint32_t next = report->kind == KL_ORDER_CYCLE ? way_to(report->acquired, report->held) : 0;
    report->earlier_held_site = next ? edge_sites[to][next - 1].held : "";
    report->earlier_acquired_site = next ? edge_sites[to][next - 1].acquired : "";
    reports[report_count++ % KL_ORDER_REPORTS_MAX] = *report;
    return true;
}

static const char *or_unknown(const char *site) {
    return site ? site : "?";
}

/* The slow half: a broken rule (kind >= 0), or an edge that is not known yet. */
static void settle(int32_t kind, const held_lock *held, uint32_t class_number, uint64_t key,
                   const char *site) {
    uint32_t from = held->class_number - 1, to = class_number - 1;
    kl_order_report report = {.held = held->class_number,
                              .acquired = class_number,
                              .held_site = or_unknown(held->site),
                              .acquired_site = or_unknown(site),
                              .held_key = held->key,
                              .acquired_key = key};
    bool told = false;
    pthread_mutex_lock(&mutex);
    if (kind < 0 && way_to(class_number, held->class_number) != 0) kind = KL_ORDER_CYCLE;
    if (kind >= 0) {
        report.kind = (uint32_t)kind;
        told = record(&report);
    } else if (!has_edge(held->class_number, class_number)) {
        edge_sites[from][to].held = report.held_site;
        edge_sites[from][to].acquired = report.acquired_site;
        totals.edges++;
        /* relaxed: who reads the bit early or late only comes here once more. */
        atomic_fetch_or_explicit(&edges[from][to / 64], 1ull << (to % 64), memory_order_relaxed);
    }
    pthread_mutex_unlock(&mutex);
    /* acquire: partner is the release in kl_order_on_report. */
    void (*tell)(const kl_order_report *) = atomic_load_explicit(&teller, memory_order_acquire);
    if (told && tell) tell(&report);
}

static bool is_class(uint32_t number) {
    return number >= 1 && number <= KL_ORDER_CLASSES_MAX;
}

static bool is_recursive(uint32_t class_number) {
    return (classes[class_number - 1].flags & KL_ORDER_RECURSIVE) != 0;
}

void kl_order_before(const void *id, uint32_t class_number, uint64_t key, const char *site) {
    thread_state *thread = enter();
    if (!thread || !is_class(class_number)) return;
    if (is_recursive(class_number) && find(thread, id)) return;
    for (uint32_t i = 0; i < thread->count; i++) {
        const held_lock *held = &thread->held[i];
        int32_t kind = broken_rule(held, id, class_number, key);
        if (__builtin_expect(kind >= 0, 0) ||
            (held->class_number != class_number &&
             __builtin_expect(!has_edge(held->class_number, class_number), 0)))
            settle(kind, held, class_number, key, site);
    }
}

bool kl_order_is_new(const void *id, uint32_t class_number, uint64_t key) {
    thread_state *thread = enter();
    if (!thread || !is_class(class_number)) return false;
    if (is_recursive(class_number) && find(thread, id)) return false;
    for (uint32_t i = 0; i < thread->count; i++) {
        const held_lock *held = &thread->held[i];
        if (broken_rule(held, id, class_number, key) >= 0) return true;
        if (held->class_number != class_number && !has_edge(held->class_number, class_number))
            return true;
    }
    return false;
}

void kl_order_acquired(const void *id, uint32_t class_number, uint64_t key, const char *site,
                       bool tried) {
    thread_state *thread = enter();
    if (!thread || !is_class(class_number)) return;
    raise_own(&thread->acquired);
    if (tried) raise_own(&thread->tried);
    held_lock *again = is_recursive(class_number) ? find(thread, id) : NULL;
    if (again) {
        again->depth++;
        return;
    }
    if (thread->count == KL_ORDER_DEPTH_MAX) {
        settle(KL_ORDER_DEPTH, &thread->held[thread->count - 1], class_number, key, site);
        return;
    }
    thread->held[thread->count++] =
        (held_lock){.id = id, .site = site, .key = key, .class_number = class_number, .depth = 1};
    if (thread->count > atomic_load_explicit(&thread->depth_max, memory_order_relaxed))
        /* relaxed: one writer; a number alone. */
        atomic_store_explicit(&thread->depth_max, thread->count, memory_order_relaxed);
}

void kl_order_released(const void *id) {
    thread_state *thread = enter();
    if (!thread) return;
    raise_own(&thread->released);
    held_lock *held = find(thread, id);
    if (!held || --held->depth > 0) return; /* not found: from before the checker, or too deep */
    uint32_t index = (uint32_t)(held - thread->held);
    thread->count--;
    for (uint32_t i = index; i < thread->count; i++) thread->held[i] = thread->held[i + 1];
}

void kl_order_set_site(const void *id, const char *site) {
    thread_state *thread = enter();
    held_lock *held = thread ? find(thread, id) : NULL;
    if (held) held->site = site;
}

/* ---- the checker as a whole ---- */

void kl_order_check(bool on) {
    pthread_mutex_lock(&mutex);
    if (on && ++generations == 0) generations = 1;
    /* relaxed: see kl_order_checks. */
    atomic_store_explicit(&kl_order_is_on, on ? generations : 0, memory_order_relaxed);
    pthread_mutex_unlock(&mutex);
}

kl_order_counts kl_order_count(void) {
    pthread_mutex_lock(&mutex);
    kl_order_counts sum = totals;
    sum.classes = atomic_load_explicit(&class_count, memory_order_relaxed); /* under the mutex */
    for (thread_state *thread = threads; thread; thread = thread->next) add_counts(&sum, thread);
    pthread_mutex_unlock(&mutex);
    return sum;
}

uint64_t kl_order_reports(void) {
    pthread_mutex_lock(&mutex);
    uint64_t count = report_count;
    pthread_mutex_unlock(&mutex);
    return count;
}

int32_t kl_order_report_at(uint64_t index, kl_order_report *out) {
    int32_t status = KL_ERR_NOT_FOUND;
    pthread_mutex_lock(&mutex);
    if (index < report_count && report_count - index <= KL_ORDER_REPORTS_MAX) {
        *out = reports[index % KL_ORDER_REPORTS_MAX];
        status = KL_OK;
    }
    pthread_mutex_unlock(&mutex);
    return status;
}

void kl_order_on_report(void (*tell)(const kl_order_report *report)) {
    /* release: partner is the acquire in settle; what the teller uses is ready. */
    atomic_store_explicit(&teller, tell, memory_order_release);
}

void kl_order_reset(void) {
    pthread_mutex_lock(&mutex);
    for (uint32_t from = 0; from < KL_ORDER_CLASSES_MAX; from++)
        for (uint32_t word = 0; word < WORDS; word++)
            atomic_store_explicit(&edges[from][word], 0, memory_order_relaxed); /* nobody locks */
    for (thread_state *thread = threads; thread; thread = thread->next) {
        atomic_store_explicit(&thread->acquired, 0, memory_order_relaxed);
        atomic_store_explicit(&thread->tried, 0, memory_order_relaxed);
        atomic_store_explicit(&thread->released, 0, memory_order_relaxed);
        atomic_store_explicit(&thread->depth_max, 0, memory_order_relaxed);
    }
    memset(reported, 0, sizeof reported);
    memset(&totals, 0, sizeof totals);
    report_count = 0;
    pthread_mutex_unlock(&mutex);
}

/* ---- locks ---- */

/* Its address means the thread. */
static _Thread_local uint8_t thread_mark __attribute__((tls_model("initial-exec")));

static void begin(kl_ordered_lock *ordered, uint32_t kind, void *lock, kl_region *region,
                  uint32_t class_number, uint64_t key) {
    KL_ASSERT(class_of(class_number)->name[0] != '?');
    *ordered = (kl_ordered_lock){
        .lock = lock, .region = region, .key = key, .kind = kind, .class_number = class_number};
}

void kl_ordered_lock_of_mutex(kl_ordered_lock *ordered, kl_mutex *beneath, kl_region *region,
                              uint32_t class_number, uint64_t key) {
    begin(ordered, KL_ORDERED_MUTEX, beneath, region, class_number, key);
}

void kl_ordered_lock_of_ticket(kl_ordered_lock *ordered, kl_ticket_lock *beneath,
                               uint32_t class_number, uint64_t key) {
    bool is_bare = (class_of(class_number)->flags & KL_ORDER_RECURSIVE) == 0;
    begin(ordered, is_bare ? KL_ORDERED_BARE_TICKET : KL_ORDERED_TICKET, beneath, NULL,
          class_number, key);
}

void kl_ordered_lock_of_sleep(kl_ordered_lock *ordered, kl_sleep_lock *beneath,
                              uint32_t class_number, uint64_t key) {
    begin(ordered, KL_ORDERED_SLEEP, beneath, beneath->region, class_number, key);
}

static int32_t lock_sleep(kl_ordered_lock *ordered, uint64_t timeout_ns, bool waiting) {
    kl_sleep_lock *lock = ordered->lock;
    int32_t self = kl_region_thread_join(ordered->region);
    if (self < 0) return self;
    uint64_t ticket;
    int32_t status = waiting ? kl_sleep_lock_lock(lock, (uint32_t)self, &ticket, timeout_ns, NULL)
                             : kl_sleep_lock_try_lock(lock, (uint32_t)self, &ticket);
    if (status >= 0) ordered->ticket = ticket;
    return status;
}

static int32_t lock_beneath(kl_ordered_lock *ordered, uint64_t timeout_ns) {
    switch (ordered->kind) {
    case KL_ORDERED_MUTEX: return kl_mutex_lock(ordered->lock, ordered->region, timeout_ns);
    case KL_ORDERED_TICKET:
    case KL_ORDERED_BARE_TICKET: kl_ticket_lock_lock(ordered->lock); return KL_OK;
    default: return lock_sleep(ordered, timeout_ns, true);
    }
}

static int32_t try_beneath(kl_ordered_lock *ordered) {
    switch (ordered->kind) {
    case KL_ORDERED_MUTEX: return kl_mutex_try_lock(ordered->lock, ordered->region);
    case KL_ORDERED_TICKET:
    case KL_ORDERED_BARE_TICKET: return kl_ticket_lock_try_lock(ordered->lock);
    default: return lock_sleep(ordered, 0, false);
    }
}

static int32_t unlock_beneath(kl_ordered_lock *ordered) {
    switch (ordered->kind) {
    case KL_ORDERED_MUTEX: kl_mutex_unlock(ordered->lock, ordered->region); return KL_OK;
    case KL_ORDERED_TICKET:
    case KL_ORDERED_BARE_TICKET: kl_ticket_lock_unlock(ordered->lock); return KL_OK;
    default: break;
    }
    int32_t self = kl_region_thread_join(ordered->region);
    return self < 0 ? self : kl_sleep_lock_leave(ordered->lock, (uint32_t)self, ordered->ticket);
}

/* Whether the calling thread has this lock, whose class is recursive, already. */
static bool has_already(kl_ordered_lock *ordered) {
    if (!is_recursive(ordered->class_number)) return false;
    /* relaxed: only this thread stores its own mark, and takes it away. */
    return atomic_load_explicit(&ordered->holder, memory_order_relaxed) == &thread_mark;
}

static void begin_holding(kl_ordered_lock *ordered) {
    if (!is_recursive(ordered->class_number)) return;
    ordered->depth = 0;
    /* relaxed: as in has_already. */
    atomic_store_explicit(&ordered->holder, &thread_mark, memory_order_relaxed);
}

static int32_t finish(kl_ordered_lock *ordered, int32_t status, const char *site, bool tried,
                      bool again) {
    if (status < 0) return status;
    if (again)
        ordered->depth++;
    else
        begin_holding(ordered);
    if (kl_order_checks())
        kl_order_acquired(ordered, ordered->class_number, ordered->key, site, tried);
    return status;
}

int32_t kl_ordered_lock_lock_any(kl_ordered_lock *ordered, uint64_t timeout_ns, const char *site) {
    if (kl_order_checks()) kl_order_before(ordered, ordered->class_number, ordered->key, site);
    bool again = has_already(ordered);
    int32_t status = again ? KL_OK : lock_beneath(ordered, timeout_ns);
    return finish(ordered, status, site, false, again);
}

int32_t kl_ordered_lock_try_lock_any(kl_ordered_lock *ordered, const char *site) {
    bool again = has_already(ordered);
    int32_t status = again ? KL_OK : try_beneath(ordered);
    return finish(ordered, status, site, true, again);
}

int32_t kl_ordered_lock_unlock_any(kl_ordered_lock *ordered) {
    if (kl_order_checks()) kl_order_released(ordered);
    if (is_recursive(ordered->class_number)) {
        if (!has_already(ordered)) return KL_ERR_LOCKED;
        if (ordered->depth > 0) {
            ordered->depth--;
            return KL_OK;
        }
        /* relaxed: as in has_already. */
        atomic_store_explicit(&ordered->holder, NULL, memory_order_relaxed);
    }
    return unlock_beneath(ordered);
}
