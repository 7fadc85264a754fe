#include "base/random.h"
#include "mem/region.h"
#include "tests/c/harness.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const kl_region_spec SPEC = {.kind = 7};

/* What the processes of a test tell each other, in the region's data. */
typedef struct {
    _Atomic uint32_t deaths;
    _Atomic uint32_t last_dead;
    _Atomic uint32_t gate;
    _Atomic uint32_t here;
    _Atomic uint32_t ids[64];
    _Atomic int32_t pid;
    _Atomic uint8_t claimed[64][4096]; /* [slot][generation] */
} board;

static kl_region *make_region(void) {
    static char path[400];
    kl_region *region = NULL;
    snprintf(path, sizeof path, "%s/r", kl_test_folder());
    KL_CHECK_EQ(kl_region_create(&region, path, sizeof(board), &SPEC), KL_OK);
    KL_CHECK_EQ(kl_region_publish(region), KL_OK);
    return region;
}

static kl_region *attach(const kl_region *other) {
    kl_region *region = NULL;
    KL_CHECK_EQ(kl_region_attach(&region, kl_region_path(other), &SPEC), KL_OK);
    return region;
}

static board *board_of(kl_region *region) {
    return (board *)(void *)kl_region_data(region);
}

static int32_t count_death(void *argument, kl_region *region, uint32_t participant) {
    (void)argument;
    KL_CHECK(!kl_region_alive(region, participant));
    atomic_store(&board_of(region)->last_dead, participant);
    atomic_fetch_add(&board_of(region)->deaths, 1);
    return KL_OK;
}

/* A child that joins, says so, and waits to be killed. */
static int join_and_wait(void *argument) {
    kl_region *region = attach(argument);
    if (kl_region_join(region, 77) < 0) return 1;
    atomic_store(&board_of(region)->ids[0], kl_region_self(region));
    for (;;) pause();
}

/* Starts one, waits for it to have joined; its id and pid. */
static uint32_t start_participant(kl_region *region, int *pid) {
    atomic_store(&board_of(region)->ids[0], 0);
    *pid = kl_test_fork(join_and_wait, region);
    while (atomic_load(&board_of(region)->ids[0]) == 0) sched_yield();
    return atomic_load(&board_of(region)->ids[0]);
}

static void end_participant(int pid) {
    kill(pid, SIGKILL);
    KL_CHECK_EQ(kl_test_join(pid), 128 + SIGKILL);
}

/* ---- one process, several attaches ---- */

KL_TEST(kl_region_join_gives_slots_and_ids_that_never_repeat) {
    kl_region *first = make_region(), *second = attach(first);
    KL_CHECK_EQ(kl_region_self(first), 0);
    KL_CHECK(!kl_region_alive(first, 0));
    KL_CHECK_EQ(kl_region_join(first, 3), 0);
    KL_CHECK_EQ(kl_region_join(first, 3), 0);
    KL_CHECK_EQ(kl_region_join(second, 4), 1);
    uint32_t a = kl_region_self(first), b = kl_region_self(second);
    KL_CHECK_EQ(a & 0xff, 0);
    KL_CHECK_EQ(b & 0xff, 1);
    KL_CHECK(kl_region_alive(first, a) && kl_region_alive(first, b));
    KL_CHECK(kl_region_alive(second, a) && kl_region_alive(second, b));
    kl_region_leave(second);
    KL_CHECK_EQ(kl_region_self(second), 0);
    KL_CHECK(!kl_region_alive(first, b) && !kl_region_alive(second, b));
    KL_CHECK_EQ(kl_region_join(second, 4), 1);
    KL_CHECK_NE(kl_region_self(second), b);
    KL_CHECK(!kl_region_alive(first, b) && kl_region_alive(first, kl_region_self(second)));
    /* What was never an id of this region. */
    static const uint32_t forged[] = {0xff, 63, 64, 0x140, 0x1ff, 0x7fffff00, 0xffffffff, 1u << 31};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++)
        KL_CHECK(!kl_region_alive(first, forged[i]));
    kl_region_close(second);
    kl_region_close(first);
}

KL_TEST(kl_region_participant_tells_who_is_there) {
    kl_region *first = make_region(), *second = attach(first);
    kl_participant seen;
    KL_CHECK_EQ(kl_region_join(first, 11), 0);
    KL_CHECK_EQ(kl_region_join(second, 12), 1);
    KL_CHECK_EQ(kl_region_participant(first, 1, &seen), KL_OK);
    KL_CHECK_EQ(seen.id, kl_region_self(second));
    KL_CHECK_EQ(seen.slot, 1);
    KL_CHECK_EQ(seen.role, 12);
    KL_CHECK_EQ(seen.pid, getpid());
    KL_CHECK(seen.alive);
    KL_CHECK_NE(seen.start_time, 0);
    KL_CHECK_NE(seen.joined_at, 0);
    KL_CHECK_EQ(kl_region_participant(second, 1, &seen), KL_OK);
    KL_CHECK(seen.alive);
    KL_CHECK_EQ(kl_region_participant(first, 2, &seen), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_region_participant(first, 64, &seen), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_region_participant(first, UINT32_MAX, &seen), KL_ERR_ARGUMENT);
    kl_region_close(second);
    KL_CHECK_EQ(kl_region_participant(first, 1, &seen), KL_ERR_NOT_FOUND);
    kl_region_close(first);
}

KL_TEST(kl_region_join_refuses_the_65th) {
    kl_region *all[65];
    all[0] = make_region();
    for (int i = 1; i < 65; i++) all[i] = attach(all[0]);
    for (int i = 0; i < 64; i++) KL_CHECK_EQ(kl_region_join(all[i], 0), i);
    KL_CHECK_EQ(kl_region_join(all[64], 0), KL_ERR_LIMIT);
    KL_CHECK_CONTAINS(kl_status_last(), "all 64 places");
    kl_region_leave(all[31]);
    KL_CHECK_EQ(kl_region_join(all[64], 0), 31);
    for (int i = 64; i >= 0; i--) kl_region_close(all[i]);
}

KL_TEST(kl_region_join_retires_a_slot_rather_than_repeat_an_id) {
    kl_region *region = make_region();
    atomic_store(&region->shared->participants[0].generation, KL_GENERATION_MAX - 1);
    atomic_store(&region->shared->participants[0].reaped, KL_GENERATION_MAX - 1);
    KL_CHECK_EQ(kl_region_join(region, 0), 0);
    KL_CHECK_EQ(kl_region_self(region), KL_GENERATION_MAX << 8);
    KL_CHECK(kl_region_alive(region, KL_GENERATION_MAX << 8));
    kl_region_leave(region);
    KL_CHECK_EQ(kl_region_join(region, 0), 1);
    kl_region_close(region);
}

KL_TEST(kl_region_join_is_alive_whatever_stood_in_the_slot) {
    kl_region *region = make_region(), *other = attach(region);
    for (uint32_t i = 0; i < 2; i++) {
        atomic_store(&region->shared->participants[i].dead, 1);
        atomic_store(&region->shared->participants[i].reaped, i);
        atomic_store(&region->shared->threads[i].dead, 1);
        atomic_store(&region->shared->threads[i].reaped, i);
    }
    KL_CHECK_EQ(kl_region_join(region, 0), 0);
    KL_CHECK_EQ(kl_region_join(other, 0), 1);
    KL_CHECK(kl_region_alive(other, kl_region_self(region)));
    KL_CHECK(kl_region_alive(region, kl_region_self(other)));
    KL_CHECK(kl_region_thread_alive(region, (uint32_t)kl_region_thread_join(region)));
    KL_CHECK(kl_region_thread_alive(region, (uint32_t)kl_region_thread_join(other)));
    kl_region_close(other);
    kl_region_close(region);
}

/* ---- death ---- */

KL_TEST(kl_region_alive_is_false_at_once_for_a_killed_process) {
    kl_region *region = make_region();
    int pid;
    KL_CHECK_EQ(kl_region_join(region, 0), 0);
    uint32_t id = start_participant(region, &pid);
    KL_CHECK(kl_region_alive(region, id));
    kill(pid, SIGSTOP); /* stopped is not dead */
    KL_CHECK(kl_region_alive(region, id));
    end_participant(pid);
    KL_CHECK(!kl_region_alive(region, id));
    kl_participant seen;
    KL_CHECK_EQ(kl_region_participant(region, 1, &seen), KL_OK);
    KL_CHECK(!seen.alive && seen.pid == pid && seen.role == 77);
    /* Nobody watches for deaths here, so its place is simply the next one's, under another id. */
    kl_region *next = attach(region);
    int pid_2;
    KL_CHECK_EQ(kl_region_join(next, 0), 2); /* clean places come first */
    uint32_t id_2 = start_participant(region, &pid_2);
    KL_CHECK_NE(id, id_2);
    end_participant(pid_2);
    KL_CHECK_EQ(kl_region_reap(region), 2);
    KL_CHECK_EQ(kl_region_participant(region, 1, &seen), KL_ERR_NOT_FOUND);
    kl_region_close(next);
    next = attach(region);
    KL_CHECK_EQ(kl_region_join(next, 0), 1);
    KL_CHECK_EQ(kl_region_self(next), id + 256);
    KL_CHECK(!kl_region_alive(region, id));
    kl_region_close(next);
    kl_region_close(region);
}

static int spawn_and_wait(void *argument) {
    kl_region *region = attach(argument);
    board *shared = board_of(region);
    if (kl_region_join(region, 0) < 0) return 1;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sleep", "sleep", "30", (char *)NULL);
        _exit(1);
    }
    atomic_store(&shared->pid, pid);
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    while (strncmp(name, "sleep", 5) != 0) {
        FILE *file = fopen(path, "r");
        if (file == NULL || fgets(name, sizeof name, file) == NULL) name[0] = '\0';
        if (file != NULL) fclose(file);
    }
    atomic_store(&shared->ids[0], kl_region_self(region));
    for (;;) pause();
}

KL_TEST(kl_region_alive_does_not_count_programs_the_dead_one_had_started) {
    kl_region *region = make_region();
    int pid = kl_test_fork(spawn_and_wait, region);
    while (atomic_load(&board_of(region)->ids[0]) == 0) sched_yield();
    uint32_t id = atomic_load(&board_of(region)->ids[0]);
    KL_CHECK(kl_region_alive(region, id));
    end_participant(pid);
    bool alive = kl_region_alive(region, id);
    bool child_lives = kill(atomic_load(&board_of(region)->pid), 0) == 0;
    kill(atomic_load(&board_of(region)->pid), SIGKILL);
    KL_CHECK(!alive);
    KL_CHECK(child_lives);
    kl_region_close(region);
}

KL_TEST(kl_region_reap_runs_the_functions_once_for_each_death) {
    kl_region *region = make_region(), *other = attach(region), *stranger = attach(region);
    board *shared = board_of(region);
    int pid;
    KL_CHECK_EQ(kl_region_on_death(region, count_death, NULL), KL_OK);
    KL_CHECK_EQ(kl_region_on_death(other, count_death, NULL), KL_OK);
    KL_CHECK_EQ(kl_region_join(region, 0), 0);
    KL_CHECK_EQ(kl_region_join(other, 0), 1);
    KL_CHECK_EQ(kl_region_reap(region), 0);
    uint32_t id = start_participant(region, &pid);
    KL_CHECK_EQ(kl_region_reap(region), 0);
    end_participant(pid);
    KL_CHECK_EQ(kl_region_reap(stranger), 0);    /* has no function, and others have */
    KL_CHECK_EQ(kl_region_join(stranger, 0), 3); /* nor does it take the place */
    KL_CHECK_EQ(atomic_load(&shared->deaths), 0);
    KL_CHECK_EQ(kl_region_reap(other), 1);
    KL_CHECK_EQ(kl_region_reap(region), 0);
    KL_CHECK_EQ(kl_region_reap(other), 0);
    KL_CHECK_EQ(atomic_load(&shared->deaths), 1);
    KL_CHECK_EQ(atomic_load(&shared->last_dead), id);
    kl_region_close(stranger); /* leaving is no death */
    KL_CHECK_EQ(kl_region_reap(region), 0);
    /* A join that needs the place of a dead one reaps it first. */
    id = start_participant(region, &pid);
    end_participant(pid);
    kl_region *rest[64];
    int count = 0;
    for (int32_t slot = 0; slot >= 0; count++) {
        rest[count] = attach(region);
        kl_region_on_death(rest[count], count_death, NULL);
        slot = kl_region_join(rest[count], 0);
        KL_CHECK_EQ(atomic_load(&shared->deaths), count >= 61 ? 2 : 1);
    }
    KL_CHECK_EQ(count, 63);
    KL_CHECK_EQ(atomic_load(&shared->last_dead), id);
    while (count > 0) kl_region_close(rest[--count]);
    for (uint32_t i = 1; i < KL_DEATH_FUNCTIONS_MAX; i++)
        KL_CHECK_EQ(kl_region_on_death(region, count_death, NULL), KL_OK);
    KL_CHECK_EQ(kl_region_on_death(region, count_death, NULL), KL_ERR_LIMIT);
    kl_region_close(other);
    kl_region_close(region);
}

static int32_t refuse_death(void *argument, kl_region *region, uint32_t participant) {
    (void)region, (void)participant;
    uint32_t *refusals = argument;
    return *refusals > 0 ? ((*refusals)--, KL_ERR_AGAIN) : KL_OK;
}

KL_TEST(kl_region_reap_tries_again_what_a_function_put_off) {
    kl_region *region = make_region();
    uint32_t refusals = 2;
    int pid;
    kl_region_on_death(region, count_death, NULL);
    kl_region_on_death(region, refuse_death, &refusals);
    uint32_t id = start_participant(region, &pid);
    end_participant(pid);
    KL_CHECK_EQ(kl_region_reap(region), KL_ERR_AGAIN);
    KL_CHECK_EQ(kl_region_reap(region), KL_ERR_AGAIN);
    KL_CHECK(!kl_region_alive(region, id));
    KL_CHECK_EQ(kl_region_reap(region), 1);
    KL_CHECK_EQ(kl_region_reap(region), 0);
    KL_CHECK_EQ(atomic_load(&board_of(region)->deaths), 3);
    kl_region_close(region);
}

static int reap_at_gate(void *argument) {
    kl_region *region = attach(argument);
    board *shared = board_of(region);
    kl_region_on_death(region, count_death, NULL);
    atomic_fetch_add(&shared->here, 1);
    while (atomic_load(&shared->gate) == 0) sched_yield();
    int32_t count = kl_region_reap(region);
    return count < 0 ? 99 : count;
}

KL_TEST(kl_region_reap_by_many_processes_at_once_is_once) {
    for (int round = 0; round < 10; round++) {
        kl_region *region = make_region();
        board *shared = board_of(region);
        int dead[3], reapers[3], sum = 0;
        for (int i = 0; i < 3; i++) start_participant(region, &dead[i]);
        for (int i = 0; i < 3; i++) end_participant(dead[i]);
        for (int i = 0; i < 3; i++) reapers[i] = kl_test_fork(reap_at_gate, region);
        while (atomic_load(&shared->here) < 3) sched_yield();
        atomic_store(&shared->gate, 1);
        for (int i = 0; i < 3; i++) sum += kl_test_join(reapers[i]);
        KL_CHECK_EQ(sum, 3);
        KL_CHECK_EQ(atomic_load(&shared->deaths), 3);
        kl_region_close(region);
    }
}

/* While a reaper is inside a function, the dead one is dead for everyone. */
static int32_t wait_for_gate(void *argument, kl_region *region, uint32_t participant) {
    (void)argument, (void)participant;
    atomic_fetch_add(&board_of(region)->here, 1);
    while (atomic_load(&board_of(region)->gate) == 0) sched_yield();
    return KL_OK;
}

static int reap_slowly(void *argument) {
    kl_region *region = attach(argument);
    kl_region_on_death(region, wait_for_gate, NULL);
    kl_region_on_death(region, count_death, NULL);
    return kl_region_reap(region);
}

KL_TEST(kl_region_reap_that_dies_leaves_the_death_to_the_next) {
    kl_region *region = make_region();
    board *shared = board_of(region);
    int pid;
    kl_region_on_death(region, count_death, NULL);
    uint32_t id = start_participant(region, &pid);
    end_participant(pid);
    int reaper = kl_test_fork(reap_slowly, region);
    while (atomic_load(&shared->here) == 0) sched_yield();
    KL_CHECK(!kl_region_alive(region, id));
    KL_CHECK_EQ(kl_region_reap(region), 0); /* the other one is at it */
    end_participant(reaper);
    KL_CHECK_EQ(atomic_load(&shared->deaths), 0);
    KL_CHECK(!kl_region_alive(region, id));
    KL_CHECK_EQ(kl_region_reap(region), 1);
    KL_CHECK_EQ(atomic_load(&shared->deaths), 1);
    kl_region_close(region);
}

#ifdef KL_DEBUG
static int killpoints_left = -1; /* -1: not armed */

/* Of a test that leads its threads step by step: what each does at a killpoint. */
static void (*pause_at)(const char *name);

void kl_killpoint_hook(const char *name);
void kl_killpoint_hook(const char *name) {
    if (pause_at != NULL) pause_at(name);
    if (killpoints_left < 0 || killpoints_left-- > 0) return;
    kill(getpid(), SIGKILL);
}

static int join_leave_and_die(void *argument) {
    kl_region *region = attach(argument);
    kl_region_on_death(region, count_death, NULL);
    if (kl_region_join(region, 5) < 0) return 1;
    kl_region_close(region);
    return 0;
}

KL_TEST(kl_region_join_and_leave_may_die_at_any_step) {
    kl_region *region = make_region();
    kl_region_on_death(region, count_death, NULL);
    int step = 0, status = 128 + SIGKILL;
    for (; status == 128 + SIGKILL && step < 50; step++) {
        killpoints_left = step;
        pid_t pid = kl_test_fork(join_leave_and_die, region);
        killpoints_left = -1;
        status = kl_test_join(pid);
        uint32_t before = atomic_load(&board_of(region)->deaths);
        int32_t reaped = kl_region_reap(region);
        KL_CHECK(reaped == 0 || reaped == 1);
        KL_CHECK_EQ(atomic_load(&board_of(region)->deaths), before + (uint32_t)reaped);
        KL_CHECK_EQ(kl_region_join(region, 0), 0); /* the place is free again */
        kl_region_leave(region);
    }
    KL_CHECK_EQ(status, 0);
    KL_CHECK_LE(5, step);
    kl_region_close(region);
}

static int reap_and_die(void *argument) {
    kl_region *region = attach(argument);
    kl_region_on_death(region, count_death, NULL);
    return kl_region_reap(region) == 1 ? 0 : 1;
}

KL_TEST(kl_region_reap_may_die_at_any_step) {
    kl_region *region = make_region();
    board *shared = board_of(region);
    kl_region_on_death(region, count_death, NULL);
    int step = 0, status = 128 + SIGKILL;
    for (; status == 128 + SIGKILL && step < 50; step++) {
        int pid;
        atomic_store(&shared->deaths, 0);
        start_participant(region, &pid);
        end_participant(pid);
        killpoints_left = step;
        int reaper = kl_test_fork(reap_and_die, region);
        killpoints_left = -1;
        status = kl_test_join(reaper);
        uint32_t by_the_dead = atomic_load(&shared->deaths);
        int32_t again = kl_region_reap(region);
        KL_CHECK(again == 0 || again == 1);
        /* Done by one of them for certain; by both only if the first died between its work and
         * the mark that it is done. */
        KL_CHECK_EQ(atomic_load(&shared->deaths), by_the_dead + (uint32_t)again);
        KL_CHECK_LE(1, atomic_load(&shared->deaths));
        KL_CHECK_LE(atomic_load(&shared->deaths), 2);
        KL_CHECK_EQ(kl_region_reap(region), 0);
    }
    KL_CHECK_EQ(status, 0);
    KL_CHECK_LE(3, step);
    kl_region_close(region);
}
/* Two threads of one attach: the kernel's lock does not keep them apart, the busy bit must. */

static _Thread_local bool is_reaper;
static _Atomic bool found, taken, reap_is_over, other_is_over;
static kl_region *led_region, *led_next;

static void wait_until(const _Atomic bool *flag) {
    uint64_t end = kl_test_now_ns() + 5000000000ull;
    while (!atomic_load(flag) && kl_test_now_ns() < end) sched_yield();
    KL_CHECK(atomic_load(flag));
}

static void lead(void (*pauses)(const char *name)) {
    led_region = make_region();
    led_next = attach(led_region);
    kl_region_on_death(led_region, count_death, NULL);
    pause_at = pauses;
    atomic_store(&found, false);
    atomic_store(&taken, false);
    atomic_store(&reap_is_over, false);
    atomic_store(&other_is_over, false);
}

static void end_led(void) {
    pause_at = NULL;
    KL_CHECK_EQ(atomic_load(&board_of(led_region)->deaths), 0);
    kl_region_close(led_next);
    kl_region_close(led_region);
}

static void pause_of_join(const char *name) {
    if (is_reaper && strcmp(name, "reap.found") == 0) {
        atomic_store(&found, true);
        wait_until(&other_is_over);
    } else if (!is_reaper && strcmp(name, "join.named") == 0) {
        wait_until(&found);
    }
}

static void reap_under_join(void *unused, uint32_t index) {
    (void)unused;
    is_reaper = index == 0;
    if (is_reaper) {
        while (kl_region_self(led_region) == 0) KL_CHECK_EQ(kl_region_reap(led_region), 0);
    } else {
        KL_CHECK_EQ(kl_region_join(led_region, 0), 0);
        atomic_store(&other_is_over, true);
    }
    is_reaper = false;
}

KL_TEST(kl_region_reap_beside_a_join_of_its_own_process_spares_it) {
    lead(pause_of_join);
    kl_test_threads(2, reap_under_join, NULL);
    KL_CHECK(kl_region_alive(led_next, kl_region_self(led_region)));
    end_led();
}

/* The reaper found the slot in use; its owner leaves, and a stranger takes the place. */
static void pause_of_leave(const char *name) {
    if (is_reaper && strcmp(name, "reap.found") == 0) {
        atomic_store(&found, true);
        wait_until(&other_is_over); /* here: "has left, but not unlocked" */
    } else if (is_reaper && strcmp(name, "reap.taken") == 0) {
        atomic_store(&taken, true);
        while (kl_region_self(led_next) == 0) sched_yield();
    } else if (!is_reaper && strcmp(name, "leave.left") == 0) {
        atomic_store(&other_is_over, true);
        while (!atomic_load(&taken) && !atomic_load(&reap_is_over)) sched_yield();
    }
}

static void reap_under_leave(void *unused, uint32_t index) {
    (void)unused;
    is_reaper = index == 0;
    if (is_reaper) {
        KL_CHECK_EQ(kl_region_reap(led_region), 0);
        atomic_store(&reap_is_over, true);
    } else {
        wait_until(&found);
        kl_region_leave(led_region);
        KL_CHECK_EQ(kl_region_join(led_next, 0), 0);
    }
    is_reaper = false;
}

KL_TEST(kl_region_reap_beside_a_leave_of_its_own_process_spares_the_next) {
    lead(pause_of_leave);
    KL_CHECK_EQ(kl_region_join(led_region, 0), 0);
    kl_test_threads(2, reap_under_leave, NULL);
    KL_CHECK(kl_region_alive(led_region, kl_region_self(led_next)));
    end_led();
}

static int32_t die_slowly(void *argument, kl_region *region, uint32_t participant) {
    (void)argument, (void)region, (void)participant;
    if (!atomic_exchange(&found, true)) wait_until(&other_is_over);
    return KL_OK;
}

static void reap_twice(void *argument, uint32_t index) {
    if (index == 0) {
        KL_CHECK_EQ(kl_region_reap(argument), 1);
    } else {
        wait_until(&found);
        KL_CHECK_EQ(kl_region_reap(argument), 0);
        atomic_store(&other_is_over, true);
    }
}

KL_TEST(kl_region_reap_by_two_threads_of_a_process_is_once) {
    kl_region *region = make_region();
    int pid;
    kl_region_on_death(region, count_death, NULL);
    kl_region_on_death(region, die_slowly, NULL);
    atomic_store(&found, false);
    atomic_store(&other_is_over, false);
    start_participant(region, &pid);
    end_participant(pid);
    kl_test_threads(2, reap_twice, region);
    KL_CHECK_EQ(atomic_load(&board_of(region)->deaths), 1);
    kl_region_close(region);
}
#endif

/* ---- many at once ---- */

static int join_often(void *argument) {
    kl_region *region = attach(argument);
    board *shared = board_of(region);
    for (int round = 0; round < (kl_test_slow() ? 30 : 200); round++) {
        if (kl_region_join(region, 0) < 0) return 1;
        uint32_t self = kl_region_self(region);
        if (atomic_fetch_add(&shared->claimed[self & 63][(self >> 8) & 4095], 1) != 0) return 2;
        if (!kl_region_alive(region, self)) return 3;
        kl_region_leave(region);
        if (kl_region_alive(region, self)) return 4;
    }
    return 0;
}

KL_TEST(kl_region_join_by_many_processes_never_gives_an_id_twice) {
    kl_region *region = make_region();
    int pids[4];
    for (int i = 0; i < 4; i++) pids[i] = kl_test_fork(join_often, region);
    for (int i = 0; i < 4; i++) KL_CHECK_EQ(kl_test_join(pids[i]), 0);
    kl_region_close(region);
}

static void join_and_reap(void *argument, uint32_t index) {
    kl_region *region = argument;
    for (int round = 0; round < (kl_test_slow() ? 100 : 1000); round++) {
        if (index == 0) {
            KL_CHECK_LE(0, kl_region_join(region, 1));
            uint32_t self = kl_region_self(region);
            KL_CHECK(kl_region_alive(region, self));
            KL_CHECK_EQ(kl_region_self(region), self);
            kl_region_leave(region);
        } else if (index == 1) {
            KL_CHECK_EQ(kl_region_reap(region), 0); /* never the living self of thread 0 */
        } else {
            kl_participant seen;
            (void)kl_region_participant(region, 0, &seen);
            (void)kl_region_alive(region, 0x100u + (uint32_t)round * 256u);
        }
    }
}

KL_TEST(kl_region_reap_never_takes_its_own_process_for_dead) {
    kl_region *region = make_region();
    kl_region_on_death(region, count_death, NULL);
    kl_test_threads(3, join_and_reap, region);
    KL_CHECK_EQ(atomic_load(&board_of(region)->deaths), 0);
    kl_region_close(region);
}

KL_TEST(kl_region_survives_random_bytes_over_its_slots) {
    kl_random random;
    kl_random_init(&random, kl_test_seed());
    kl_region *region = make_region(), *other = attach(region);
    kl_region_on_death(region, count_death, NULL);
    uint8_t *slots = (uint8_t *)region->shared->participants;
    for (int round = 0; round < (kl_test_slow() ? 100 : 1000); round++) {
        uint64_t count = kl_random_below(&random, 8192);
        for (uint64_t i = 0; i < count; i++)
            slots[kl_random_below(&random, 8192)] = (uint8_t)kl_random_u64(&random);
        uint32_t id = (uint32_t)kl_random_u64(&random);
        kl_participant seen;
        for (uint32_t slot = 0; slot < 66; slot++)
            if (kl_region_participant(other, slot, &seen) == KL_OK) KL_CHECK_EQ(seen.slot, slot);
        (void)kl_region_alive(other, id);
        (void)kl_region_thread_alive(other, id);
        (void)kl_region_reap(region);
        if (kl_region_join(region, 0) >= 0)
            KL_CHECK(kl_region_alive(region, kl_region_self(region)));
        int32_t thread = kl_region_thread_join(other);
        if (thread >= 0) KL_CHECK(kl_region_thread_alive(region, (uint32_t)thread));
        (void)kl_region_thread_leave(other);
        kl_region_leave(region);
    }
    kl_region_close(other);
    kl_region_close(region);
}

/* ---- threads ---- */

static void *join_thread(void *argument) {
    kl_region *region = argument;
    int32_t id = kl_region_thread_join(region);
    KL_CHECK_LT(0, id);
    KL_CHECK_EQ(kl_region_thread_join(region), id);
    KL_CHECK(kl_region_thread_alive(region, (uint32_t)id));
    return (void *)(intptr_t)id; /* ends without leaving */
}

static uint32_t run_and_join(kl_region *region) {
    pthread_t thread;
    void *id;
    KL_CHECK_EQ(pthread_create(&thread, NULL, join_thread, region), 0);
    KL_CHECK_EQ(pthread_join(thread, &id), 0);
    return (uint32_t)(intptr_t)id;
}

static _Atomic uint32_t cancel_id;

static void *wait_for_cancel(void *argument) {
    atomic_store(&cancel_id, (uint32_t)kl_region_thread_join(argument));
    for (;;) { /* not pause(): a thread sanitizer loses its way in a cancelled system call */
        pthread_testcancel();
        sched_yield();
    }
    return NULL;
}

KL_TEST(kl_region_thread_alive_ends_with_its_thread) {
    kl_region *region = make_region(), *other = attach(region);
    int32_t mine = kl_region_thread_join(region);
    KL_CHECK_EQ(mine & 0xff, 0);
    KL_CHECK(kl_region_thread_alive(region, (uint32_t)mine));
    KL_CHECK(kl_region_thread_alive(other, (uint32_t)mine));
    uint32_t ended = run_and_join(region);
    KL_CHECK_EQ(ended & 0xff, 1);
    KL_CHECK(!kl_region_thread_alive(region, ended) && !kl_region_thread_alive(other, ended));
    uint32_t next = run_and_join(region);
    KL_CHECK_EQ(next, ended + 256);
    KL_CHECK_EQ(kl_region_thread_leave(other), KL_ERR_NOT_FOUND);
    KL_CHECK_EQ(kl_region_thread_leave(region), KL_OK);
    KL_CHECK_EQ(kl_region_thread_leave(region), KL_ERR_NOT_FOUND);
    KL_CHECK(!kl_region_thread_alive(other, (uint32_t)mine));
    /* Cancelled, as by a host that tears a thread down. */
    pthread_t thread;
    atomic_store(&cancel_id, 0);
    KL_CHECK_EQ(pthread_create(&thread, NULL, wait_for_cancel, region), 0);
    while (atomic_load(&cancel_id) == 0) sched_yield();
    KL_CHECK(kl_region_thread_alive(other, atomic_load(&cancel_id)));
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    KL_CHECK(!kl_region_thread_alive(other, atomic_load(&cancel_id)));
    static const uint32_t forged[] = {0, 0xff, 63, 0x140, 0x7fffff00, 0xffffffff};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++)
        KL_CHECK(!kl_region_thread_alive(region, forged[i]));
    kl_region_close(other);
    kl_region_close(region);
}

static int thread_of_child(void *argument) {
    kl_region *region = attach(argument);
    if (kl_region_join(region, 0) < 0) return 1;
    int32_t id = kl_region_thread_join(region);
    if (id < 0) return 2;
    if (atomic_load(&region->shared->threads[id & 0xff].owner) != kl_region_self(region)) return 3;
    atomic_store(&board_of(region)->ids[0], (uint32_t)id);
    for (;;) pause();
}

KL_TEST(kl_region_thread_alive_ends_with_its_process_and_with_its_region) {
    kl_region *region = make_region(), *other = attach(region);
    int pid = kl_test_fork(thread_of_child, region);
    while (atomic_load(&board_of(region)->ids[0]) == 0) sched_yield();
    uint32_t id = atomic_load(&board_of(region)->ids[0]);
    KL_CHECK(kl_region_thread_alive(region, id));
    end_participant(pid);
    KL_CHECK(!kl_region_thread_alive(region, id));
    uint32_t mine = (uint32_t)kl_region_thread_join(other);
    KL_CHECK(kl_region_thread_alive(region, mine));
    kl_region_close(other);
    KL_CHECK(!kl_region_thread_alive(region, mine));
    for (int i = 0; i < 100; i++) { /* places of closed regions do not pile up */
        other = attach(region);
        KL_CHECK_EQ(kl_region_thread_join(other) & 0xff, 0);
        kl_region_close(other);
    }
    kl_region_close(region);
}

static void thread_churn(void *argument, uint32_t index) {
    kl_region *region = argument;
    (void)index;
    for (int round = 0; round < (kl_test_slow() ? 50 : 300); round++) {
        int32_t id = kl_region_thread_join(region);
        KL_CHECK_LT(0, id);
        KL_CHECK(kl_region_thread_alive(region, (uint32_t)id));
        KL_CHECK_EQ(kl_region_thread_leave(region), KL_OK);
        KL_CHECK(!kl_region_thread_alive(region, (uint32_t)id));
    }
    (void)kl_region_thread_join(region); /* some end joined, while the region is closed */
}

KL_TEST(kl_region_thread_join_by_many_threads_keeps_them_apart) {
    kl_region *region = make_region();
    kl_test_threads(4, thread_churn, region);
    kl_region_close(region);
}

KL_TEST(kl_region_close_races_the_end_of_joined_threads) {
    for (int round = 0; round < 20; round++) {
        kl_region *region = make_region();
        pthread_t thread;
        atomic_store(&cancel_id, 0);
        KL_CHECK_EQ(pthread_create(&thread, NULL, wait_for_cancel, region), 0);
        while (atomic_load(&cancel_id) == 0) sched_yield();
        pthread_cancel(thread);
        kl_region_close(region);
        pthread_join(thread, NULL);
    }
}
