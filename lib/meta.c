#include "meta.h"

#include <string.h>

#include "expose.h"
#include "lock.h"
#include "sys.h"

#define META_SHIFT_MIN 6
#define META_CHUNK ((size_t)256 << 10)
#define META_FIRST ((size_t)64 << 10)

struct piece {
    struct piece *next;
};

static struct {
    struct lock lock;
    char *at, *end; /* untouched, and so still zero, part of the newest chunk */
    size_t mapped;
    struct piece *freed[META_SHIFT_MAX + 1];
} meta;

EXPOSE(META_MAPPED, meta.mapped);

/* Not page aligned: .bss then begins in the page of the initialized data, which is written to anyway. */
static char meta_first[META_FIRST] __attribute__((aligned(256)));

static unsigned meta_shift(size_t bytes) {
    return bytes <= META_MIN ? META_SHIFT_MIN : 64 - (unsigned)__builtin_clzll(bytes - 1);
}

/* Called with the lock; what is left of the old chunk is given up (less than the piece asked for). */
static bool meta_refill(size_t bytes) {
    if (!meta.mapped && bytes <= META_FIRST) {
        meta.at = meta_first;
        meta.end = meta_first + META_FIRST;
        meta.mapped = META_FIRST;
        return true;
    }
    size_t chunk = max_size(META_CHUNK, bytes);
    char *p = sys_map(NULL, chunk);
    if (!p && chunk > bytes) {
        chunk = round_up(bytes, PAGE_BYTES); /* address space is scarce: just what is needed */
        p = sys_map(NULL, chunk);
    }
    if (!p) {
        return false;
    }
    sys_advise(p, chunk, SYS_NOHUGEPAGE);
    meta.at = p;
    meta.end = p + chunk;
    counter_add(&meta.mapped, chunk);
    return true;
}

static void *meta_take(size_t bytes, bool zero) {
    unsigned shift = meta_shift(bytes);
    size_t rounded = (size_t)1 << shift;
    ASSERT(shift <= META_SHIFT_MAX);
    lock_take(&meta.lock);
    struct piece *piece = meta.freed[shift];
    if (piece) {
        meta.freed[shift] = piece->next;
        lock_drop(&meta.lock);
        return zero ? memset(piece, 0, rounded) : piece;
    }
    size_t align = min_size(rounded, 256);
    meta.at = (char *)round_up((uintptr_t)meta.at, align);
    if ((size_t)(meta.end - meta.at) < rounded || meta.at > meta.end) {
        if (!meta_refill(rounded)) {
            lock_drop(&meta.lock);
            return NULL;
        }
    }
    void *p = meta.at;
    meta.at += rounded;
    lock_drop(&meta.lock);
    return p;
}

void *meta_alloc(size_t bytes) {
    return meta_take(bytes, true);
}

void *meta_alloc_dirty(size_t bytes) {
    return meta_take(bytes, false);
}

void meta_free(void *p, size_t bytes) {
    unsigned shift = meta_shift(bytes);
    struct piece *piece = p;
    lock_take(&meta.lock);
    piece->next = meta.freed[shift];
    meta.freed[shift] = piece;
    lock_drop(&meta.lock);
}

size_t meta_mapped(void) {
    return counter_read(&meta.mapped);
}

struct lock *meta_lock(void) {
    return &meta.lock;
}
