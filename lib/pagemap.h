/*
 * pagemap.h: what is at this address? Two levels, O(1), for any 64-bit value, touching no unmapped memory.
 *
 *      address    47        30 29        12 11      0
 *                 [  root    ][  leaf     ][  byte  ]
 *
 *      root[]  .bss, one word per leaf span (1 GiB with 4 KiB pages): the distance from the foreign leaf to
 *              this span's leaf. 0, the state of .bss, is the foreign leaf itself: all tags 0, never written.
 *              Addresses beyond the root (kernel, non-canonical) are clamped onto its last word, always 0.
 *      leaf    a tag per page, 4 bytes: the only thing the fast path reads
 *      chunk   for 64 MiB of a leaf's span, read on slow paths only:
 *              page[]  16 bytes a page: buddy links, slab pointer, run length
 *              block[] one per pageblock: which pages are fresh, who owns it
 *
 * Leaves and chunks are mapped on demand and never unmapped. They are apart, and chunks small, for processes that lock
 * their memory: there the tables are resident as a whole and count against RLIMIT_MEMLOCK.
 *
 * Tag: owner << 10 | class for the pages of a slab; classes below CLASS_COUNT are malloc's, the others those of object
 * caches. Everything else has owner 0, and a kind in the low bits. A reader XORs the tag with its own owner's: the
 * result is a class only if the object is its own.
 *
 * Who writes: a page's tag and struct page belong to whoever holds the page (zone lock while it is free, the
 * allocating thread while it is in transit, the slab's owner after). Tags are published before an object
 * of the page leaves the slow path, so no reader can race with the first write. One kind of reader does not hold the
 * page: the holder of the zone's lock looks at neighbours, to merge with them if they are free. So who holds a page
 * without that lock writes the first word with page_mark, and who looks at a neighbour reads it with page_peek.
 */
#ifndef SLABMALLOC_PAGEMAP_H
#define SLABMALLOC_PAGEMAP_H

#include "base.h"
#include "lock.h"

#define ADDRESS_BITS 47
#define LEAF_SHIFT 18
#define LEAF_PAGES ((size_t)1 << LEAF_SHIFT)
#define CHUNK_SHIFT 14
#define CHUNK_PAGES ((size_t)1 << CHUNK_SHIFT)
#define CHUNK_BLOCKS (CHUNK_PAGES / BLOCK_PAGES)
#define LEAF_CHUNKS (LEAF_PAGES / CHUNK_PAGES)
#define ROOT_SIZE ((size_t)1 << (ADDRESS_BITS - PAGE_SHIFT - LEAF_SHIFT))

#define TAG_CLASS_BITS 10
#define TAG_CLASS_MASK (((uint32_t)1 << TAG_CLASS_BITS) - 1)
#define TAG_CLASSES ((unsigned)1 << TAG_CLASS_BITS)

/* Tags of pages that hold no slab object; owner part 0. */
enum tag_kind {
    TAG_FOREIGN = 0,
    TAG_RUN = 0xf0,          /* first page of a live page run */
    TAG_RUN_CACHED = 0xf1,   /* first page of a run in an owner's page cache */
    TAG_MAPPING = 0xf2,      /* first page of a live own mapping */
    TAG_FREED = 0xf3,        /* first page of a run, mapping, block or SLOB page that was freed */
    TAG_BLOCK = 0xf4,        /* first page of a live block of the page allocator */
    TAG_BLOCK_CACHED = 0xf5, /* first page of a block in an owner's page cache */
    TAG_SLOB = 0xf8,         /* page of a SLOB heap's small blocks */
    TAG_SLOB_LARGE = 0xf9,   /* first page of a SLOB heap's large block */
};

enum page_state {
    PAGE_NONE, /* not ours */
    PAGE_FREE, /* first page of a buddy block; order and links valid */
    PAGE_BODY, /* any other page of a free block or a run */
    PAGE_SLAB, /* page of a slab; slab pointer valid */
    PAGE_RUN,  /* first page of a page run; npages valid */
    PAGE_MAPPING,
    PAGE_ISOLATED, /* first page of a block that is being purged; order and next valid */
    PAGE_SLOB,     /* page of a SLOB heap's small blocks; slob_page.h says what is in it */
    PAGE_BLOCK,    /* first page of a block of the page allocator; npages valid */
    PAGE_BLOCK_ON, /* first page of a further pageblock of such a block; the pfn of its first page valid */
};

/*
 *      63    56 55  52 51  48 47                              0
 *      [       ][state][order][ next pfn | slab | run npages  ]  word
 *      [       extra         ][ previous pfn                  ]
 */
struct page {
    union {
        struct {
            uint64_t link : 48;
            uint64_t order : 4;
            uint64_t state : 4;
        };
        uint64_t word;
    };
    union {
        struct {
            uint64_t prev : 48;
            uint64_t extra : 16; /* free: pages that may be resident; slab: index in it; mapping: see mapping_mark */
        };
        uint64_t rest;
    };
};
_Static_assert(sizeof(struct page) == 16, "struct page is 16 bytes");

/* Link, order and state of a page that somebody else may hold and mark at this moment. */
static inline struct page page_peek(const struct page *page) {
    return (struct page){.word = __atomic_load_n(&page->word, __ATOMIC_RELAXED)};
}

/* Says what the caller's own page, which is in no free list, is now. */
static inline void page_mark(struct page *page, enum page_state state, uint64_t link) {
    struct page now = {.link = link & (((uint64_t)1 << 48) - 1), .state = state};
    __atomic_store_n(&page->word, now.word, __ATOMIC_RELAXED);
}

/* Says the same of the first page of a free block, with the zone's lock. Each half is one store: by its fields it would
 * be three, and reads between them. */
static inline void page_set_free(struct page *page, unsigned order, uintptr_t next, uintptr_t prev, size_t extra) {
    page->word = (uint64_t)PAGE_FREE << 52 | (uint64_t)order << 48 | next;
    page->rest = (uint64_t)extra << 48 | prev;
    ASSERT(page->state == PAGE_FREE && page->order == order && page->link == next && page->prev == prev);
}

struct block {
    uint64_t fresh[BLOCK_PAGES / 64]; /* bit set: the page reads zero and no memory is behind it */
    uint64_t free[BLOCK_PAGES / 64];  /* bit set: the page is in a free buddy block */
    uintptr_t next, prev;             /* pfn of the neighbours in a bin of pageblocks, 0: none */
    uint16_t longest;                 /* free pages in a row, at most */
    uint8_t zone;                     /* index + 1; 0: the pageblock is not ours; see block_zone */
    uint8_t group;                    /* enum buddy_group of what lives in it */
    uint8_t pool_shift;               /* see block_pool_shift */
    bool huge;                        /* advised for huge pages: the first touch populates all of it; see block_huge */
};

/* Threads that purge parts of one pageblock write it without a lock, all of them false. */
static inline bool block_huge(const struct block *block) {
    return __atomic_load_n(&block->huge, __ATOMIC_RELAXED);
}

static inline void block_set_huge(struct block *block, bool huge) {
    __atomic_store_n(&block->huge, huge, __ATOMIC_RELAXED);
}

/* Pages of 2^this bytes from the hugetlb pool are behind the pageblock; 0: ordinary ones, or none. Written by whoever
 * maps it, before anything of it is handed out, and cleared before it is unmapped; a walk at fork reads it at any time.
 */
static inline unsigned block_pool_shift(const struct block *block) {
    return __atomic_load_n(&block->pool_shift, __ATOMIC_RELAXED);
}

static inline void block_set_pool_shift(struct block *block, unsigned shift) {
    if (block_pool_shift(block) != shift) { /* or the tables would become resident for nothing */
        __atomic_store_n(&block->pool_shift, (uint8_t)shift, __ATOMIC_RELAXED);
    }
}

/* Written under the zone's lock; walks over all pageblocks read it without that of each. */
static inline unsigned block_zone(const struct block *block) {
    return __atomic_load_n(&block->zone, __ATOMIC_RELAXED);
}

static inline void block_set_zone(struct block *block, unsigned zone) {
    __atomic_store_n(&block->zone, (uint8_t)zone, __ATOMIC_RELAXED);
}

struct chunk {
    struct page page[CHUNK_PAGES];
    struct block block[CHUNK_BLOCKS];
};

struct leaf {
    _Atomic uint32_t tag[LEAF_PAGES];
    _Atomic(struct chunk *) chunk[LEAF_CHUNKS];
};

/* One object, so that the fast path needs one base address; a root word of 0 means its beginning. */
struct pagemap {
    _Atomic uint32_t foreign[LEAF_PAGES];
    _Atomic uintptr_t root[ROOT_SIZE + 1];
};

extern struct pagemap pagemap __attribute__((visibility("hidden")));

static inline _Atomic uint32_t *pagemap_tags(uintptr_t pfn) {
    uintptr_t top = pfn >> LEAF_SHIFT;
    top = top < ROOT_SIZE ? top : ROOT_SIZE;
    uintptr_t distance = atomic_load_explicit(&pagemap.root[top], memory_order_acquire);
    return (_Atomic uint32_t *)((uintptr_t)&pagemap + distance);
}

/* The tag of the page that P points into; 0 for anything that is not ours. */
static inline uint32_t pagemap_tag(const void *p) {
    uintptr_t pfn = (uintptr_t)p >> PAGE_SHIFT;
    _Atomic uintptr_t *root = pagemap.root;
    __asm__("" : "+r"(root)); /* both addresses from one register: gcc 12 would spend two instructions more */
    uintptr_t top = pfn >> LEAF_SHIFT;
    top = top < ROOT_SIZE ? top : ROOT_SIZE;
    /* Relaxed: whoever passed us the pointer ordered us after the leaf's publication. */
    uintptr_t distance = atomic_load_explicit(&root[top], memory_order_relaxed);
    uintptr_t at = (uintptr_t)root + (pfn & (LEAF_PAGES - 1)) * sizeof(uint32_t);
    __asm__("" : "+r"(at)); /* so the tag's load adds the distance, which comes from memory last */
    return atomic_load_explicit((_Atomic uint32_t *)(at + distance - sizeof pagemap.foreign), memory_order_relaxed);
}

/* The tag of PFN, a page that pagemap_cover was called for, from FROM to TO; false: it was another. */
static inline bool pagemap_change_tag(uintptr_t pfn, uint32_t from, uint32_t to) {
    _Atomic uint32_t *tag = &pagemap_tags(pfn)[pfn & (LEAF_PAGES - 1)];
    return atomic_compare_exchange_strong_explicit(tag, &from, to, memory_order_relaxed, memory_order_relaxed);
}

static inline bool pagemap_known(uintptr_t pfn) {
    return pagemap_tags(pfn) != pagemap.foreign;
}

/* The rest is for pages that pagemap_cover was called for. */
static inline struct leaf *pagemap_leaf(uintptr_t pfn) {
    ASSERT(pagemap_known(pfn));
    return (struct leaf *)pagemap_tags(pfn);
}

static inline struct chunk *pagemap_chunk(uintptr_t pfn) {
    return atomic_load_explicit(&pagemap_leaf(pfn)->chunk[(pfn & (LEAF_PAGES - 1)) >> CHUNK_SHIFT],
                                memory_order_acquire);
}

/* False: pagemap_page and pagemap_block have nothing for PFN. */
static inline bool pagemap_has_page(uintptr_t pfn) {
    return pagemap_known(pfn) && pagemap_chunk(pfn);
}

static inline struct page *pagemap_page(uintptr_t pfn) {
    return &pagemap_chunk(pfn)->page[pfn & (CHUNK_PAGES - 1)];
}

static inline struct block *pagemap_block(uintptr_t pfn) {
    return &pagemap_chunk(pfn)->block[(pfn & (CHUNK_PAGES - 1)) >> MAX_ORDER];
}

static inline void pagemap_set_tag(uintptr_t pfn, uint32_t tag) {
    atomic_store_explicit(&pagemap_leaf(pfn)->tag[pfn & (LEAF_PAGES - 1)], tag, memory_order_relaxed);
}

/* Sets NPAGES tags; the range lies within one pageblock. */
void pagemap_set_tags(uintptr_t pfn, size_t npages, uint32_t tag);

/* Makes leaves and chunks for [PFN, PFN + NPAGES); false: no memory (nothing is undone; both are harmless). */
bool pagemap_cover(uintptr_t pfn, size_t npages);

/* NBLOCKS pageblocks, the caller's own and in no zone any more, are about to be unmapped: the memory of their page
 * structs goes back to the kernel, and that of their tags as far as they fill pages. All read zero from now on. */
void pagemap_forget(uintptr_t pfn, size_t nblocks);

/* Calls VISIT for every pageblock that belongs to a zone, in address order, until it returns false. */
void pagemap_each_block(bool (*visit)(uintptr_t pfn, struct block *block, void *arg), void *arg);

/* As pagemap_each_block, for every pageblock that pages of the hugetlb pool are behind. */
void pagemap_each_pool_block(bool (*visit)(uintptr_t pfn, struct block *block, void *arg), void *arg);

/* Keeps transparent huge pages off the tables in .bss. Once, at start. */
void pagemap_init(void);

struct lock *pagemap_lock(void);

static inline void *pfn_pointer(uintptr_t pfn) {
    return (void *)(pfn << PAGE_SHIFT);
}

static inline uintptr_t pointer_pfn(const void *p) {
    return (uintptr_t)p >> PAGE_SHIFT;
}

#endif
