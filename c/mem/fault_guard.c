#include "mem/fault_guard.h"

#include "base/cpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint32_t version;
    _Atomic uint32_t poisoned;
    _Atomic uintptr_t start; /* 0: never used */
    _Atomic uintptr_t end;
    _Atomic uintptr_t shared_word;
    _Atomic uint64_t first_offset;
    _Atomic uint32_t faults;
    uint32_t live;       /* under the mutex */
    uint64_t removed_at; /* under the mutex: orders the removed entries */
} guard_entry;

static_assert(sizeof(guard_entry) == KL_LINE_BYTES, "one line per entry");

static guard_entry entries[KL_FAULT_RANGES_MAX];
static _Atomic uint32_t entry_count; /* entries ever used; only grows */

static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t removals;

static struct sigaction former; /* under the mutex, while our handler is not installed */
static uintptr_t page_bytes;

/* A copy of what the handler needs of one entry. */
typedef struct {
    guard_entry *entry;
    uintptr_t start, end, shared_word;
} guard_range;

/* False when the entry is being rewritten. Then its old range is long unused and its new one is
 * not in use yet, so it cannot be the one that is looked for. */
static bool read_entry(guard_entry *entry, guard_range *out) {
    /* acquire: each keeps the next load behind it; partners are the releases in write_entry(). */
    uint32_t before = atomic_load_explicit(&entry->version, memory_order_acquire);
    out->entry = entry;
    out->start = atomic_load_explicit(&entry->start, memory_order_acquire);
    out->end = atomic_load_explicit(&entry->end, memory_order_acquire);
    out->shared_word = atomic_load_explicit(&entry->shared_word, memory_order_acquire);
    uint32_t after = atomic_load_explicit(&entry->version, memory_order_relaxed);
    return before == after && (before & 1) == 0 && out->start != 0;
}

static void write_entry(guard_entry *entry, uintptr_t start, uintptr_t end, uintptr_t shared_word) {
    uint32_t version = atomic_load_explicit(&entry->version, memory_order_relaxed);
    atomic_store_explicit(&entry->version, version + 1, memory_order_relaxed);
    /* release: each stays behind the store before it; partners are in read_entry(). */
    atomic_store_explicit(&entry->start, start, memory_order_release);
    atomic_store_explicit(&entry->end, end, memory_order_release);
    atomic_store_explicit(&entry->shared_word, shared_word, memory_order_release);
    atomic_store_explicit(&entry->poisoned, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->faults, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->first_offset, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->version, version + 2, memory_order_release);
}

/* Sets a word that may lie on a page that is gone as well: the kernel does the OR, and answers
 * EFAULT where a store would fault again. */
static void set_shared_word(uintptr_t address) {
    uint32_t nobody = 0;
    if (address == 0) return;
    syscall(SYS_futex, &nobody, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, NULL, address,
            FUTEX_OP(FUTEX_OP_OR, 1, FUTEX_OP_CMP_EQ, 0));
}

/* The bare system call: the only form that is certainly free of locks. */
static bool map_zeros(uintptr_t start, uintptr_t end) {
    long flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    return syscall(SYS_mmap, start, end - start, (long)(PROT_READ | PROT_WRITE), flags, -1l, 0l) >=
           0;
}

static bool replace_pages(const guard_range *range, uintptr_t address) {
    uintptr_t page = address & ~(page_bytes - 1);
    uintptr_t last = (range->end + page_bytes - 1) & ~(page_bytes - 1);
    uint32_t fault = atomic_fetch_add_explicit(&range->entry->faults, 1, memory_order_relaxed);
    if (fault == 0)
        atomic_store_explicit(&range->entry->first_offset, address - range->start,
                              memory_order_relaxed);
    /* release, and before the zeros are there: who read a zero finds the range poisoned. */
    atomic_store_explicit(&range->entry->poisoned, 1, memory_order_release);
    set_shared_word(range->shared_word);
    if (fault < KL_FAULT_PAGES_MAX && map_zeros(page, page + page_bytes)) return true;
    return map_zeros(page, last);
}

static bool absorb(uintptr_t address) {
    /* acquire: partner is the release in kl_fault_guard_add(). */
    uint32_t count = atomic_load_explicit(&entry_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        guard_range range;
        if (!read_entry(&entries[i], &range)) continue;
        if (address < range.start || address >= range.end) continue;
        return replace_pages(&range, address);
    }
    return false;
}

static void call_former(int signal_number, siginfo_t *info, void *context) {
    sigset_t mask = former.sa_mask, saved;
    if ((former.sa_flags & SA_NODEFER) == 0) sigaddset(&mask, signal_number);
    pthread_sigmask(SIG_BLOCK, &mask, &saved);
    if ((former.sa_flags & SA_SIGINFO) != 0) {
        former.sa_sigaction(signal_number, info, context);
    } else {
        former.sa_handler(signal_number);
    }
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

static void on_sigbus(int signal_number, siginfo_t *info, void *context) {
    int saved_errno = errno;
    bool is_fault = info->si_code > 0; /* else sent by kill() and the like */
    if (is_fault && absorb((uintptr_t)info->si_addr)) {
        errno = saved_errno;
        return;
    }
    bool has_handler = (former.sa_flags & SA_SIGINFO) != 0 ||
                       (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN);
    if (has_handler) {
        call_former(signal_number, info, context);
    } else if (is_fault || former.sa_handler == SIG_DFL) {
        /* Die as if there were no handler: a fault by repeating itself, with its own address in
         * the core file. An ignored fault kills too; that is the kernel's rule. */
        struct sigaction standard = {.sa_handler = SIG_DFL};
        sigaction(signal_number, &standard, NULL);
        if (!is_fault) raise(signal_number);
    }
    errno = saved_errno;
}

/* Under the mutex. Once, except where someone has set the signal back to its default since, as a
 * child does between fork and exec. A handler that was put over ours is left alone. */
static int32_t install(void) {
    struct sigaction now;
    if (page_bytes == 0) page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (sigaction(SIGBUS, NULL, &now) != 0)
        return kl_fail_errno(KL_ERR_UNSUPPORTED, errno, "cannot ask for the SIGBUS handler");
    if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_sigbus) return KL_OK;
    bool is_plain = (now.sa_flags & SA_SIGINFO) == 0 &&
                    (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN);
    if (atomic_load_explicit(&entry_count, memory_order_relaxed) > 0 && !is_plain) return KL_OK;
    former = now;
    /* NODEFER: a fault inside the handler must be handled, not kill. */
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART};
    ours.sa_sigaction = on_sigbus;
    sigemptyset(&ours.sa_mask);
    if (sigaction(SIGBUS, &ours, NULL) != 0)
        return kl_fail_errno(KL_ERR_UNSUPPORTED, errno, "cannot install a SIGBUS handler");
    return KL_OK;
}

/* A place never used, else the one removed longest ago; -1: all are live. */
static int32_t find_place(void) {
    uint32_t count = atomic_load_explicit(&entry_count, memory_order_relaxed);
    if (count < KL_FAULT_RANGES_MAX) return (int32_t)count;
    int32_t oldest = -1;
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].live) continue;
        if (oldest < 0 || entries[i].removed_at < entries[oldest].removed_at) oldest = (int32_t)i;
    }
    return oldest;
}

/* Under the mutex. */
static int32_t add_entry(uintptr_t start, size_t bytes, uintptr_t shared_word) {
    int32_t place = find_place();
    if (place < 0)
        return kl_fail(KL_ERR_LIMIT, "%u regions are open in this process, the most there can be",
                       KL_FAULT_RANGES_MAX);
    write_entry(&entries[place], start, start + bytes, shared_word);
    entries[place].live = 1;
    uint32_t count = atomic_load_explicit(&entry_count, memory_order_relaxed);
    /* release: partner is the acquire in absorb(); publishes the entry. */
    if ((uint32_t)place == count)
        atomic_store_explicit(&entry_count, count + 1, memory_order_release);
    return place;
}

int32_t kl_fault_guard_add(void *start, size_t bytes, _Atomic uint32_t *shared_word) {
    pthread_mutex_lock(&table_mutex);
    int32_t status = install();
    if (status == KL_OK) status = add_entry((uintptr_t)start, bytes, (uintptr_t)shared_word);
    pthread_mutex_unlock(&table_mutex);
    return status;
}

void kl_fault_guard_remove(int32_t entry) {
    pthread_mutex_lock(&table_mutex);
    KL_ASSERT(entries[entry].live == 1);
    entries[entry].live = 0;
    entries[entry].removed_at = ++removals;
    pthread_mutex_unlock(&table_mutex);
}

void kl_fault_guard_poison(int32_t entry) {
    atomic_store_explicit(&entries[entry].poisoned, 1, memory_order_release);
    set_shared_word(atomic_load_explicit(&entries[entry].shared_word, memory_order_relaxed));
}

const _Atomic uint32_t *kl_fault_guard_flag(int32_t entry) {
    return &entries[entry].poisoned;
}

uint32_t kl_fault_guard_faults(int32_t entry, uint64_t *first_offset) {
    *first_offset = atomic_load_explicit(&entries[entry].first_offset, memory_order_relaxed);
    return atomic_load_explicit(&entries[entry].faults, memory_order_relaxed);
}
