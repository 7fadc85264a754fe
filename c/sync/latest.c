#include "sync/latest.h"

#define WORDS_PER_LINE (KL_LINE_BYTES / 8)

static uint64_t words_of(uint32_t bytes) {
    return ((uint64_t)bytes + 7) / 8;
}

/* Words of a cell: the length and the value, filled up to whole lines. */
static uint64_t cell_words_of(uint32_t value_bytes) {
    uint64_t words = 1 + words_of(value_bytes);
    return (words + WORDS_PER_LINE - 1) / WORDS_PER_LINE * WORDS_PER_LINE;
}

static bool is_value_bytes(uint32_t bytes) {
    return bytes >= 1 && bytes <= KL_LATEST_VALUE_BYTES_MAX;
}

uint64_t kl_latest_memory_bytes(uint32_t value_bytes) {
    if (!is_value_bytes(value_bytes)) return 0;
    return sizeof(kl_latest_header) + KL_LATEST_CELLS * 8 * cell_words_of(value_bytes);
}

int32_t kl_latest_format(void *memory, uint32_t value_bytes) {
    if (!is_value_bytes(value_bytes))
        return kl_fail(KL_ERR_ARGUMENT, "a value of %u bytes: 1 to %u", value_bytes,
                       KL_LATEST_VALUE_BYTES_MAX);
    kl_latest_header *header = memory;
    memset(memory, 0, kl_latest_memory_bytes(value_bytes));
    header->magic = KL_LATEST_MAGIC;
    header->version = KL_LATEST_VERSION;
    header->value_bytes = value_bytes;
    return KL_OK;
}

int32_t kl_latest_grip(kl_latest *latest, void *memory, uint64_t memory_bytes) {
    kl_latest_header *header = memory;
    memset(latest, 0, sizeof *latest);
    if (memory_bytes < sizeof *header || header->magic != KL_LATEST_MAGIC)
        return kl_fail(KL_ERR_CORRUPT, "no latest value here");
    if (header->version != KL_LATEST_VERSION)
        return kl_fail(KL_ERR_VERSION, "latest value version %u, this build knows %u",
                       header->version, KL_LATEST_VERSION);
    uint32_t value_bytes = header->value_bytes; /* read once: memory may change under us */
    if (!is_value_bytes(value_bytes) || kl_latest_memory_bytes(value_bytes) > memory_bytes)
        return kl_fail(KL_ERR_CORRUPT, "a latest value of %u bytes in %llu bytes of memory",
                       value_bytes, (unsigned long long)memory_bytes);
    latest->header = header;
    latest->cells = (_Atomic uint64_t *)(void *)(header + 1);
    latest->cell_words = cell_words_of(value_bytes);
    latest->value_bytes = value_bytes;
    return KL_OK;
}

int32_t kl_latest_claim(kl_latest *latest, kl_region *region, uint32_t self) {
    _Atomic uint32_t *writer = &latest->header->writer;
    uint32_t owner = atomic_load_explicit(writer, memory_order_relaxed); /* decided below */
    if (owner == self) return KL_OK;
    if (owner != 0 && kl_region_thread_alive(region, owner)) return KL_ERR_LOCKED;
    /* acquire: partner is the release in kl_latest_release; of a dead one it is its death. */
    if (!atomic_compare_exchange_strong_explicit(writer, &owner, self, memory_order_acquire,
                                                 memory_order_relaxed))
        return KL_ERR_LOCKED;
    return owner == 0 ? KL_OK : KL_OWNER_DEAD;
}

void kl_latest_release(kl_latest *latest, uint32_t self) {
    /* release: partner is the acquire in kl_latest_claim; only from what is ours. */
    atomic_compare_exchange_strong_explicit(&latest->header->writer, &self, 0, memory_order_release,
                                            memory_order_relaxed);
}

static void store_word(_Atomic uint64_t *cell, uint64_t word) {
    /* relaxed: announced by kl_publish_overwrite before, published by the release in set after. */
    atomic_store_explicit(cell, word, memory_order_relaxed);
}

int32_t kl_latest_set_sp(kl_latest *latest, const void *value, uint32_t bytes) {
    if (bytes > latest->value_bytes || (!value && bytes > 0))
        return kl_fail(KL_ERR_ARGUMENT, "%u bytes for a value of at most %u", bytes,
                       latest->value_bytes);
    /* relaxed: the writer's own. */
    uint64_t next = atomic_load_explicit(&latest->header->published, memory_order_relaxed) + 1;
    _Atomic uint64_t *cell = kl_latest_cell(latest, next);
    const uint8_t *from = value;
    kl_publish_overwrite(&latest->header->writing, next);
    store_word(cell, bytes);
    uint64_t whole = bytes / 8, word = 0;
    for (uint64_t i = 0; i < whole; i++) {
        memcpy(&word, from + 8 * i, 8);
        store_word(cell + 1 + i, word);
    }
    word = 0;
    if (bytes % 8 != 0) {
        memcpy(&word, from + 8 * whole, bytes % 8);
        store_word(cell + 1 + whole, word);
    }
    /* release: partner is the acquire in kl_latest_version. */
    atomic_store_explicit(&latest->header->published, next, memory_order_release);
    return KL_OK;
}

static uint64_t load_word(_Atomic uint64_t *cell) {
    /* relaxed: kept only if kl_latest_copied says so. */
    return atomic_load_explicit(cell, memory_order_relaxed);
}

static void copy_cell(_Atomic uint64_t *cell, uint8_t *out, uint64_t bytes) {
    uint64_t whole = bytes / 8, word;
    for (uint64_t i = 0; i < whole; i++) {
        word = load_word(cell + 1 + i);
        memcpy(out + 8 * i, &word, 8);
    }
    if (bytes % 8 == 0) return;
    word = load_word(cell + 1 + whole);
    memcpy(out + 8 * whole, &word, bytes % 8);
}

int32_t kl_latest_get(const kl_latest *latest, void *out, uint32_t capacity, uint64_t *version) {
    for (uint32_t tries = 0; tries < KL_LATEST_TRIES_MAX; tries++) {
        uint64_t newest = *version = kl_latest_version(latest);
        if (newest == 0) return KL_ERR_AGAIN;
        _Atomic uint64_t *cell = kl_latest_cell(latest, newest);
        uint64_t bytes = load_word(cell);
        bool fits = bytes <= latest->value_bytes && bytes <= capacity;
        if (fits) copy_cell(cell, out, bytes);
        if (!kl_latest_copied(latest, newest)) continue;
        if (fits) return (int32_t)bytes;
        return bytes > latest->value_bytes
                   ? kl_fail(KL_ERR_CORRUPT, "a value of %llu bytes where at most %u fit",
                             (unsigned long long)bytes, latest->value_bytes)
                   : kl_fail(KL_ERR_LIMIT, "the value has %llu bytes, %u were offered",
                             (unsigned long long)bytes, capacity);
    }
    return kl_fail(KL_ERR_AGAIN, "set so often that it could not be read in %u tries",
                   KL_LATEST_TRIES_MAX);
}
