// oneTBB's flow graph: a continue_node for each node.
#include <tbb/flow_graph.h>
#include <tbb/task_arena.h>

#include <memory>
#include <vector>

#include "bench/exec/node_body.h"

typedef tbb::flow::continue_node<tbb::flow::continue_msg> flow_node;

struct graph {
    tbb::task_arena arena;
    std::unique_ptr<tbb::flow::graph> flow;
    std::vector<std::unique_ptr<flow_node>> nodes;
    std::vector<uint32_t> before;
    explicit graph(int threads) : arena(threads) {}
};

static graph *graph_open(uint32_t nodes, uint32_t threads) {
    graph *made = new graph((int)threads);
    made->arena.execute([&] { made->flow = std::make_unique<tbb::flow::graph>(); });
    for (uint32_t i = 0; i < nodes; i++)
        made->nodes.push_back(
            std::make_unique<flow_node>(*made->flow, [i](const tbb::flow::continue_msg &message) {
                node_body(i);
                return message;
            }));
    made->before.resize(nodes);
    return made;
}

static void graph_edge(graph *one, uint32_t before, uint32_t after) {
    tbb::flow::make_edge(*one->nodes[before], *one->nodes[after]);
    one->before[after]++;
}

static void graph_run(graph *one) {
    one->arena.execute([one] {
        for (size_t i = 0; i < one->nodes.size(); i++)
            if (one->before[i] == 0) one->nodes[i]->try_put(tbb::flow::continue_msg());
        one->flow->wait_for_all();
    });
}

#include "bench/exec/graph_drive.h"

int main(int count, char **words) {
    return drive_graph(count, words);
}
