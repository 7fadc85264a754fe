/* liburcu, its read side inlined: the membarrier flavour, or with -DQSBR that of quiescent states. */
#define _LGPL_SOURCE
#ifdef QSBR
#include <urcu/urcu-qsbr.h>
#else
#include <urcu/urcu-memb.h>
#endif
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    uint64_t *source;
} reader;

#ifdef QSBR
#define READER_QUIET
static inline void reader_quiet(reader *one) {
    (void)one;
    urcu_qsbr_quiescent_state();
}
#endif

static reader *reader_open(uint64_t value) {
    reader *made = malloc(sizeof *made);
#ifdef QSBR
    urcu_qsbr_register_thread();
#else
    urcu_memb_register_thread();
#endif
    made->source = malloc(sizeof *made->source);
    *made->source = value;
    return made;
}

static inline uint64_t reader_read(reader *one) {
#ifdef QSBR
    urcu_qsbr_read_lock();
    uint64_t value = *(volatile uint64_t *)rcu_dereference(one->source);
    urcu_qsbr_read_unlock();
#else
    urcu_memb_read_lock();
    uint64_t value = *(volatile uint64_t *)rcu_dereference(one->source);
    urcu_memb_read_unlock();
#endif
    return value;
}

#include "bench/sync/read_drive.h"

int main(int count, char **words) {
    return drive_read(count, words);
}
