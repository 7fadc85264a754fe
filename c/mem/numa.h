/* numa: which processors and how much memory belong together, and how far apart the rest is.
 *
 * A kl_numa is filled once, from /sys, from a tree that looks like it, or by a simulation, and never
 * changes after but for `load`. Nodes are numbered from 0 without gaps, in the order of the system's own
 * numbers, which are kept beside (node_id). Where the system knows nothing of nodes there is one.
 *
 *   everything   by who fills it, before anybody else sees it; read-only after
 *   load         how much each node carries: atomic adds, by anybody
 *
 * Always: node_count >= 1; each processor that is online belongs to one node; a distance is 10 to
 * itself, or what the system says, and 1 to 255; `order` lists all nodes from a node, itself first, then
 * by distance, then by number.
 * A tree that cannot be (a missing file, a number out of bounds, a processor in two nodes, a link
 * that leads in circles) is refused with one line that names the file.
 * Progress: queries are wait-free, two or three loads. detect reads some files per node.
 */
#ifndef KL_MEM_NUMA_H
#define KL_MEM_NUMA_H

#include <stdatomic.h>

#include "base/cpu.h"
#include "base/status.h"

#define KL_NUMA_NODES_MAX    64u
#define KL_NUMA_CPUS_MAX     4096u
#define KL_NUMA_DISTANCE_MAX 255u
#define KL_NUMA_NO_NODE      0xffffu

enum kl_numa_shape {
    KL_NUMA_UNIFORM = 1,     /* one node */
    KL_NUMA_TWO_SOCKETS = 2, /* two, 20 apart */
    KL_NUMA_RING = 3,        /* neighbours 20 apart, 10 more for each step: four give 10 20 30 20 */
};

typedef struct {
    uint32_t node_count;
    uint32_t cpu_count; /* online */
    bool simulated;     /* not what this machine is: memory is not bound to it */
    uint16_t node_id[KL_NUMA_NODES_MAX];
    uint16_t node_cpu_count[KL_NUMA_NODES_MAX];
    uint64_t memory_bytes[KL_NUMA_NODES_MAX]; /* in all */
    uint64_t free_bytes[KL_NUMA_NODES_MAX];   /* when it was filled */
    uint8_t distance[KL_NUMA_NODES_MAX][KL_NUMA_NODES_MAX];
    uint8_t order[KL_NUMA_NODES_MAX][KL_NUMA_NODES_MAX];
    uint16_t cpu_node[KL_NUMA_CPUS_MAX]; /* KL_NUMA_NO_NODE: not online */
    _Alignas(KL_LINE_BYTES) _Atomic int64_t load[KL_NUMA_NODES_MAX];
} kl_numa;

/* Reads the machine: `sys` is "/sys" (or NULL), or the root of a tree like it, which then counts as
 * simulated. KL_ERR_CORRUPT, KL_ERR_NOT_FOUND (no such tree, or a file of it), KL_ERR_LIMIT (more
 * nodes or processors than this build knows), KL_ERR_IO. */
int32_t kl_numa_detect(kl_numa *numa, const char *sys);

/* KL_ERR_ARGUMENT: a shape, counts or sizes that cannot be. `nodes` counts for the ring only. */
int32_t kl_numa_simulate(kl_numa *numa, uint32_t shape, uint32_t nodes, uint32_t cpus_per_node,
                         uint64_t bytes_per_node);

/* KL_NUMA_NO_NODE for a processor that is not online, or is none. */
static inline uint32_t kl_numa_node_of_cpu(const kl_numa *numa, uint32_t cpu) {
    return cpu < KL_NUMA_CPUS_MAX ? numa->cpu_node[cpu] : KL_NUMA_NO_NODE;
}

/* 0 for a node that is none. */
static inline uint32_t kl_numa_distance(const kl_numa *numa, uint32_t from, uint32_t to) {
    return from < numa->node_count && to < numa->node_count ? numa->distance[from][to] : 0;
}

/* The node that is `rank` places away from `from` by distance: rank 0 is itself, 1 the nearest other
 * one. KL_NUMA_NO_NODE behind the last. */
static inline uint32_t kl_numa_nearest(const kl_numa *numa, uint32_t from, uint32_t rank) {
    return from < numa->node_count && rank < numa->node_count ? numa->order[from][rank]
                                                              : KL_NUMA_NO_NODE;
}

/* The `index`-th processor of a node, rising; -1 behind the last. Walks over the processors. */
int32_t kl_numa_cpu_of_node(const kl_numa *numa, uint32_t node, uint32_t index);

/* The node the calling thread runs on right now; node 0 when that is not known. */
uint32_t kl_numa_here(const kl_numa *numa);

/* Notes that a node carries `amount` more (or less): threads, jobs, whatever is balanced. */
static inline void kl_numa_add_load(kl_numa *numa, uint32_t node, int64_t amount) {
    if (node >= numa->node_count || node >= KL_NUMA_NODES_MAX) return;
    /* relaxed: a hint for placing; orders nothing. */
    atomic_fetch_add_explicit(&numa->load[node], amount, memory_order_relaxed);
}

/* The node with the least load per processor; of equals the first. Nodes without processors are
 * left out unless all are such. */
uint32_t kl_numa_least_loaded(const kl_numa *numa);

/* KL_OK, or KL_ERR_CORRUPT. */
int32_t kl_numa_verify(const kl_numa *numa);

/* Where the system has put the page of an address: the system's number of the node, or
 * KL_ERR_NOT_FOUND (it was never touched), KL_ERR_UNSUPPORTED. */
int32_t kl_numa_page_node(const void *address);

/* Asks the system to place the pages of a range on a node (its index) from now on: strictly, or
 * preferably. KL_OK also where there is only one node or the nodes are simulated: nothing is to be
 * done. KL_ERR_UNSUPPORTED, KL_ERR_IO. The range is page-aligned. */
int32_t kl_numa_bind(const kl_numa *numa, void *address, uint64_t bytes, uint32_t node,
                     bool strict);

/* Runs the calling thread on the processors of a node only, until kl_cpu_unpin. KL_ERR_ARGUMENT: no such node; KL_ERR_UNSUPPORTED: it has none this process may use. */
int32_t kl_numa_run_on(const kl_numa *numa, uint32_t node);

/* For the FFI. `shape` 0: the machine, or the tree at `root` when root_bytes is not 0. `out` gets the
 * u32 handle. Numbers come as f64 or < 0. */
KL_API int32_t kl_numa_open(uint32_t shape, uint32_t nodes, uint32_t cpus_per_node,
                            double bytes_per_node, const uint8_t *root, uint32_t root_bytes,
                            uint8_t *out);
KL_API int32_t kl_numa_close(uint32_t topology);
KL_API int32_t kl_numa_nodes(uint32_t topology);
/* The system's number of a node; its memory; its processors, as u16 into `out`: how many there are. */
KL_API int32_t kl_numa_system_node(uint32_t topology, uint32_t node);
KL_API double kl_numa_node_bytes(uint32_t topology, uint32_t node);
KL_API int32_t kl_numa_cpus(uint32_t topology, uint32_t node, uint8_t *out, uint32_t capacity);
KL_API int32_t kl_numa_far(uint32_t topology, uint32_t from, uint32_t to); /* distance */
KL_API int32_t kl_numa_near(uint32_t topology, uint32_t from, uint32_t rank);
KL_API int32_t kl_numa_load(uint32_t topology, uint32_t node, double amount); /* add_load */
KL_API int32_t kl_numa_idle(uint32_t topology);                               /* least_loaded */
KL_API int32_t kl_numa_pin(uint32_t topology, uint32_t node);                 /* run_on */

#endif
