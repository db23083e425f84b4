#include "stats.h"

#include "gather.h"

void stats_gather(struct slabmalloc_stats *stats) {
    struct snapshot snapshot;
    snapshot_gather(&snapshot);
    *stats = snapshot.stats;
}
