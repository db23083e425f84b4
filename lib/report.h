/*
 * report.h: writes a snapshot as the kernel's files are written, and as JSON. The one formatting code for reports from
 * inside, from outside and at exit; slabmalloc/report.h says what the columns mean.
 */
#ifndef SLABMALLOC_LIB_REPORT_H
#define SLABMALLOC_LIB_REPORT_H

#include "report_kind.h"
#include "snapshot.h"
#include "text.h"

/* 0, or -1 with errno: the write's. */
int report_write(int fd, enum report_kind kind, const struct snapshot *snapshot);

/* Bit k of KINDS: report k. If they are several, a line "==> slabinfo <==" or the like is before each. */
int report_write_all(int fd, unsigned kinds, const struct snapshot *snapshot);

/* Linux mm/vmstat.c: of a request of ORDER where NR_FREE[order] blocks are free, in thousandths. */
int report_unusable_index(const size_t nr_free[NORDERS], unsigned order);
int report_fragmentation_index(const size_t nr_free[NORDERS], unsigned order);

/* For report.c: report_json.c's part. */
void report_json(struct text *text, const struct snapshot *snapshot);

/* What lives in the pageblocks of a group: "Slab", "Run". */
const char *report_group_name(enum buddy_group group);

#endif
