#include "lockfree/ms_queue.h"

#include <string.h>

#include "base/handle.h"
#include "base/layout_hash.h"
#include "sync/shared_object.h"

enum { HEAD, TAIL, WORDS }; /* that change */

enum { STEP_PUSH = 1, STEP_POP = 2 };

static uint64_t payload_bytes(uint32_t element_bytes) {
    return 8 + (((uint64_t)element_bytes + 7) & ~7ull);
}

static uint64_t pool_offset(void) {
    return KL_MS_QUEUE_HEADER_BYTES + kl_hand_table_bytes(WORDS);
}

uint64_t kl_ms_queue_memory_bytes(uint32_t capacity, uint32_t element_bytes) {
    if (capacity == 0 || capacity > KL_MS_QUEUE_CAPACITY_MAX || element_bytes == 0 ||
        element_bytes > KL_MS_QUEUE_ELEMENT_MAX)
        return 0;
    return pool_offset() + kl_index_pool_memory_bytes(capacity + KL_MS_QUEUE_SPARE,
                                                      (uint32_t)payload_bytes(element_bytes));
}

static int32_t check_geometry(uint32_t capacity, uint32_t element_bytes) {
    if (kl_ms_queue_memory_bytes(capacity, element_bytes) != 0) return KL_OK;
    return kl_fail(KL_ERR_ARGUMENT,
                   "a queue of %u elements of %u bytes: 1 to %u elements of 1 to %u bytes",
                   capacity, element_bytes, KL_MS_QUEUE_CAPACITY_MAX, KL_MS_QUEUE_ELEMENT_MAX);
}

int32_t kl_ms_queue_format(void *memory, uint32_t capacity, uint32_t element_bytes) {
    int32_t status = check_geometry(capacity, element_bytes);
    if (status != KL_OK) return status;
    kl_ms_queue_header *header = memory;
    memset(memory, 0, pool_offset());
    header->magic = KL_MS_QUEUE_MAGIC;
    header->version = KL_MS_QUEUE_VERSION;
    header->capacity = capacity;
    header->element_bytes = element_bytes;
    uint8_t *nodes = (uint8_t *)memory + pool_offset();
    status = kl_index_pool_format(nodes, capacity + KL_MS_QUEUE_SPARE,
                                  (uint32_t)payload_bytes(element_bytes));
    if (status != KL_OK) return status;
    /* Node 0 is in front; its cell begins free, its next 0: nothing behind it. Relaxed: nobody else
     * sees the queue yet. */
    kl_index_pool pool;
    status = kl_index_pool_grip(&pool, nodes,
                                kl_index_pool_memory_bytes(capacity + KL_MS_QUEUE_SPARE,
                                                           (uint32_t)payload_bytes(element_bytes)));
    if (status != KL_OK) return status;
    kl_index_pool_stamp(&pool, 0, KL_INDEX_POOL_SHARED);
    atomic_store_explicit(&header->head, kl_tagged(0, 0, 1), memory_order_relaxed);
    atomic_store_explicit(&header->tail, kl_tagged(0, 0, 1), memory_order_relaxed);
    return KL_OK;
}

int32_t kl_ms_queue_grip(kl_ms_queue *queue, void *memory, uint64_t memory_bytes) {
    kl_ms_queue_header *header = memory;
    memset(queue, 0, sizeof *queue);
    if (memory_bytes < pool_offset())
        return kl_fail(KL_ERR_CORRUPT, "%llu bytes cannot hold a queue",
                       (unsigned long long)memory_bytes);
    if (header->magic != KL_MS_QUEUE_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no queue here: magic 0x%08x", header->magic);
    if (header->version != KL_MS_QUEUE_VERSION)
        return kl_fail(KL_ERR_VERSION, "queue version %u, this build knows %u", header->version,
                       KL_MS_QUEUE_VERSION);
    uint32_t capacity = header->capacity, element_bytes = header->element_bytes; /* read once */
    uint64_t bytes = kl_ms_queue_memory_bytes(capacity, element_bytes);
    if (bytes == 0 || bytes > memory_bytes)
        return kl_fail(KL_ERR_CORRUPT, "queue of %u elements of %u bytes in %llu bytes of memory",
                       capacity, element_bytes, (unsigned long long)memory_bytes);
    int32_t status = kl_index_pool_grip(&queue->pool, (uint8_t *)memory + pool_offset(),
                                        memory_bytes - pool_offset());
    if (status != KL_OK) return status;
    if (queue->pool.capacity != capacity + KL_MS_QUEUE_SPARE ||
        queue->pool.payload_bytes != payload_bytes(element_bytes))
        return kl_fail(KL_ERR_CORRUPT, "the queue's nodes are not of its geometry");
    queue->header = header;
    queue->hands =
        (kl_hand_table){.memory = (uint8_t *)memory + KL_MS_QUEUE_HEADER_BYTES, .words = WORDS};
    queue->capacity = capacity;
    queue->element_bytes = element_bytes;
    return KL_OK;
}

static _Atomic uint64_t *next_of(const kl_ms_queue *queue, uint32_t node) {
    return kl_index_pool_payload(&queue->pool, node);
}

static int32_t corrupt(const char *what, uint64_t value) {
    return kl_fail(KL_ERR_CORRUPT, "the queue's %s cannot be: %016llx", what,
                   (unsigned long long)value);
}

/* Whether the word shows a node. */
static bool is_node(const kl_ms_queue *queue, uint64_t word) {
    return kl_tagged_index1(word) - 1 < queue->pool.capacity;
}

/* Positions from head to tail; they wrap. Below 0: the head was looked at later. */
static int32_t distance(uint64_t head, uint64_t tail) {
    return (int32_t)(kl_tagged_tag(tail) - kl_tagged_tag(head));
}

/* ---- elements, as atomic words: a pop may read one that is being overwritten, and then throws it
 * away ---- */

static _Atomic uint64_t *words_of(const kl_ms_queue *queue, uint32_t node) {
    return next_of(queue, node) + 1;
}

static void write_element(kl_ms_queue *queue, uint32_t node, const uint8_t *element) {
    _Atomic uint64_t *words = words_of(queue, node);
    for (uint32_t at = 0; at < queue->element_bytes; at += 8) {
        uint32_t left = queue->element_bytes - at;
        uint64_t word = 0;
        memcpy(&word, element + at, left < 8 ? left : 8);
        /* relaxed: published by the link. */
        atomic_store_explicit(&words[at / 8], word, memory_order_relaxed);
    }
}

static void read_element(const kl_ms_queue *queue, uint32_t node, uint8_t *out) {
    _Atomic uint64_t *words = words_of(queue, node);
    for (uint32_t at = 0; at < queue->element_bytes; at += 8) {
        uint32_t left = queue->element_bytes - at;
        /* relaxed: what was linked is known since the acquire of next; the rest is thrown away. */
        uint64_t word = atomic_load_explicit(&words[at / 8], memory_order_relaxed);
        memcpy(out + at, &word, left < 8 ? left : 8);
    }
}

/* ---- nodes ---- */

/* Before the hand says something else than the node popped last: that one gets its stamp. */
static void stamp_popped(kl_ms_queue *queue) {
    if (queue->unstamped1 == 0) return;
    kl_index_pool_stamp(&queue->pool, queue->unstamped1 - 1, queue->hands.self);
    queue->unstamped1 = 0;
}

static int32_t take_node(kl_ms_queue *queue, uint32_t *node) {
    if (queue->spare1 != 0) {
        *node = queue->spare1 - 1;
        queue->spare1 = 0;
        return KL_OK;
    }
    kl_claim claim;
    int32_t status = kl_index_pool_acquire(&queue->pool, queue->hands.self, &claim);
    if (status == KL_OK) *node = claim.index;
    return status;
}

static void give_node(kl_ms_queue *queue, uint32_t node) {
    if (queue->spare1 == 0) {
        queue->spare1 = node + 1;
        return;
    }
    if (queue->unstamped1 == node + 1) {
        stamp_popped(queue);
        kl_hand_empty(&queue->hands); /* the next holder is not to be taken for us */
    }
    /* relaxed: the caller holds it; its generation does not move. */
    uint64_t word =
        atomic_load_explicit(kl_index_pool_word(&queue->pool, node), memory_order_relaxed);
    kl_index_pool_release(&queue->pool, queue->hands.self,
                          (kl_claim){node, (uint32_t)(word >> 32)});
}

/* ---- push ---- */

/* Swings the tail from `tail` to the node that `next` shows. Somebody else may have done it. */
static void swing_tail(const kl_ms_queue *queue, uint64_t tail, uint64_t next) {
    kl_hand_saw(&queue->hands, TAIL, tail);
    uint64_t made = kl_tagged(kl_tagged_tag(tail) + 1, kl_tagged_by(next), kl_tagged_index1(next));
    /* release: partners are the acquire loads of the tail; passes on the node, known from its link,
     * and the note of what is replaced. relaxed on failure: nothing is concluded from it. */
    atomic_compare_exchange_strong_explicit(&queue->header->tail, &tail, made, memory_order_release,
                                            memory_order_relaxed);
}

/* KL_OK while there is room behind `tail`; KL_ERR_AGAIN: full; KL_ERR_CORRUPT. */
static int32_t look_for_room(const kl_ms_queue *queue, uint64_t tail) {
    /* acquire: partner is the release in pop; the element it made room for was read. */
    uint64_t head = atomic_load_explicit(&queue->header->head, memory_order_acquire);
    int32_t used = distance(head, tail), capacity = (int32_t)queue->capacity;
    /* relaxed: ordered behind the load of the head, which is behind the tail as long as that lasts. */
    if (used < 0 && atomic_load_explicit(&queue->header->tail, memory_order_relaxed) == tail)
        return corrupt("length", (uint64_t)used);
    if (used < capacity) return KL_OK;
    return used == capacity ? KL_ERR_AGAIN : corrupt("length", (uint64_t)used);
}

/* Finds the last node: *tail shows it, *next is its next, which shows nothing. */
static int32_t find_last(const kl_ms_queue *queue, uint64_t *tail, uint64_t *next) {
    for (;;) { /* each turn but the last: a change by another, or a swing, of which there are at
                  most `capacity` before look_for_room says that this cannot be */
        /* acquire: partner is the release in swing_tail(); the node's next was made. */
        *tail = atomic_load_explicit(&queue->header->tail, memory_order_acquire);
        if (!is_node(queue, *tail)) return corrupt("tail", *tail);
        _Atomic uint64_t *link = next_of(queue, kl_tagged_index1(*tail) - 1);
        /* acquire: partners are the releases of link and clear_next; what was known to who wrote
         * it is known in the next line, and the linked node to those we show it to. */
        *next = atomic_load_explicit(link, memory_order_acquire);
        /* relaxed: ordered behind the load of next; if the tail is still the same, then that was
         * the next of the last node. */
        if (atomic_load_explicit(&queue->header->tail, memory_order_relaxed) != *tail) continue;
        int32_t status = look_for_room(queue, *tail);
        if (status == KL_ERR_CORRUPT || kl_tagged_index1(*next) == 0) return status;
        if (!is_node(queue, *next)) return corrupt("link", *next);
        swing_tail(queue, *tail, *next);
    }
}

/* Makes a held node the last of nothing: with another tag than ever before. */
static void clear_next(kl_ms_queue *queue, uint32_t node) {
    _Atomic uint64_t *link = next_of(queue, node);
    /* relaxed: the node is ours. */
    uint64_t old = atomic_load_explicit(link, memory_order_relaxed);
    /* release: partner is the acquire of next in find_last() and pop: who sees a node that has come
     * back also sees that head and tail have moved since. */
    atomic_store_explicit(link, kl_tagged(kl_tagged_tag(old) + 1, 0, 0), memory_order_release);
}

static int32_t push_node(kl_ms_queue *queue, uint32_t node) {
    const kl_hand_table *hands = &queue->hands;
    bool handed = false;
    if (queue->unstamped1 != node + 1) stamp_popped(queue);
    for (;;) { /* each turn but the last: another one's success */
        uint64_t tail = 0, next = 0;
        int32_t status = find_last(queue, &tail, &next);
        if (status != KL_OK) {
            if (handed) { /* not pushed: the thread's again */
                kl_index_pool_stamp(&queue->pool, node, hands->self);
                kl_hand_empty(hands);
            }
            return status;
        }
        kl_hand_note(hands, kl_tagged_tag(tail) + 1, STEP_PUSH, node);
        if (!handed && queue->unstamped1 == 0)
            kl_index_pool_stamp(&queue->pool, node, KL_INDEX_POOL_SHARED);
        handed = true;
        queue->unstamped1 = 0;
        uint64_t made = kl_tagged(kl_tagged_tag(next), hands->slot, node + 1);
        /* release: partner is the acquire of next; publishes the element. relaxed on failure:
         * looked at anew. */
        if (!atomic_compare_exchange_strong_explicit(next_of(queue, kl_tagged_index1(tail) - 1),
                                                     &next, made, memory_order_release,
                                                     memory_order_relaxed))
            continue;
        swing_tail(queue, tail, made);
        return KL_OK;
    }
}

int32_t kl_ms_queue_push(kl_ms_queue *queue, const void *element) {
    uint32_t node = 0;
    int32_t status = take_node(queue, &node);
    if (status != KL_OK) return status;
    write_element(queue, node, element);
    clear_next(queue, node);
    status = push_node(queue, node);
    if (status != KL_OK) queue->spare1 = node + 1;
    return status;
}

/* ---- pop ---- */

/* One try: KL_OK, KL_ERR_AGAIN (empty), KL_ERR_CORRUPT, or 1: something moved, once more. */
static int32_t try_pop(kl_ms_queue *queue, uint8_t *out) {
    kl_ms_queue_header *header = queue->header;
    const kl_hand_table *hands = &queue->hands;
    /* acquire: partner is the release below; who moved it had seen the tail move before. */
    uint64_t head = atomic_load_explicit(&header->head, memory_order_acquire);
    if (!is_node(queue, head)) return corrupt("head", head);
    uint32_t front = kl_tagged_index1(head) - 1;
    /* acquire: partner is the release in swing_tail(): a tail further than the head comes with the
     * link that it was swung along. */
    uint64_t tail = atomic_load_explicit(&header->tail, memory_order_acquire);
    /* acquire: partners are the releases of link and clear_next; the element is read. */
    uint64_t next = atomic_load_explicit(next_of(queue, front), memory_order_acquire);
    /* relaxed: ordered behind the load of next; if the head is still the same, then that was the
     * next of the node in front. */
    if (atomic_load_explicit(&header->head, memory_order_relaxed) != head) return 1;
    bool last = kl_tagged_tag(head) == kl_tagged_tag(tail);
    if (kl_tagged_index1(next) == 0) return last ? KL_ERR_AGAIN : corrupt("link", next);
    if (!is_node(queue, next)) return corrupt("link", next);
    if (last) {
        if (kl_tagged_index1(tail) != front + 1) return corrupt("tail", tail);
        swing_tail(queue, tail, next); /* the head never overtakes the tail */
    }
    read_element(queue, kl_tagged_index1(next) - 1, out);
    uint32_t position = kl_tagged_tag(head) + 1;
    kl_hand_note(hands, position, STEP_POP, front);
    kl_hand_saw_others(hands, HEAD, head);
    /* release: partners are the acquire loads of the head; that the tail is further, that the
     * element was read, and the note of what is replaced. relaxed on failure: looked at anew. */
    if (!atomic_compare_exchange_strong_explicit(
            &header->head, &head, kl_tagged(position, hands->slot, kl_tagged_index1(next)),
            memory_order_release, memory_order_relaxed))
        return 1;
    queue->unstamped1 = front + 1;
    give_node(queue, front);
    return KL_OK;
}

int32_t kl_ms_queue_pop(kl_ms_queue *queue, void *out) {
    int32_t status;
    stamp_popped(queue);
    while ((status = try_pop(queue, out)) > 0) { /* each turn but the last: another one's success */
    }
    return status;
}

/* ---- after a death ---- */

/* The verdict for kl_hand_recover: a push whose node was not linked, a pop that moved the head. */
static bool holds(void *structure, uint32_t slot, uint64_t hand) {
    const kl_ms_queue *queue = structure;
    uint32_t tag = kl_tagged_tag(hand);
    if (kl_tagged_by(hand) == STEP_POP) {
        /* acquire: partner is the release of every change; their notes are seen. */
        uint64_t head = atomic_load_explicit(&queue->header->head, memory_order_acquire);
        return kl_hand_took_place(&queue->hands, HEAD, head, slot, tag);
    }
    if (kl_tagged_by(hand) != STEP_PUSH) return false;
    for (;;) { /* each turn but the last: somebody swung the tail */
        /* acquire: as in find_last(). */
        uint64_t tail = atomic_load_explicit(&queue->header->tail, memory_order_acquire);
        if (kl_tagged_tag(tail) + 1 != tag || !is_node(queue, tail))
            return !kl_hand_took_place(&queue->hands, TAIL, tail, slot, tag);
        /* Linked and not swung yet, perhaps: the link itself tells. acquire: as in find_last(). */
        uint64_t next =
            atomic_load_explicit(next_of(queue, kl_tagged_index1(tail) - 1), memory_order_acquire);
        /* relaxed: as in find_last(). */
        if (atomic_load_explicit(&queue->header->tail, memory_order_relaxed) == tail)
            return kl_tagged_by(next) != slot ||
                   kl_tagged_index1(next) != kl_tagged_index1(hand) + 1;
    }
}

int32_t kl_ms_queue_join(kl_ms_queue *queue, uint32_t self) {
    return kl_hand_join(&queue->hands, &queue->pool, self, holds, queue);
}

void kl_ms_queue_leave(kl_ms_queue *queue) {
    stamp_popped(queue);
    queue->spare1 = 0; /* stamped with our id, as all we hold */
    kl_hand_leave(&queue->hands, &queue->pool);
}

int32_t kl_ms_queue_recover(kl_ms_queue *queue, uint32_t dead, kl_alive_fn alive, void *context) {
    return kl_hand_recover(&queue->hands, &queue->pool, dead, alive, context, holds, queue);
}

/* ---- looking ---- */

int32_t kl_ms_queue_size(const kl_ms_queue *queue) {
    /* acquire: as in pop; the tail is not older than the head, so the distance is not below 0. */
    uint64_t head = atomic_load_explicit(&queue->header->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&queue->header->tail, memory_order_acquire);
    if (!is_node(queue, tail)) return corrupt("tail", tail);
    /* relaxed: a link that was not swung yet counts; wrong only while others move. */
    uint64_t next =
        atomic_load_explicit(next_of(queue, kl_tagged_index1(tail) - 1), memory_order_relaxed);
    int32_t size = distance(head, tail) + (kl_tagged_index1(next) != 0);
    int32_t most = (int32_t)queue->capacity;
    return size < 0 ? 0 : size < most ? size : most;
}

/* Nodes that only a hand says to be somebody's. */
static uint32_t popped_in_hands(const kl_ms_queue *queue) {
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < KL_HAND_SLOTS; slot++) {
        /* relaxed: right only when nothing moves. */
        uint64_t hand =
            atomic_load_explicit(&kl_hand_of(&queue->hands, slot)->hand, memory_order_relaxed);
        uint32_t node = kl_tagged_index1(hand);
        if (hand == 0 || node >= queue->pool.capacity) continue;
        uint64_t word =
            atomic_load_explicit(kl_index_pool_word(&queue->pool, node), memory_order_relaxed);
        count +=
            (uint32_t)word == KL_INDEX_POOL_SHARED && holds((void *)(uintptr_t)queue, slot, hand);
    }
    return count;
}

int32_t kl_ms_queue_verify(const kl_ms_queue *queue) {
    int32_t status = kl_index_pool_verify(&queue->pool);
    if (status != KL_OK) return status;
    /* acquire, relaxed: right only when nothing moves. */
    uint64_t at = atomic_load_explicit(&queue->header->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&queue->header->tail, memory_order_acquire);
    int32_t size = distance(at, tail);
    if (size < 0 || size > (int32_t)queue->capacity) return corrupt("length", (uint64_t)size);
    uint32_t nodes = 0;
    for (;; nodes++) {
        if (!is_node(queue, at)) return corrupt("link", at);
        uint32_t node = kl_tagged_index1(at) - 1;
        uint64_t word =
            atomic_load_explicit(kl_index_pool_word(&queue->pool, node), memory_order_relaxed);
        if ((uint32_t)word != KL_INDEX_POOL_SHARED) return corrupt("stamp", word);
        if (nodes == (uint32_t)size && node != kl_tagged_index1(tail) - 1)
            return corrupt("tail", tail);
        if (nodes > queue->capacity + 1) return corrupt("length", nodes);
        at = atomic_load_explicit(next_of(queue, node), memory_order_relaxed);
        if (kl_tagged_index1(at) == 0) break;
    }
    if (nodes != (uint32_t)size &&
        nodes != (uint32_t)size + 1) /* one link may wait for its swing */
        return corrupt("length", nodes);
    uint32_t shared = kl_index_pool_held(&queue->pool, KL_INDEX_POOL_SHARED);
    if (shared != nodes + 1 + popped_in_hands(queue))
        return kl_fail(KL_ERR_CORRUPT, "%u nodes are in no hand, %u in the queue", shared,
                       nodes + 1);
    return KL_OK;
}

/* ---- behind a handle ---- */

typedef struct {
    kl_shared_object object;
    kl_ms_queue queue;
} named_queue;

typedef struct {
    uint32_t capacity;
    uint32_t element_bytes;
} queue_options;

static int32_t format_named(void *memory, uint64_t memory_bytes, const void *options) {
    const queue_options *wanted = options;
    (void)memory_bytes;
    return kl_ms_queue_format(memory, wanted->capacity, wanted->element_bytes);
}

static int32_t grip_named(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    return kl_ms_queue_grip(&((named_queue *)object)->queue, memory, memory_bytes);
}

static void leave_named(kl_shared_object *object) {
    kl_ms_queue_leave(&((named_queue *)object)->queue);
}

static kl_event_count *event_of_named(kl_shared_object *object, uint32_t index) {
    kl_ms_queue_header *header = ((named_queue *)object)->queue.header;
    return index == 0 ? &header->data_event : index == 1 ? &header->space_event : NULL;
}

static int32_t prepare_named(kl_shared_object *object, uint32_t what, uint32_t argument,
                             kl_event_count **event, uint32_t *key) {
    const kl_ms_queue *queue = &((named_queue *)object)->queue;
    (void)argument;
    if (what != KL_MS_QUEUE_WAIT_DATA && what != KL_MS_QUEUE_WAIT_SPACE)
        return kl_fail(KL_ERR_ARGUMENT, "wait %u at a queue: 1 (data) or 2 (space)", what);
    bool data = what == KL_MS_QUEUE_WAIT_DATA;
    *event = data ? &queue->header->data_event : &queue->header->space_event;
    *key = kl_event_count_prepare(*event);
    int32_t size = kl_ms_queue_size(queue);
    if (size < 0) return size;
    return data ? size > 0 : (uint32_t)size < queue->capacity;
}

static const kl_shared_object_type TYPE = {
    .handle_kind = KL_HANDLE_MS_QUEUE,
    .magic = KL_MS_QUEUE_MAGIC,
    .layout_hash = KL_LAYOUT_HASH,
    .object_bytes = sizeof(named_queue),
    .noun = "queue",
    .format = format_named,
    .grip = grip_named,
    .leave = leave_named,
    .event = event_of_named,
    .prepare = prepare_named,
};

int32_t kl_ms_queue_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                           uint32_t element_bytes, uint8_t *out) {
    queue_options options = {capacity, element_bytes};
    int32_t status = check_geometry(capacity, element_bytes);
    if (status != KL_OK) return status;
    return kl_shared_object_create(
        &TYPE, name, name_bytes, kl_ms_queue_memory_bytes(capacity, element_bytes), &options, out);
}

int32_t kl_ms_queue_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&TYPE, name, name_bytes, out);
}

int32_t kl_ms_queue_close(uint32_t queue) {
    return kl_shared_object_close(&TYPE, queue);
}

int32_t kl_ms_queue_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&TYPE, name, name_bytes);
}

/* The first call of a handle takes the thread's slot. */
static int32_t join(named_queue *named, int32_t self) {
    if (self > 0 && named->queue.hands.self != 0)
        return kl_fail(KL_ERR_LOCKED, "the handle is another thread's: attach for each");
    return self < 0 ? self : kl_ms_queue_join(&named->queue, (uint32_t)self);
}

/* Enters the handle for its own thread; `bytes` is what the caller takes an element for. */
static int32_t enter(uint32_t handle, uint32_t bytes, named_queue **out) {
    named_queue *named = kl_shared_object_enter(&TYPE, handle);
    if (!named) return KL_ERR_HANDLE;
    int32_t self = kl_shared_object_self(&named->object), status = KL_OK;
    if (__builtin_expect(self != (int32_t)named->queue.hands.self, 0)) status = join(named, self);
    if (status == KL_OK && __builtin_expect(bytes != named->queue.element_bytes, 0) && bytes != 0)
        status = kl_fail(KL_ERR_ARGUMENT, "%u bytes, but the elements of this queue have %u", bytes,
                         named->queue.element_bytes);
    *out = named;
    if (__builtin_expect(status != KL_OK, 0)) kl_handle_leave(handle);
    return status;
}

static int32_t leave(uint32_t handle, named_queue *named, kl_event_count *changed, int32_t status) {
    return kl_shared_object_leave(&named->object, handle, status == KL_OK ? changed : NULL, status);
}

int32_t kl_ms_queue_push_bytes(uint32_t queue, const uint8_t *element, uint32_t bytes) {
    named_queue *named = NULL;
    if (!element || bytes == 0) return kl_fail(KL_ERR_ARGUMENT, "an element of no bytes");
    int32_t status = enter(queue, bytes, &named);
    if (status != KL_OK) return status;
    status = kl_ms_queue_push(&named->queue, element);
    return leave(queue, named, &named->queue.header->data_event, status);
}

int32_t kl_ms_queue_pop_bytes(uint32_t queue, uint8_t *out, uint32_t capacity) {
    named_queue *named = NULL;
    if (!out || capacity == 0) return kl_fail(KL_ERR_ARGUMENT, "no room for an element");
    int32_t status = enter(queue, capacity, &named);
    if (status != KL_OK) return status;
    status = kl_ms_queue_pop(&named->queue, out);
    return leave(queue, named, &named->queue.header->space_event, status);
}

int32_t kl_ms_queue_push_u32(uint32_t queue, uint32_t value) {
    return kl_ms_queue_push_bytes(queue, (const uint8_t *)&value, sizeof value);
}

double kl_ms_queue_pop_u32(uint32_t queue) {
    uint32_t value = 0;
    int32_t status = kl_ms_queue_pop_bytes(queue, (uint8_t *)&value, sizeof value);
    return status == KL_OK ? (double)value : status;
}

int32_t kl_ms_queue_recover_dead(uint32_t queue) {
    named_queue *named = NULL;
    int32_t status = enter(queue, 0, &named);
    if (status != KL_OK) return status;
    status =
        kl_ms_queue_recover(&named->queue, 0, kl_index_pool_thread_alive, named->object.region);
    return leave(queue, named, NULL, status);
}

int32_t kl_ms_queue_number(uint32_t queue, uint32_t what) {
    named_queue *named = NULL;
    int32_t status = enter(queue, 0, &named);
    if (status != KL_OK) return status;
    const kl_ms_queue *it = &named->queue;
    int32_t number = what == 0   ? (int32_t)it->capacity
                     : what == 1 ? (int32_t)it->element_bytes
                                 : kl_ms_queue_size(it);
    return leave(queue, named, NULL, number);
}

int32_t kl_ms_queue_check(uint32_t queue) {
    named_queue *named = NULL;
    int32_t status = enter(queue, 0, &named);
    return status == KL_OK ? leave(queue, named, NULL, kl_ms_queue_verify(&named->queue)) : status;
}
