/* report_api.c: slabmalloc/report.h: this process's own heap. */
#include "slabmalloc/report.h"

#include "gather.h"
#include "report.h"

#define API __attribute__((visibility("default")))

static int report(int fd, enum report_kind kind) {
    struct snapshot snapshot;
    snapshot_gather(&snapshot);
    return report_write(fd, kind, &snapshot);
}

API int slabmalloc_report_slabinfo(int fd) {
    return report(fd, REPORT_SLABINFO);
}

API int slabmalloc_report_buddyinfo(int fd) {
    return report(fd, REPORT_BUDDYINFO);
}

API int slabmalloc_report_pagetypeinfo(int fd) {
    return report(fd, REPORT_PAGETYPEINFO);
}

API int slabmalloc_report_zoneinfo(int fd) {
    return report(fd, REPORT_ZONEINFO);
}

API int slabmalloc_report_json(int fd) {
    return report(fd, REPORT_JSON);
}
