/*
 * report_kind.h: the reports there are, and what they are called among options and arguments.
 */
#ifndef SLABMALLOC_REPORT_KIND_H
#define SLABMALLOC_REPORT_KIND_H

enum report_kind {
    REPORT_SLABINFO,
    REPORT_BUDDYINFO,
    REPORT_PAGETYPEINFO,
    REPORT_ZONEINFO,
    REPORT_JSON,
    REPORT_KINDS,
};

/* slab, buddy, pagetype, zone, json */
const char *report_option(enum report_kind kind);

#endif
