#include "model.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pagemap.h"
#include "remote.h"

#define WHOLE_BYTES ((size_t)32 << 10)
#define PROBE_BYTES 64
#define PROBE_STRIDE ((size_t)64 << 10)

enum route { ROUTE_SLAB, ROUTE_RUN, ROUTE_MAPPING, ROUTES };

/* The live blocks by address. A block may be on its way between two threads, hence twice the room. */
static struct {
    pthread_mutex_t mutex;
    struct live *by_address[2 * MODEL_BLOCKS];
    size_t nblocks;
    size_t bytes[ROUTES], count[ROUTES];
    uint64_t seeds;
} shadow = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void model_fail(const char *file, int line, const char *what) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

void model_check_heap(void) {
    const char *broken = slabmalloc_check();
    if (broken) {
        model_fail(__FILE__, __LINE__, broken);
    }
}

/* --- Contents --- */

/* The next piece of a block at BASE with BYTES that is written and read: [from, to). Begins at to == 0. */
struct probe {
    size_t from, to;
};

static bool probe_next(struct probe *probe, uintptr_t base, size_t bytes) {
    if (probe->to == bytes) {
        return false;
    }
    if (bytes <= WHOLE_BYTES) {
        *probe = (struct probe){0, bytes};
    } else if (!probe->to) {
        *probe = (struct probe){0, PROBE_BYTES};
    } else {
        size_t from = round_up(base + probe->to, PROBE_STRIDE) - base;
        from = min_size(from, bytes - PROBE_BYTES);
        *probe = (struct probe){from, from + PROBE_BYTES};
    }
    return true;
}

static uint64_t word_at(uint64_t seed, size_t at) {
    return (seed + at / sizeof(uint64_t) + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The part of the word at AT that lies below END. */
static size_t part_at(size_t at, size_t end) {
    return min_size(sizeof(uint64_t) - at % sizeof(uint64_t), end - at);
}

static void fill(struct live *block, size_t bytes) {
    block->filled = bytes;
    for (struct probe probe = {0}; probe_next(&probe, (uintptr_t)block->p, bytes);) {
        for (size_t at = probe.from, n; at < probe.to; at += n) {
            uint64_t word = word_at(block->seed, at);
            n = part_at(at, probe.to);
            memcpy(block->p + at, (char *)&word + at % sizeof word, n);
        }
    }
}

/* P holds the first BYTES of what was written to BLOCK. */
static bool holds(const char *p, const struct live *block, size_t bytes) {
    for (struct probe probe = {0}; probe_next(&probe, (uintptr_t)block->p, block->filled);) {
        size_t end = min_size(probe.to, bytes);
        for (size_t at = probe.from, n; at < end; at += n) {
            uint64_t word = word_at(block->seed, at);
            n = part_at(at, end);
            if (memcmp(p + at, (char *)&word + at % sizeof word, n)) {
                return false;
            }
        }
    }
    return true;
}

static bool is_zero(const char *p, size_t bytes) {
    for (struct probe probe = {0}; probe_next(&probe, (uintptr_t)p, bytes);) {
        for (size_t at = probe.from; at < probe.to; at++) {
            if (p[at]) {
                return false;
            }
        }
    }
    return true;
}

void model_verify(const struct live *block) {
    HOLDS(slabmalloc_usable_size(block->p) == block->usable);
    HOLDS(holds(block->p, block, block->filled));
}

void model_use_all(struct live *block) {
    model_verify(block);
    fill(block, block->usable);
}

/* --- Who is live --- */

static enum route route_of(const struct live *block) {
    uint32_t tag = pagemap_tag(block->p);
    HOLDS(tag >> TAG_CLASS_BITS || tag == TAG_RUN || tag == TAG_MAPPING);
    return tag == TAG_RUN ? ROUTE_RUN : tag == TAG_MAPPING ? ROUTE_MAPPING : ROUTE_SLAB;
}

/* The place of the first live block not below P. With the mutex. */
static size_t place_of(const char *p) {
    size_t low = 0, high = shadow.nblocks;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (shadow.by_address[middle]->p < p) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void join(struct live *block) {
    enum route route = route_of(block);
    pthread_mutex_lock(&shadow.mutex);
    size_t at = place_of(block->p);
    struct live **place = &shadow.by_address[at];
    HOLDS(at == shadow.nblocks || block->p + block->usable <= place[0]->p);
    HOLDS(!at || place[-1]->p + place[-1]->usable <= block->p);
    HOLDS(shadow.nblocks < 2 * MODEL_BLOCKS);
    memmove(place + 1, place, (shadow.nblocks - at) * sizeof(struct live *));
    *place = block;
    shadow.nblocks++;
    shadow.bytes[route] += block->usable;
    shadow.count[route]++;
    block->seed = shadow.seeds += UINT64_C(0x100000001b3);
    pthread_mutex_unlock(&shadow.mutex);
}

static void join_with(struct live *block, void *p, size_t bytes) {
    block->p = p;
    block->usable = slabmalloc_usable_size(p);
    HOLDS(block->usable >= bytes);
    join(block);
    fill(block, bytes);
}

struct live *model_add(void *p, size_t bytes, size_t align, bool zeroed) {
    HOLDS(((uintptr_t)p & (align - 1)) == 0);
    HOLDS(!zeroed || is_zero(p, bytes));
    struct live *block = malloc(sizeof *block);
    HOLDS(block != NULL);
    join_with(block, p, bytes);
    return block;
}

void model_leave(struct live *block) {
    model_verify(block);
    enum route route = route_of(block);
    pthread_mutex_lock(&shadow.mutex);
    size_t at = place_of(block->p);
    struct live **place = &shadow.by_address[at];
    HOLDS(at < shadow.nblocks && *place == block);
    shadow.nblocks--;
    memmove(place, place + 1, (shadow.nblocks - at) * sizeof(struct live *));
    shadow.bytes[route] -= block->usable;
    shadow.count[route]--;
    pthread_mutex_unlock(&shadow.mutex);
}

void model_rejoin(struct live *block, void *p, size_t bytes) {
    HOLDS(holds(p, block, min_size(bytes, block->filled)));
    join_with(block, p, bytes);
}

void model_forget(struct live *block) {
    free(block);
}

size_t model_live_bytes(void) {
    pthread_mutex_lock(&shadow.mutex);
    size_t bytes = shadow.bytes[ROUTE_SLAB] + shadow.bytes[ROUTE_RUN] + shadow.bytes[ROUTE_MAPPING];
    pthread_mutex_unlock(&shadow.mutex);
    return bytes;
}

/* --- Totals --- */

/* What may lie in one owner's open remote magazines and inbox. */
#define IN_FLIGHT_BYTES ((REMOTE_WAYS + INBOX_LIMIT) * (REMOTE_BYTES + SLAB_MAX))

void model_compare(bool exact) {
    struct slabmalloc_stats s;
    slabmalloc_stats(&s, sizeof s);
    HOLDS(s.used_bytes == s.slab_used_bytes + s.run_bytes + s.mapping_bytes);
    HOLDS(s.zone_bytes == s.slab_bytes + s.run_bytes + s.run_cached_bytes + s.zone_free_bytes);
    HOLDS(s.slab_used_bytes + s.magazine_bytes <= s.slab_bytes);
    HOLDS(s.zone_dirty_bytes <= s.zone_free_bytes);
    /* More: address space that the kernel refused to take back. */
    HOLDS(s.mapped_bytes >= s.zone_bytes + s.mapping_bytes + s.mapping_cached_bytes);
    HOLDS(s.run_bytes == shadow.bytes[ROUTE_RUN]);
    HOLDS(s.mapping_bytes == shadow.bytes[ROUTE_MAPPING]);
    HOLDS(s.mappings == shadow.count[ROUTE_MAPPING]);
    size_t in_flight = s.slab_used_bytes - shadow.bytes[ROUTE_SLAB];
    HOLDS(in_flight <= (exact ? 0 : owner_count() * IN_FLIGHT_BYTES));
}
