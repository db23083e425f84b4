/*
 * Pools of small DMA objects. A pool has chunks, each one buffer of dma_alloc, with a bitmap of free objects in
 * metadata: nothing of ours lies in memory that a device writes to. An object lies within one page of the chunk's
 * backing, so it is physically contiguous, and between two multiples of the boundary. Chunks are powers of two and
 * aligned to their size: an address leads to its chunk's through a small hash table.
 *
 * Lock: dma_lock, for all pools.
 */
#include <errno.h>
#include <string.h>

#include "dma.h"
#include "meta.h"
#include "sys.h"

#define NAME_MAX_BYTES 32
#define LEAST_ALIGN 16
#define BUCKETS 64

/* A chunk has room for this many objects at least, as far as a page of its backing allows. */
#define CHUNK_OBJECTS 16

struct dma_chunk {
    struct dma_chunk *next;      /* in its bucket */
    struct dma_chunk *next_free; /* among those with room */
    char *base;
    uint64_t *phys; /* of each page; NULL: not known, or it may change */
    unsigned nfree;
    uint64_t free[]; /* a bit per object */
};

struct slabmalloc_dma_pool {
    char name[NAME_MAX_BYTES];
    struct slabmalloc_dma_spec spec;
    size_t bytes, stride;
    size_t window;      /* an object lies in one of these, all of its stride's multiples that fit; a power of two */
    size_t chunk_bytes; /* a power of two, a multiple of the window */
    unsigned per_window, per_chunk;
    size_t nout, nchunks;
    struct dma_chunk *room;
    struct dma_chunk *bucket[BUCKETS];
};

/* --- Geometry --- */

static size_t pow2_above(size_t n) {
    return n <= 1 ? 1 : (size_t)1 << (64 - __builtin_clzll(n - 1));
}

static size_t object_offset(const struct slabmalloc_dma_pool *pool, unsigned i) {
    return i / pool->per_window * pool->window + i % pool->per_window * pool->stride;
}

/* The object at OFFSET, or per_chunk: none begins there. */
static unsigned object_index(const struct slabmalloc_dma_pool *pool, size_t offset) {
    size_t in_window = offset % pool->window;
    size_t i = offset / pool->window * pool->per_window + in_window / pool->stride;
    bool begins = !(in_window % pool->stride) && in_window / pool->stride < pool->per_window;
    return begins ? (unsigned)i : pool->per_chunk;
}

static bool lay_out(struct slabmalloc_dma_pool *pool, size_t bytes, size_t align, size_t boundary) {
    align = max_size(align, LEAST_ALIGN);
    if (bytes > DMA_HUGE_BYTES || align > DMA_HUGE_BYTES || (boundary && boundary < bytes)) {
        return false;
    }
    bool huge = pool->spec.level == SLABMALLOC_DMA_HUGETLB || pool->spec.flags & SLABMALLOC_DMA_HUGE;
    huge = huge || bytes > sys_page_bytes();
    if (huge) {
        pool->spec.flags |= SLABMALLOC_DMA_HUGE;
    }
    pool->bytes = bytes;
    size_t unit = huge ? DMA_HUGE_BYTES : sys_page_bytes();
    pool->stride = round_up(bytes, align);
    pool->window = boundary ? min_size(unit, boundary) : unit;
    /* Alignment beyond the window, or rounding over its end: a window for each object. */
    pool->per_window = (unsigned)max_size(1, (pool->window - bytes) / pool->stride + 1);
    if (align > pool->window) {
        pool->window = align;
        pool->per_window = 1;
    }
    pool->chunk_bytes = max_size(pow2_above(CHUNK_OBJECTS * pool->stride), max_size(pool->window, sys_page_bytes()));
    pool->chunk_bytes = huge ? min_size(pool->chunk_bytes, DMA_HUGE_BYTES) : pool->chunk_bytes;
    pool->per_chunk = (unsigned)(pool->chunk_bytes / pool->window) * pool->per_window;
    pool->spec.align = pool->spec.boundary = pool->chunk_bytes;
    return true;
}

/* --- Chunks --- */

static size_t free_words(const struct slabmalloc_dma_pool *pool) {
    return (pool->per_chunk + 63) / 64;
}

static size_t chunk_size(const struct slabmalloc_dma_pool *pool) {
    return sizeof(struct dma_chunk) + free_words(pool) * sizeof(uint64_t);
}

static size_t phys_size(const struct slabmalloc_dma_pool *pool) {
    return pool->chunk_bytes / sys_page_bytes() * sizeof(uint64_t);
}

static struct dma_chunk **bucket_of(struct slabmalloc_dma_pool *pool, uintptr_t base) {
    return &pool->bucket[base / pool->chunk_bytes % BUCKETS];
}

static struct dma_chunk *chunk_of(struct slabmalloc_dma_pool *pool, const void *p) {
    uintptr_t base = (uintptr_t)p & ~(pool->chunk_bytes - 1);
    struct dma_chunk *chunk = *bucket_of(pool, base);
    while (chunk && (uintptr_t)chunk->base != base) {
        chunk = chunk->next;
    }
    return chunk;
}

static void chunk_free_metadata(const struct slabmalloc_dma_pool *pool, struct dma_chunk *chunk) {
    if (chunk->phys) {
        meta_free(chunk->phys, phys_size(pool));
    }
    meta_free(chunk, chunk_size(pool));
}

/* Addresses that cannot change are looked up once. Without them each object is looked up as it goes out. */
static void remember_phys(const struct slabmalloc_dma_pool *pool, struct dma_chunk *chunk) {
    uint64_t *phys = meta_alloc(phys_size(pool));
    bool known = phys != NULL;
    for (size_t at = 0; at < pool->chunk_bytes && known; at += sys_page_bytes()) {
        known = !dma_virt_to_phys(chunk->base + at, true, &phys[at / sys_page_bytes()]);
    }
    if (phys && !known) {
        meta_free(phys, phys_size(pool));
        phys = NULL;
    }
    chunk->phys = phys;
}

static int chunk_make(const struct slabmalloc_dma_pool *pool, struct dma_chunk **made) {
    struct dma_chunk *chunk = meta_alloc(chunk_size(pool));
    if (!chunk) {
        return -ENOMEM;
    }
    struct slabmalloc_dma_info info;
    void *base = NULL;
    int refused = dma_alloc(pool->chunk_bytes, &pool->spec, &base, &info);
    if (refused) {
        meta_free(chunk, chunk_size(pool));
        return refused;
    }
    chunk->base = base;
    chunk->nfree = pool->per_chunk;
    for (unsigned i = 0; i < pool->per_chunk; i++) {
        chunk->free[i / 64] |= (uint64_t)1 << i % 64;
    }
    /* What a container pins above the level asked for moves again when that is detached. */
    if (info.page_bytes > sys_page_bytes() || pool->spec.level == SLABMALLOC_DMA_LONGTERM) {
        remember_phys(pool, chunk);
    }
    *made = chunk;
    return 0;
}

/* With the lock. */
static void chunk_add(struct slabmalloc_dma_pool *pool, struct dma_chunk *chunk) {
    struct dma_chunk **bucket = bucket_of(pool, (uintptr_t)chunk->base);
    chunk->next = *bucket;
    *bucket = chunk;
    chunk->next_free = pool->room;
    pool->room = chunk;
    pool->nchunks++;
}

/* --- Objects, with the lock --- */

static char *take_object(struct slabmalloc_dma_pool *pool, struct dma_chunk **from) {
    struct dma_chunk *chunk = pool->room;
    if (!chunk) {
        return NULL;
    }
    size_t word = 0;
    while (!chunk->free[word]) {
        word++;
    }
    unsigned i = (unsigned)(word * 64) + (unsigned)__builtin_ctzll(chunk->free[word]);
    chunk->free[word] &= chunk->free[word] - 1;
    if (!--chunk->nfree) {
        pool->room = chunk->next_free;
    }
    pool->nout++;
    *from = chunk;
    return chunk->base + object_offset(pool, i);
}

static bool give_object(struct slabmalloc_dma_pool *pool, const void *p) {
    struct dma_chunk *chunk = chunk_of(pool, p);
    unsigned i = chunk ? object_index(pool, (size_t)((const char *)p - chunk->base)) : pool->per_chunk;
    if (i >= pool->per_chunk || chunk->free[i / 64] >> i % 64 & 1) {
        return false;
    }
    chunk->free[i / 64] |= (uint64_t)1 << i % 64;
    if (!chunk->nfree++) {
        chunk->next_free = pool->room;
        pool->room = chunk;
    }
    pool->nout--;
    return true;
}

static int phys_of(const struct dma_chunk *chunk, const char *p, uint64_t *phys) {
    if (!chunk->phys) {
        return dma_virt_to_phys(p, true, phys);
    }
    size_t offset = (size_t)(p - chunk->base);
    *phys = chunk->phys[offset / sys_page_bytes()] + offset % sys_page_bytes();
    return 0;
}

/* --- Pools --- */

static void name_copy(char *to, const char *name) {
    size_t length = name ? min_size(strlen(name), NAME_MAX_BYTES - 1) : 0;
    memcpy(to, name ? name : "", length);
}

int dma_pool_create(const char *name, size_t bytes, size_t align, size_t boundary,
                    const struct slabmalloc_dma_spec *spec, struct slabmalloc_dma_pool **made) {
    static const struct slabmalloc_dma_spec usual = SLABMALLOC_DMA_SPEC;
    if (!bytes || (align && !is_pow2(align)) || (boundary && !is_pow2(boundary))) {
        return -EINVAL;
    }
    struct slabmalloc_dma_pool *pool = meta_alloc(sizeof *pool);
    if (!pool) {
        return -ENOMEM;
    }
    pool->spec = spec ? *spec : usual;
    int refused = lay_out(pool, bytes, align, boundary) ? dma_check(pool->chunk_bytes, &pool->spec) : -EINVAL;
    if (refused) {
        meta_free(pool, sizeof *pool);
        return refused;
    }
    name_copy(pool->name, name);
    *made = pool;
    return 0;
}

int dma_pool_alloc(struct slabmalloc_dma_pool *pool, uint64_t *phys, void **p) {
    struct dma_chunk *chunk = NULL;
    lock_take(dma_lock());
    char *object = take_object(pool, &chunk);
    lock_drop(dma_lock());
    while (!object) {
        struct dma_chunk *made;
        int refused = chunk_make(pool, &made);
        if (refused) {
            return refused;
        }
        lock_take(dma_lock());
        chunk_add(pool, made);
        object = take_object(pool, &chunk);
        lock_drop(dma_lock());
    }
    int refused = phys ? phys_of(chunk, object, phys) : 0;
    if (refused) {
        dma_pool_free(pool, object);
        return refused;
    }
    *p = object;
    return 0;
}

int dma_pool_free(struct slabmalloc_dma_pool *pool, const void *p) {
    lock_take(dma_lock());
    bool done = give_object(pool, p);
    lock_drop(dma_lock());
    return done ? 0 : -EINVAL;
}

static struct dma_chunk *any_chunk(struct slabmalloc_dma_pool *pool) {
    for (unsigned i = 0; i < BUCKETS; i++) {
        if (pool->bucket[i]) {
            return pool->bucket[i];
        }
    }
    return NULL;
}

/* Takes CHUNK, in which nothing is out, from the pool. With the lock. */
static void chunk_remove(struct slabmalloc_dma_pool *pool, struct dma_chunk *chunk) {
    struct dma_chunk **at = bucket_of(pool, (uintptr_t)chunk->base);
    while (*at != chunk) {
        at = &(*at)->next;
    }
    *at = chunk->next;
    for (at = &pool->room; *at != chunk;) {
        at = &(*at)->next_free;
    }
    *at = chunk->next_free;
    pool->nchunks--;
}

/* Nobody else uses the pool, or it would not be destroyed: the lock is for fork. */
int dma_pool_destroy(struct slabmalloc_dma_pool *pool) {
    lock_take(dma_lock());
    bool out = pool->nout;
    lock_drop(dma_lock());
    for (struct dma_chunk *chunk; !out && (chunk = any_chunk(pool));) {
        if (dma_free(chunk->base)) {
            return -EBUSY;
        }
        lock_take(dma_lock());
        chunk_remove(pool, chunk);
        lock_drop(dma_lock());
        chunk_free_metadata(pool, chunk);
    }
    if (out) {
        return -EBUSY;
    }
    meta_free(pool, sizeof *pool);
    return 0;
}

void dma_pool_info(const struct slabmalloc_dma_pool *pool, struct slabmalloc_dma_pool_info *info) {
    lock_take(dma_lock());
    *info = (struct slabmalloc_dma_pool_info){
        .name = pool->name,
        .object_bytes = pool->bytes,
        .out = pool->nout,
        .objects = pool->nchunks * pool->per_chunk,
        .bytes = pool->nchunks * pool->chunk_bytes,
    };
    lock_drop(dma_lock());
}
