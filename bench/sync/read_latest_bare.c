/* sync/latest: the newest value, copied, in bare C: see read_drive.h. */
#include "sync/latest.h"

#include "bench/frame/threads.h"

typedef kl_latest reader;

static reader *reader_open(uint64_t value) {
    static reader made;
    uint64_t bytes = kl_latest_memory_bytes(sizeof value);
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    memset(memory, 0, bytes);
    if (kl_latest_format(memory, sizeof value) != KL_OK) exit(1);
    if (kl_latest_grip(&made, memory, bytes) != KL_OK) exit(1);
    if (kl_latest_set_sp(&made, &value, sizeof value) != KL_OK) exit(1);
    return &made;
}

static inline uint64_t reader_read(reader *one) {
    uint64_t value = 0;
    if (kl_latest_get_u64(one, &value) != KL_OK) exit(3);
    return value;
}

#include "bench/sync/read_drive.h"

int main(int count, char **words) {
    return drive_read(count, words);
}
