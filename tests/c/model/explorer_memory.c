/* The memory models: what a load may read, what a store does, what fences pass on. Under SC and TSO
 * the words themselves hold the values, under RA each word has its messages besides. */
#include "tests/c/model/explorer_state.h"

#define OUTDATED_MAX 3u
#define PLACE_STEP   1024u /* room between two messages, for those that come between later */

static bool acquires(int order) {
    return order == memory_order_acquire || order == memory_order_acq_rel ||
           order == memory_order_seq_cst || order == memory_order_consume;
}

static bool releases(int order) {
    return order == memory_order_release || order == memory_order_acq_rel ||
           order == memory_order_seq_cst;
}

/* ---- views ---- */

static uint32_t known(const view *v, uint32_t location) {
    return location < v->count ? v->at[location] : 0;
}

static void know(view *v, uint32_t location, uint32_t place) {
    while (v->count <= location) v->at[v->count++] = 0;
    if (v->at[location] < place) v->at[location] = place;
}

static void learn_clock(uint16_t *to, const uint16_t *from) {
    for (uint32_t i = 0; i < THREADS; i++)
        if (to[i] < from[i]) to[i] = from[i];
}

static void learn_places(view *to, const view *from) {
    for (uint32_t i = 0; i < from->count; i++) know(to, i, from->at[i]);
}

void kl_explorer_learn(view *to, const view *from) {
    learn_clock(to->clock, from->clock);
    learn_places(to, from);
}
static void copy_view(view *to, const view *from) {
    memcpy(to->clock, from->clock, sizeof to->clock);
    memcpy(to->at, from->at, from->count * sizeof *to->at);
    to->count = from->count;
}

static void clear_view(view *v) {
    memset(v->clock, 0, sizeof v->clock);
    v->count = 0;
}

void kl_explorer_thread_learns(uint32_t index, const view *from) {
    kl_explorer_learn(&X.threads[index].now, from);
    kl_explorer_learn(&X.threads[index].acquired, from);
}

void kl_explorer_memory_reset(void) {
    X.location_count = X.message_count = X.serial = 0;
    memset(X.location_of, 0, sizeof X.location_of);
    memset(X.mutexes, 0, sizeof X.mutexes);
    clear_view(&X.fence);
    for (uint32_t i = 0; i < THREADS; i++) {
        clear_view(&X.threads[i].now);
        clear_view(&X.threads[i].acquired);
        clear_view(&X.threads[i].released);
    }
}

void kl_explorer_thread_begins(uint32_t index) {
    kl_explorer_thread_learns(index, &X.threads[MAIN].now);
    X.threads[index].now.clock[index] = 1;
}

/* One's own next plain accesses are not yet known to who learnt what was until now. */
static void tick(thread *self) {
    uint16_t *clock = &self->now.clock[self - X.threads];
    if (++*clock == UINT16_MAX) kl_explorer_fail("too many steps");
}

static void fence(uint32_t index, int order) {
    thread *self = &X.threads[index];
    if (acquires(order)) kl_explorer_learn(&self->now, &self->acquired);
    if (order == memory_order_seq_cst) {
        learn_places(&self->now, &X.fence); /* no happens-before: races stay races */
        copy_view(&X.fence, &self->now);
        learn_places(&self->acquired, &self->now);
    }
    if (releases(order)) copy_view(&self->released, &self->now);
    tick(self);
}

void kl_explorer_seq_cst_fence(uint32_t index) {
    fence(index, memory_order_seq_cst);
}

/* ---- words ---- */

uint64_t kl_explorer_read_word(uintptr_t address, uint32_t bytes) {
    uint64_t value = 0;
    memcpy(&value, (const void *)address, bytes);
    return value;
}

static void write_word(uintptr_t address, uint32_t bytes, uint64_t value) {
    kl_explorer_remember(address, bytes);
    switch (bytes) {
    case 1: *(volatile uint8_t *)address = (uint8_t)value; break;
    case 2: *(volatile uint16_t *)address = (uint16_t)value; break;
    case 4: *(volatile uint32_t *)address = (uint32_t)value; break;
    default: *(volatile uint64_t *)address = value;
    }
}

static uint64_t cut(uint64_t value, uint32_t bytes) {
    return bytes == 8 ? value : value & ((1ull << bytes * 8) - 1);
}

static uint64_t changed(uint32_t op, uint64_t before, uint64_t value, uint32_t bytes) {
    switch (op) {
    case KL_HOOK_ADD: return cut(before + value, bytes);
    case KL_HOOK_SUB: return cut(before - value, bytes);
    case KL_HOOK_OR: return before | value;
    case KL_HOOK_AND: return before & value;
    case KL_HOOK_XOR: return cut(before ^ value, bytes);
    default: return value;
    }
}

/* ---- locations and their messages ---- */

static message *message_at(const location *l, uint32_t nth) {
    return &X.messages[l->history[nth]];
}

static message *new_message(location *l, uint32_t nth, uint32_t place) {
    if (X.message_count == MESSAGES_MAX || l->count == LOCATION_HISTORY)
        kl_explorer_fail("too many stores in one execution");
    memmove(&l->history[nth + 1], &l->history[nth], (l->count - nth) * sizeof *l->history);
    l->history[nth] = (uint16_t)X.message_count;
    l->count++;
    message *made = &X.messages[X.message_count++];
    made->place = place;
    made->serial = ++X.serial;
    made->of_change = made->in_memory = false;
    clear_view(&made->seen);
    return made;
}

static uint16_t *slot_of(uintptr_t address) {
    uint32_t at = (uint32_t)(address * 0x9e3779b97f4a7c15u >> 54);
    while (X.location_of[at] && X.locations[X.location_of[at] - 1].address != address)
        at = (at + 1) % 1024;
    return &X.location_of[at];
}

static location *location_at(uintptr_t address, uint32_t bytes) {
    uint16_t *slot = slot_of(address);
    if (*slot) {
        location *l = &X.locations[*slot - 1];
        if (l->bytes != bytes)
            kl_explorer_fail("%s is accessed with %u bytes and with %u",
                             kl_explorer_describe(address), l->bytes, bytes);
        return l;
    }
    if (X.location_count == LOCATIONS_MAX) kl_explorer_fail("more than %u words", LOCATIONS_MAX);
    location *l = &X.locations[X.location_count++];
    *slot = (uint16_t)X.location_count;
    l->address = address;
    l->bytes = bytes;
    l->count = 0;
    memset(l->repeated, 0, sizeof l->repeated);
    new_message(l, 0, 0)->in_memory = true;
    kl_explorer_has_location(address);
    return l;
}

static uint32_t index_of(const location *l) {
    return (uint32_t)(l - X.locations);
}

static uint64_t value_of(const location *l, const message *m) {
    return m->in_memory ? kl_explorer_read_word(l->address, l->bytes) : m->value;
}

/* Before memory changes: what the last message holds is kept in it. */
static void settle(location *l) {
    message *last = message_at(l, l->count - 1);
    if (!last->in_memory) return;
    last->value = kl_explorer_read_word(l->address, l->bytes);
    last->in_memory = false;
}

void kl_explorer_plain_write_over(uintptr_t address, size_t bytes) {
    for (uint32_t i = 0; i < X.location_count; i++) {
        location *l = &X.locations[i];
        if (l->address >= address + bytes || address >= l->address + l->bytes) continue;
        thread *self = &X.threads[X.current];
        message *last = message_at(l, l->count - 1);
        if (last->in_memory && known(&self->now, i) == last->place) continue;
        settle(l);
        message *made = new_message(l, l->count, last->place + PLACE_STEP);
        made->in_memory = true;
        know(&self->now, i, made->place);
        know(&self->acquired, i, made->place);
    }
}

/* The messages that may be read, the newest first; how many. A thread reads one outdated message
 * OUTDATED_MAX times in a row at most; the kernel, as often as it likes. */
static uint32_t readable(const location *l, int order, bool kernel, uint16_t *out) {
    const thread *self = &X.threads[X.current];
    uint32_t oldest = known(&self->now, index_of(l)), count = 0;
    uint32_t oldest_sc = order == memory_order_seq_cst ? known(&X.fence, index_of(l)) : 0;
    if (oldest_sc > oldest) oldest = oldest_sc;
    for (uint32_t nth = l->count; nth-- > 0;) {
        const message *m = message_at(l, nth);
        if (m->place < oldest) break;
        bool enough = nth + 1 < l->count && l->repeated[X.current].times >= OUTDATED_MAX &&
                      l->repeated[X.current].serial == m->serial && !kernel;
        if (!enough && m->serial > X.fresh) out[count++] = (uint16_t)nth;
        if (X.current == MAIN) break;
    }
    return count;
}

static void note_repetition(location *l, uint32_t nth) {
    uint32_t serial = message_at(l, nth)->serial;
    if (l->repeated[X.current].serial != serial) l->repeated[X.current].times = 0;
    l->repeated[X.current].serial = serial;
    l->repeated[X.current].times++;
}

static void read_message(location *l, const message *m, int order) {
    thread *self = &X.threads[X.current];
    know(&self->now, index_of(l), m->place);
    know(&self->acquired, index_of(l), m->place);
    kl_explorer_learn(&self->acquired, &m->seen);
    if (acquires(order)) kl_explorer_learn(&self->now, &m->seen);
}

static uint64_t load_view(location *l, int order, bool kernel) {
    uint16_t candidates[LOCATION_HISTORY];
    uint32_t count = readable(l, order, kernel, candidates);
    if (count == 0) kl_explorer_block();
    uint32_t nth = candidates[kl_explorer_choose(count)];
    const message *m = message_at(l, nth);
    if (!kernel) note_repetition(l, nth);
    kl_explorer_event()->behind = l->count - 1 - nth;
    read_message(l, m, order);
    tick(&X.threads[X.current]);
    return value_of(l, m);
}

/* Fills a message of the running thread; `base` is what a read-modify-write read. */
static void publish(location *l, message *m, uint64_t value, int order, const message *base) {
    thread *self = &X.threads[X.current];
    m->value = value;
    m->of_change = base != NULL;
    know(&self->now, index_of(l), m->place);
    know(&self->acquired, index_of(l), m->place);
    copy_view(&m->seen, releases(order) ? &self->now : &self->released);
    know(&m->seen, index_of(l), m->place);
    if (base) kl_explorer_learn(&m->seen, &base->seen);
    if (order == memory_order_seq_cst) know(&X.fence, index_of(l), m->place);
    if (message_at(l, l->count - 1) == m) write_word(l->address, l->bytes, value);
    tick(self);
}

/* A store goes to the end, or before messages that its thread need not know. */
static void store_view(location *l, uint64_t value, int order) {
    uint16_t candidates[LOCATION_HISTORY];
    uint32_t count = 0, oldest = known(&X.threads[X.current].now, index_of(l));
    uint32_t oldest_sc = order == memory_order_seq_cst ? known(&X.fence, index_of(l)) : 0;
    if (oldest_sc > oldest) oldest = oldest_sc;
    settle(l);
    candidates[count++] = (uint16_t)l->count;
    for (uint32_t nth = l->count; nth-- > 1;) {
        const message *before = message_at(l, nth - 1), *after = message_at(l, nth);
        if (before->place < oldest) break;
        if (!after->of_change && after->place - before->place >= 2)
            candidates[count++] = (uint16_t)nth;
    }
    uint32_t nth = candidates[kl_explorer_choose(count)];
    uint32_t before = message_at(l, nth - 1)->place;
    uint32_t place =
        nth == l->count ? before + PLACE_STEP : before + (message_at(l, nth)->place - before) / 2;
    kl_explorer_event()->behind = l->count - nth;
    publish(l, new_message(l, nth, place), value, order, NULL);
}

static void change_view(location *l, uint64_t value, int order) {
    const message *base = message_at(l, l->count - 1);
    read_message(l, base, order);
    publish(l, new_message(l, l->count, base->place + PLACE_STEP), value, order, base);
}

/* ---- SC and TSO: one value, of which happens-before is known ---- */

static uint16_t *clock_of(const location *l) {
    return message_at(l, 0)->seen.clock;
}

/* What a store of the running thread lets others know. */
static const uint16_t *told(int order) {
    const thread *self = &X.threads[X.current];
    return releases(order) ? self->now.clock : self->released.clock;
}

static void hear(const location *l, int order) {
    thread *self = &X.threads[X.current];
    learn_clock(self->acquired.clock, clock_of(l));
    if (acquires(order)) learn_clock(self->now.clock, clock_of(l));
    tick(self);
}

static void write_direct(location *l, uint64_t value, int order, bool is_change) {
    if (!is_change) memset(clock_of(l), 0, sizeof X.fence.clock);
    learn_clock(clock_of(l), told(order));
    write_word(l->address, l->bytes, value);
    tick(&X.threads[X.current]);
}

/* ---- store buffers ---- */

static bool read_buffered(const thread *self, uintptr_t address, uint64_t *value) {
    for (uint32_t i = self->buffered; i-- > 0;) {
        if (self->buffer[i].address != address) continue;
        *value = self->buffer[i].value;
        return true;
    }
    return false;
}

void kl_explorer_drain(uint32_t index) {
    thread *self = &X.threads[index];
    const location *l = location_at(self->buffer[0].address, self->buffer[0].bytes);
    memcpy(clock_of(l), self->buffer[0].clock, sizeof self->buffer[0].clock);
    write_word(self->buffer[0].address, self->buffer[0].bytes, self->buffer[0].value);
    X.stored = self->buffer[0].number;
    self->buffered--;
    memmove(&self->buffer[0], &self->buffer[1], self->buffered * sizeof self->buffer[0]);
}

/* Before a plain access to a word whose store still waits: that store, and those before it. */
void kl_explorer_drain_own(uintptr_t address, uint32_t bytes) {
    const thread *self = &X.threads[X.current];
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->buffered; i++)
        if (self->buffer[i].address < address + bytes &&
            address < self->buffer[i].address + self->buffer[i].bytes)
            count = i + 1;
    while (count-- > 0) kl_explorer_drain(X.current);
}

static void buffer(thread *self, const step *s, uint64_t value) {
    if (self->buffered == BUFFERED_MAX) kl_explorer_fail("more than %u stores wait", BUFFERED_MAX);
    self->buffer[self->buffered].address = s->address;
    self->buffer[self->buffered].bytes = s->bytes;
    self->buffer[self->buffered].value = value;
    memcpy(self->buffer[self->buffered].clock, told(s->order), sizeof self->buffer[0].clock);
    self->buffer[self->buffered].number = X.stored = ++self->stores;
    self->buffer[self->buffered++].site = s->site;
    tick(self);
}

/* ---- loops that wait ---- */

/* A thread that only reads again what it has read waits until somebody else did something. */
static void note_read(uintptr_t address, uint64_t value) {
    thread *self = &X.threads[X.current];
    uint32_t at = (uint32_t)(address >> 2) % 8;
    if (self->last_reads[at].address == address && self->last_reads[at].value == value) {
        if (++self->idle_reads >= 6) self->yielded = true;
        return;
    }
    self->last_reads[at].address = address;
    self->last_reads[at].value = value;
    self->idle_reads = 0;
}

static void note_write(void) {
    X.threads[X.current].idle_reads = 0;
}

/* ---- the hooks ---- */

bool kl_explorer_active(const volatile void *address) {
    return kl_explorer && X.running && !kl_explorer_is_quiet((uintptr_t)address);
}

uint32_t kl_explorer_number(kl_hook_site *site) {
    if (site->number) return site->number;
    for (uint32_t i = 1; i <= X.site_count; i++) {
        const kl_hook_site *other = &X.sites[i];
        if (other->line == site->line && other->op == site->op &&
            strcmp(other->file, site->file) == 0 && strcmp(other->function, site->function) == 0)
            return site->number = i;
    }
    if (X.site_count == SITES_MAX) kl_explorer_fail("more than %u places", SITES_MAX);
    X.sites[++X.site_count] = *site;
    return site->number = X.site_count;
}

/* The order to use: as written, or weakened. */
static uint8_t order_at(kl_hook_site *site, int order, uint32_t which) {
    uint32_t number = kl_explorer_number(site);
    X.site_orders[number][which] = (uint8_t)order;
    X.touched[number] |= X.current != MAIN;
    uint8_t weak = X.weakened[number][which];
    return weak ? (uint8_t)(weak - 1) : (uint8_t)order;
}

static void atomic_step(kl_hook_site *site, const volatile void *address, uint32_t bytes, int order,
                        bool reads, bool writes) {
    uint8_t used = order_at(site, order, 0);
    bool drains = X.memory == KL_MODEL_TSO && writes && (reads || used == memory_order_seq_cst);
    bool buffered = X.memory == KL_MODEL_TSO && writes && !drains && X.current != MAIN;
    kl_explorer_step(&(step){.kind = STEP_ATOMIC,
                             .order = used,
                             .reads = reads,
                             .writes = writes && !buffered,
                             .needs_drain = drains,
                             .bytes = bytes,
                             .address = (uintptr_t)address,
                             .site = site});
    kl_explorer_atomic_access((uintptr_t)address, bytes, writes);
}

uint64_t kl_hook_load(kl_hook_site *site, const volatile void *address, uint32_t bytes, int order) {
    uintptr_t at = (uintptr_t)address;
    if (!kl_explorer_active(address)) return kl_explorer_read_word(at, bytes);
    atomic_step(site, address, bytes, order, true, false);
    uint64_t value;
    location *l = location_at(at, bytes);
    if (X.memory == KL_MODEL_RA) {
        value = load_view(l, X.done.order, false);
    } else if (!read_buffered(&X.threads[X.current], at, &value)) {
        value = kl_explorer_read_word(at, bytes);
        hear(l, X.done.order);
    }
    note_read(at, value);
    kl_explorer_event()->read = value;
    return value;
}

void kl_hook_store(kl_hook_site *site, volatile void *address, uint32_t bytes, uint64_t value,
                   int order) {
    uintptr_t at = (uintptr_t)address;
    if (!kl_explorer_active(address)) {
        if (kl_explorer && X.running) kl_explorer_remember(at, bytes);
        memcpy((void *)at, &value, bytes);
        return;
    }
    atomic_step(site, address, bytes, order, false, true);
    thread *self = &X.threads[X.current];
    kl_explorer_event()->written = value;
    note_write();
    location *l = location_at(at, bytes);
    if (X.memory == KL_MODEL_RA)
        store_view(l, value, X.done.order);
    else if (X.memory == KL_MODEL_TSO && X.current != MAIN && X.done.order != memory_order_seq_cst)
        buffer(self, &X.done, value);
    else
        write_direct(l, value, X.done.order, false);
}

uint64_t kl_hook_change(kl_hook_site *site, volatile void *address, uint32_t bytes, uint64_t value,
                        int order) {
    uintptr_t at = (uintptr_t)address;
    bool active = kl_explorer_active(address);
    if (active) atomic_step(site, address, bytes, order, true, true);
    uint64_t before = kl_explorer_read_word(at, bytes);
    uint64_t after = changed(site->op, before, value, bytes);
    if (!active) {
        if (kl_explorer && X.running) kl_explorer_remember(at, bytes);
        memcpy((void *)at, &after, bytes);
        return before;
    }
    note_write();
    kl_explorer_event()->read = before;
    kl_explorer_event()->written = after;
    location *l = location_at(at, bytes);
    if (X.memory == KL_MODEL_RA) {
        settle(l);
        change_view(l, after, X.done.order);
    } else {
        hear(l, X.done.order);
        write_direct(l, after, X.done.order, true);
    }
    return before;
}

/* Under RA a failing compare-exchange is a load: of any message that is not as expected. Choices: success
 * when the newest is as expected, then the messages that are not. True: succeeded. */
static bool compare_view(location *l, uint64_t *expected, uint64_t desired, int failure) {
    uint16_t all[LOCATION_HISTORY], unequal[LOCATION_HISTORY];
    uint32_t count = readable(l, failure, false, all), others = 0;
    settle(l);
    bool fits = message_at(l, l->count - 1)->value == *expected;
    for (uint32_t i = 0; i < count; i++)
        if (message_at(l, all[i])->value != *expected) unequal[others++] = all[i];
    if (fits + others == 0) kl_explorer_block();
    uint32_t chosen = kl_explorer_choose(fits + others);
    if (fits && chosen == 0) {
        change_view(l, desired, X.done.order);
        return true;
    }
    uint32_t nth = unequal[chosen - fits];
    note_repetition(l, nth);
    kl_explorer_event()->behind = l->count - 1 - nth;
    read_message(l, message_at(l, nth), failure);
    tick(&X.threads[X.current]);
    *expected = message_at(l, nth)->value;
    return false;
}

/* A weak one may fail for no reason: once in an execution, by each thread. */
static bool fails_anyway(const kl_hook_site *site) {
    thread *self = &X.threads[X.current];
    if (site->op != KL_HOOK_WEAK || self->spurious || X.current == MAIN) return false;
    self->spurious = kl_explorer_choose(2) == 1;
    return self->spurious;
}

bool kl_hook_compare_exchange(kl_hook_site *site, volatile void *address, uint32_t bytes,
                              uint64_t *expected, uint64_t desired, int success, int failure) {
    uintptr_t at = (uintptr_t)address;
    bool active = kl_explorer_active(address), done;
    if (active) {
        failure = order_at(site, failure, 1);
        atomic_step(site, address, bytes, success, true, true);
    }
    uint64_t before = kl_explorer_read_word(at, bytes), wanted = *expected;
    if (!active) {
        if (before != wanted) return *expected = before, false;
        if (kl_explorer && X.running) kl_explorer_remember(at, bytes);
        memcpy((void *)at, &desired, bytes);
        return true;
    }
    if (before == wanted && fails_anyway(site)) {
        done = false;
    } else if (X.memory == KL_MODEL_RA) {
        done = compare_view(location_at(at, bytes), expected, desired, failure);
    } else {
        location *l = location_at(at, bytes);
        done = before == wanted;
        *expected = before;
        hear(l, done ? X.done.order : failure);
        if (done) write_direct(l, desired, X.done.order, true);
    }
    X.done.writes = done;
    if (!done && X.done.order == memory_order_seq_cst && failure != memory_order_seq_cst)
        X.done.order = (uint8_t)failure;
    if (done)
        note_write();
    else
        note_read(at, *expected);
    event *e = kl_explorer_event();
    e->failed = !done;
    e->read = done ? wanted : *expected;
    e->written = desired;
    return done;
}

void kl_hook_fence(kl_hook_site *site, int order) {
    if (!kl_explorer || !X.running) return;
    uint8_t used = order_at(site, order, 0);
    bool full = used == memory_order_seq_cst;
    kl_explorer_step(&(step){.kind = STEP_ATOMIC,
                             .order = used,
                             .fences = full,
                             .needs_drain = full && X.memory == KL_MODEL_TSO,
                             .site = site});
    fence(X.current, used);
}

void kl_hook_init(volatile void *address, uint32_t bytes, uint64_t value) {
    kl_hook_memcpy((void *)(uintptr_t)address, &value, bytes);
}

void kl_explorer_kernel_read(uintptr_t address, uint32_t bytes, uint64_t *value) {
    if (X.memory == KL_MODEL_RA)
        *value = load_view(location_at(address, bytes), memory_order_relaxed, true);
    else
        *value = kl_explorer_read_word(address, bytes);
    kl_explorer_event()->read = *value;
}

void kl_hook_pause(void) {
    if (!kl_explorer || !X.running || X.current == MAIN) return;
    X.threads[X.current].yielded = true;
}
