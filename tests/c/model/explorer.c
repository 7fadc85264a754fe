#include "tests/c/model/explorer.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/c/model/explorer_state.h"

#define EXECUTIONS_MAX  400000u
#define STEPS_MAX       400u
#define IDLE_READS_MAX  6u
#define ALL_RUNS        0x1fu
#define ALL_DRAINS      (ALL_RUNS << DRAIN)
#define ALL_KILLS       (ALL_RUNS << KILL)
#define BIT(transition) (1u << (transition))

explorer_state *kl_explorer;
kl_model *kl_explorer_models;

/* ---- threads: stacks that are switched by hand ---- */

#if defined(__x86_64__)
/* Saves what a call preserves on the old stack, its pointer in *from, and goes on at `to`. */
void kl_explorer_jump(void **from, void *to);
__asm__(".text\n"
        ".globl kl_explorer_jump\n"
        ".hidden kl_explorer_jump\n"
        ".type kl_explorer_jump, @function\n"
        "kl_explorer_jump:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size kl_explorer_jump, . - kl_explorer_jump\n");

static void *fresh_stack(void *stack, void (*begin)(void)) {
    uintptr_t *top = (uintptr_t *)((char *)stack + STACK_BYTES);
    *--top = 0; /* begin() does not return; its stack is aligned as after a call */
    *--top = (uintptr_t)begin;
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    return top;
}
#else
#include <ucontext.h>
static ucontext_t contexts[THREADS + 1];

/* The pointers hold addresses of contexts: the threads' and, last, the scheduler's. */
static void kl_explorer_jump(void **from, void *to) {
    ucontext_t *here = from == &X.main_saved ? &contexts[THREADS] : &contexts[X.current];
    *from = here;
    swapcontext(here, to);
}

static void *fresh_stack(void *stack, void (*begin)(void)) {
    ucontext_t *context = &contexts[0];
    while (X.threads[context - contexts].stack != stack) context++;
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = STACK_BYTES;
    context->uc_link = NULL;
    makecontext(context, begin, 0);
    return context;
}
#endif

static void make_state(void) {
    if (kl_explorer) return;
    int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    kl_explorer = mmap(NULL, sizeof *kl_explorer, protection, flags, -1, 0);
    if (kl_explorer == MAP_FAILED) abort();
    for (uint32_t i = 0; i < THREADS; i++) {
        char *stack = mmap(NULL, STACK_BYTES + 4096, protection, flags, -1, 0);
        if (stack == MAP_FAILED || mprotect(stack, 4096, PROT_NONE) != 0) abort();
        X.threads[i].stack = stack + 4096;
    }
}

static void thread_body(void) {
    X.model->threads[X.current]();
    X.threads[X.current].state = T_ENDED;
    kl_explorer_switch_out();
    abort();
}

void kl_explorer_switch_out(void) {
    thread *self = &X.threads[X.current];
    kl_explorer_jump(&self->saved, X.main_saved);
}

/* Lets a thread run until its next step. */
static void switch_in(uint32_t index) {
    X.current = index;
    kl_explorer_jump(&X.main_saved, X.threads[index].saved);
    X.current = MAIN;
}

void kl_explorer_step(const step *next) {
    if (X.current == MAIN) {
        X.done = *next;
        return;
    }
    thread *self = &X.threads[X.current];
    self->pending = *next;
    self->state = T_READY;
    kl_explorer_switch_out();
    X.done = self->pending;
}

/* ---- choices ---- */

static uint64_t random_number(void) {
    X.random_state ^= X.random_state << 13;
    X.random_state ^= X.random_state >> 7;
    X.random_state ^= X.random_state << 17;
    return X.random_state * 0x2545f4914f6cdd1du >> 32;
}

_Noreturn void kl_explorer_block(void) {
    X.blocked = true;
    longjmp(X.failed, 1);
}

static choice *new_choice(void) {
    if (X.length == CHOICES_MAX) kl_explorer_fail("more than %u choices", CHOICES_MAX);
    choice *made = &X.choices[X.length++];
    memset(made, 0, sizeof *made);
    return made;
}

static uint32_t choose(uint32_t count) {
    if (count <= 1) return 0;
    if (X.random) return (uint32_t)(random_number() % count);
    if (X.depth == X.length) {
        choice *made = new_choice();
        made->is_data = true;
        made->count = count;
        made->event = X.event_count > 0 ? X.event_count - 1 : 0;
    }
    choice *here = &X.choices[X.depth++];
    if (!here->is_data || here->count != count)
        kl_explorer_fail("the scenario is not the same when repeated (choice of %u, was %u)", count,
                         here->count);
    return here->at;
}

uint32_t kl_explorer_choose(uint32_t count) {
    return X.current == MAIN ? 0 : choose(count);
}

uint32_t kl_model_choose(uint32_t count) {
    return choose(count);
}

/* Whether `next` could be swapped with the step just done without a difference. */
bool kl_explorer_commutes(const step *done, const step *next) {
    if (done->everything || next->everything) return false;
    bool overlap =
        done->address < next->address + next->bytes && next->address < done->address + done->bytes;
    if ((done->kills && next->queues) || (done->queues && next->kills)) return false;
    if (overlap && (done->writes || next->writes || (done->queues && next->queues))) return false;
    if (X.memory != KL_MODEL_RA) return true;
    bool done_sc = done->fences || done->order == memory_order_seq_cst;
    bool next_sc = next->fences || next->order == memory_order_seq_cst;
    return !(done->fences && next_sc) && !(next->fences && done_sc);
}

/* A load that is asleep and meets a store to its word: only the new message is news. */
static bool is_plain_load(const step *next) {
    return X.memory == KL_MODEL_RA && next->kind == STEP_ATOMIC && next->reads && !next->writes &&
           next->order != memory_order_seq_cst;
}

/* The same for what they do to plain memory. */
bool kl_explorer_commute_plainly(const footprint *done, const footprint *next) {
    uint64_t both = 0;
    for (uint32_t i = 0; i < FOOTPRINT_WORDS; i++)
        both |= (done->writes[i] & (next->reads[i] | next->writes[i])) |
                (done->reads[i] & next->writes[i]);
    return both == 0;
}

static const step *pending_of(uint32_t transition, step *made) {
    uint32_t t = transition & 7;
    memset(made, 0, sizeof *made);
    if ((transition & ~7u) == RUN) return &X.threads[t].pending;
    if ((transition & ~7u) == DRAIN) {
        made->address = X.threads[t].buffer[0].address;
        made->bytes = X.threads[t].buffer[0].bytes;
    } else {
        made->kills = true; /* a sleeper, perhaps, whom nobody wakes then */
        made->address = (uintptr_t)&X.died;
        made->bytes = sizeof X.died;
    }
    made->writes = true;
    return made;
}

/* What sleeps after the step `current` from this choice: all that was tried here or slept here and
 * commutes with it. */
static void pass_sleep_on(const choice *here, uint32_t serial_before) {
    static const footprint nothing;
    uint32_t sleeping = (here->sleep | here->done) & ~BIT(here->current), t = here->current & 7;
    X.child_sleep = 0;
    memset(X.child_fresh, 0, sizeof X.child_fresh);
    for (uint32_t u = 0; u < THREADS; u++) {
        bool partly = here->fresh[u] != 0 && (sleeping & BIT(RUN + u)) == 0;
        if (!partly || u == t) continue;
        const step *next = &X.threads[u].pending;
        X.child_plain[u] = here->plain[u];
        if (!kl_explorer_commute_plainly(&X.plain, &here->plain[u])) continue;
        if (kl_explorer_commutes(&X.done, next) || (is_plain_load(next) && !X.done.everything))
            X.child_fresh[u] = here->fresh[u];
    }
    for (uint32_t left = sleeping; left != 0; left &= left - 1) {
        uint32_t other = (uint32_t)__builtin_ctz(left), u = other & 7;
        bool both_of_one = u == t && ((other | here->current) & DRAIN) == 0;
        if (both_of_one) continue; /* run and kill */
        step made;
        const step *next = pending_of(other, &made);
        const footprint *plain = other == RUN + u ? &here->plain[u] : &nothing;
        X.child_plain[u] = here->plain[u];
        if (!kl_explorer_commute_plainly(&X.plain, plain)) continue;
        if (kl_explorer_commutes(&X.done, next))
            X.child_sleep |= BIT(other);
        else if (other == RUN + u && is_plain_load(next) && X.done.kind == STEP_ATOMIC &&
                 X.done.writes)
            X.child_fresh[u] = serial_before;
    }
}

/* Goes to the next execution not yet seen; false: there is none. */
static bool advance(void) {
    for (; X.length > 0; X.length--) {
        choice *last = &X.choices[X.length - 1];
        X.first_new = last->event;
        if (last->is_data) {
            if (++last->at < last->count) return true;
            continue;
        }
        last->done |= BIT(last->current);
        uint32_t left = last->todo & ~last->sleep & ~last->done;
        if (left == 0) continue;
        last->current = (uint32_t)__builtin_ctz(left);
        return true;
    }
    return false;
}

/* ---- scheduling ---- */

/* Whether the stores that a step makes others do have reached memory: those of everybody, for a heavy
 * fence; those of the dead, for who finds them dead. */
static bool has_arrived(const thread *t) {
    for (uint32_t i = 0; i < MAIN; i++) {
        bool concerned = t->pending.kind == STEP_HEAVY ||
                         (X.died[i] && t->pending.address == (uintptr_t)&X.died[i]);
        if (concerned && X.threads[i].buffered > 0) return false;
    }
    return true;
}

static bool is_ready(uint32_t index) {
    const thread *t = &X.threads[index];
    if (t->state != T_READY) return false;
    if (t->pending.needs_drain && t->buffered > 0) return false;
    if (t->pending.kind == STEP_LOCK) return kl_explorer_lock_is_free(t->pending.address);
    if (t->pending.kind == STEP_ALIVE || t->pending.kind == STEP_HEAVY) return has_arrived(t);
    if (t->pending.kind != STEP_JOIN) return true;
    uint8_t state = X.threads[t->pending.address].state;
    return state == T_ENDED || state == T_DIED || state == T_UNUSED;
}

static uint32_t enabled_transitions(void) {
    uint32_t all = 0, eager = 0, drains = 0, kills = 0;
    uint32_t deaths_max = X.model->deaths_max ? X.model->deaths_max : 1;
    for (uint32_t i = 0; i < MAIN; i++) {
        thread *t = &X.threads[i];
        if (is_ready(i)) {
            all |= BIT(RUN + i);
            if (!t->yielded) eager |= BIT(RUN + i);
        }
        if (t->buffered > 0) drains |= BIT(DRAIN + i);
        bool lives = t->state == T_READY || t->state == T_ASLEEP;
        if (lives && (X.model->kill & BIT(i)) && X.deaths < deaths_max) kills |= BIT(KILL + i);
    }
    if ((eager | drains) != 0) return eager | drains | kills;
    if (all == 0) return 0;
    X.now_ns += 1000000; /* everybody only waits: time passes */
    for (uint32_t i = 0; i < MAIN; i++) X.threads[i].yielded = false;
    return all | kills;
}

/* Nobody can go on: the earliest timeouts are next, or this is the end, or a failure. */
static uint32_t timeouts(void) {
    uint32_t earliest = 0, forever = 0;
    uint64_t deadline_ns = UINT64_MAX;
    for (uint32_t i = 0; i < MAIN; i++) {
        const thread *t = &X.threads[i];
        if (t->state == T_READY) forever |= BIT(i);
        if (t->state != T_ASLEEP) continue;
        if (!t->timed) {
            forever |= BIT(i);
        } else if (t->deadline_ns <= deadline_ns) {
            if (t->deadline_ns < deadline_ns) earliest = 0;
            deadline_ns = t->deadline_ns;
            earliest |= BIT(TIMEOUT + i);
        }
    }
    if (earliest == 0 && forever == 0) return 0;
    uint32_t who = earliest ? earliest >> TIMEOUT : forever;
    int index = __builtin_ctz(who);
    if (earliest == 0)
        kl_explorer_fail("deadlock: thread %d waits for something that nobody will do", index);
    if (!X.model->timeouts_are_fine && X.deaths == 0)
        kl_explorer_fail("lost wake-up: thread %d sleeps, and only its timeout will end that",
                         index);
    return earliest;
}

static uint32_t pick_at_random(uint32_t enabled) {
    uint32_t calm = enabled & ~ALL_KILLS, kills = enabled & ALL_KILLS;
    if (kills != 0 && random_number() % 32 == 0) calm = kills;
    if ((calm & BIT(X.last_transition)) && random_number() % 2) return X.last_transition;
    uint32_t nth = (uint32_t)(random_number() % (uint32_t)__builtin_popcount(calm));
    for (; nth > 0; nth--) calm &= calm - 1;
    return (uint32_t)__builtin_ctz(calm);
}

/* Those that a bound on preemptions leaves. */
static uint32_t within_bound(uint32_t enabled) {
    uint32_t last = X.last_transition;
    bool forced = X.model->preemptions != 0 && X.preemptions + 1 >= X.model->preemptions &&
                  last < MAIN && (enabled & BIT(last)) != 0;
    return forced ? enabled & ~(ALL_RUNS & ~BIT(last)) : enabled;
}

static choice *pick(uint32_t enabled) {
    static choice at_random;
    enabled = within_bound(enabled);
    if (X.random) {
        at_random = (choice){.enabled = enabled, .current = pick_at_random(enabled)};
        return &at_random;
    }
    if (X.depth == X.length) {
        choice *made = new_choice();
        made->enabled = enabled;
        if (X.model->preemptions == 0) {
            made->sleep = X.child_sleep;
            memcpy(made->fresh, X.child_fresh, sizeof made->fresh);
            memcpy(made->plain, X.child_plain, sizeof made->plain);
        }
        uint32_t left = enabled & ~made->sleep;
        if (left == 0) {
            X.length--;
            kl_explorer_block();
        }
        made->current =
            left & BIT(X.last_transition) ? X.last_transition : (uint32_t)__builtin_ctz(left);
        kl_explorer_begin_choice(made);
    }
    choice *here = &X.choices[X.depth++];
    if (here->is_data || here->enabled != enabled)
        kl_explorer_fail("the scenario is not the same when repeated");
    return here;
}

event *kl_explorer_event(void) {
    static event nowhere;
    return X.event_count > 0 && X.threads_run ? &X.events[X.event_count - 1] : &nowhere;
}

static void log_event(uint32_t transition, const step *what) {
    if (X.event_count == EVENTS_MAX) kl_explorer_fail("more than %u steps", EVENTS_MAX);
    X.events[X.event_count++] = (event){.transition = (uint8_t)transition, .what = *what};
}

static void die(uint32_t index) {
    X.threads[index].state = T_DIED;
    X.died[index] = true;
    X.deaths++;
}

static void execute(choice *here) {
    uint32_t transition = here->current, t = transition & 7, before = X.serial;
    thread *self = &X.threads[t];
    step made;
    X.done = *pending_of(transition, &made);
    memset(&X.plain, 0, sizeof X.plain);
    X.stored = 0;
    log_event(transition, &X.done);
    if (transition < MAIN && transition != X.last_transition && X.last_transition < MAIN &&
        (here->enabled & BIT(X.last_transition)))
        X.preemptions++;
    switch (transition & ~7u) {
    case RUN:
        if (++self->steps > (X.model->steps_max ? X.model->steps_max : STEPS_MAX))
            kl_explorer_fail("thread %u takes more than %u steps: a loop without end", t,
                             self->steps - 1);
        X.fresh = here->fresh[t];
        switch_in(t);
        for (uint32_t i = 0; i < FOOTPRINT_WORDS; i++) {
            here->plain[t].reads[i] |= X.plain.reads[i];
            here->plain[t].writes[i] |= X.plain.writes[i];
        }
        break;
    case DRAIN: kl_explorer_drain(t); break;
    case KILL: die(t); break;
    default:
        X.now_ns = self->deadline_ns;
        self->timed_out = true;
        self->state = T_WOKEN;
        X.done.everything = true;
    }
    X.fresh = 0;
    if ((transition & ~7u) == RUN || (transition & ~7u) == DRAIN) X.last_transition = transition;
    if (transition >= MAIN || X.done.writes || X.done.kind != STEP_ATOMIC || self->state != T_READY)
        for (uint32_t u = 0; u < MAIN; u++)
            if (u != t) X.threads[u].yielded = false;
    for (uint32_t u = 0; u < MAIN; u++)
        while (X.threads[u].state == T_WOKEN) {
            X.woken_by[u] = (uint16_t)X.event_count;
            footprint own = X.plain; /* what the woken does now is its own, before its next step */
            switch_in(u);
            X.plain = own;
        }
    if (!X.random) kl_explorer_trace(transition, (uint32_t)(here - X.choices));
    if (!X.random && X.depth == X.length) pass_sleep_on(here, before);
}

/* ---- one execution ---- */

static void reset(void) {
    X.failure[0] = 0;
    X.blocked = X.threads_run = false;
    X.current = MAIN;
    X.depth = X.fresh = X.child_sleep = X.preemptions = X.deaths = X.event_count = 0;
    X.last_transition = MAIN;
    X.now_ns = 1000000000000u;
    X.sleeps = 0;
    memset(X.child_fresh, 0, sizeof X.child_fresh);
    memset(X.last_of, 0, sizeof X.last_of);
    memset(X.woken_by, 0, sizeof X.woken_by);
    memset(X.died, 0, sizeof X.died);
    for (uint32_t i = 0; i < THREADS; i++) {
        thread *t = &X.threads[i];
        t->state = i < MAIN && X.model->threads[i] ? T_READY : T_UNUSED;
        t->yielded = t->timed = t->timed_out = t->spurious = false;
        t->steps = t->idle_reads = t->buffered = t->stores = 0;
        memset(t->last_reads, 0, sizeof t->last_reads);
    }
    kl_explorer_memory_reset();
    kl_explorer_plain_reset();
    kl_explorer_world_reset();
}

static void run_threads(void) {
    X.threads_run = true;
    for (uint32_t i = 0; i < MAIN; i++)
        if (X.threads[i].state == T_READY) kl_explorer_thread_begins(i);
    for (uint32_t i = 0; i < MAIN; i++) {
        thread *t = &X.threads[i];
        if (t->state != T_READY) continue;
        t->saved = fresh_stack(t->stack, thread_body);
        switch_in(i);
    }
    for (;;) {
        uint32_t enabled = enabled_transitions();
        if (enabled == 0) enabled = timeouts();
        if (enabled == 0) break;
        execute(pick(enabled));
    }
    X.threads_run = false;
    for (uint32_t i = 0; i < MAIN; i++)
        if (X.threads[i].state != T_UNUSED) kl_explorer_thread_learns(MAIN, &X.threads[i].now);
}

/* False: failed, with words in X.failure. */
static bool run_once(void) {
    reset();
    if (setjmp(X.failed) == 0) {
        X.running = true;
        if (X.model->setup) X.model->setup();
        run_threads();
        if (X.model->finally) X.model->finally();
    }
    X.running = false;
    X.current = MAIN;
    kl_explorer_undo_statics();
    return X.blocked || X.failure[0] == 0;
}

_Noreturn void kl_explorer_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(X.failure, sizeof X.failure, format, arguments);
    va_end(arguments);
    X.blocked = false;
    longjmp(X.failed, 1);
}

void kl_model_fail(const char *file, int line, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!kl_explorer || !X.running) {
        kl_test_fail(file, line, "%s", text);
        return;
    }
    kl_explorer_fail("%s:%d: %s", file, line, text);
}

/* ---- the search ---- */

static void on_crash(int signal, siginfo_t *info, void *context) {
    (void)context;
    if (X.running) kl_explorer_fail("crashed (signal %d) at address %p", signal, info->si_addr);
    struct sigaction normal = {.sa_handler = SIG_DFL};
    sigaction(signal, &normal, NULL);
}

static int search(void) {
    const kl_model *model = X.model;
    uint64_t most = model->executions_max ? model->executions_max : EXECUTIONS_MAX;
    X.random = false;
    do {
        if (!run_once()) return 1;
        if (X.blocked)
            X.repetitions++;
        else
            X.executions++;
        if (!X.blocked) kl_explorer_note_outcome();
        if (X.executions + X.repetitions / 4 >= most && model->random == 0) return 2;
        if (X.executions + X.repetitions / 4 >= most) break;
        if (!advance()) return 0;
    } while (true);
    X.random = true;
    for (uint64_t i = 0; i < model->random; i++) {
        X.random_state = (kl_test_seed() + i) * 0x9e3779b97f4a7c15u | 1;
        if (!run_once()) return 1;
        X.executions++;
    }
    return 0;
}

int kl_explorer_search(const kl_model *model, uint32_t memory) {
    static char signal_stack[32768];
    struct sigaction ours = {.sa_sigaction = on_crash,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    struct sigaction before[2];
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    make_state();
    X.model = model;
    X.memory = memory;
    X.length = X.first_new = 0;
    X.full = getenv("KEELSON_MODEL_FULL") != NULL;
    X.executions = X.repetitions = 0;
    memset(X.expected, 0, sizeof X.expected);
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &ours, &before[0]);
    sigaction(SIGBUS, &ours, &before[1]);
    int result = search();
    sigaction(SIGSEGV, &before[0], NULL);
    sigaction(SIGBUS, &before[1], NULL);
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    return result;
}

/* ---- what scenarios call ---- */

void kl_model_register(kl_model *model) {
    kl_model **last = &kl_explorer_models;
    while (*last) last = &(*last)->next;
    *last = model;
}

int32_t kl_model_thread(void) {
    return X.current == MAIN ? -1 : (int32_t)X.current;
}

bool kl_model_died(uint32_t index) {
    return index < MAIN && X.died[index];
}

void kl_model_kill(uint32_t index) {
    if (index >= MAIN || X.died[index]) return;
    die(index);
    if (index == X.current) {
        kl_explorer_event()->failed = true;
        kl_explorer_switch_out();
    }
}

void kl_model_join(uint32_t index) {
    if (X.current == MAIN || index >= MAIN) return;
    kl_explorer_step(&(step){.kind = STEP_JOIN, .address = index});
    kl_explorer_thread_learns(X.current, &X.threads[index].now);
}

void kl_model_pause(void) {
    if (X.current != MAIN) kl_explorer_step(&(step){.kind = STEP_PAUSE});
}

void kl_model_expect(const char *what, bool seen) {
    for (uint32_t i = 0; i < sizeof X.expected / sizeof *X.expected; i++) {
        if (X.expected[i].what && strcmp(X.expected[i].what, what) != 0) continue;
        X.expected[i].what = what;
        X.expected[i].seen |= seen;
        return;
    }
}

/* ---- verdicts ---- */

static const char *memory_name(uint32_t memory) {
    return memory == KL_MODEL_SC ? "SC" : memory == KL_MODEL_TSO ? "TSO" : "RA";
}

static const char *order_name(uint8_t order) {
    static const char *const names[] = {"relaxed", "consume", "acquire",
                                        "release", "acq_rel", "seq_cst"};
    return order < 6 ? names[order] : "?";
}

static void print_atomic(const event *e) {
    static const char *const names[KL_HOOK_OP_COUNT] = {"load",    "store",   "exchange", "add",
                                                        "sub",     "or",      "and",      "xor",
                                                        "compare", "compare", "fence"};
    const kl_hook_site *site = e->what.site;
    printf("%s:%u %s: %s(%s)", site->file, site->line, site->function, names[site->op],
           order_name(e->what.order));
    if (site->op == KL_HOOK_FENCE) return;
    printf(" %s", kl_explorer_describe(e->what.address));
    if (site->op != KL_HOOK_STORE) printf(" reads %llu", (unsigned long long)e->read);
    if (e->behind > 0) printf(" (%u newer)", e->behind);
    if (e->failed)
        printf(" and fails");
    else if (site->op != KL_HOOK_LOAD)
        printf(" writes %llu", (unsigned long long)e->written);
}

void kl_explorer_print_schedule(void) {
    static const char *const names[] = {"goes on",           "",      "sleeps on", "wakes",
                                        "asks after a life", "locks", "unlocks",   "joins",
                                        "heavy fence",       "pauses"};
    for (uint32_t i = 0; i < X.event_count; i++) {
        const event *e = &X.events[i];
        printf("#   %3u  thread %u  ", i + 1, e->transition & 7u);
        uint32_t kind = e->transition & ~7u;
        if (kind == DRAIN)
            printf("its store to %s reaches memory", kl_explorer_describe(e->what.address));
        else if (kind == KILL)
            printf("dies");
        else if (kind == TIMEOUT)
            printf("times out");
        else if (e->what.kind == STEP_ATOMIC)
            print_atomic(e);
        else
            printf("%s %s", names[e->what.kind],
                   e->what.bytes ? kl_explorer_describe(e->what.address) : "");
        printf("\n");
    }
}

static void judge(const kl_model *model, uint32_t memory, int result) {
    unsigned long long executions = X.executions, repetitions = X.repetitions;
    if (result == 0) {
        printf("# %s under %s: %llu executions%s, %llu cut short as repetitions\n", model->name,
               memory_name(memory), executions,
               X.random             ? ", some at random"
               : model->preemptions ? ", all within the bound"
                                    : ", all there are",
               repetitions);
        for (uint32_t i = 0; i < sizeof X.expected / sizeof *X.expected; i++)
            if (X.expected[i].what && !X.expected[i].seen)
                kl_test_fail(__FILE__, __LINE__, "under %s never seen: %s", memory_name(memory),
                             X.expected[i].what);
        return;
    }
    if (result == 2) {
        kl_test_fail(__FILE__, __LINE__,
                     "under %s more than %llu executions (%llu repetitions): make the scenario "
                     "smaller, or say .random",
                     memory_name(memory), executions, repetitions);
        return;
    }
    printf("# under %s, execution %llu%s:\n", memory_name(memory), executions + repetitions + 1,
           X.random ? " (random)" : "");
    kl_explorer_print_schedule();
    kl_test_fail(__FILE__, __LINE__, "under %s: %s", memory_name(memory), X.failure);
}

void kl_model_explore(const kl_model *model) {
    const char *only = getenv("KEELSON_MODEL");
    uint32_t memories = model->memories ? model->memories : 7;
    for (uint32_t memory = KL_MODEL_SC; memory <= KL_MODEL_RA; memory *= 2) {
        if (!(memories & memory) || (only && strcmp(only, memory_name(memory)) != 0)) continue;
        int result = kl_explorer_search(model, memory);
        judge(model, memory, result);
    }
}

void kl_model_must_fail(const kl_model *model, uint32_t under) {
    const char *only = getenv("KEELSON_MODEL");
    uint32_t memories = model->memories ? model->memories : 7;
    for (uint32_t memory = KL_MODEL_SC; memory <= KL_MODEL_RA; memory *= 2) {
        if (!(memories & memory) || (only && strcmp(only, memory_name(memory)) != 0)) continue;
        int result = kl_explorer_search(model, memory);
        if (!(under & memory)) {
            judge(model, memory, result);
            continue;
        }
        if (result != 1)
            kl_test_fail(__FILE__, __LINE__, "holds under %s (%llu executions), but is wrong",
                         memory_name(memory), (unsigned long long)X.executions);
        printf("# %s fails under %s as it should, after %llu executions: %s\n", model->name,
               memory_name(memory), (unsigned long long)X.executions, X.failure);
    }
}
