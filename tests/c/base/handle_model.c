/* handle under the memory models: an object is destroyed once, after the last leave and before
 * anybody can see what lies there next; a stale or forged number gets nothing. */
#include "base/handle.h"

#include <stdatomic.h>

#include "tests/c/model/explorer.h"

#define KIND 1u

typedef struct {
    uint32_t content;
} object;

static uint32_t handle, destroyed, used;

static void destroy(void *of) {
    object *gone = of;
    KL_MODEL_CHECK(gone->content >= 7); /* a race, if a user's work were not seen */
    destroyed++;
    kl_model_free(gone);
}

static void open_one(void) {
    object *made = kl_model_alloc(sizeof *made);
    made->content = 7;
    handle = kl_handle_open(KIND, made, destroy);
    KL_MODEL_CHECK(handle != 0);
}
static void use(void) {
    object *own = kl_handle_enter(handle, KIND);
    if (!own) return;
    KL_MODEL_CHECK(own->content >= 7);
    used++;
    kl_handle_leave(handle);
}
static void use_and_change(void) {
    object *own = kl_handle_enter(handle, KIND);
    if (!own) return;
    own->content++;
    kl_handle_leave(handle);
}
static void close_it(void) {
    kl_handle_close(handle, KIND);
}
static void close_once(void) {
    int32_t status = kl_handle_close(handle, KIND);
    KL_MODEL_CHECK(status == KL_OK || status == KL_ERR_HANDLE);
}
static void destroyed_once(void) {
    KL_MODEL_CHECK_EQ(destroyed, 1);
    KL_MODEL_CHECK(kl_handle_enter(handle, KIND) == NULL);
    KL_MODEL_CHECK_EQ(kl_handle_live(0), 0);
    kl_model_expect("used", used == 1);
    kl_model_expect("too late", used == 0);
}

KL_MODEL(kl_handle_model_use_against_close, .setup = open_one, .threads = {use, close_it},
         .finally = destroyed_once)
KL_MODEL(kl_handle_model_what_a_user_wrote_is_seen_by_destroy, .setup = open_one,
         .threads = {use_and_change, close_it})
KL_MODEL(kl_handle_model_two_closes, .setup = open_one, .threads = {close_once, close_once})
KL_MODEL(kl_handle_model_use_against_two_closes, .setup = open_one, .executions_max = 20000,
         .random = 1000, .threads = {use, close_once, close_once})

/* The number travels by a relaxed word: the table alone hands the object over. */
static _Atomic uint32_t mailbox;
static void open_and_send(void) {
    object *made = kl_model_alloc(sizeof *made);
    made->content = 7;
    atomic_store_explicit(&mailbox, kl_handle_open(KIND, made, destroy), memory_order_relaxed);
}
static void receive_and_use(void) {
    uint32_t number = atomic_load_explicit(&mailbox, memory_order_relaxed);
    if (number == 0) return;
    object *own = kl_handle_enter(number, KIND);
    if (!own) return;
    KL_MODEL_CHECK_EQ(own->content, 7);
    kl_model_expect("received", true);
    kl_handle_leave(number);
}
KL_MODEL(kl_handle_model_open_hands_over, .threads = {open_and_send, receive_and_use})
static void receive_and_count(void) {
    KL_MODEL_CHECK(kl_handle_live(KIND) <= 1);
    KL_MODEL_CHECK_EQ(kl_handle_live(KIND + 1), 0);
    kl_model_expect("counted", kl_handle_live(KIND) == 1);
}
KL_MODEL(kl_handle_model_open_against_live, .threads = {open_and_send, receive_and_count})

/* A stale number against a close that frees the slot, and a number that was never given out. */
static void use_forged(void) {
    KL_MODEL_CHECK(kl_handle_enter(handle + 4096 * 3, KIND) == NULL);
    KL_MODEL_CHECK(kl_handle_enter(handle, KIND + 1) == NULL);
}
KL_MODEL(kl_handle_model_forged_numbers_against_close, .setup = open_one,
         .threads = {use_forged, close_it})
KL_MODEL(kl_handle_model_forged_numbers_against_open, .threads = {open_and_send, use_forged})
static void look(void) {
    kl_handle_is_open(handle, KIND);
}
KL_MODEL(kl_handle_model_look_against_close, .setup = open_one, .threads = {look, close_it})
