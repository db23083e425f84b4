// clang-format off
/*
 * options.h: SLABMALLOC_CONF=key:value,...
 *
 *   key             values          default  who should change it
 *   hugepages       auto|thp|off|   auto     off: a program whose resident memory matters more than its speed.
 *                   hugetlb|                 hugetlb, hugetlb1g: where pages of 2 MiB or 1 GiB were reserved for it
 *                   hugetlb1g                (doc/dma.md says how): memory beyond the first 4 MiB comes from that pool,
 *                                            and what it does not have from transparent huge pages. auto: as thp
 *   huge_threshold  bytes (K M G)   32M      memory in use from which new memory is advised for huge pages, and half of
 *                                            it for an own mapping, itself included; lower it for a heap known to be
 *                                            filled densely
 *   decay_ms        milliseconds    500      how long unused memory stays resident; 0 gives it back at the next
 *                                            slow path, for programs that share a tight machine; -1 never, for
 *                                            benchmarks and real-time loops
 *   background      auto|off        auto     off: no thread but the program's own, ever; unused memory then goes back
 *                                            on threads' slow paths only, so an idle process keeps what it has
 *   magazine_max    bytes (K M)     256K     most bytes of one size class a thread keeps, more than a quarter of this
 *                                            only of objects up to 8 KiB, 30 of them, and as far as that is a quarter of
 *                                            what the class has in the thread's slabs;
 *                                            lower it for thousands of threads, raise it for few with large batches
 *   map_cache       bytes (K M G)   16M      most bytes of freed own mappings kept for reuse (or as much as the live ones
 *                                            if that is more)
 *   numa            local|          local    with several nodes (numa.h). local: each thread's memory on its node;
 *                   interleave|              interleave: all of it spread over the nodes, for data that all threads read;
 *                   off|node=N               off: left to the kernel; node=N: all from node N, or the nearest that can be
 *                                            used
 *   heap            slab|slob       slab     slob: malloc is one SLOB heap, for programs whose footprint matters more
 *                                            than their speed; also says hugepages:off,map_cache:0
 *   report_exit     slab+buddy+     none     which reports to write at exit: some of slab, buddy, pagetype, zone, json,
 *                   ...                      to see what a program's heap ended as
 *   report_file     path            stderr   the file to append them to; %p in it is the process's number
 *
 * Read once, at the first call that needs more than the fast path. Ignored in secure mode (setuid and the
 * like). An unknown key or a bad value is named on stderr once, and ignored.
 */
// clang-format on
#ifndef SLABMALLOC_OPTIONS_H
#define SLABMALLOC_OPTIONS_H

#include "base.h"

enum numa_policy { NUMA_LOCAL, NUMA_INTERLEAVE, NUMA_OFF, NUMA_NODE };

#define REPORT_FILE_MAX 256

struct options {
    bool hugepages;
    uint8_t pool_shift; /* memory comes from the hugetlb pool in pages of 2^pool_shift bytes; 0: it does not */
    size_t huge_threshold;
    int64_t decay_ms;
    bool background;
    size_t magazine_max;
    size_t map_cache;
    enum numa_policy numa;
    unsigned numa_node;                /* of NUMA_NODE */
    bool slob;                         /* heap:slob */
    unsigned report_exit;              /* bit: enum report_kind */
    char report_file[REPORT_FILE_MAX]; /* "": standard error */
};

extern struct options options;

/* Applies TEXT ("key:value,key:value") over the present values. Warns on stderr, never fails. */
void options_parse(const char *text);

/* Applies the environment, unless the process runs in secure mode. */
void options_read_environment(void);

#endif
