#include "lockfree/stack.h"

#include <string.h>

#include "base/handle.h"
#include "base/layout_hash.h"
#include "sync/shared_object.h"

#define WORDS 1u /* that change: the top */

static uint64_t payload_bytes(uint32_t element_bytes) {
    return 8 + (((uint64_t)element_bytes + 7) & ~7ull);
}

static uint64_t pool_offset(void) {
    return KL_STACK_HEADER_BYTES + kl_hand_table_bytes(WORDS);
}

uint64_t kl_stack_memory_bytes(uint32_t capacity, uint32_t element_bytes) {
    if (capacity == 0 || capacity > KL_STACK_CAPACITY_MAX || element_bytes == 0 ||
        element_bytes > KL_STACK_ELEMENT_MAX)
        return 0;
    return pool_offset() + kl_index_pool_memory_bytes(capacity + KL_STACK_SPARE,
                                                      (uint32_t)payload_bytes(element_bytes));
}

static int32_t check_geometry(uint32_t capacity, uint32_t element_bytes) {
    if (kl_stack_memory_bytes(capacity, element_bytes) != 0) return KL_OK;
    return kl_fail(KL_ERR_ARGUMENT,
                   "a stack of %u elements of %u bytes: 1 to %u elements of 1 to %u bytes",
                   capacity, element_bytes, KL_STACK_CAPACITY_MAX, KL_STACK_ELEMENT_MAX);
}

int32_t kl_stack_format(void *memory, uint32_t capacity, uint32_t element_bytes) {
    int32_t status = check_geometry(capacity, element_bytes);
    if (status != KL_OK) return status;
    kl_stack_header *header = memory;
    memset(memory, 0, pool_offset());
    header->magic = KL_STACK_MAGIC;
    header->version = KL_STACK_VERSION;
    header->capacity = capacity;
    header->element_bytes = element_bytes;
    return kl_index_pool_format((uint8_t *)memory + pool_offset(), capacity + KL_STACK_SPARE,
                                (uint32_t)payload_bytes(element_bytes));
}

int32_t kl_stack_grip(kl_stack *stack, void *memory, uint64_t memory_bytes) {
    kl_stack_header *header = memory;
    memset(stack, 0, sizeof *stack);
    if (memory_bytes < pool_offset())
        return kl_fail(KL_ERR_CORRUPT, "%llu bytes cannot hold a stack",
                       (unsigned long long)memory_bytes);
    if (header->magic != KL_STACK_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no stack here: magic 0x%08x", header->magic);
    if (header->version != KL_STACK_VERSION)
        return kl_fail(KL_ERR_VERSION, "stack version %u, this build knows %u", header->version,
                       KL_STACK_VERSION);
    uint32_t capacity = header->capacity, element_bytes = header->element_bytes; /* read once */
    uint64_t bytes = kl_stack_memory_bytes(capacity, element_bytes);
    if (bytes == 0 || bytes > memory_bytes)
        return kl_fail(KL_ERR_CORRUPT, "stack of %u elements of %u bytes in %llu bytes of memory",
                       capacity, element_bytes, (unsigned long long)memory_bytes);
    int32_t status = kl_index_pool_grip(&stack->pool, (uint8_t *)memory + pool_offset(),
                                        memory_bytes - pool_offset());
    if (status != KL_OK) return status;
    if (stack->pool.capacity != capacity + KL_STACK_SPARE ||
        stack->pool.payload_bytes != payload_bytes(element_bytes))
        return kl_fail(KL_ERR_CORRUPT, "the stack's nodes are not of its geometry");
    stack->header = header;
    stack->hands =
        (kl_hand_table){.memory = (uint8_t *)memory + KL_STACK_HEADER_BYTES, .words = WORDS};
    stack->capacity = capacity;
    stack->element_bytes = element_bytes;
    return KL_OK;
}

static int32_t corrupt(const char *what, uint64_t value) {
    return kl_fail(KL_ERR_CORRUPT, "the stack's %s cannot be: %016llx", what,
                   (unsigned long long)value);
}

/* ---- the change of the top ---- */

int32_t kl_stack_corrupt_top(uint64_t top) {
    return corrupt("top", top);
}

/* A node that was handed over and not pushed is the thread's again. */
int32_t kl_stack_take_back(kl_stack *stack, uint32_t node, bool handed, int32_t status) {
    if (handed) {
        kl_index_pool_stamp(&stack->pool, node, stack->hands.self);
        kl_hand_empty(&stack->hands);
    }
    return status;
}

/* The verdict for kl_hand_recover: a push that did not take place, a pop that did. */
static bool holds(void *structure, uint32_t slot, uint64_t hand) {
    const kl_stack *stack = structure;
    /* acquire: partner is the release of every change; their notes are seen. */
    uint64_t top = atomic_load_explicit(&stack->header->top, memory_order_acquire);
    bool done = kl_hand_took_place(&stack->hands, 0, top, slot, kl_tagged_tag(hand));
    return kl_tagged_by(hand) == KL_STACK_STEP_PUSH
               ? !done
               : kl_tagged_by(hand) == KL_STACK_STEP_POP && done;
}

/* ---- nodes ---- */

int32_t kl_stack_join(kl_stack *stack, uint32_t self) {
    return kl_hand_join(&stack->hands, &stack->pool, self, holds, stack);
}

void kl_stack_leave(kl_stack *stack) {
    kl_stack_stamp_popped(stack);
    stack->spare1 = 0; /* stamped with our id, as all we hold */
    kl_hand_leave(&stack->hands, &stack->pool);
}

int32_t kl_stack_recover(kl_stack *stack, uint32_t dead, kl_alive_fn alive, void *context) {
    return kl_hand_recover(&stack->hands, &stack->pool, dead, alive, context, holds, stack);
}

int32_t kl_stack_take_node(kl_stack *stack, uint32_t *node) {
    if (stack->spare1 != 0) {
        *node = stack->spare1 - 1;
        stack->spare1 = 0;
        return KL_OK;
    }
    kl_claim claim;
    int32_t status = kl_index_pool_acquire(&stack->pool, stack->hands.self, &claim);
    if (status == KL_OK) *node = claim.index;
    return status;
}

int32_t kl_stack_give_node(kl_stack *stack, uint32_t node) {
    if (node >= stack->pool.capacity)
        return kl_fail(KL_ERR_ARGUMENT, "node %u of %u", node, stack->pool.capacity);
    if (stack->spare1 == 0) {
        stack->spare1 = node + 1;
        return KL_OK;
    }
    if (stack->unstamped1 == node + 1) {
        kl_stack_stamp_popped(stack);
        kl_hand_empty(&stack->hands); /* the next holder is not to be taken for us */
    }
    /* relaxed: the caller holds it; its generation does not move. */
    uint64_t word =
        atomic_load_explicit(kl_index_pool_word(&stack->pool, node), memory_order_relaxed);
    return kl_index_pool_release(&stack->pool, stack->hands.self,
                                 (kl_claim){node, (uint32_t)(word >> 32)});
}

int32_t kl_stack_push(kl_stack *stack, const void *element) {
    uint32_t node = 0;
    int32_t status = kl_stack_take_node(stack, &node);
    if (status != KL_OK) return status;
    memcpy(kl_stack_element(stack, node), element, stack->element_bytes);
    status = kl_stack_push_node(stack, node);
    if (status != KL_OK) stack->spare1 = node + 1;
    return status;
}

int32_t kl_stack_pop(kl_stack *stack, void *out) {
    uint32_t node = 0;
    int32_t status = kl_stack_pop_node(stack, &node);
    if (status != KL_OK) return status;
    memcpy(out, kl_stack_element(stack, node), stack->element_bytes);
    kl_stack_give_node(stack, node);
    return KL_OK;
}

int32_t kl_stack_size(const kl_stack *stack) {
    for (;;) { /* each turn but the last: another one's success */
        /* acquire: partner is the release of the push that made it. */
        uint64_t top = atomic_load_explicit(&stack->header->top, memory_order_acquire);
        uint32_t index1 = kl_tagged_index1(top);
        if (index1 == 0) return 0;
        if (index1 > stack->pool.capacity) return corrupt("top", top);
        /* acquire: as in push_node, partner is the release store of the link. */
        uint64_t link =
            atomic_load_explicit(kl_stack_link(stack, index1 - 1), memory_order_acquire);
        /* relaxed: ordered after the link. */
        if (atomic_load_explicit(&stack->header->top, memory_order_relaxed) != top) continue;
        uint32_t depth = (uint32_t)(link >> 32);
        return depth >= 1 && depth <= stack->capacity ? (int32_t)depth : corrupt("depth", depth);
    }
}

/* Nodes that only a hand says to be somebody's. */
static uint32_t popped_in_hands(const kl_stack *stack) {
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < KL_HAND_SLOTS; slot++) {
        /* relaxed: right only when nothing moves. */
        uint64_t hand =
            atomic_load_explicit(&kl_hand_of(&stack->hands, slot)->hand, memory_order_relaxed);
        uint32_t node = kl_tagged_index1(hand);
        if (hand == 0 || node >= stack->pool.capacity) continue;
        uint64_t word =
            atomic_load_explicit(kl_index_pool_word(&stack->pool, node), memory_order_relaxed);
        count +=
            (uint32_t)word == KL_INDEX_POOL_SHARED && holds((void *)(uintptr_t)stack, slot, hand);
    }
    return count;
}

int32_t kl_stack_verify(const kl_stack *stack) {
    int32_t size = kl_stack_size(stack), status = kl_index_pool_verify(&stack->pool);
    if (size < 0) return size;
    if (status != KL_OK) return status;
    /* acquire, relaxed: right only when nothing moves. */
    uint64_t top = atomic_load_explicit(&stack->header->top, memory_order_acquire);
    uint32_t index1 = kl_tagged_index1(top);
    for (uint32_t depth = (uint32_t)size; depth > 0; depth--) {
        if (index1 == 0 || index1 > stack->pool.capacity) return corrupt("link", index1);
        uint64_t link =
            atomic_load_explicit(kl_stack_link(stack, index1 - 1), memory_order_relaxed);
        if (link >> 32 != depth) return corrupt("depth", link);
        uint64_t word = atomic_load_explicit(kl_index_pool_word(&stack->pool, index1 - 1),
                                             memory_order_relaxed);
        if ((uint32_t)word != KL_INDEX_POOL_SHARED) return corrupt("stamp", word);
        index1 = (uint32_t)link;
    }
    if (index1 != 0) return corrupt("bottom", index1);
    uint32_t shared = kl_index_pool_held(&stack->pool, KL_INDEX_POOL_SHARED);
    if (shared != (uint32_t)size + popped_in_hands(stack))
        return kl_fail(KL_ERR_CORRUPT, "%u nodes are in no hand, %d in the stack", shared, size);
    return KL_OK;
}

/* ---- behind a handle ---- */

typedef struct {
    kl_shared_object object;
    kl_stack stack;
} named_stack;

typedef struct {
    uint32_t capacity;
    uint32_t element_bytes;
} stack_options;

static int32_t format_named(void *memory, uint64_t memory_bytes, const void *options) {
    const stack_options *wanted = options;
    (void)memory_bytes;
    return kl_stack_format(memory, wanted->capacity, wanted->element_bytes);
}

static int32_t grip_named(kl_shared_object *object, void *memory, uint64_t memory_bytes) {
    return kl_stack_grip(&((named_stack *)object)->stack, memory, memory_bytes);
}

static void leave_named(kl_shared_object *object) {
    kl_stack_leave(&((named_stack *)object)->stack);
}

static kl_event_count *event_of_named(kl_shared_object *object, uint32_t index) {
    kl_stack_header *header = ((named_stack *)object)->stack.header;
    return index == 0 ? &header->data_event : index == 1 ? &header->space_event : NULL;
}

static int32_t prepare_named(kl_shared_object *object, uint32_t what, uint32_t argument,
                             kl_event_count **event, uint32_t *key) {
    const kl_stack *stack = &((named_stack *)object)->stack;
    (void)argument;
    if (what != KL_STACK_WAIT_DATA && what != KL_STACK_WAIT_SPACE)
        return kl_fail(KL_ERR_ARGUMENT, "wait %u at a stack: 1 (data) or 2 (space)", what);
    bool data = what == KL_STACK_WAIT_DATA;
    *event = data ? &stack->header->data_event : &stack->header->space_event;
    *key = kl_event_count_prepare(*event);
    int32_t size = kl_stack_size(stack);
    if (size < 0) return size;
    return data ? size > 0 : (uint32_t)size < stack->capacity;
}

static const kl_shared_object_type TYPE = {
    .handle_kind = KL_HANDLE_STACK,
    .magic = KL_STACK_MAGIC,
    .layout_hash = KL_LAYOUT_HASH,
    .object_bytes = sizeof(named_stack),
    .noun = "stack",
    .format = format_named,
    .grip = grip_named,
    .leave = leave_named,
    .event = event_of_named,
    .prepare = prepare_named,
};

int32_t kl_stack_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                        uint32_t element_bytes, uint8_t *out) {
    stack_options options = {capacity, element_bytes};
    int32_t status = check_geometry(capacity, element_bytes);
    if (status != KL_OK) return status;
    return kl_shared_object_create(&TYPE, name, name_bytes,
                                   kl_stack_memory_bytes(capacity, element_bytes), &options, out);
}

int32_t kl_stack_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out) {
    return kl_shared_object_attach(&TYPE, name, name_bytes, out);
}

int32_t kl_stack_close(uint32_t stack) {
    return kl_shared_object_close(&TYPE, stack);
}

int32_t kl_stack_remove(const uint8_t *name, uint32_t name_bytes) {
    return kl_shared_object_remove(&TYPE, name, name_bytes);
}

/* The first call of a handle takes the thread's slot. */
static int32_t join(named_stack *named, int32_t self) {
    if (self > 0 && named->stack.hands.self != 0)
        return kl_fail(KL_ERR_LOCKED, "the handle is another thread's: attach for each");
    return self < 0 ? self : kl_stack_join(&named->stack, (uint32_t)self);
}

/* Enters the handle for its own thread; `bytes` is what the caller takes an element for. */
static int32_t enter(uint32_t handle, uint32_t bytes, named_stack **out) {
    named_stack *named = kl_shared_object_enter(&TYPE, handle);
    if (!named) return KL_ERR_HANDLE;
    int32_t self = kl_shared_object_self(&named->object), status = KL_OK;
    if (__builtin_expect(self != (int32_t)named->stack.hands.self, 0)) status = join(named, self);
    if (status == KL_OK && __builtin_expect(bytes != named->stack.element_bytes, 0) && bytes != 0)
        status = kl_fail(KL_ERR_ARGUMENT, "%u bytes, but the elements of this stack have %u", bytes,
                         named->stack.element_bytes);
    *out = named;
    if (__builtin_expect(status != KL_OK, 0)) kl_handle_leave(handle);
    return status;
}

static int32_t leave(uint32_t handle, named_stack *named, kl_event_count *changed, int32_t status) {
    return kl_shared_object_leave(&named->object, handle, status == KL_OK ? changed : NULL, status);
}

int32_t kl_stack_push_bytes(uint32_t stack, const uint8_t *element, uint32_t bytes) {
    named_stack *named = NULL;
    if (!element || bytes == 0) return kl_fail(KL_ERR_ARGUMENT, "an element of no bytes");
    int32_t status = enter(stack, bytes, &named);
    if (status != KL_OK) return status;
    status = kl_stack_push(&named->stack, element);
    return leave(stack, named, &named->stack.header->data_event, status);
}

int32_t kl_stack_pop_bytes(uint32_t stack, uint8_t *out, uint32_t capacity) {
    named_stack *named = NULL;
    if (!out || capacity == 0) return kl_fail(KL_ERR_ARGUMENT, "no room for an element");
    int32_t status = enter(stack, capacity, &named);
    if (status != KL_OK) return status;
    status = kl_stack_pop(&named->stack, out);
    return leave(stack, named, &named->stack.header->space_event, status);
}

int32_t kl_stack_push_u32(uint32_t stack, uint32_t value) {
    return kl_stack_push_bytes(stack, (const uint8_t *)&value, sizeof value);
}

double kl_stack_pop_u32(uint32_t stack) {
    uint32_t value = 0;
    int32_t status = kl_stack_pop_bytes(stack, (uint8_t *)&value, sizeof value);
    return status == KL_OK ? (double)value : status;
}

int32_t kl_stack_recover_dead(uint32_t stack) {
    named_stack *named = NULL;
    int32_t status = enter(stack, 0, &named);
    if (status != KL_OK) return status;
    status = kl_stack_recover(&named->stack, 0, kl_index_pool_thread_alive, named->object.region);
    return leave(stack, named, NULL, status);
}

int32_t kl_stack_number(uint32_t stack, uint32_t what) {
    named_stack *named = NULL;
    int32_t status = enter(stack, 0, &named);
    if (status != KL_OK) return status;
    const kl_stack *it = &named->stack;
    int32_t number = what == 0   ? (int32_t)it->capacity
                     : what == 1 ? (int32_t)it->element_bytes
                                 : kl_stack_size(it);
    return leave(stack, named, NULL, number);
}

int32_t kl_stack_check(uint32_t stack) {
    named_stack *named = NULL;
    int32_t status = enter(stack, 0, &named);
    return status == KL_OK ? leave(stack, named, NULL, kl_stack_verify(&named->stack)) : status;
}
