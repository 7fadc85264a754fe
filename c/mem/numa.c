#include "mem/numa.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/handle.h"

#define FILE_BYTES_MAX (32u * 1024)
#define PATH_BYTES     1024
#define SYSTEM_IDS     1024u /* the kernel's largest number of nodes */
#define MPOL_PREFERRED 1
#define MPOL_BIND      2

static_assert(KL_NUMA_NODES_MAX <= UINT8_MAX, "order holds node numbers in bytes");
static_assert(KL_NUMA_CPUS_MAX < KL_NUMA_NO_NODE, "processors fit 16 bits");

/* ---- reading a tree ---- */

typedef struct {
    const char *root;
    char path[PATH_BYTES]; /* of the file read last, for messages */
    char text[FILE_BYTES_MAX + 1];
    uint64_t seen[KL_NUMA_CPUS_MAX / 64]; /* the numbers of the list read last */
} tree;

__attribute__((format(printf, 2, 3))) static void name_file(tree *it, const char *format, ...) {
    va_list arguments;
    int used = snprintf(it->path, sizeof it->path, "%s/devices/system/", it->root);
    if (used < 0 || (size_t)used >= sizeof it->path) return;
    va_start(arguments, format);
    vsnprintf(it->path + used, sizeof it->path - (size_t)used, format, arguments);
    va_end(arguments);
}

/* Reads the file at it->path into it->text. */
static int32_t read_file(tree *it) {
    int file = open(it->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe does not block us */
    if (file < 0) return kl_fail_errno(KL_ERR_IO, errno, "reading %s", it->path);
    struct stat info;
    size_t bytes = 0;
    int error = fstat(file, &info) != 0 ? errno : 0;
    if (error == 0 && !S_ISREG(info.st_mode)) {
        close(file);
        return kl_fail(KL_ERR_CORRUPT, "%s is not a file", it->path);
    }
    while (error == 0 && bytes < FILE_BYTES_MAX + 1) {
        ssize_t got = read(file, it->text + bytes, FILE_BYTES_MAX + 1 - bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) error = errno;
        if (got <= 0) break;
        bytes += (size_t)got;
    }
    close(file);
    if (error != 0) return kl_fail_errno(KL_ERR_IO, error, "reading %s", it->path);
    if (bytes > FILE_BYTES_MAX)
        return kl_fail(KL_ERR_CORRUPT, "%s is longer than %u bytes", it->path, FILE_BYTES_MAX);
    it->text[bytes] = 0;
    if (strlen(it->text) != bytes) return kl_fail(KL_ERR_CORRUPT, "%s holds a zero byte", it->path);
    return KL_OK;
}

static const char *skip_blanks(const char *at) {
    while (*at == ' ' || *at == '\t') at++;
    return at;
}

/* A decimal number up to `most`; NULL when there is none. */
static const char *parse_number(const char *at, uint64_t most, uint64_t *out) {
    uint64_t value = 0;
    const char *first = at;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (value > (most - (uint64_t)(*at - '0')) / 10) return NULL;
        value = value * 10 + (uint64_t)(*at - '0');
    }
    *out = value;
    return at == first ? NULL : at;
}

static int32_t strange(const tree *it, const char *what) {
    return kl_fail(KL_ERR_CORRUPT, "%s: %s", it->path, what);
}

/* A list like "0-3,8" of numbers below `limit`, into it->seen. How many. */
static int32_t parse_list(tree *it, uint32_t limit) {
    uint64_t first, last;
    uint32_t count = 0;
    memset(it->seen, 0, sizeof it->seen);
    const char *at = skip_blanks(it->text);
    while (*at != 0 && *at != '\n') {
        at = parse_number(at, limit - 1, &first);
        last = first;
        if (at && *at == '-') at = parse_number(at + 1, limit - 1, &last);
        if (!at || last < first || (*at != ',' && *at != '\n' && *at != 0))
            return kl_fail(KL_ERR_CORRUPT, "%s: not a list of numbers from 0 to %u like \"0-3,8\"",
                           it->path, limit - 1);
        for (uint64_t i = first; i <= last; i++) {
            if (it->seen[i / 64] >> (i % 64) & 1) return strange(it, "a number stands there twice");
            it->seen[i / 64] |= 1ull << (i % 64);
            count++;
        }
        if (*at == ',') at++;
    }
    return (int32_t)count;
}

static bool is_seen(const tree *it, uint32_t number) {
    return it->seen[number / 64] >> (number % 64) & 1;
}

/* ---- filling ---- */

static int32_t read_nodes(tree *it, kl_numa *numa) {
    name_file(it, "node/online");
    int32_t status = read_file(it);
    int32_t count = status == KL_OK ? parse_list(it, SYSTEM_IDS) : status;
    if (count < 0) return count;
    if (count == 0) return strange(it, "no node is online");
    if (count > (int32_t)KL_NUMA_NODES_MAX)
        return kl_fail(KL_ERR_LIMIT, "%s: %d nodes, this build knows %u", it->path, count,
                       KL_NUMA_NODES_MAX);
    for (uint32_t id = 0; id < SYSTEM_IDS; id++)
        if (is_seen(it, id)) numa->node_id[numa->node_count++] = (uint16_t)id;
    return KL_OK;
}

/* Which processors are online; for now they belong to no node. */
static int32_t read_processors(tree *it, kl_numa *numa, uint64_t *online) {
    name_file(it, "cpu/online");
    int32_t status = read_file(it);
    int32_t count = status == KL_OK ? parse_list(it, KL_NUMA_CPUS_MAX) : status;
    if (count < 0) return count;
    if (count == 0) return strange(it, "no processor is online");
    numa->cpu_count = (uint32_t)count;
    memcpy(online, it->seen, sizeof it->seen);
    return KL_OK;
}

static int32_t read_cpus_of(tree *it, kl_numa *numa, uint32_t node, const uint64_t *online) {
    name_file(it, "node/node%u/cpulist", numa->node_id[node]);
    int32_t status = read_file(it);
    int32_t count = status == KL_OK ? parse_list(it, KL_NUMA_CPUS_MAX) : status;
    if (count < 0) return count;
    for (uint32_t cpu = 0; cpu < KL_NUMA_CPUS_MAX; cpu++) {
        if (!is_seen(it, cpu) || !(online[cpu / 64] >> (cpu % 64) & 1)) continue;
        if (numa->cpu_node[cpu] != KL_NUMA_NO_NODE)
            return kl_fail(KL_ERR_CORRUPT, "%s: processor %u is in node %u, too", it->path, cpu,
                           numa->node_id[numa->cpu_node[cpu]]);
        numa->cpu_node[cpu] = (uint16_t)node;
        numa->node_cpu_count[node]++;
    }
    return KL_OK;
}

static int32_t read_distances(tree *it, kl_numa *numa, uint32_t node) {
    name_file(it, "node/node%u/distance", numa->node_id[node]);
    int32_t status = read_file(it);
    if (status != KL_OK) return status;
    const char *at = skip_blanks(it->text);
    for (uint32_t to = 0; to < numa->node_count; to++) {
        uint64_t distance = 0;
        at = parse_number(at, KL_NUMA_DISTANCE_MAX, &distance);
        if (!at || distance == 0 || (*at != ' ' && *at != '\n' && *at != 0))
            return kl_fail(KL_ERR_CORRUPT, "%s: not %u numbers from 1 to %u", it->path,
                           numa->node_count, KL_NUMA_DISTANCE_MAX);
        numa->distance[node][to] = (uint8_t)distance;
        at = skip_blanks(at);
    }
    if (*at != '\n' && *at != 0)
        return kl_fail(KL_ERR_CORRUPT, "%s: more than %u numbers", it->path, numa->node_count);
    return KL_OK;
}

/* "Node 0 MemTotal:  6383832 kB" in it->text; 0 is an answer. */
static int32_t find_kilobytes(const tree *it, const char *name, uint64_t *bytes) {
    const char *at = strstr(it->text, name);
    uint64_t kilobytes = 0;
    if (at) at = parse_number(skip_blanks(at + strlen(name)), UINT64_MAX / 1024, &kilobytes);
    if (!at || strncmp(at, " kB", 3) != 0)
        return kl_fail(KL_ERR_CORRUPT, "%s: no line with %s and a number of kB", it->path, name);
    *bytes = kilobytes * 1024;
    return KL_OK;
}

static int32_t read_memory(tree *it, kl_numa *numa, uint32_t node) {
    name_file(it, "node/node%u/meminfo", numa->node_id[node]);
    int32_t status = read_file(it);
    if (status == KL_OK) status = find_kilobytes(it, "MemTotal:", &numa->memory_bytes[node]);
    if (status == KL_OK) status = find_kilobytes(it, "MemFree:", &numa->free_bytes[node]);
    if (status == KL_OK && numa->free_bytes[node] > numa->memory_bytes[node])
        return strange(it, "more memory is free than there is");
    return status;
}

/* From each node, itself first, then by distance, then by number: a simple sort of at most 64. */
static void sort_by_distance(kl_numa *numa) {
    for (uint32_t from = 0; from < numa->node_count; from++) {
        uint8_t *order = numa->order[from];
        for (uint32_t i = 0; i < numa->node_count; i++) {
            uint32_t at = i;
            uint32_t far = i == from ? 0 : numa->distance[from][i];
            for (; at > 0; at--) {
                uint32_t other = order[at - 1] == from ? 0 : numa->distance[from][order[at - 1]];
                if (other <= far) break;
                order[at] = order[at - 1];
            }
            order[at] = (uint8_t)i;
        }
    }
}

static void clear(kl_numa *numa) {
    memset(numa, 0, sizeof *numa);
    memset(numa->cpu_node, 0xff, sizeof numa->cpu_node);
}

/* A system that knows nothing of nodes is one node. */
static int32_t fill_single(tree *it, kl_numa *numa, const uint64_t *online) {
    numa->node_count = 1;
    numa->distance[0][0] = 10;
    for (uint32_t cpu = 0; cpu < KL_NUMA_CPUS_MAX; cpu++)
        if (online[cpu / 64] >> (cpu % 64) & 1) numa->cpu_node[cpu] = 0;
    numa->node_cpu_count[0] = (uint16_t)numa->cpu_count;
    long pages = it->root[0] == 0 ? sysconf(_SC_PHYS_PAGES) : 0, bytes = sysconf(_SC_PAGESIZE);
    if (pages > 0 && bytes > 0) numa->memory_bytes[0] = (uint64_t)pages * (uint64_t)bytes;
    return KL_OK;
}

static int32_t fill(tree *it, kl_numa *numa) {
    uint64_t online[KL_NUMA_CPUS_MAX / 64];
    int32_t status = read_processors(it, numa, online);
    if (status != KL_OK) return status;
    name_file(it, "node");
    if (access(it->path, F_OK) != 0 && errno == ENOENT) return fill_single(it, numa, online);
    status = read_nodes(it, numa);
    for (uint32_t node = 0; status == KL_OK && node < numa->node_count; node++) {
        status = read_cpus_of(it, numa, node, online);
        if (status == KL_OK) status = read_distances(it, numa, node);
        if (status == KL_OK) status = read_memory(it, numa, node);
    }
    for (uint32_t cpu = 0; status == KL_OK && cpu < KL_NUMA_CPUS_MAX; cpu++)
        if ((online[cpu / 64] >> (cpu % 64) & 1) && numa->cpu_node[cpu] == KL_NUMA_NO_NODE)
            return kl_fail(KL_ERR_CORRUPT, "%s/devices/system: processor %u is online in no node",
                           it->root, cpu);
    return status;
}

int32_t kl_numa_detect(kl_numa *numa, const char *sys) {
    tree *it = malloc(sizeof *it);
    if (!it) return kl_fail(KL_ERR_MEMORY, "no memory to read the topology");
    bool own = !sys || strcmp(sys, "/sys") == 0;
    clear(numa);
    it->root = sys ? sys : "/sys";
    int32_t status = strlen(it->root) > PATH_BYTES / 2
                         ? kl_fail(KL_ERR_NAME, "a path of %zu bytes: at most %u", strlen(it->root),
                                   PATH_BYTES / 2)
                         : fill(it, numa);
    free(it);
    if (status != KL_OK) {
        clear(numa);
        return status;
    }
    numa->simulated = !own;
    sort_by_distance(numa);
    return KL_OK;
}

int32_t kl_numa_simulate(kl_numa *numa, uint32_t shape, uint32_t nodes, uint32_t cpus_per_node,
                         uint64_t bytes_per_node) {
    clear(numa);
    if (shape == KL_NUMA_UNIFORM) nodes = 1;
    if (shape == KL_NUMA_TWO_SOCKETS) nodes = 2;
    if (shape < KL_NUMA_UNIFORM || shape > KL_NUMA_RING)
        return kl_fail(KL_ERR_ARGUMENT, "shape %u of a topology: 1 uniform, 2 two sockets, 3 ring",
                       shape);
    if (nodes == 0 || nodes > 32 || cpus_per_node == 0 ||
        cpus_per_node > KL_NUMA_CPUS_MAX / KL_NUMA_NODES_MAX)
        return kl_fail(KL_ERR_ARGUMENT, "%u nodes of %u processors: 1 to 32 of 1 to %u", nodes,
                       cpus_per_node, KL_NUMA_CPUS_MAX / KL_NUMA_NODES_MAX);
    numa->simulated = true;
    numa->node_count = nodes;
    numa->cpu_count = nodes * cpus_per_node;
    for (uint32_t node = 0; node < nodes; node++) {
        numa->node_id[node] = (uint16_t)node;
        numa->node_cpu_count[node] = (uint16_t)cpus_per_node;
        numa->memory_bytes[node] = numa->free_bytes[node] = bytes_per_node;
        for (uint32_t i = 0; i < cpus_per_node; i++)
            numa->cpu_node[node * cpus_per_node + i] = (uint16_t)node;
        for (uint32_t to = 0; to < nodes; to++) {
            uint32_t apart = node > to ? node - to : to - node;
            if (apart > nodes - apart) apart = nodes - apart; /* the other way round the ring */
            numa->distance[node][to] = (uint8_t)(10 + 10 * apart);
        }
    }
    sort_by_distance(numa);
    return KL_OK;
}

/* ---- asking ---- */

int32_t kl_numa_cpu_of_node(const kl_numa *numa, uint32_t node, uint32_t index) {
    if (node >= numa->node_count || index >= numa->node_cpu_count[node]) return -1;
    for (uint32_t cpu = 0; cpu < KL_NUMA_CPUS_MAX; cpu++)
        if (numa->cpu_node[cpu] == node && index-- == 0) return (int32_t)cpu;
    return -1;
}

uint32_t kl_numa_here(const kl_numa *numa) {
    int32_t cpu = kl_cpu_current();
    uint32_t node = cpu < 0 ? KL_NUMA_NO_NODE : kl_numa_node_of_cpu(numa, (uint32_t)cpu);
    return node == KL_NUMA_NO_NODE ? 0 : node;
}

uint32_t kl_numa_least_loaded(const kl_numa *numa) {
    uint32_t best = 0;
    int64_t best_load = 0, best_cpus = 0;
    for (uint32_t node = 0; node < numa->node_count; node++) {
        int64_t cpus = numa->node_cpu_count[node];
        /* relaxed: a hint for placing; orders nothing. */
        int64_t load = atomic_load_explicit(&numa->load[node], memory_order_relaxed);
        if (cpus == 0 && best_cpus > 0) continue;
        /* load / cpus < best_load / best_cpus, without division; a node with processors beats none */
        bool better = node == 0 || (cpus > 0 && best_cpus == 0) ||
                      (double)load * (double)(best_cpus ? best_cpus : 1) <
                          (double)best_load * (double)(cpus ? cpus : 1);
        if (!better) continue;
        best = node;
        best_load = load;
        best_cpus = cpus;
    }
    return best;
}

int32_t kl_numa_verify(const kl_numa *numa) {
    uint32_t cpus = 0;
    if (numa->node_count == 0 || numa->node_count > KL_NUMA_NODES_MAX)
        return kl_fail(KL_ERR_CORRUPT, "%u nodes", numa->node_count);
    for (uint32_t cpu = 0; cpu < KL_NUMA_CPUS_MAX; cpu++) {
        if (numa->cpu_node[cpu] == KL_NUMA_NO_NODE) continue;
        if (numa->cpu_node[cpu] >= numa->node_count)
            return kl_fail(KL_ERR_CORRUPT, "processor %u in node %u", cpu, numa->cpu_node[cpu]);
        cpus++;
    }
    if (cpus != numa->cpu_count)
        return kl_fail(KL_ERR_CORRUPT, "%u processors in nodes of %u", cpus, numa->cpu_count);
    for (uint32_t from = 0; from < numa->node_count; from++) {
        uint64_t seen = 0;
        for (uint32_t rank = 0; rank < numa->node_count; rank++) {
            uint32_t node = numa->order[from][rank];
            uint32_t before = rank < 2 ? 0 : numa->distance[from][numa->order[from][rank - 1]];
            if (node >= numa->node_count || (seen >> node & 1) || numa->distance[from][node] == 0 ||
                (rank == 0 && node != from) || (rank > 0 && numa->distance[from][node] < before))
                return kl_fail(KL_ERR_CORRUPT, "from node %u, place %u is node %u", from, rank,
                               node);
            seen |= 1ull << node;
        }
    }
    return KL_OK;
}

/* ---- what the system does ---- */

int32_t kl_numa_page_node(const void *address) {
    void *page = (void *)((uintptr_t)address & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1));
    int node = -1;
    if (syscall(SYS_move_pages, 0, 1ul, &page, NULL, &node, 0) != 0)
        return kl_fail_errno(errno == ENOSYS || errno == EPERM ? KL_ERR_UNSUPPORTED : KL_ERR_IO,
                             errno, "asking for the node of a page");
    if (node < 0) return kl_fail(KL_ERR_NOT_FOUND, "the page was never touched");
    return node;
}

int32_t kl_numa_bind(const kl_numa *numa, void *address, uint64_t bytes, uint32_t node,
                     bool strict) {
    if (node >= numa->node_count)
        return kl_fail(KL_ERR_ARGUMENT, "node %u: there are %u", node, numa->node_count);
    if (numa->simulated || numa->node_count == 1) return KL_OK;
    unsigned long mask[SYSTEM_IDS / (8 * sizeof(unsigned long))] = {0};
    uint32_t id = numa->node_id[node], bits = 8 * sizeof(unsigned long);
    mask[id / bits] |= 1ul << (id % bits);
    if (syscall(SYS_mbind, address, bytes, strict ? MPOL_BIND : MPOL_PREFERRED, mask,
                (unsigned long)SYSTEM_IDS, 0) == 0)
        return KL_OK;
    return kl_fail_errno(errno == ENOSYS || errno == EPERM ? KL_ERR_UNSUPPORTED : KL_ERR_IO, errno,
                         "placing %llu bytes on node %u", (unsigned long long)bytes, id);
}

int32_t kl_numa_run_on(const kl_numa *numa, uint32_t node) {
    uint32_t cpus[KL_NUMA_CPUS_MAX], count = 0;
    if (node >= numa->node_count)
        return kl_fail(KL_ERR_ARGUMENT, "node %u: there are %u", node, numa->node_count);
    for (uint32_t cpu = 0; cpu < KL_NUMA_CPUS_MAX; cpu++)
        if (numa->cpu_node[cpu] == node) cpus[count++] = cpu;
    int32_t status = count == 0 ? KL_ERR_ARGUMENT : kl_cpu_pin_to(cpus, count);
    if (status == KL_OK) return KL_OK;
    return kl_fail(KL_ERR_UNSUPPORTED, "node %u has no processor this process may use", node);
}

/* ---- behind a handle ---- */

static int32_t no_topology(uint32_t handle) {
    return kl_fail(KL_ERR_HANDLE, "%u is not the handle of a topology", handle);
}

static int32_t fill_for(kl_numa *numa, uint32_t shape, uint32_t nodes, uint32_t cpus_per_node,
                        double bytes_per_node, const uint8_t *root, uint32_t root_bytes) {
    char path[PATH_BYTES];
    if (shape != 0) {
        if (!(bytes_per_node >= 0 && bytes_per_node <= 9007199254740991.0))
            return kl_fail(KL_ERR_ARGUMENT, "%g bytes of memory a node", bytes_per_node);
        return kl_numa_simulate(numa, shape, nodes, cpus_per_node, (uint64_t)bytes_per_node);
    }
    if (root_bytes == 0) return kl_numa_detect(numa, NULL);
    if (!root || root_bytes >= sizeof path || memchr(root, 0, root_bytes))
        return kl_fail(KL_ERR_NAME, "a path of %u bytes: at most %u, none of them zero", root_bytes,
                       PATH_BYTES - 1);
    memcpy(path, root, root_bytes);
    path[root_bytes] = 0;
    return kl_numa_detect(numa, path);
}

int32_t kl_numa_open(uint32_t shape, uint32_t nodes, uint32_t cpus_per_node, double bytes_per_node,
                     const uint8_t *root, uint32_t root_bytes, uint8_t *out) {
    if (!out) return kl_fail(KL_ERR_ARGUMENT, "no place for the handle");
    kl_numa *numa = aligned_alloc(KL_LINE_BYTES, sizeof *numa);
    if (!numa) return kl_fail(KL_ERR_MEMORY, "no memory for a topology");
    int32_t status = fill_for(numa, shape, nodes, cpus_per_node, bytes_per_node, root, root_bytes);
    uint32_t handle = status == KL_OK ? kl_handle_open(KL_HANDLE_TOPOLOGY, numa, free) : 0;
    if (status == KL_OK && handle == 0)
        status = kl_fail(KL_ERR_LIMIT, "all %u handles are open", KL_HANDLE_COUNT_MAX);
    if (status != KL_OK) {
        free(numa);
        return status;
    }
    memcpy(out, &handle, sizeof handle);
    return KL_OK;
}

int32_t kl_numa_close(uint32_t topology) {
    return kl_handle_close(topology, KL_HANDLE_TOPOLOGY);
}

/* Enters the handle when `node` is one of its nodes. */
static kl_numa *enter(uint32_t topology, uint32_t node, int32_t *status) {
    kl_numa *numa = kl_handle_enter(topology, KL_HANDLE_TOPOLOGY);
    if (!numa) {
        *status = no_topology(topology);
        return NULL;
    }
    if (node < numa->node_count) return numa;
    *status = kl_fail(KL_ERR_ARGUMENT, "node %u: there are %u", node, numa->node_count);
    kl_handle_leave(topology);
    return NULL;
}

int32_t kl_numa_nodes(uint32_t topology) {
    int32_t status = KL_OK;
    kl_numa *numa = enter(topology, 0, &status);
    if (!numa) return status;
    status = (int32_t)numa->node_count;
    kl_handle_leave(topology);
    return status;
}

int32_t kl_numa_system_node(uint32_t topology, uint32_t node) {
    int32_t status = KL_OK;
    kl_numa *numa = enter(topology, node, &status);
    if (!numa) return status;
    status = numa->node_id[node];
    kl_handle_leave(topology);
    return status;
}

double kl_numa_node_bytes(uint32_t topology, uint32_t node) {
    int32_t status = KL_OK;
    kl_numa *numa = enter(topology, node, &status);
    if (!numa) return status;
    double bytes = (double)numa->memory_bytes[node];
    kl_handle_leave(topology);
    return bytes;
}

int32_t kl_numa_cpus(uint32_t topology, uint32_t node, uint8_t *out, uint32_t capacity) {
    int32_t status = KL_OK;
    kl_numa *numa = enter(topology, node, &status);
    if (!numa) return status;
    uint32_t count = 0;
    for (uint32_t cpu = 0; cpu < KL_NUMA_CPUS_MAX; cpu++) {
        uint16_t number = (uint16_t)cpu;
        if (numa->cpu_node[cpu] != node) continue;
        if (out && count < capacity) memcpy(out + 2 * (uint64_t)count, &number, 2);
        count++;
    }
    kl_handle_leave(topology);
    return (int32_t)count;
}

int32_t kl_numa_far(uint32_t topology, uint32_t from, uint32_t to) {
    int32_t status = KL_OK;
    kl_numa *numa = enter(topology, from > to ? from : to, &status);
    if (!numa) return status;
    status = (int32_t)kl_numa_distance(numa, from, to);
    kl_handle_leave(topology);
    return status;
}

int32_t kl_numa_near(uint32_t topology, uint32_t from, uint32_t rank) {
    int32_t status = KL_OK;
    kl_numa *numa = enter(topology, from > rank ? from : rank, &status);
    if (!numa) return status;
    status = (int32_t)kl_numa_nearest(numa, from, rank);
    kl_handle_leave(topology);
    return status;
}

int32_t kl_numa_load(uint32_t topology, uint32_t node, double amount) {
    int32_t status = KL_OK;
    if (!(amount >= -9007199254740991.0 && amount <= 9007199254740991.0))
        return kl_fail(KL_ERR_ARGUMENT, "a load of %g: a number from -2^53 to 2^53", amount);
    kl_numa *numa = enter(topology, node, &status);
    if (!numa) return status;
    kl_numa_add_load(numa, node, (int64_t)amount);
    kl_handle_leave(topology);
    return KL_OK;
}

int32_t kl_numa_idle(uint32_t topology) {
    int32_t status = KL_OK;
    kl_numa *numa = enter(topology, 0, &status);
    if (!numa) return status;
    status = (int32_t)kl_numa_least_loaded(numa);
    kl_handle_leave(topology);
    return status;
}

int32_t kl_numa_pin(uint32_t topology, uint32_t node) {
    int32_t status = KL_OK;
    kl_numa *numa = enter(topology, node, &status);
    if (!numa) return status;
    status = kl_numa_run_on(numa, node);
    kl_handle_leave(topology);
    return status;
}
