#include "file/device_faults.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    kl_device_fault fault;
    uint64_t calls;
    uint64_t hits;
} planned_fault;

struct kl_device_faults {
    kl_device_seam seam;
    pthread_mutex_t mutex; /* guards all below */
    planned_fault planned[KL_DEVICE_FAULTS_MAX];
    uint32_t planned_count;
    bool recording;
    kl_device_record *records;
    size_t record_count;
    size_t record_room;
};

static pthread_mutex_t installed_mutex = PTHREAD_MUTEX_INITIALIZER;
static kl_device_faults *installed;

static bool concerns(const kl_device_fault *fault, const kl_device_call *call) {
    if ((fault->ops & 1u << call->op) == 0) return false;
    return fault->path_part == NULL || strstr(call->path, fault->path_part) != NULL;
}

static void sleep_ms(uint32_t ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

static void before(void *context, const kl_device_call *call, kl_device_verdict *verdict) {
    kl_device_faults *faults = context;
    uint32_t stall_ms = 0;
    bool kills = false;
    pthread_mutex_lock(&faults->mutex);
    for (uint32_t i = 0; i < faults->planned_count; i++) {
        planned_fault *planned = &faults->planned[i];
        const kl_device_fault *fault = &planned->fault;
        if (!concerns(fault, call)) continue;
        uint64_t n = ++planned->calls;
        if (fault->at_call == 0 || n < fault->at_call || (n > fault->at_call && !fault->forever))
            continue;
        planned->hits++;
        stall_ms += fault->stall_ms;
        if (fault->error == KL_DEVICE_FAULT_KILL) {
            kills = true;
        } else if (fault->error != 0) {
            verdict->error = fault->error;
            verdict->after = fault->after;
        }
        if (fault->bytes_max > 0) verdict->bytes_max = fault->bytes_max;
    }
    pthread_mutex_unlock(&faults->mutex);
    if (stall_ms > 0) sleep_ms(stall_ms);
    if (kills) (void)kill(getpid(), SIGKILL);
}

static bool is_recorded(uint32_t op) {
    return op != KL_DEVICE_OP_READ && op != KL_DEVICE_OP_OPEN;
}

static void free_record(kl_device_record *record) {
    free(record->path);
    free(record->to);
    free(record->data);
}

static bool fill_record(kl_device_record *record, const kl_device_call *call, uint64_t bytes) {
    *record = (kl_device_record){.op = call->op, .offset = call->offset, .bytes = bytes};
    record->path = strdup(call->path);
    if (call->to != NULL) record->to = strdup(call->to);
    if (call->data != NULL && bytes > 0) {
        record->data = malloc((size_t)bytes);
        if (record->data != NULL) memcpy(record->data, call->data, (size_t)bytes);
    }
    if (record->path != NULL && (call->to == NULL || record->to != NULL) &&
        (call->data == NULL || bytes == 0 || record->data != NULL))
        return true;
    free_record(record);
    return false;
}

static kl_device_record *new_record(kl_device_faults *faults) {
    if (faults->record_count == faults->record_room) {
        size_t room = faults->record_room == 0 ? 64 : 2 * faults->record_room;
        kl_device_record *grown = realloc(faults->records, room * sizeof *grown);
        if (grown == NULL) return NULL;
        faults->records = grown;
        faults->record_room = room;
    }
    return &faults->records[faults->record_count];
}

static void after(void *context, const kl_device_call *call, int64_t result) {
    kl_device_faults *faults = context;
    if (!faults->recording || result < 0 || !is_recorded(call->op)) return;
    uint64_t bytes = call->op == KL_DEVICE_OP_WRITE ? (uint64_t)result : 0;
    pthread_mutex_lock(&faults->mutex);
    kl_device_record *record = new_record(faults);
    if (record != NULL && fill_record(record, call, bytes)) {
        faults->record_count++;
    } else {
        fprintf(stderr, "keelson: no memory to record the operations of this test\n");
        abort(); /* a record with a hole would prove nothing */
    }
    pthread_mutex_unlock(&faults->mutex);
}

kl_device_faults *kl_device_faults_start(const kl_device_fault *list, uint32_t count, bool record) {
    if (count > KL_DEVICE_FAULTS_MAX) return NULL;
    kl_device_faults *faults = calloc(1, sizeof *faults);
    if (faults == NULL) return NULL;
    faults->seam = (kl_device_seam){faults, before, after};
    pthread_mutex_init(&faults->mutex, NULL);
    for (uint32_t i = 0; i < count; i++) faults->planned[i].fault = list[i];
    faults->planned_count = count;
    faults->recording = record;
    pthread_mutex_lock(&installed_mutex);
    bool taken = installed != NULL;
    if (!taken) installed = faults;
    pthread_mutex_unlock(&installed_mutex);
    if (taken) {
        pthread_mutex_destroy(&faults->mutex);
        free(faults);
        return NULL;
    }
    kl_device_seam_install(&faults->seam);
    return faults;
}

void kl_device_faults_stop(kl_device_faults *faults) {
    if (faults == NULL) return;
    kl_device_seam_install(NULL);
    pthread_mutex_lock(&installed_mutex);
    installed = NULL;
    pthread_mutex_unlock(&installed_mutex);
    for (size_t i = 0; i < faults->record_count; i++) free_record(&faults->records[i]);
    free(faults->records);
    pthread_mutex_destroy(&faults->mutex);
    free(faults);
}

uint64_t kl_device_faults_calls(const kl_device_faults *faults, uint32_t i) {
    return i < faults->planned_count ? faults->planned[i].calls : 0;
}

uint64_t kl_device_faults_hits(const kl_device_faults *faults, uint32_t i) {
    return i < faults->planned_count ? faults->planned[i].hits : 0;
}

const kl_device_record *kl_device_faults_records(const kl_device_faults *faults, size_t *count) {
    *count = faults->record_count;
    return faults->records;
}

/* ---- KEELSON_FAULT_IO ---- */

static const struct {
    const char *name;
    uint32_t ops;
} op_names[] = {
    {"read", 1u << KL_DEVICE_OP_READ},
    {"write", 1u << KL_DEVICE_OP_WRITE},
    {"sync", 1u << KL_DEVICE_OP_SYNC},
    {"open", 1u << KL_DEVICE_OP_OPEN},
    {"create", 1u << KL_DEVICE_OP_CREATE},
    {"rename", 1u << KL_DEVICE_OP_RENAME},
    {"unlink", 1u << KL_DEVICE_OP_UNLINK},
    {"make_folder", 1u << KL_DEVICE_OP_MAKE_FOLDER},
    {"sync_folder", 1u << KL_DEVICE_OP_SYNC_FOLDER},
    {"any", KL_DEVICE_OPS_ALL},
};

static const struct {
    const char *name;
    int error;
} error_names[] = {
    {"EIO", EIO},       {"ENOSPC", ENOSPC},
    {"EDQUOT", EDQUOT}, {"EACCES", EACCES},
    {"EROFS", EROFS},   {"EMFILE", EMFILE},
    {"EFBIG", EFBIG},   {"EINTR", EINTR},
    {"EAGAIN", EAGAIN}, {"KILL", KL_DEVICE_FAULT_KILL},
};

/* A whole number from 1 to `max` that fills the text; 0: it is none. */
static uint64_t parse_number(const char *text, uint64_t max) {
    if (text[0] < '0' || text[0] > '9') return 0;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && number <= max ? number : 0;
}

static bool parse_error(const char *text, kl_device_fault *out) {
    for (size_t i = 0; i < sizeof error_names / sizeof error_names[0]; i++)
        if (strcmp(text, error_names[i].name) == 0) out->error = error_names[i].error;
    if (out->error != 0) return true;
    if (strncmp(text, "STALL", 5) == 0) {
        out->stall_ms = (uint32_t)parse_number(text + 5, 3600000);
        return out->stall_ms > 0;
    }
    out->error = (int)parse_number(text, 4095);
    return out->error > 0;
}

/* One `<op>:<n>:<error>[:forever]`; cuts the text into pieces. */
static bool parse_fault(char *text, kl_device_fault *out) {
    char *rest = NULL;
    const char *op = strtok_r(text, ":", &rest), *at = strtok_r(NULL, ":", &rest);
    const char *error = strtok_r(NULL, ":", &rest), *forever = strtok_r(NULL, ":", &rest);
    if (error == NULL || strtok_r(NULL, ":", &rest) != NULL) return false;
    *out = (kl_device_fault){.at_call = parse_number(at, UINT64_MAX)};
    for (size_t i = 0; i < sizeof op_names / sizeof op_names[0]; i++)
        if (strcmp(op, op_names[i].name) == 0) out->ops = op_names[i].ops;
    if (forever != NULL) out->forever = strcmp(forever, "forever") == 0;
    return out->ops != 0 && out->at_call != 0 && (forever == NULL || out->forever) &&
           parse_error(error, out);
}

int32_t kl_device_faults_parse(const char *text, kl_device_fault *out, uint32_t *count) {
    char copy[512];
    *count = 0;
    if (strlen(text) >= sizeof copy)
        return kl_fail(KL_ERR_ARGUMENT, "KEELSON_FAULT_IO is longer than %zu bytes", sizeof copy);
    memcpy(copy, text, strlen(text) + 1);
    char *rest = NULL;
    for (char *part = strtok_r(copy, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest)) {
        if (*count == KL_DEVICE_FAULTS_MAX)
            return kl_fail(KL_ERR_ARGUMENT, "KEELSON_FAULT_IO takes at most %u faults",
                           KL_DEVICE_FAULTS_MAX);
        size_t at = (size_t)(part - copy);
        if (!parse_fault(part, &out[*count]))
            return kl_fail(KL_ERR_ARGUMENT,
                           "KEELSON_FAULT_IO at \"%s\": expected <op>:<n>:<error>[:forever]",
                           text + at);
        ++*count;
    }
    return KL_OK;
}

void kl_device_faults_from_environment(void) {
    const char *text = getenv("KEELSON_FAULT_IO");
    if (text == NULL || text[0] == '\0') return;
    kl_device_fault list[KL_DEVICE_FAULTS_MAX];
    uint32_t count;
    if (kl_device_faults_parse(text, list, &count) != KL_OK) {
        fprintf(stderr, "keelson: %s\n", kl_status_last());
        abort(); /* a debug build: a test that breaks nothing would pass */
    }
    (void)kl_device_faults_start(list, count, false);
}
