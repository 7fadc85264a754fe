/* explorer_state: what the parts of the explorer share. All of it lies in one mapping of its own, outside
 * of the program's data, which is put back before each execution.
 *
 *   explorer.c         the search: choices, sleep sets, threads, verdicts
 *   explorer_reduce.c  which alternatives have to be tried at all
 *   explorer_memory.c  the three memory models
 *   explorer_plain.c   plain accesses: races, freed memory, undoing what statics became
 *   explorer_fakes.c   the world outside: futexes, clocks, regions, mutexes, malloc
 *   explorer_mutate.c  weakening the orders of c/ one at a time */
#ifndef KL_TESTS_MODEL_EXPLORER_STATE_H
#define KL_TESTS_MODEL_EXPLORER_STATE_H

#include <setjmp.h>

#include "tests/c/model/explorer.h"
#include "tests/c/model/hooked/atomics.h"

#undef __builtin_ia32_pause

#define MAIN             KL_MODEL_THREADS_MAX /* the thread of setup and finally */
#define THREADS          (KL_MODEL_THREADS_MAX + 1)
#define LOCATIONS_MAX    256u
#define MESSAGES_MAX     4096u /* in one execution */
#define LOCATION_HISTORY 512u
#define BUFFERED_MAX     64u
#define STACK_BYTES      (64u * 1024)
#define CHOICES_MAX      8192u /* in one execution */
#define SITES_MAX        1024u
#define EVENTS_MAX       4096u
#define MUTEXES_MAX      32u

/* What a thread knows: of each location the oldest message it may still read, of each thread the
 * steps that happened before. */
typedef struct {
    uint32_t count; /* locations beyond are at 0 */
    uint16_t clock[THREADS];
    uint32_t at[LOCATIONS_MAX];
} view;

typedef struct {
    uint64_t value;
    uint32_t place;  /* in the location's modification order: the timestamp */
    uint32_t serial; /* order of creation, of all messages */
    bool of_change;  /* by a read-modify-write: nothing comes between it and the one before */
    bool in_memory;  /* the value is what memory holds: written by plain accesses */
    view seen;       /* what an acquiring reader learns */
} message;

typedef struct {
    uintptr_t address;
    uint32_t bytes;
    uint32_t count;
    uint16_t history[LOCATION_HISTORY];
    struct {
        uint32_t serial, times; /* the outdated message a thread keeps reading */
    } repeated[THREADS];
} location;

enum step_kind {
    STEP_NONE,
    STEP_ATOMIC,
    STEP_WAIT,
    STEP_WAKE,
    STEP_ALIVE,
    STEP_LOCK,
    STEP_UNLOCK,
    STEP_JOIN,
    STEP_HEAVY,
    STEP_PAUSE,
};

/* A step: what a thread is about to do, or has done. */
typedef struct {
    uint8_t kind;
    uint8_t order, order_failed;
    bool reads, writes; /* of `address`, as others can see */
    bool fences;        /* is a seq_cst fence */
    bool queues;        /* of sleepers on `address`, besides */
    bool kills;
    bool everything;  /* commutes with nothing */
    bool needs_drain; /* TSO: waits until the thread's buffer is empty */
    uint32_t bytes;
    uintptr_t address;
    kl_hook_site *site;
} step;

enum thread_state { T_UNUSED, T_READY, T_ASLEEP, T_WOKEN, T_ENDED, T_DIED };

typedef struct {
    uint8_t state;
    bool yielded, timed, timed_out, spurious;
    uint32_t steps, idle_reads;
    step pending;
    void *stack, *saved;
    view now, acquired, released;
    uint64_t deadline_ns;
    uint64_t asleep_since;
    uint32_t buffered;
    uint16_t stores;
    struct {
        uintptr_t address;
        uint32_t bytes;
        uint64_t value;
        uint16_t clock[THREADS];
        uint16_t number;
        kl_hook_site *site;
    } buffer[BUFFERED_MAX];
    struct {
        uintptr_t address;
        uint64_t value;
    } last_reads[8];
} thread;

/* The plain memory that a step touches after its atomic operation: a bit for each granule, hashed. */
#define FOOTPRINT_WORDS 8u
typedef struct {
    uint64_t reads[FOOTPRINT_WORDS], writes[FOOTPRINT_WORDS];
} footprint;

/* Transitions: RUN + t, DRAIN + t, KILL + t, TIMEOUT + t. */
enum { RUN = 0, DRAIN = 8, KILL = 16, TIMEOUT = 24 };

typedef struct {
    bool is_data;
    uint32_t at, count;            /* data: the choice of how many */
    uint32_t enabled, sleep, done; /* schedule: masks of transitions */
    uint32_t todo;                 /* those to try */
    uint32_t event;                /* number of the step that is chosen, or chooses */
    uint32_t current;              /* transition */
    uint32_t fresh[THREADS];       /* of RUN + t: only messages from this serial on are new */
    footprint plain[THREADS];      /* of RUN + t, where it was tried or sleeps */
} choice;

typedef struct {
    uint8_t transition;
    bool failed; /* of a compare-exchange */
    step what;
    uint64_t read, written;
    uint32_t behind; /* messages newer than the one read, or than the one written */
} event;

#define PROCESSES 16u /* RUN + t and DRAIN + t */

/* A step of this execution as the reduction sees it. */
typedef struct {
    step done;
    footprint plain;
    uint8_t transition, process;
    uint16_t stored;   /* number of the store that went into, or came out of, the buffer */
    uint16_t woken_by; /* number of the step that woke the thread before this one */
    uint32_t choice;
    uint16_t clock[PROCESSES]; /* of each process, the number of its last step before this */
} traced;

typedef struct {
    uintptr_t address;
    uint32_t owner; /* thread + 1 */
    view seen;
} mutex;

typedef struct {
    const kl_model *model;
    uint32_t memory; /* of kl_model_memory */
    bool running;    /* between the start of setup and the end of finally */
    bool threads_run;
    bool random;
    uint64_t random_state;
    uint32_t current; /* thread */
    thread threads[THREADS];
    void *main_saved;
    jmp_buf failed;
    char failure[1024];
    bool blocked; /* this execution is a repetition of another */

    choice choices[CHOICES_MAX];
    uint32_t depth, length; /* in the replay; of the recorded part */
    uint32_t fresh;         /* of the step that runs */
    uint32_t child_sleep, child_fresh[THREADS];
    footprint child_plain[THREADS], plain; /* `plain`: of the step that runs */
    step done;                             /* the step just taken */
    uint32_t last_transition, preemptions, deaths;
    uint64_t now_ns, sleeps;
    event events[EVENTS_MAX];
    uint32_t event_count;

    bool full; /* without the reduction */
    traced trace[EVENTS_MAX];
    uint32_t first_new; /* steps before are those of the last execution */
    uint16_t last_of[PROCESSES], woken_by[8], stored;

    uint32_t location_count, message_count, serial;
    location locations[LOCATIONS_MAX];
    uint16_t location_of[1024]; /* hash of addresses: index + 1 */
    message messages[MESSAGES_MAX];
    view fence; /* what the order of all seq_cst operations makes known */
    mutex mutexes[MUTEXES_MAX];
    bool died[THREADS];

    uint64_t executions, repetitions;
    struct {
        const char *what;
        bool seen;
    } expected[16];

    uint32_t site_count;
    kl_hook_site sites[SITES_MAX + 1];
    uint8_t site_orders[SITES_MAX + 1][2];
    uint8_t weakened[SITES_MAX + 1][2]; /* order + 1 instead; 0: as written */
    bool touched[SITES_MAX + 1];
} explorer_state;

extern explorer_state *kl_explorer;
#define X (*kl_explorer)

/* ---- explorer.c ---- */
void kl_explorer_step(const step *next); /* the running thread waits for its turn */
void kl_explorer_switch_out(void);       /* to the scheduler */
uint32_t kl_explorer_choose(uint32_t count);
event *kl_explorer_event(void); /* of the step that runs */
_Noreturn void kl_explorer_block(void);
_Noreturn void kl_explorer_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* 0: held under this memory; 1: failed (X.failure); 2: too many executions. */
int kl_explorer_search(const kl_model *model, uint32_t memory);
extern kl_model *kl_explorer_models;
uint32_t kl_explorer_number(kl_hook_site *site);
void kl_explorer_print_schedule(void);
bool kl_explorer_active(const volatile void *address); /* whether its accesses are steps */

bool kl_explorer_commutes(const step *done, const step *next);
bool kl_explorer_commute_plainly(const footprint *done, const footprint *next);

/* ---- explorer_reduce.c ---- */
void kl_explorer_begin_choice(choice *made);
void kl_explorer_trace(uint32_t transition, uint32_t choice_index);
void kl_explorer_note_outcome(void);

/* ---- explorer_memory.c ---- */
void kl_explorer_memory_reset(void);
void kl_explorer_thread_begins(uint32_t index);
void kl_explorer_learn(view *to, const view *from);
void kl_explorer_thread_learns(uint32_t index, const view *from);
void kl_explorer_seq_cst_fence(uint32_t index);
void kl_explorer_drain(uint32_t index);
void kl_explorer_drain_own(uintptr_t address, uint32_t bytes);
uint64_t kl_explorer_read_word(uintptr_t address, uint32_t bytes);
void kl_explorer_kernel_read(uintptr_t address, uint32_t bytes, uint64_t *value);
void kl_explorer_plain_write_over(uintptr_t address, size_t bytes);

/* ---- explorer_plain.c ---- */
void kl_explorer_plain_reset(void);
void kl_explorer_undo_statics(void);
void kl_explorer_remember(uintptr_t address, size_t bytes);
void kl_explorer_has_location(uintptr_t address);
void kl_explorer_atomic_access(uintptr_t address, uint32_t bytes, bool writes);
bool kl_explorer_is_quiet(uintptr_t address);
bool kl_explorer_in_arena(const void *memory);
void *kl_explorer_alloc(size_t bytes, size_t alignment);
void kl_explorer_free(void *memory);
const char *kl_explorer_describe(uintptr_t address);

/* ---- explorer_fakes.c ---- */
void kl_explorer_world_reset(void);
bool kl_explorer_lock_is_free(uintptr_t address);

/* ---- explorer_mutate.c ---- */
int kl_explorer_mutate(void);

#endif
