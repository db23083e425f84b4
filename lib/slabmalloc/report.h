/*
 * report.h: what the heap looks like, in the formats of the kernel's own files, so that tools that read those read
 * these; and as JSON.
 *
 * Each function writes one report to FD, which the caller has open for writing. It allocates nothing, takes no lock of
 * the C library and no lock of the heap while it writes, and may be called by any thread at any time but in a signal
 * handler. It uses 12 KiB of stack. Each part is exact, the whole only when no other thread allocates meanwhile.
 *
 * 0: all of it was written: a write that took only a part is continued, one that a signal interrupted is repeated.
 * -1: not all of it was, and errno is that of write(2): EBADF, ENOSPC, EPIPE, EAGAIN when FD does not block, ...
 *
 * The same reports of another process: slabmalloc report PID. At exit: SLABMALLOC_CONF=report_exit:slab+buddy+json.
 */
#ifndef SLABMALLOC_REPORT_H
#define SLABMALLOC_REPORT_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * As /proc/slabinfo, "slabinfo - version: 2.1", a line per size class, kmalloc-BYTES. (Linux mm/slab_common.c)
 *
 * active_objs are those the program holds, num_objs all there is room for. Slabs of one cache differ in size:
 * objperslab and pagesperslab are the mean, rounded up. limit is the number of objects the largest magazine
 * has room for, batchcount what was last fetched at once, sharedavail the number of objects in magazines; sharedfactor
 * is 0. active_slabs have an object out.
 */
int slabmalloc_report_slabinfo(int fd);

/* As /proc/buddyinfo: a line per zone, the number of free blocks of each order, ten orders of 2^order pages. (Linux
 * mm/vmstat.c) */
int slabmalloc_report_buddyinfo(int fd);

/*
 * As /proc/pagetypeinfo: free blocks of each order by type. Slab and Run are in pageblocks that serve slabs or page runs,
 * Block are free pageblocks; Fresh ones have no memory behind them. Then the number of pageblocks by type, and per order
 * two indices, as /sys/kernel/debug/extfrag has them: unusable_index is the share of free memory that is of no use for a
 * request of that order; extfrag_index is -1 where the request would succeed, else near 0 if it would fail
 * for lack of memory and near 1 if for fragmentation. (Linux mm/vmstat.c)
 */
int slabmalloc_report_pagetypeinfo(int fd);

/* As /proc/zoneinfo: pages and counters of each zone. Counters are in pages but for nr_regions, nr_allocs, nr_splits,
 * nr_merges and nr_lock_waits, which are numbers. (Linux mm/vmstat.c) */
int slabmalloc_report_zoneinfo(int fd);

/*
 * All of it and the totals of slabmalloc_stats as one JSON object on one line: {"format":"slabmalloc-report",
 * "version":1, ...}. Sizes in bytes where the name says so, pages where it says so. Later versions add
 * members; the version number changes if one changes its meaning. (RFC 8259)
 */
int slabmalloc_report_json(int fd);

#ifdef __cplusplus
}
#endif

#endif
