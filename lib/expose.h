/*
 * expose.h: where a reader outside this process finds what it reports (`slabmalloc report PID`).
 *
 * A layer names its own state with EXPOSE, beside the definition. The entries lie in a section of their own, whose two
 * ends the exported slabmalloc_report_root holds (report_root.h). They are constants: nothing is done at run time,
 * nobody in this process reads them, and what they point at stays static to its layer.
 */
#ifndef SLABMALLOC_EXPOSE_H
#define SLABMALLOC_EXPOSE_H

#include "base.h"

enum exposed_id {
    EXPOSED_ZONES,       /* struct zone [] */
    EXPOSED_ZONE_COUNT,  /* unsigned: those of the nodes there are */
    EXPOSED_OWNERS,      /* struct owner *[], from id 1 */
    EXPOSED_OWNER_COUNT, /* uint32_t */
    EXPOSED_PAGEMAP,     /* struct pagemap */
    EXPOSED_PAGEMAP_LOW, /* size_t: first and last root index in use */
    EXPOSED_PAGEMAP_HIGH,
    EXPOSED_KMEM_TABLES, /* pointer to struct kmem_class *[]; NULL before the first cache */
    EXPOSED_KMEM_COUNT,  /* uint32_t */
    EXPOSED_SLOB,        /* struct slob: malloc's */
    EXPOSED_SLOB_BOOT,   /* struct slob_boot */
    EXPOSED_FOOTPRINT,   /* size_t, as all below */
    EXPOSED_PAGES_OUT,
    EXPOSED_META_MAPPED,
    EXPOSED_MAPPING_LIVE_PAGES,
    EXPOSED_MAPPING_LIVE_COUNT,
    EXPOSED_MAPPING_PEAK_PAGES,
    EXPOSED_MAPPING_PEAK_COUNT,
    EXPOSED_MAPPING_CACHED_PAGES,
    EXPOSED_MAPPING_THP_PAGES,
    EXPOSED_COUNT,
};

struct exposed {
    const volatile void *at;
    uint32_t bytes;
    uint32_t id; /* enum exposed_id */
};

#define EXPOSE(name, object)                                                                                           \
    static const struct exposed exposed_##name                                                                         \
        __attribute__((used, section("slabmalloc_exposed"))) = {&(object), sizeof(object), EXPOSED_##name}

#endif
