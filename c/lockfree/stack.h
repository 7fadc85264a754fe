/* stack: bounded last-in-first-out pile of elements of one size, in shared memory; any thread of
 * any process pushes and pops.
 *
 *   line 0   top          {tag:32, by:8, index:24}; by compare-exchange, any thread
 *   line 1   geometry     magic, version, capacity, element_bytes; written once by format
 *   line 2   data_event   notified after a push; who pops sleeps on it
 *   line 3   space_event  notified after a pop; who pushes sleeps on it
 *   line 4-  hands        lockfree/hand_table.h, one changing word: each slot by its owner
 *   then     pool         lockfree/index_pool.h: capacity + KL_STACK_SPARE nodes, whose payload is
 *                         {u64 link, element}. link = {depth:32, index + 1 of the node below:32}
 *
 * A node is held by one thread (its cell is stamped with the thread's id) or is in the stack (its
 * cell is stamped KL_INDEX_POOL_SHARED). The node a thread popped last stays stamped as shared, for
 * its hand says whose it is; it gets its stamp before the hand says something else. The element and
 * the link of a node in the stack do not change. Treiber, "Systems programming: coping with parallelism", IBM RJ 5118, 1986.
 *
 * Always: depth of the top node = elements in the stack <= capacity; so full and size are exact.
 * Nodes are never anything else than nodes: a link read too late is a wrong number, not a fault,
 * and the compare-exchange on the tagged top then fails. No ABA: every change makes a new tag. A
 * pop or push that stands still between its load and its compare-exchange while others make exactly
 * a multiple of 2^32 changes (half a minute at full speed) and leave the same node on top by the
 * same slot would not notice; nothing else can fool it.
 * Death: before the compare-exchange: nothing was pushed or popped; after: it was, and an element
 * popped by the dead is gone with it (at most once). One node is left in its hand, which recover,
 * or the next owner of its participant slot, gives back; KL_STACK_SPARE covers them all, so the
 * capacity is never less for it.
 * Scribbled memory: indices are bounded, KL_ERR_CORRUPT where they cannot be.
 * Progress: lock-free. push of an owned node and pop of a node: one locked instruction each. A
 * thread keeps the node it popped last for its next push, so that push and pop of values in turn
 * cost no more.
 *
 * May these run at the same time?  push  pop  size  recover  verify  format
 *                            push  yes   yes  yes   yes      no      no
 *                            pop   yes   yes  yes   yes      no      no
 *                         recover  yes   yes  yes   yes      no      no
 * One kl_stack (grip) is one thread's. docs/format_stack.md draws it.
 */
#ifndef KL_LOCKFREE_STACK_H
#define KL_LOCKFREE_STACK_H

#include "lockfree/hand_table.h"

#define KL_STACK_MAGIC        0x54534c4bu /* "KLST" */
#define KL_STACK_VERSION      1u
#define KL_STACK_HEADER_BYTES (4 * KL_LINE_BYTES)
#define KL_STACK_CAPACITY_MAX (1u << 23)
#define KL_STACK_ELEMENT_MAX  (KL_INDEX_POOL_PAYLOAD_MAX - 8)
/* For each participant one node in hand and one kept for later. */
#define KL_STACK_SPARE (2 * KL_HAND_SLOTS)

/* layout: kl_stack_header top magic version capacity element_bytes data_event space_event */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t top;
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t capacity;
    uint32_t element_bytes;
    kl_event_count data_event;
    kl_event_count space_event;
} kl_stack_header;

static_assert(sizeof(kl_stack_header) == KL_STACK_HEADER_BYTES, "four lines");
static_assert(offsetof(kl_stack_header, magic) == KL_LINE_BYTES, "nobody writes line 1");
static_assert(KL_STACK_CAPACITY_MAX + KL_STACK_SPARE <= KL_INDEX_POOL_CAPACITY_MAX, "nodes fit");

/* One thread's grip. Not shared. */
typedef struct {
    kl_stack_header *header;
    kl_index_pool pool;
    kl_hand_table hands;
    uint32_t capacity;
    uint32_t element_bytes;
    uint32_t spare1;     /* a node this thread holds for its next push, + 1; 0: none */
    uint32_t unstamped1; /* the node it popped last, known by the hand alone, + 1; 0: none */
    uint32_t depth_made; /* elements after its last change, which made top_made of the top */
    uint64_t top_made;
} kl_stack;

/* Bytes for a stack; 0: out of range (capacity 1 to MAX, element_bytes 1 to MAX). */
uint64_t kl_stack_memory_bytes(uint32_t capacity, uint32_t element_bytes);

/* Makes an empty stack in line-aligned, zeroed memory of kl_stack_memory_bytes(). */
int32_t kl_stack_format(void *memory, uint32_t capacity, uint32_t element_bytes);

/* Grips a formatted stack. KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_stack_grip(kl_stack *stack, void *memory, uint64_t memory_bytes);

/* Before the first push or pop: `self` is a participant id of a live thread, used by no other grip.
 * leave gives back what the thread kept. */
int32_t kl_stack_join(kl_stack *stack, uint32_t self);
void kl_stack_leave(kl_stack *stack);

/* KL_OK, KL_ERR_AGAIN (full), KL_ERR_CORRUPT. `element` is element_bytes long. */
int32_t kl_stack_push(kl_stack *stack, const void *element);
/* KL_OK, KL_ERR_AGAIN (empty), KL_ERR_CORRUPT. */
int32_t kl_stack_pop(kl_stack *stack, void *out);

/* The same without copies: a node taken or popped is the caller's until it pushes it or gives it
 * back. take: KL_ERR_AGAIN when more than KL_STACK_SPARE nodes are held outside of a full stack. */
int32_t kl_stack_take_node(kl_stack *stack, uint32_t *node);
static inline int32_t kl_stack_push_node(kl_stack *stack, uint32_t node);
static inline int32_t kl_stack_pop_node(kl_stack *stack, uint32_t *node);
int32_t kl_stack_give_node(kl_stack *stack, uint32_t node);

static inline void *kl_stack_element(const kl_stack *stack, uint32_t node) {
    return (uint8_t *)kl_index_pool_payload(&stack->pool, node) + 8;
}

/* Elements in the stack at some moment during the call. KL_ERR_CORRUPT. */
int32_t kl_stack_size(const kl_stack *stack);

/* Settles after `dead` (0: everyone that is not alive): their nodes back into the pool. How many. */
int32_t kl_stack_recover(kl_stack *stack, uint32_t dead, kl_alive_fn alive, void *context);

/* Walks it all, while nothing moves: depths, links, stamps, and that every node is in the stack,
 * free, or held. KL_OK or KL_ERR_CORRUPT. */
int32_t kl_stack_verify(const kl_stack *stack);

/* The same stack behind a handle, in a named region; one handle is for one thread. */
KL_API int32_t kl_stack_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                               uint32_t element_bytes, uint8_t *out);
KL_API int32_t kl_stack_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_stack_close(uint32_t stack);
KL_API int32_t kl_stack_remove(const uint8_t *name, uint32_t name_bytes);
/* `bytes` and `capacity` must be element_bytes, else KL_ERR_ARGUMENT. */
KL_API int32_t kl_stack_push_bytes(uint32_t stack, const uint8_t *element, uint32_t bytes);
KL_API int32_t kl_stack_pop_bytes(uint32_t stack, uint8_t *out, uint32_t capacity);
/* For element_bytes 4. pop_u32 gives the value, or KL_ERR_* (negative). */
KL_API int32_t kl_stack_push_u32(uint32_t stack, uint32_t value);
KL_API double kl_stack_pop_u32(uint32_t stack);
KL_API int32_t kl_stack_recover_dead(uint32_t stack);
/* what 0: capacity, 1: element_bytes, 2: size. */
KL_API int32_t kl_stack_number(uint32_t stack, uint32_t what);
KL_API int32_t kl_stack_check(uint32_t stack); /* kl_stack_verify */

/* ---- the inline half ---- */

enum kl_stack_step { KL_STACK_STEP_PUSH = 1, KL_STACK_STEP_POP = 2 }; /* of a hand */

int32_t kl_stack_corrupt_top(uint64_t top) __attribute__((cold));
int32_t kl_stack_take_back(kl_stack *stack, uint32_t node, bool handed, int32_t status)
    __attribute__((cold));

static inline _Atomic uint64_t *kl_stack_link(const kl_stack *stack, uint32_t node) {
    return (_Atomic uint64_t *)kl_index_pool_payload(&stack->pool, node);
}

/* Before the hand says something else than the node it popped last: that one gets its stamp. */
static inline void kl_stack_stamp_popped(kl_stack *stack) {
    if (stack->unstamped1 == 0) return;
    kl_index_pool_stamp(&stack->pool, stack->unstamped1 - 1, stack->hands.self);
    stack->unstamped1 = 0;
}

/* Elements below and with the node `top` shows, or UINT32_MAX when it cannot be. */
static inline uint32_t kl_stack_depth_at(const kl_stack *stack, uint64_t top) {
    if (top == stack->top_made) return stack->depth_made; /* nobody came in between */
    uint32_t index1 = kl_tagged_index1(top);
    if (index1 == 0) return 0;
    if (index1 > stack->pool.capacity) return UINT32_MAX;
    /* acquire: partner is the release store in push_node: who sees the link of a later push also
     * sees, when it looks again, that the top moved. */
    return (
        uint32_t)(atomic_load_explicit(kl_stack_link(stack, index1 - 1), memory_order_acquire) >>
                  32);
}

static inline int32_t kl_stack_push_node(kl_stack *stack, uint32_t node) {
    if (node >= stack->pool.capacity)
        return kl_fail(KL_ERR_ARGUMENT, "node %u of %u", node, stack->pool.capacity);
    const kl_hand_table *hands = &stack->hands;
    bool handed = false;
    if (stack->unstamped1 != node + 1) kl_stack_stamp_popped(stack);
    /* acquire: partner is the release of the push that made it; its link may be read. */
    uint64_t top = atomic_load_explicit(&stack->header->top, memory_order_acquire);
    for (;;) { /* each turn but the last: another one's success */
        uint32_t depth = kl_stack_depth_at(stack, top);
        if (__builtin_expect(depth >= stack->capacity, 0)) {
            /* acquire: as the first load; it may be the next turn's. */
            uint64_t again = atomic_load_explicit(&stack->header->top, memory_order_acquire);
            if (again == top)
                return kl_stack_take_back(stack, node, handed,
                                          depth == stack->capacity ? KL_ERR_AGAIN
                                                                   : kl_stack_corrupt_top(top));
            top = again;
            continue;
        }
        uint32_t tag = kl_tagged_tag(top) + 1;
        uint64_t made = kl_tagged(tag, hands->slot, node + 1);
        kl_hand_note(hands, tag, KL_STACK_STEP_PUSH, node);
        if (!handed && stack->unstamped1 == 0)
            kl_index_pool_stamp(&stack->pool, node, KL_INDEX_POOL_SHARED);
        handed = true;
        stack->unstamped1 = 0;
        /* release: partner is the acquire in kl_stack_depth_at(). */
        atomic_store_explicit(kl_stack_link(stack, node),
                              (uint64_t)(depth + 1) << 32 | kl_tagged_index1(top),
                              memory_order_release);
        kl_hand_saw_others(hands, 0, top);
        /* release: partners are the acquire loads of the top; publishes link, element and notes.
         * acquire on failure: as the first load. */
        if (atomic_compare_exchange_strong_explicit(&stack->header->top, &top, made,
                                                    memory_order_release, memory_order_acquire)) {
            stack->top_made = made;
            stack->depth_made = depth + 1;
            return KL_OK;
        }
    }
}

static inline int32_t kl_stack_pop_node(kl_stack *stack, uint32_t *node) {
    const kl_hand_table *hands = &stack->hands;
    kl_stack_stamp_popped(stack);
    /* acquire: partner is the release of the push that made it; link and element are read. */
    uint64_t top = atomic_load_explicit(&stack->header->top, memory_order_acquire);
    for (;;) { /* each turn but the last: another one's success */
        uint32_t index1 = kl_tagged_index1(top);
        if (index1 == 0) return KL_ERR_AGAIN;
        if (index1 > stack->pool.capacity) return kl_stack_corrupt_top(top);
        /* relaxed: stable while the top is what it was, which the exchange below decides. */
        uint64_t link =
            atomic_load_explicit(kl_stack_link(stack, index1 - 1), memory_order_relaxed);
        uint32_t tag = kl_tagged_tag(top) + 1, under1 = (uint32_t)link & KL_TAGGED_INDEX_MASK;
        uint64_t made = kl_tagged(tag, hands->slot, under1);
        kl_hand_note(hands, tag, KL_STACK_STEP_POP, index1 - 1);
        kl_hand_saw_others(hands, 0, top);
        /* release: partner is the acquire in holds(); carries the note of what it replaces.
         * acquire on failure: as the first load. */
        if (atomic_compare_exchange_strong_explicit(&stack->header->top, &top, made,
                                                    memory_order_release, memory_order_acquire)) {
            stack->top_made = made;
            stack->depth_made = (uint32_t)(link >> 32) - 1;
            stack->unstamped1 = index1;
            *node = index1 - 1;
            return KL_OK;
        }
    }
}

enum kl_stack_what { KL_STACK_WAIT_DATA = 1, KL_STACK_WAIT_SPACE = 2 };

#endif
