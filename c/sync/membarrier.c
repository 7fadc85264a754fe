#include "sync/membarrier.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOT_ASKED, WORKS, REFUSED };

static _Atomic uint32_t state;

static long call(int command) {
    return syscall(SYS_membarrier, command, 0, 0);
}

#ifdef KL_THREAD_SANITIZED
static bool register_process(void) {
    return false; /* the tool does not know the call: what it orders would look like races */
}
#else
static bool register_process(void) {
    return call(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
           call(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
}
#endif

int32_t kl_membarrier_prepare(void) {
    /* relaxed: all who race find the same answer, and the kernel orders what it registered. */
    uint32_t known = atomic_load_explicit(&state, memory_order_relaxed);
    if (known == NOT_ASKED) {
        known = register_process() ? WORKS : REFUSED;
        atomic_store_explicit(&state, known, memory_order_relaxed);
    }
    return known == WORKS ? KL_OK : KL_ERR_UNSUPPORTED;
}

int32_t kl_membarrier_heavy(void) {
    if (call(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return KL_OK;
    int error = errno;
    /* EPERM: not registered, as in a child of a fork on some kernels. */
    if (error == EPERM && register_process()) return KL_OK;
    return kl_fail_errno(KL_ERR_UNSUPPORTED, error, "membarrier worked when the process began");
}
