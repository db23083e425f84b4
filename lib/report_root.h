/*
 * report_root.h: the one object of the library that a reader outside the process looks up by name.
 *
 *      .dynsym: slabmalloc_report_root --> magic, layout, version
 *                                          begin, end --> exposed[]: the layers' state (expose.h)
 *
 * The reader copies the library's structures as they are and reads them with the declarations it was compiled with
 * itself. So it goes on only if the magic, the version and the sizes in `layout` are its own. The two first members
 * never change, so that any reader can name the version of any library.
 *
 * Constant: nobody in the process writes or reads it.
 */
#ifndef SLABMALLOC_REPORT_ROOT_H
#define SLABMALLOC_REPORT_ROOT_H

#include "expose.h"
#include "kmem_cache.h"
#include "owner.h"
#include "page.h"
#include "pagemap.h"
#include "slab.h"
#include "slob.h"
#include "slob_boot.h"
#include "version.h"
#include "zone.h"

#define REPORT_ROOT_SYMBOL "slabmalloc_report_root"
#define REPORT_ROOT_MAGIC "slabmalloc root"
#define REPORT_ROOT_LAYOUT                                                                                             \
    {                                                                                                                  \
        sizeof(struct zone), sizeof(struct owner), sizeof(struct slab), sizeof(struct page), sizeof(struct block),     \
            sizeof(struct chunk), sizeof(struct page_cache), sizeof(struct kmem_class),                                \
            sizeof(struct slabmalloc_cache), sizeof(struct class_chunk), sizeof(struct class_table),                   \
            sizeof(struct leaf), sizeof(struct pagemap), sizeof(struct slob), sizeof(struct slob_boot),                \
            offsetof(struct zone, mapped_pages), offsetof(struct owner, cache), PAGE_SHIFT, NORDERS, GROUPS,           \
            CLASS_COUNT, EXPOSED_COUNT                                                                                 \
    }
#define REPORT_ROOT_LAYOUT_COUNT 22

struct report_root {
    char magic[16];
    char version[32];
    uint32_t layout[REPORT_ROOT_LAYOUT_COUNT];
    uint32_t bytes; /* of this structure */
    const struct exposed *begin, *end;
};

extern const struct report_root slabmalloc_report_root;

#endif
