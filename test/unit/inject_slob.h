/* inject_slob.h: what the fault injection walks through, of SLOB heaps. */
#ifndef SLABMALLOC_TEST_INJECT_SLOB_H
#define SLABMALLOC_TEST_INJECT_SLOB_H

#include "inject_workloads.h"
#include "slabmalloc/slob.h"

#define SLOB_BLOCKS 240

static struct slob_held {
    char *p;
    size_t bytes;
    bool sized;
} slob_held[SLOB_BLOCKS];

static size_t slob_bytes(size_t i) {
    return i % 40 == 7 ? 3 * MIB : i % 16 == 3 ? i * 613 : i % 5 ? i * 7 % 300 + 1 : i * 17 % 3000 + 1;
}

WORKLOAD static void take_slob(struct slabmalloc_slob *heap, size_t i) {
    struct slob_held *h = &slob_held[i];
    *h = (struct slob_held){.bytes = slob_bytes(i), .sized = i % 3 == 1};
    errno = ERRNO_BEFORE;
    if (h->sized) {
        h->p = slabmalloc_slob_alloc_sized(heap, h->bytes);
    } else if (i % 9 == 2) {
        h->p = slabmalloc_slob_aligned(heap, (size_t)16 << i % 13, h->bytes);
    } else {
        h->p = slabmalloc_slob_zalloc(heap, h->bytes);
        MUST(!h->p || all_bytes_are(h->p, h->bytes, 0));
    }
    checked(h->p);
    if (h->p) {
        fill(h->p, h->bytes, i);
    }
}

WORKLOAD static void resize_slob(struct slabmalloc_slob *heap, size_t i, size_t bytes) {
    struct slob_held *h = &slob_held[i];
    if (!h->p || h->sized) {
        return;
    }
    errno = ERRNO_BEFORE;
    char *p = checked(slabmalloc_slob_realloc(heap, h->p, bytes));
    MUST(holds(p ? p : h->p, h->bytes, p ? min_size(bytes, h->bytes) : h->bytes, i));
    if (p) {
        h->p = p;
        h->bytes = bytes;
        fill(p, bytes, i);
    }
}

WORKLOAD static void drop_slob(struct slabmalloc_slob *heap, size_t i) {
    struct slob_held *h = &slob_held[i];
    MUST(!h->p || holds(h->p, h->bytes, h->bytes, i));
    errno = ERRNO_BEFORE;
    if (h->sized) {
        slabmalloc_slob_free_sized(heap, h->p, h->bytes);
    } else {
        slabmalloc_slob_free(heap, h->p);
    }
    MUST(errno == ERRNO_BEFORE);
    h->p = NULL;
}

WORKLOAD static void slob_heaps(void) {
    usual_options();
    for (unsigned round = 0; round < 2; round++) {
        errno = ERRNO_BEFORE;
        struct slabmalloc_slob *heap = (struct slabmalloc_slob *)checked(slabmalloc_slob_create());
        if (!heap) {
            continue;
        }
        for (size_t i = 0; i < SLOB_BLOCKS; i++) {
            take_slob(heap, i);
        }
        MUST(!slabmalloc_slob_check(heap));
        for (size_t i = 0; i < SLOB_BLOCKS; i += 2) {
            resize_slob(heap, i, i % 8 ? slob_bytes(i) * 2 : slob_bytes(i) / 2 + 1);
        }
        resize_slob(heap, 3, 200 * KIB);
        resize_slob(heap, 3, 9 * MIB);
        resize_slob(heap, 3, 60);
        MUST(!slabmalloc_slob_check(heap));
        for (size_t i = 0; i < SLOB_BLOCKS; i++) {
            if (!round || i % 3) { /* the second heap is destroyed with blocks in it */
                drop_slob(heap, i);
            }
        }
        MUST(!slabmalloc_slob_check(heap));
        slabmalloc_slob_destroy(heap);
    }
}

#endif
