#include "sync/thread_end.h"

#include <pthread.h>

#include "base/handle.h"
#include "tests/c/harness.h"

#define HANDLES 5

static uint32_t order[HANDLES], destroyed;
static void destroy(void *object) {
    order[destroyed++] = *(uint32_t *)object;
}

static uint32_t numbers[HANDLES], handles[HANDLES];

/* Opens five, closes the third itself, forgets the second (which then stays), and ends. */
static void *open_and_end(void *argument) {
    (void)argument;
    for (uint32_t i = 0; i < HANDLES; i++) {
        numbers[i] = i;
        handles[i] = kl_handle_open(KL_HANDLE_ROLE, &numbers[i], destroy);
        KL_CHECK_EQ(kl_thread_end_close(handles[i], KL_HANDLE_ROLE), KL_OK);
    }
    KL_CHECK_EQ(kl_handle_close(handles[2], KL_HANDLE_ROLE), KL_OK);
    kl_thread_end_forget(handles[2]);
    kl_thread_end_forget(handles[2]); /* twice, and what never was there: nothing */
    kl_thread_end_forget(handles[1]);
    kl_thread_end_forget(0);
    return NULL;
}

KL_TEST(kl_thread_end_close_closes_what_a_thread_left_open_the_latest_first) {
    pthread_t thread;
    destroyed = 0;
    pthread_create(&thread, NULL, open_and_end, NULL);
    pthread_join(thread, NULL);
    KL_CHECK_EQ(destroyed, 4);
    uint32_t expected[] = {2, 4, 3, 0};
    for (uint32_t i = 0; i < 4; i++) KL_CHECK_EQ(order[i], expected[i]);
    KL_CHECK_EQ(kl_handle_live(KL_HANDLE_ROLE), 1);
    KL_CHECK_EQ(kl_handle_close(handles[1], KL_HANDLE_ROLE), KL_OK);
}

static void *open_and_let_another_close(void *argument) {
    uint32_t *handle = argument;
    *handle = kl_handle_open(KL_HANDLE_ROLE, &numbers[0], destroy);
    KL_CHECK_EQ(kl_thread_end_close(*handle, KL_HANDLE_ROLE), KL_OK);
    return NULL;
}

KL_TEST(kl_thread_end_close_of_a_handle_closed_on_another_thread_is_nothing) {
    pthread_t thread;
    uint32_t handle;
    destroyed = 0;
    pthread_create(&thread, NULL, open_and_let_another_close, &handle);
    pthread_join(thread, NULL);
    kl_thread_end_forget(handle);
    KL_CHECK_EQ(kl_handle_close(handle, KL_HANDLE_ROLE), KL_ERR_HANDLE);
    KL_CHECK_EQ(destroyed, 1);
}
