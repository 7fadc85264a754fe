#include "mem/numa.h"

#include "tests/c/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static kl_numa numa;

KL_TEST(kl_numa_N1_simulated_topologies_have_the_distances_of_their_shape) {
    KL_CHECK_EQ(kl_numa_simulate(&numa, KL_NUMA_UNIFORM, 9, 4, 1000), KL_OK);
    KL_CHECK_EQ(numa.node_count, 1);
    for (uint32_t cpu = 0; cpu < 4; cpu++) KL_CHECK_EQ(kl_numa_node_of_cpu(&numa, cpu), 0);
    KL_CHECK_EQ(kl_numa_distance(&numa, 0, 0), 10);
    KL_CHECK_EQ(kl_numa_simulate(&numa, KL_NUMA_TWO_SOCKETS, 0, 2, 1000), KL_OK);
    const uint32_t two[2][2] = {{10, 20}, {20, 10}};
    for (uint32_t i = 0; i < 4; i++)
        KL_CHECK_EQ(kl_numa_distance(&numa, i / 2, i % 2), two[i / 2][i % 2]);
    KL_CHECK_EQ(kl_numa_simulate(&numa, KL_NUMA_RING, 4, 2, 1000), KL_OK);
    const uint32_t ring[4][4] = {
        {10, 20, 30, 20}, {20, 10, 20, 30}, {30, 20, 10, 20}, {20, 30, 20, 10}};
    for (uint32_t i = 0; i < 16; i++)
        KL_CHECK_EQ(kl_numa_distance(&numa, i / 4, i % 4), ring[i / 4][i % 4]);
    KL_CHECK_EQ(kl_numa_verify(&numa), KL_OK);
}

KL_TEST(kl_numa_simulate_refuses_what_cannot_be) {
    KL_CHECK_EQ(kl_numa_simulate(&numa, 0, 1, 1, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_simulate(&numa, 4, 1, 1, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_simulate(&numa, KL_NUMA_RING, 0, 1, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_simulate(&numa, KL_NUMA_RING, 33, 1, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_simulate(&numa, KL_NUMA_RING, 4, 0, 1), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_simulate(&numa, KL_NUMA_RING, 4, 65, 1), KL_ERR_ARGUMENT);
    for (uint32_t nodes = 1; nodes <= 32; nodes++) {
        KL_CHECK_EQ(kl_numa_simulate(&numa, KL_NUMA_RING, nodes, 64, 1), KL_OK);
        KL_CHECK_EQ(kl_numa_verify(&numa), KL_OK);
    }
}

KL_TEST(kl_numa_N2_processors_nodes_the_nearest_and_the_least_loaded) {
    KL_CHECK_EQ(kl_numa_simulate(&numa, KL_NUMA_RING, 4, 3, 1000), KL_OK);
    for (uint32_t cpu = 0; cpu < 12; cpu++) KL_CHECK_EQ(kl_numa_node_of_cpu(&numa, cpu), cpu / 3);
    KL_CHECK_EQ(kl_numa_node_of_cpu(&numa, 12), KL_NUMA_NO_NODE);
    KL_CHECK_EQ(kl_numa_node_of_cpu(&numa, UINT32_MAX), KL_NUMA_NO_NODE);
    for (uint32_t i = 0; i < 3; i++) KL_CHECK_EQ(kl_numa_cpu_of_node(&numa, 2, i), 6 + i);
    KL_CHECK_EQ(kl_numa_cpu_of_node(&numa, 2, 3), -1);
    KL_CHECK_EQ(kl_numa_cpu_of_node(&numa, 4, 0), -1);
    const uint32_t from_two[] = {2, 1, 3, 0};
    for (uint32_t rank = 0; rank < 4; rank++)
        KL_CHECK_EQ(kl_numa_nearest(&numa, 2, rank), from_two[rank]);
    KL_CHECK_EQ(kl_numa_nearest(&numa, 2, 4), KL_NUMA_NO_NODE);
    KL_CHECK_EQ(kl_numa_nearest(&numa, 4, 0), KL_NUMA_NO_NODE);
    KL_CHECK_EQ(kl_numa_distance(&numa, 0, 4), 0);
    KL_CHECK_EQ(kl_numa_least_loaded(&numa), 0);
    for (uint32_t i = 0; i < 8; i++) /* each one goes to the emptiest: two for each node */
        kl_numa_add_load(&numa, kl_numa_least_loaded(&numa), 5);
    for (uint32_t node = 0; node < 4; node++) KL_CHECK_EQ(numa.load[node], 10);
    kl_numa_add_load(&numa, 3, -1);
    KL_CHECK_EQ(kl_numa_least_loaded(&numa), 3);
    kl_numa_add_load(&numa, 99, -100); /* no such node: nothing */
    KL_CHECK_EQ(kl_numa_least_loaded(&numa), 3);
}

KL_TEST(kl_numa_N2_load_is_weighed_by_processors) {
    KL_CHECK_EQ(kl_numa_detect(&numa, "tests/mem/fixtures/gaps"), KL_OK);
    kl_numa_add_load(&numa, 0, 9); /* of 3 processors; node 1 has none, node 2 has 2 */
    kl_numa_add_load(&numa, 2, 7);
    KL_CHECK_EQ(kl_numa_least_loaded(&numa), 0);
    kl_numa_add_load(&numa, 0, 2);
    KL_CHECK_EQ(kl_numa_least_loaded(&numa), 2);
}

KL_TEST(kl_numa_N5_detect_reads_trees_of_other_machines) {
    KL_CHECK_EQ(kl_numa_detect(&numa, "tests/mem/fixtures/two_sockets"), KL_OK);
    KL_CHECK(numa.simulated);
    KL_CHECK_EQ(numa.node_count, 2);
    KL_CHECK_EQ(numa.cpu_count, 32);
    KL_CHECK_EQ(kl_numa_node_of_cpu(&numa, 23), 0);
    KL_CHECK_EQ(kl_numa_node_of_cpu(&numa, 24), 1);
    KL_CHECK_EQ(kl_numa_distance(&numa, 1, 0), 21);
    KL_CHECK_EQ(numa.memory_bytes[1], 66057208ull * 1024);
    KL_CHECK_EQ(numa.free_bytes[0], 60211000ull * 1024);
    KL_CHECK_EQ(kl_numa_verify(&numa), KL_OK);
    KL_CHECK_EQ(kl_numa_detect(&numa, "tests/mem/fixtures/four_socket_ring"), KL_OK);
    KL_CHECK_EQ(numa.node_count, 4);
    KL_CHECK_EQ(kl_numa_distance(&numa, 3, 1), 30);
    KL_CHECK_EQ(kl_numa_nearest(&numa, 3, 1), 0);
    KL_CHECK_EQ(kl_numa_verify(&numa), KL_OK);
    /* Numbers with gaps, a node of memory only, a processor that is offline. */
    KL_CHECK_EQ(kl_numa_detect(&numa, "tests/mem/fixtures/gaps"), KL_OK);
    KL_CHECK_EQ(numa.node_count, 3);
    KL_CHECK_EQ(numa.node_id[2], 9);
    KL_CHECK_EQ(numa.cpu_count, 5);
    KL_CHECK_EQ(numa.node_cpu_count[1], 0);
    KL_CHECK_EQ(kl_numa_node_of_cpu(&numa, 5), KL_NUMA_NO_NODE);
    KL_CHECK_EQ(kl_numa_nearest(&numa, 0, 1), 2);
    KL_CHECK_EQ(kl_numa_verify(&numa), KL_OK);
    /* A system without nodes. */
    KL_CHECK_EQ(kl_numa_detect(&numa, "tests/mem/fixtures/no_nodes"), KL_OK);
    KL_CHECK_EQ(numa.node_count, 1);
    KL_CHECK_EQ(numa.cpu_count, 2);
    KL_CHECK_EQ(kl_numa_node_of_cpu(&numa, 2), 0);
    KL_CHECK_EQ(kl_numa_node_of_cpu(&numa, 1), KL_NUMA_NO_NODE);
    KL_CHECK_EQ(kl_numa_verify(&numa), KL_OK);
}

/* The machine's own tree, read another way. */
KL_TEST(kl_numa_N5_detect_agrees_with_this_machine) {
    KL_CHECK_EQ(kl_numa_detect(&numa, NULL), KL_OK);
    KL_CHECK(!numa.simulated);
    KL_CHECK_EQ(kl_numa_verify(&numa), KL_OK);
    KL_CHECK_EQ(numa.cpu_count, sysconf(_SC_NPROCESSORS_ONLN));
    uint32_t folders = 0;
    for (uint32_t id = 0; id < 1024; id++) {
        char path[128];
        snprintf(path, sizeof path, "/sys/devices/system/node/node%u", id);
        if (access(path, F_OK) == 0) folders++;
    }
    KL_CHECK_EQ(numa.node_count, folders > 0 ? folders : 1);
    for (uint32_t cpu = 0; cpu < 64; cpu++) {
        char path[128];
        uint32_t node = kl_numa_node_of_cpu(&numa, cpu);
        if (node == KL_NUMA_NO_NODE || folders == 0) continue;
        snprintf(path, sizeof path, "/sys/devices/system/node/node%u/cpu%u", numa.node_id[node],
                 cpu);
        KL_CHECK_EQ(access(path, F_OK), 0);
    }
    KL_CHECK_LT(kl_numa_here(&numa), numa.node_count);
    KL_CHECK_EQ(kl_numa_run_on(&numa, numa.node_count), KL_ERR_ARGUMENT);
    uint32_t before = kl_cpu_count();
    KL_CHECK_EQ(kl_numa_run_on(&numa, kl_numa_here(&numa)), KL_OK);
    KL_CHECK_LE(kl_cpu_count(), before);
    KL_CHECK_EQ(kl_cpu_unpin(), KL_OK);
    KL_CHECK_EQ(kl_cpu_count(), before);
}

KL_TEST(kl_numa_N5_pages_lie_where_they_were_bound) {
    KL_CHECK_EQ(kl_numa_detect(&numa, NULL), KL_OK);
    uint8_t *memory =
        mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    KL_CHECK(memory != MAP_FAILED);
    uint32_t last = numa.node_count - 1;
    KL_CHECK_EQ(kl_numa_bind(&numa, memory, 4096, numa.node_count, true), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_bind(&numa, memory, 3 * 4096, last, false), KL_OK);
    memory[4096] = 1;
    int32_t node = kl_numa_page_node(memory + 4096 + 7);
    if (node != KL_ERR_UNSUPPORTED) { /* an emulator has no move_pages */
        KL_CHECK_EQ(node, numa.node_id[last]);
        KL_CHECK_EQ(kl_numa_page_node(memory + 2 * 4096), KL_ERR_NOT_FOUND);
    }
    munmap(memory, 3 * 4096);
}

/* ---- trees that cannot be ---- */

static char root[512];

static void put(const char *path, const char *text) {
    char full[1024];
    snprintf(full, sizeof full, "%s/devices/system/%s", root, path);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir(full, 0700);
        *slash = '/';
    }
    if (!text) return;
    FILE *file = fopen(full, "w");
    KL_CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
}

static void put_good_tree(void) {
    static uint32_t number;
    snprintf(root, sizeof root, "%s/tree%u", kl_test_folder(), number++);
    mkdir(root, 0700);
    put("cpu/online", "0-3\n");
    put("node/online", "0-1\n");
    put("node/node0/cpulist", "0-1\n");
    put("node/node1/cpulist", "2-3\n");
    put("node/node0/distance", "10 20\n");
    put("node/node1/distance", "20 10\n");
    put("node/node0/meminfo", "Node 0 MemTotal: 9 kB\nNode 0 MemFree: 8 kB\n");
    put("node/node1/meminfo", "Node 1 MemTotal: 9 kB\nNode 1 MemFree: 8 kB\n");
}

static const struct {
    const char *path, *text;
    int32_t status;
} hostile[] = {
    {"cpu/online", "", KL_ERR_CORRUPT},
    {"cpu/online", "0-3000000000000000000000\n", KL_ERR_CORRUPT},
    {"cpu/online", "0-4096\n", KL_ERR_CORRUPT},
    {"cpu/online", "3-0\n", KL_ERR_CORRUPT},
    {"cpu/online", "0-3,2\n", KL_ERR_CORRUPT},
    {"cpu/online", "-1\n", KL_ERR_CORRUPT},
    {"cpu/online", "0x0\n", KL_ERR_CORRUPT},
    {"cpu/online", "0-7\n", KL_ERR_CORRUPT}, /* online in no node */
    {"node/online", "\n", KL_ERR_CORRUPT},
    {"node/online", "0-2\n", KL_ERR_CORRUPT},
    {"node/online", "0-63,64\n", KL_ERR_LIMIT},
    {"node/online", "0-99999\n", KL_ERR_CORRUPT},
    {"node/node1/cpulist", "1-3\n", KL_ERR_CORRUPT}, /* in two nodes */
    {"node/node1/cpulist", "two\n", KL_ERR_CORRUPT},
    {"node/node0/distance", "10\n", KL_ERR_CORRUPT},
    {"node/node0/distance", "10 20 30\n", KL_ERR_CORRUPT},
    {"node/node0/distance", "10 0\n", KL_ERR_CORRUPT},
    {"node/node0/distance", "10 256\n", KL_ERR_CORRUPT},
    {"node/node0/distance", "10 -20\n", KL_ERR_CORRUPT},
    {"node/node0/meminfo", "Node 0 MemTotal: 9 kB\n", KL_ERR_CORRUPT},
    {"node/node0/meminfo", "Node 0 MemTotal: 9 kB\nNode 0 MemFree: 10 kB\n", KL_ERR_CORRUPT},
    {"node/node0/meminfo", "Node 0 MemTotal: 99999999999999999999 kB\nMemFree: 1 kB\n",
     KL_ERR_CORRUPT},
    {"node/node0/meminfo", "Node 0 MemTotal: 9 MB\nNode 0 MemFree: 8 kB\n", KL_ERR_CORRUPT},
};

KL_TEST(kl_numa_N5_a_tree_that_cannot_be_is_refused_with_a_line_that_names_the_file) {
    put_good_tree();
    KL_CHECK_EQ(kl_numa_detect(&numa, root), KL_OK);
    KL_CHECK_EQ(kl_numa_verify(&numa), KL_OK);
    for (uint32_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        put_good_tree();
        put(hostile[i].path, hostile[i].text);
        int32_t status = kl_numa_detect(&numa, root);
        if (status != hostile[i].status) printf("# %s %s", hostile[i].path, hostile[i].text);
        KL_CHECK_EQ(status, hostile[i].status);
        KL_CHECK_CONTAINS(kl_status_last(), root);
        KL_CHECK(strchr(kl_status_last(), '\n') == NULL);
        KL_CHECK_EQ(numa.node_count, 0);
    }
}

KL_TEST(kl_numa_N5_missing_files_folders_pipes_and_loops_are_refused) {
    const char *missing[] = {"cpu/online", "node/online", "node/node1/cpulist",
                             "node/node0/distance", "node/node1/meminfo"};
    char full[1024];
    for (uint32_t i = 0; i < 5; i++) {
        put_good_tree();
        snprintf(full, sizeof full, "%s/devices/system/%s", root, missing[i]);
        KL_CHECK_EQ(unlink(full), 0);
        KL_CHECK_EQ(kl_numa_detect(&numa, root), KL_ERR_NOT_FOUND);
        KL_CHECK_CONTAINS(kl_status_last(), missing[i]);
        KL_CHECK_EQ(symlink(full, full), 0); /* to itself */
        KL_CHECK_EQ(kl_numa_detect(&numa, root), KL_ERR_IO);
        KL_CHECK_EQ(unlink(full), 0);
        KL_CHECK_EQ(mkfifo(full, 0600), 0); /* nobody writes: open would wait for ever */
        KL_CHECK_EQ(kl_numa_detect(&numa, root), KL_ERR_CORRUPT);
        KL_CHECK_EQ(unlink(full), 0);
        KL_CHECK_EQ(mkdir(full, 0700), 0);
        KL_CHECK_EQ(kl_numa_detect(&numa, root), KL_ERR_CORRUPT);
        KL_CHECK_EQ(rmdir(full), 0);
        char *large = malloc(100001);
        memset(large, ' ', 100000);
        large[100000] = 0;
        put(missing[i], large);
        KL_CHECK_EQ(kl_numa_detect(&numa, root), KL_ERR_CORRUPT);
        free(large);
    }
    KL_CHECK_EQ(kl_numa_detect(&numa, "/no/such/tree"), KL_ERR_NOT_FOUND);
    char *long_root = malloc(5001);
    memset(long_root, 'x', 5000);
    long_root[5000] = 0;
    KL_CHECK_EQ(kl_numa_detect(&numa, long_root), KL_ERR_NAME);
    free(long_root);
}

KL_TEST(kl_numa_behind_a_handle_answers_wrong_numbers_with_error_codes) {
    uint32_t topology = 0;
    uint8_t *out = (uint8_t *)&topology;
    KL_CHECK_EQ(kl_numa_open(3, 4, 2, -1, NULL, 0, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_open(3, 4, 2, __builtin_nan(""), NULL, 0, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_open(9, 4, 2, 1, NULL, 0, out), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_open(0, 0, 0, 0, (const uint8_t *)"/a\0b", 4, out), KL_ERR_NAME);
    KL_CHECK_EQ(kl_numa_open(3, 4, 2, 4096, NULL, 0, out), KL_OK);
    KL_CHECK_EQ(kl_numa_nodes(topology), 4);
    KL_CHECK_EQ(kl_numa_far(topology, 0, 2), 30);
    KL_CHECK_EQ(kl_numa_far(topology, 0, 4), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_near(topology, 0, 1), 1);
    KL_CHECK_EQ(kl_numa_near(topology, 0, 4), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_load(topology, 0, 5), KL_OK);
    KL_CHECK_EQ(kl_numa_load(topology, 4, 5), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_load(topology, 0, __builtin_inf()), KL_ERR_ARGUMENT);
    KL_CHECK_EQ(kl_numa_idle(topology), 1);
    uint16_t cpus[4] = {0};
    KL_CHECK_EQ(kl_numa_cpus(topology, 3, (uint8_t *)cpus, 4), 2);
    KL_CHECK_EQ(cpus[1], 7);
    KL_CHECK_EQ(kl_numa_close(topology), KL_OK);
    KL_CHECK_EQ(kl_numa_close(topology), KL_ERR_HANDLE);
    KL_CHECK_EQ(kl_numa_nodes(topology), KL_ERR_HANDLE);
}
