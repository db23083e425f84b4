/* micro_main.c: the micro-benchmark program. Options are Google Benchmark's; see --help. */
#include "micro.h"

int main(int argc, char **argv) {
    micro_add_pairs();
    micro_add_batches();
    micro_add_churn();
    micro_add_realloc();
    micro_add_special();
    micro_add_cross();
    micro_add_threads();
    micro_add_large();
    micro_add_pages();
    micro_add_kmem();
    return gbench_main(argc, argv);
}
