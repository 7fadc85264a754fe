/* ms_queue: bounded first-in-first-out queue of elements of one size, in shared memory; any thread
 * of any process pushes and pops, and none waits for another.
 *
 *   line 0   head         {position:32, by:8, index:24}; by compare-exchange, any thread
 *   line 1   tail         the same
 *   line 2   geometry     magic, version, capacity, element_bytes; written once by format
 *   line 3   data_event   notified after a push; who pops sleeps on it
 *   line 4   space_event  notified after a pop; who pushes sleeps on it
 *   line 5-  hands        lockfree/hand_table.h, two changing words: each slot by its owner
 *   then     pool         lockfree/index_pool.h: capacity + KL_MS_QUEUE_SPARE nodes, whose payload
 *                         is {u64 next, element}; next = {tag:32, by:8, index + 1 of the next:24}
 *
 * Michael and Scott, "Simple, fast, and practical non-blocking and blocking concurrent queue
 * algorithms", PODC 1996. head shows a node whose element was popped already; the elements are in
 * the nodes behind it. A push links its node behind the last one (the moment it happens), then
 * swings the tail; whoever finds the tail behind swings it. Each node remembers who linked it, and
 * each swing counts one position: tail - head = elements whose link was swung.
 *
 * Always: elements <= capacity, and full and empty are exact. Nodes are never anything else than
 * nodes, and their elements are read as atomic words before the pop decides whether they were
 * right: hazard pointers are not needed. A node that comes back has another tag in its next, so an
 * old link never succeeds; positions and tags wrap after 2^32, see hand_table.h for what that means.
 * Death: before its link (pop: its swing of the head) nothing happened; after it, it did, and an
 * element popped by the dead is gone with it (at most once). A tail left behind is swung by the
 * next. One node is left in its hand, which recover, or the next owner of its slot, gives back;
 * KL_MS_QUEUE_SPARE covers them all, so the capacity is never less for it.
 * Scribbled memory: indices and distances are bounded, KL_ERR_CORRUPT where they cannot be.
 * Progress: lock-free. Three locked instructions for a push and a pop. A thread keeps the node it
 * freed last for its next push.
 *
 * May these run at the same time?  push  pop  size  recover  verify  format
 *                            push  yes   yes  yes   yes      no      no
 *                            pop   yes   yes  yes   yes      no      no
 *                         recover  yes   yes  yes   yes      no      no
 * One kl_ms_queue (grip) is one thread's. docs/format_ms_queue.md draws it.
 */
#ifndef KL_LOCKFREE_MS_QUEUE_H
#define KL_LOCKFREE_MS_QUEUE_H

#include "lockfree/hand_table.h"

#define KL_MS_QUEUE_MAGIC        0x51534d4bu /* "KMSQ" */
#define KL_MS_QUEUE_VERSION      1u
#define KL_MS_QUEUE_HEADER_BYTES (5 * KL_LINE_BYTES)
#define KL_MS_QUEUE_CAPACITY_MAX (1u << 23)
#define KL_MS_QUEUE_ELEMENT_MAX  4096u /* is read before it is known to be right */
/* The node in front, and for each participant one node in hand and one kept for later. */
#define KL_MS_QUEUE_SPARE (1 + 2 * KL_HAND_SLOTS)

/* layout: kl_ms_queue_header head tail magic version capacity element_bytes data_event space_event */
typedef struct {
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t head;
    _Alignas(KL_LINE_BYTES) _Atomic uint64_t tail;
    _Alignas(KL_LINE_BYTES) uint32_t magic;
    uint32_t version;
    uint32_t capacity;
    uint32_t element_bytes;
    kl_event_count data_event;
    kl_event_count space_event;
} kl_ms_queue_header;

static_assert(sizeof(kl_ms_queue_header) == KL_MS_QUEUE_HEADER_BYTES, "five lines");
static_assert(offsetof(kl_ms_queue_header, tail) == 1 * KL_LINE_BYTES, "pushers own line 1");
static_assert(offsetof(kl_ms_queue_header, magic) == 2 * KL_LINE_BYTES, "nobody writes line 2");
static_assert(KL_MS_QUEUE_CAPACITY_MAX + KL_MS_QUEUE_SPARE <= KL_INDEX_POOL_CAPACITY_MAX, "fits");

/* One thread's grip. Not shared. */
typedef struct {
    kl_ms_queue_header *header;
    kl_index_pool pool;
    kl_hand_table hands;
    uint32_t capacity;
    uint32_t element_bytes;
    uint32_t spare1;     /* a node this thread holds for its next push, + 1; 0: none */
    uint32_t unstamped1; /* the node it popped last, known by the hand alone, + 1; 0: none */
} kl_ms_queue;

/* Bytes for a queue; 0: out of range (capacity 1 to MAX, element_bytes 1 to MAX). */
uint64_t kl_ms_queue_memory_bytes(uint32_t capacity, uint32_t element_bytes);

/* Makes an empty queue in line-aligned, zeroed memory of kl_ms_queue_memory_bytes(). */
int32_t kl_ms_queue_format(void *memory, uint32_t capacity, uint32_t element_bytes);

/* Grips a formatted queue. KL_ERR_CORRUPT, KL_ERR_VERSION. */
int32_t kl_ms_queue_grip(kl_ms_queue *queue, void *memory, uint64_t memory_bytes);

/* Before the first push or pop: `self` is a participant id of a live thread, used by no other grip.
 * leave gives back what the thread kept. */
int32_t kl_ms_queue_join(kl_ms_queue *queue, uint32_t self);
void kl_ms_queue_leave(kl_ms_queue *queue);

/* KL_OK, KL_ERR_AGAIN (full), KL_ERR_CORRUPT. `element` is element_bytes long. */
int32_t kl_ms_queue_push(kl_ms_queue *queue, const void *element);
/* KL_OK, KL_ERR_AGAIN (empty), KL_ERR_CORRUPT. `out` is written also when it fails. */
int32_t kl_ms_queue_pop(kl_ms_queue *queue, void *out);

/* Elements in the queue; exact when nothing moves, never more than the capacity. */
int32_t kl_ms_queue_size(const kl_ms_queue *queue);

/* Settles after `dead` (0: everyone that is not alive): their nodes back into the pool. How many. */
int32_t kl_ms_queue_recover(kl_ms_queue *queue, uint32_t dead, kl_alive_fn alive, void *context);

/* Walks it all, while nothing moves: links, stamps, positions, and that every node is in the queue,
 * free, or held. KL_OK or KL_ERR_CORRUPT. */
int32_t kl_ms_queue_verify(const kl_ms_queue *queue);

/* The same queue behind a handle, in a named region; one handle is for one thread. */
KL_API int32_t kl_ms_queue_create(const uint8_t *name, uint32_t name_bytes, uint32_t capacity,
                                  uint32_t element_bytes, uint8_t *out);
KL_API int32_t kl_ms_queue_attach(const uint8_t *name, uint32_t name_bytes, uint8_t *out);
KL_API int32_t kl_ms_queue_close(uint32_t queue);
KL_API int32_t kl_ms_queue_remove(const uint8_t *name, uint32_t name_bytes);
/* `bytes` and `capacity` must be element_bytes, else KL_ERR_ARGUMENT. */
KL_API int32_t kl_ms_queue_push_bytes(uint32_t queue, const uint8_t *element, uint32_t bytes);
KL_API int32_t kl_ms_queue_pop_bytes(uint32_t queue, uint8_t *out, uint32_t capacity);
/* For element_bytes 4. pop_u32 gives the value, or KL_ERR_* (negative). */
KL_API int32_t kl_ms_queue_push_u32(uint32_t queue, uint32_t value);
KL_API double kl_ms_queue_pop_u32(uint32_t queue);
KL_API int32_t kl_ms_queue_recover_dead(uint32_t queue);
/* what 0: capacity, 1: element_bytes, 2: size. */
KL_API int32_t kl_ms_queue_number(uint32_t queue, uint32_t what);
KL_API int32_t kl_ms_queue_check(uint32_t queue); /* kl_ms_queue_verify */

enum kl_ms_queue_what { KL_MS_QUEUE_WAIT_DATA = 1, KL_MS_QUEUE_WAIT_SPACE = 2 };

#endif
