/*
 * options.h: SLABMALLOC_CONF=key:value,...
 *
 *   key             values          default  who should change it
 *   hugepages       auto|off        auto     off: a program whose resident memory matters more than its speed
 *   huge_threshold  bytes (K M G)   32M      memory in use from which new memory is advised for huge pages; lower it
 *                                            for a heap known to be filled densely
 *   decay_ms        milliseconds    500      how long unused memory stays resident; 0 gives it back at the next
 *                                            slow path, for programs that share a tight machine; -1 never, for
 *                                            benchmarks and real-time loops
 *   background      auto|off        auto     off: no thread but the program's own, ever; unused memory then goes back
 * on threads' slow paths only, so an idle process keeps what it has magazine_max    bytes (K M)     32K      most bytes
 * of one size class a thread keeps; lower it for thousands of threads, raise it for few threads with large batches
 *   numa            see numa.h      local    local: each thread's memory on its node; interleave: all spread over the
 *                                            nodes, for data that all threads read; off: left to the kernel; node=N:
 *                                            all from node N, or the nearest that can be used
 *   map_cache       bytes (K M G)   16M      most bytes of freed own mappings kept for reuse (or
 *                                            half of the live ones if that is more)
 *   heap            slab|slob       slab     slob: malloc is one SLOB heap, for programs whose footprint matters more
 *                                            than their speed; also says hugepages:off,map_cache:0
 *
 * Read once, at the first call that needs more than the fast path. Ignored in secure mode (setuid and the
 * like). An unknown key or a bad value is named on stderr once, and ignored.
 */
#ifndef SLABMALLOC_OPTIONS_H
#define SLABMALLOC_OPTIONS_H

#include "base.h"

enum numa_policy { NUMA_LOCAL, NUMA_INTERLEAVE, NUMA_OFF, NUMA_NODE };

struct options {
    bool hugepages;
    size_t huge_threshold;
    int64_t decay_ms;
    bool background;
    size_t magazine_max;
    size_t map_cache;
    enum numa_policy numa;
    unsigned numa_node; /* of NUMA_NODE */
    bool slob; /* heap:slob */
};

extern struct options options;

/* Applies TEXT ("key:value,key:value") over the present values. Warns on stderr, never fails. */
void options_parse(const char *text);

/* Applies the environment, unless the process runs in secure mode. */
void options_read_environment(void);

#endif
