/*
 * waste.c: one mix of objects under four allocators, and what each loses.
 *
 *   inside   of what is handed out, the bytes nobody asked for: internal fragmentation, and SLOB's headers
 *   held     pages taken for the mix, beyond the bytes asked for
 */
#include <stdio.h>
#include <stdlib.h>

#include <slabmalloc/kmalloc.h>
#include <slabmalloc/kmem_cache.h>
#include <slabmalloc/pages.h>
#include <slabmalloc/slabmalloc.h>
#include <slabmalloc/slob.h>

enum { TYPES = 4, OBJECTS = 13000 };

/* The types of a small file server, say. */
static const struct {
    const char *name;
    size_t bytes, count;
} types[TYPES] = {{"name", 40, 6000}, {"dentry", 192, 4000}, {"inode", 600, 2000}, {"session", 1720, 1000}};

struct waste {
    size_t inside, held;
};

static void *objects[OBJECTS];

static void *must(void *p) {
    if (!p) {
        perror("waste");
        exit(1);
    }
    return p;
}

static struct slabmalloc_stats stats_now(void) {
    struct slabmalloc_stats stats;
    slabmalloc_stats(&stats, sizeof stats);
    return stats;
}

/* A block of pages for each object, as if the buddy allocator were all there is. */
static struct waste under_pages(size_t asked) {
    size_t n = 0, before = stats_now().page_bytes;
    for (size_t t = 0; t < TYPES; t++) {
        for (size_t i = 0; i < types[t].count; i++) {
            objects[n++] = must(slabmalloc_alloc_pages(0, 0));
        }
    }
    size_t held = stats_now().page_bytes - before;
    while (n) {
        slabmalloc_free_pages(objects[--n], 0);
    }
    return (struct waste){held - asked, held - asked};
}

/* The general caches: the smallest kmalloc-N that is large enough. */
static struct waste under_kmalloc(size_t asked) {
    size_t n = 0, usable = 0, before = stats_now().slab_bytes;
    for (size_t t = 0; t < TYPES; t++) {
        for (size_t i = 0; i < types[t].count; i++) {
            usable += slabmalloc_ksize(objects[n++] = must(slabmalloc_kmalloc(types[t].bytes, 0)));
        }
    }
    size_t held = stats_now().slab_bytes - before;
    while (n) {
        slabmalloc_kfree(objects[--n]);
    }
    return (struct waste){usable - asked, held - asked};
}

/* A cache for each type. */
static struct waste under_kmem_cache(size_t asked) {
    size_t usable = 0, held = 0;
    for (size_t t = 0; t < TYPES; t++) {
        struct slabmalloc_cache_info info;
        struct slabmalloc_cache *cache =
            must(slabmalloc_cache_create(types[t].name, types[t].bytes, 8, SLABMALLOC_CACHE_NO_MERGE, NULL));
        for (size_t i = 0; i < types[t].count; i++) {
            objects[i] = must(slabmalloc_cache_alloc(cache));
        }
        slabmalloc_cache_info(cache, &info, sizeof info);
        usable += info.live * info.slot_bytes;
        held += info.slab_bytes;
        slabmalloc_cache_free_bulk(cache, types[t].count, objects);
        slabmalloc_cache_destroy(cache);
    }
    return (struct waste){usable - asked, held - asked};
}

/* One list of free blocks of any size. */
static struct waste under_slob(size_t asked) {
    struct slabmalloc_slob_stats stats;
    struct slabmalloc_slob *heap = must(slabmalloc_slob_create());
    for (size_t t = 0; t < TYPES; t++) {
        for (size_t i = 0; i < types[t].count; i++) {
            must(slabmalloc_slob_alloc(heap, types[t].bytes));
        }
    }
    slabmalloc_slob_stats(heap, &stats, sizeof stats);
    slabmalloc_slob_destroy(heap);
    return (struct waste){stats.used_bytes - asked, stats.held_bytes - asked};
}

int main(void) {
    static const struct {
        const char *name;
        struct waste (*measure)(size_t asked);
    } allocators[] = {{"buddy pages", under_pages},
                      {"kmalloc", under_kmalloc},
                      {"kmem_cache", under_kmem_cache},
                      {"SLOB", under_slob}};
    size_t asked = 0;
    for (size_t t = 0; t < TYPES; t++) {
        printf("%5zu objects of %4zu bytes: %s\n", types[t].count, types[t].bytes, types[t].name);
        asked += types[t].bytes * types[t].count;
    }
    printf("%zu bytes asked for; beyond them, in percent:\n\n%-12s %8s %8s\n", asked, "", "inside", "held");
    for (size_t i = 0; i < sizeof allocators / sizeof *allocators; i++) {
        struct waste waste = allocators[i].measure(asked);
        printf("%-12s %8.1f %8.1f\n", allocators[i].name, 100.0 * (double)waste.inside / (double)asked,
               100.0 * (double)waste.held / (double)asked);
    }
}
