#include "tests/c/harness.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FOLDER_COUNT_MAX  32
#define THREAD_COUNT_MAX  64
#define CHILD_SECONDS_MAX 120

static kl_test_case *first_test, **last_test = &first_test;
static const char *program_name = "test";
static uint64_t run_seed;
static pid_t run_pid;

/* Of the test that runs now. Only the main thread starts and ends tests. */
static const char *volatile current_name = "(none)";
static pthread_t main_thread;
static jmp_buf end_of_test;
static atomic_int failure_count;
static bool skipped;
static pthread_mutex_t print_mutex = PTHREAD_MUTEX_INITIALIZER;

static pthread_mutex_t folder_mutex = PTHREAD_MUTEX_INITIALIZER;
static char *folders[FOLDER_COUNT_MAX];
static int folder_count;

void kl_test_register(kl_test_case *test) {
    *last_test = test;
    last_test = &test->next;
}

uint64_t kl_test_seed(void) {
    return run_seed;
}

uint64_t kl_test_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool kl_test_slow(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
    return true;
#endif
#endif
    return getenv("KL_TEST_SLOW") != NULL;
}

void kl_test_fail(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&print_mutex);
    /* The first failure of a test names it; what other threads report after it is detail. */
    bool child = getpid() != run_pid;
    bool first = atomic_fetch_add(&failure_count, 1) == 0 && !child;
    printf("%s %s: %s:%d: ",
           first   ? "not ok"
           : child ? "# child of"
                   : "#",
           current_name, file, line);
    vprintf(format, arguments);
    printf("\n");
    if (first)
        printf("# re-run with: SEED=%llu %s %s\n", (unsigned long long)run_seed, program_name,
               current_name);
    fflush(stdout);
    pthread_mutex_unlock(&print_mutex);
    va_end(arguments);
    if (child) _exit(1);
    if (pthread_equal(pthread_self(), main_thread)) longjmp(end_of_test, 1);
}

void kl_test_skip(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("skip %s: ", current_name);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    skipped = true;
    longjmp(end_of_test, 1);
}

void kl_test_compare_bytes(const char *file, int line, const char *what, const void *a,
                           const void *b, size_t bytes) {
    const unsigned char *left = a, *right = b;
    for (size_t i = 0; i < bytes; i++)
        if (left[i] != right[i]) {
            kl_test_fail(file, line, "%s (byte %zu of %zu: left %#04x, right %#04x)", what, i,
                         bytes, left[i], right[i]);
            return;
        }
}

void kl_test_compare_text(const char *file, int line, const char *a, const char *b, bool within) {
    bool holds = within ? strstr(a, b) != NULL : strcmp(a, b) == 0;
    if (!holds) kl_test_fail(file, line, "\"%s\" %s \"%s\"", a, within ? "contains" : "equals", b);
}

const char *kl_test_folder(void) {
    const char *parent = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/keelson-test-XXXXXX", parent != NULL ? parent : "/tmp");
    pthread_mutex_lock(&folder_mutex);
    bool made = folder_count < FOLDER_COUNT_MAX && mkdtemp(path) != NULL;
    const char *kept = made ? folders[folder_count++] = strdup(path) : NULL;
    pthread_mutex_unlock(&folder_mutex);
    if (kept == NULL) {
        kl_test_fail(__FILE__, __LINE__, "make folder %s: %s", path, strerror(errno));
        abort();
    }
    return kept;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static void remove_folders(void) {
    while (folder_count > 0) {
        char *path = folders[--folder_count];
        nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        free(path);
    }
}

typedef struct {
    pthread_barrier_t *barrier;
    void (*body)(void *argument, uint32_t index);
    void *argument;
    uint32_t index;
} thread_start;

static void *run_thread(void *argument) {
    thread_start *start = argument;
    pthread_barrier_wait(start->barrier);
    start->body(start->argument, start->index);
    return NULL;
}

void kl_test_threads(uint32_t count, void (*body)(void *argument, uint32_t index), void *argument) {
    pthread_t threads[THREAD_COUNT_MAX];
    thread_start starts[THREAD_COUNT_MAX];
    pthread_barrier_t barrier;
    if (count == 0 || count > THREAD_COUNT_MAX) abort();
    pthread_barrier_init(&barrier, NULL, count);
    for (uint32_t i = 0; i < count; i++) {
        starts[i] = (thread_start){&barrier, body, argument, i};
        if (pthread_create(&threads[i], NULL, run_thread, &starts[i]) != 0) abort();
    }
    for (uint32_t i = 0; i < count; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    /* What a thread found wrong ends the test here, on its own thread. */
    if (atomic_load(&failure_count) > 0 && getpid() == run_pid &&
        pthread_equal(pthread_self(), main_thread))
        longjmp(end_of_test, 1);
}

/* Async-signal-safe: the test hangs or crashed, and may hold any lock. */
static void on_signal(int signal) {
    if (getpid() != run_pid) _exit(1); /* a child: whoever joins it judges its end */
    const char *why = signal == SIGALRM   ? ": no end in time\n"
                      : signal == SIGABRT ? ": aborted\n"
                                          : ": crashed\n";
    const char *parts[] = {"not ok ", current_name, why};
    for (int i = 0; i < 3; i++) (void)!write(STDOUT_FILENO, parts[i], strlen(parts[i]));
    _exit(1);
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGALRM, &action, NULL);
    if (kl_test_slow()) return; /* sanitizers explain crashes better */
    sigaction(SIGABRT, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

/* In a child a crash is what the parent waits for, not the end of the test. */
static void release_signals(void) {
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction now;
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler == on_signal)
            signal(numbers[i], SIG_DFL);
    }
}

/* A child ends with its test, and in any case after a while. */
static void leave_no_child(pid_t parent) {
    signal(SIGALRM, SIG_DFL);
    alarm(CHILD_SECONDS_MAX);
    if (!pthread_equal(pthread_self(), main_thread)) return; /* it would end with that thread */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1); /* ended before we asked */
}

int kl_test_fork(int (*body)(void *argument), void *argument) {
    fflush(stdout);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        release_signals();
        leave_no_child(parent);
        int status = body(argument);
        fflush(stdout);
        _exit(status);
    }
    if (pid < 0) kl_test_fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
    return pid;
}

int kl_test_join(int pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool wanted(const char *name, int count, char **parts) {
    for (int i = 0; i < count; i++)
        if (strstr(name, parts[i]) != NULL) return true;
    return count == 0;
}

static bool run_test(const kl_test_case *test, unsigned timeout_s) {
    current_name = test->name;
    atomic_store(&failure_count, 0);
    skipped = false;
    alarm(timeout_s);
    if (setjmp(end_of_test) == 0) test->body();
    alarm(0);
    remove_folders();
    bool good = atomic_load(&failure_count) == 0;
    if (good && !skipped) printf("ok %s\n", test->name);
    fflush(stdout);
    return good;
}

int main(int argument_count, char **arguments) {
    program_name = arguments[0];
    main_thread = pthread_self();
    run_pid = getpid();
    const char *seed = getenv("SEED"), *limit = getenv("KL_TEST_TIMEOUT_S");
    if (seed != NULL) {
        run_seed = strtoull(seed, NULL, 0);
    } else {
        uint32_t random = 1;
        (void)!getrandom(&random, sizeof random, 0);
        run_seed = random;
    }
    unsigned timeout_s = limit != NULL ? (unsigned)strtoul(limit, NULL, 10) : 60;
    bool list = argument_count > 1 && strcmp(arguments[1], "--list") == 0;
    catch_signals();
    int run = 0, failed = 0;
    for (kl_test_case *test = first_test; test != NULL; test = test->next) {
        if (list) {
            printf("%s\n", test->name);
        } else if (wanted(test->name, argument_count - 1, arguments + 1)) {
            run++;
            if (!run_test(test, timeout_s)) failed++;
        }
    }
    if (list) return 0;
    printf("# %d run, %d failed\n", run, failed);
    return failed > 0 || run == 0;
}
