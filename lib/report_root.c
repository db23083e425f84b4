#include "report_root.h"

/* The linker's names for the two ends of the section. */
extern const struct exposed __start_slabmalloc_exposed[] __attribute__((visibility("hidden")));
extern const struct exposed __stop_slabmalloc_exposed[] __attribute__((visibility("hidden")));

__attribute__((visibility("default"))) const struct report_root slabmalloc_report_root = {
    .magic = REPORT_ROOT_MAGIC,
    .version = LIBRARY_VERSION,
    .layout = REPORT_ROOT_LAYOUT,
    .bytes = sizeof(struct report_root),
    .begin = __start_slabmalloc_exposed,
    .end = __stop_slabmalloc_exposed,
};
