/* capability_table in bare C, with 1000 live entries: `capability_bare MODE OPERATIONS DEPTH`.
 *   check   whether a capability permits two bits; it was delegated DEPTH times
 *   find    the capability of a key
 *   turn    one is ended and another inserted */
#include "lockfree/capability_table.h"

#include "bench/frame/threads.h"

#include <unistd.h>

#define ENTRIES 1000u

static kl_capability_table table;
static kl_capability all[ENTRIES];

static uint64_t check(uint64_t operations, uint64_t depth) {
    kl_capability chain[8];
    uint64_t digest = 0;
    for (uint64_t i = 0; i < 8; i++) { /* eight of them in turn, so that each is in the cache */
        chain[i] = all[i];
        for (uint64_t k = 0; k < depth; k++)
            if (kl_capability_table_delegate(&table, chain[i], 5000 + 8 * k + i, 3, &chain[i]) !=
                KL_OK)
                exit(3);
    }
    for (uint64_t i = 0; i < operations; i++) {
        kl_capability capability = chain[i % 8];
        __asm__ volatile("" : "+r"(capability)::"memory");
        digest += kl_capability_table_check(&table, capability, 3);
    }
    return digest;
}

static uint64_t find(uint64_t operations) {
    uint64_t digest = 0;
    for (uint64_t i = 0; i < operations; i++) {
        kl_capability capability = 0;
        if (kl_capability_table_find(&table, i % ENTRIES, &capability) != KL_OK) exit(3);
        digest += capability == all[i % ENTRIES];
    }
    return digest;
}

static uint64_t turn(uint64_t operations) {
    for (uint64_t i = 0; i < operations; i++) {
        if (kl_capability_table_end(&table, all[i % ENTRIES]) != KL_OK) exit(3);
        if (kl_capability_table_insert(&table, ENTRIES + i, 3, &all[i % ENTRIES]) != KL_OK) exit(3);
    }
    return kl_capability_table_count(&table);
}

int main(int count, char **words) {
    kl_region *region = NULL;
    kl_region_spec spec = {.kind = 1};
    if (count != 4) return 2;
    uint64_t operations = number_argument(words, 2), depth = number_argument(words, 3), digest;
    uint64_t bytes = kl_capability_table_memory_bytes(ENTRIES + 64);
    if (kl_region_create(&region, NULL, bytes, &spec) != KL_OK || /* a memfd */
        kl_capability_table_format(kl_region_data(region), ENTRIES + 64) != KL_OK ||
        kl_region_publish(region) != KL_OK || kl_region_join(region, 0) < 0 ||
        kl_capability_table_grip(&table, region, kl_region_data(region), bytes) != KL_OK)
        return 1;
    for (uint64_t key = 0; key < ENTRIES; key++)
        if (kl_capability_table_insert(&table, key, 3, &all[key]) != KL_OK) return 1;
    pin_to(0);
    uint64_t start = now_ns();
    if (strcmp(words[1], "check") == 0)
        digest = check(operations, depth);
    else
        digest = strcmp(words[1], "find") == 0 ? find(operations) : turn(operations);
    print_result((double)(now_ns() - start) / 1e9, digest);
    printf("\n");
    return 0;
}
