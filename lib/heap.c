#include "heap.h"

#include <errno.h>
#include <string.h>

#include "background.h"
#include "fault.h"
#include "fork.h"
#include "hugetlb.h"
#include "kmem_cache.h"
#include "mapping.h"
#include "options.h"
#include "page.h"
#include "reclaim.h"
#include "region.h"
#include "remote.h"
#include "report_exit.h"
#include "run.h"
#include "slob.h"
#include "sys.h"
#include "zone.h"

/* Slow calls of a thread between two looks at the clock and the node. */
#define TICK_CALLS 64

/* Looks that must find the thread on another node before it moves there. */
#define AWAY_MAX 4

/* Between two questions which nodes there are. */
#define NODES_MS 500

enum heap_state { HEAP_RAW, HEAP_READY };
static _Atomic int heap_state WRITTEN_AT_START;
static struct lock heap_start_lock WRITTEN_AT_START;

/* Before the first slow call of any thread. Nothing here allocates. */
static void heap_init(void) {
    lock_take(&heap_start_lock);
    if (atomic_load_explicit(&heap_state, memory_order_relaxed) == HEAP_RAW) {
        options_read_environment();
        if (options.slob) {
            slob_start_process(); /* its zones start when they are needed */
        } else {
            pagemap_init();
            zone_init();
            background_new_process();
        }
        atomic_store_explicit(&heap_state, HEAP_READY, memory_order_release);
    }
    lock_drop(&heap_start_lock);
}

static bool heap_ready(void) {
    return likely(atomic_load_explicit(&heap_state, memory_order_acquire) == HEAP_READY);
}

void heap_begin(void) {
    if (!heap_ready()) {
        heap_init();
    }
}

static struct owner *heap_owner(void) {
    heap_begin();
    if (unlikely(options.slob)) {
        slob_need_zones();
    }
    return owner_get();
}

/* What must wait until the C library is up: registering fork handlers may allocate. */
__attribute__((constructor(101))) static void heap_start(void) {
    heap_begin();
    if (!options.slob) {
        heap_owner();
    }
    hugetlb_start();
    fork_init();
    report_exit_init();
}

static void heap_decay(struct owner *owner, uint64_t now) {
    if (options.decay_ms < 0 || now < owner->decayed_at + (uint64_t)options.decay_ms || background_runs(now)) {
        return;
    }
    owner->decayed_at = now;
    run_cache_flush(owner);
    page_cache_flush(owner);
    zone_decay(now);
    mapping_decay(now);
}

/* What this owner's slabs tell is read each time, other owners' now and then. */
static void heap_consider_background(const struct owner *owner) {
    bool thorough = owner->slow_calls % (16 * TICK_CALLS) == 0;
    background_consider(thorough ? reclaim_sparse_pages() : counter_read(&owner->sparse_pages));
}

/* What the process may use changes rarely: a cpuset, memory that is plugged in. The kernel moves pages then, or later
 * leaves them where they do not belong any more: what is free begins anew. */
static void heap_refresh_nodes(struct owner *owner, uint64_t now) {
    if (numa_may_change() && now >= owner->nodes_at + NODES_MS) {
        owner->nodes_at = now;
        if (unlikely(zone_refresh_nodes())) {
            heap_trim();
        }
    }
}

static struct owner *heap_check_node(struct owner *owner) {
    unsigned node = numa_home();
    owner->away = node == owner->node ? 0 : owner->away + 1;
    if (owner->away < AWAY_MAX) {
        return owner;
    }
    owner_migrate(owner, node);
    return owner_have();
}

/* Paces the work that rides on slow calls. Returns the owner to go on with. */
static struct owner *heap_tick(struct owner *owner) {
    if (likely(++owner->slow_calls % TICK_CALLS)) {
        return owner;
    }
    uint64_t now = sys_now_ms();
    heap_decay(owner, now);
    reclaim_at_peak();
    heap_refresh_nodes(owner, now);
    heap_consider_background(owner);
    return zone_node_count() > 1 ? heap_check_node(owner) : owner;
}

struct owner *heap_enter(void) {
    struct owner *owner = heap_owner();
    return likely(owner != NULL) ? heap_tick(owner) : NULL;
}

bool heap_enter_nowait(struct owner **owner) {
    *owner = owner_have();
    return heap_ready() && slob_zones_started();
}

static void *no_memory(void) {
    errno = ENOMEM;
    return NULL;
}

bool heap_relieve(void) {
    zone_note_scarce();
    bool dropped = kmem_relieve();
    return (mapping_trim() + zone_unmap_free() > 0) | dropped;
}

static void *slab_alloc(struct owner *owner, unsigned class) {
    if (likely(owner != NULL)) {
        return magazine_refill(owner, class);
    }
    owner = owner_borrow();
    if (!owner) {
        return NULL;
    }
    void *p = magazine_take_one(owner, class);
    owner_return(owner);
    return p;
}

/* Above the slab classes, or aligned beyond a page. */
static void *large_alloc(struct owner *owner, size_t bytes, size_t align, bool zero) {
    if (bytes <= RUN_MAX && align <= BLOCK_BYTES) {
        return run_alloc(owner, max_size(pages_of(bytes), 1), order_of(pages_of(align)), zero);
    }
    return mapping_alloc(max_size(bytes, 1), align, zero);
}

/* More than any address space has: nothing that is given back would help. */
static bool is_impossible(size_t bytes, size_t align) {
    const size_t most = (size_t)1 << ADDRESS_BITS;
    return bytes > most || align > most - bytes;
}

static void *route(struct owner *owner, size_t bytes, size_t align, bool zero) {
    if (bytes <= SLAB_MAX && align == 1) {
        return slab_alloc(owner, sizeclass_of(bytes));
    }
    if (is_impossible(bytes, align)) {
        return NULL;
    }
    return large_alloc(owner, bytes, align, zero);
}

/*
 * heap:slob. No magazine of malloc's classes ever has an object then, and no page their tags, so every call of the
 * malloc family comes by here. Objects of caches live in slabs all the same.
 */
static bool is_slobs(uint32_t tag) {
    return unlikely(options.slob) && !(tag >> TAG_CLASS_BITS);
}

/* More free memory than this, and a share of the heap, does not stay resident: there is no helper to wait for. */
#define SLOB_DIRTY_PAGES ((size_t)16)
#define SLOB_DIRTY_SHARE 64

static void slob_tick(void) {
    static _Atomic uint32_t calls WRITTEN_AT_START;
    if (atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) % TICK_CALLS || options.decay_ms < 0) {
        return;
    }
    size_t allowed = SLOB_DIRTY_PAGES + (region_footprint() >> PAGE_SHIFT) / SLOB_DIRTY_SHARE;
    if (slob_dirty_pages() + zone_dirty_pages() > allowed) {
        slob_trim();
        zone_trim();
    }
    mapping_decay(sys_now_ms());
}

static void *slob_allocate(size_t bytes, size_t align, bool zero) {
    slob_tick();
    void *p = slob_alloc(slob_of_process(), bytes, align, zero);
    if (unlikely(!p) && !is_impossible(bytes, align) && heap_relieve()) {
        p = slob_alloc(slob_of_process(), bytes, align, zero);
    }
    return p ? p : no_memory();
}

static void *slob_reallocate(void *p, size_t bytes) {
    slob_tick();
    void *to = slob_realloc(slob_of_process(), p, bytes);
    if (unlikely(!to) && !is_impossible(bytes, 1) && heap_relieve()) {
        to = slob_realloc(slob_of_process(), p, bytes);
    }
    return to ? to : no_memory();
}

static void slob_release(void *p) {
    if (p) {
        slob_tick();
        slob_free(slob_of_process(), p);
    }
}

/* Every slow allocation. ALIGN 1: none beyond the usual; ZERO has no effect on slab objects. */
static void *allocate(size_t bytes, size_t align, bool zero) {
    heap_begin();
    if (unlikely(options.slob)) {
        return slob_allocate(bytes, align, zero);
    }
    void *p = route(heap_enter(), bytes, align, zero);
    if (unlikely(!p) && !is_impossible(bytes, align) && heap_relieve()) {
        p = route(heap_enter(), bytes, align, zero);
    }
    if (unlikely(!p)) {
        errno = ENOMEM;
    }
    return p;
}

void *heap_malloc_slow(size_t bytes) {
    return allocate(bytes, 1, false);
}

/* Not an object of ours: what is wrong with P? Does not return unless P is NULL. */
static void free_of_nothing(void *p, uint32_t kind) {
    if (p) {
        if (kind == TAG_BLOCK) {
            fault_pointer("free of a block of pages, which slabmalloc_free_pages frees", p);
        }
        bool freed = kind == TAG_FREED || kind == TAG_RUN_CACHED || kind == TAG_BLOCK_CACHED;
        fault_pointer(freed ? "double free" : "free of a pointer that was not allocated here", p);
    }
}

static void check_page_start(const void *p) {
    if (unlikely((uintptr_t)p & (PAGE_BYTES - 1))) {
        fault_pointer("free of a pointer inside an object", p);
    }
}

/* An object of a slab: a cache's; or ours, and its magazine full or with P on top; or another owner's. */
static void free_object(struct owner *owner, uint32_t tag, void *p) {
    uint32_t class = owner ? tag ^ owner_tag(owner) : CLASS_COUNT;
    if (kmem_is_class(tag & TAG_CLASS_MASK)) {
        kmem_free_slow(owner, tag, p, __builtin_return_address(0));
        return;
    }
    if (class < CLASS_COUNT) {
        magazine_push_slow(owner, class, p);
    } else {
        remote_free(owner, tag, p);
    }
}

void heap_free_slow(void *p) {
    uint32_t tag = pagemap_tag(p);
    if (is_slobs(tag)) {
        slob_release(p);
        return;
    }
    bool object = tag >> TAG_CLASS_BITS;
    struct owner *owner = owner_have();
    bool mallocs = object && (tag & TAG_CLASS_MASK) < CLASS_COUNT;
    if (mallocs && owner && (tag ^ owner_tag(owner)) >= CLASS_COUNT && remote_gather(owner, tag, p)) {
        return;
    }
    if (!object && tag != TAG_RUN && tag != TAG_MAPPING) {
        free_of_nothing(p, tag);
        return;
    }
    owner = heap_enter();
    if (object) {
        free_object(owner, tag, p);
        return;
    }
    check_page_start(p);
    if (tag == TAG_RUN) {
        run_free(owner, p);
    } else {
        mapping_free(p);
    }
}

void *heap_calloc(size_t n, size_t bytes) {
    size_t total;
    if (unlikely(__builtin_mul_overflow(n, bytes, &total))) {
        return no_memory();
    }
    void *p = likely(total <= SLAB_MAX) ? magazine_pop(total) : NULL;
    if (unlikely(!p)) {
        p = allocate(total, 1, true);
        if (!p || total > SLAB_MAX || options.slob) {
            return p;
        }
    }
    return memset(p, 0, total);
}

void *heap_aligned(size_t align, size_t bytes) {
    heap_begin();
    if (unlikely(options.slob)) {
        return slob_allocate(bytes, align, false);
    }
    if (bytes <= SLAB_MAX && align <= PAGE_BYTES) {
        unsigned class = sizeclass_aligned(bytes, align);
        if (class < CLASS_COUNT) {
            return heap_malloc(sizeclass_bytes(class));
        }
    }
    return allocate(bytes, max_size(align, PAGE_BYTES), false);
}

size_t heap_usable(const void *p) {
    uint32_t tag = pagemap_tag(p);
    if (is_slobs(tag)) {
        return p ? slob_usable(slob_of_process(), p) : 0;
    }
    if (tag >> TAG_CLASS_BITS) {
        unsigned class = tag & TAG_CLASS_MASK;
        return kmem_is_class(class) ? kmem_class_of(class)->object_bytes : sizeclass_bytes(class);
    }
    if (tag == TAG_RUN) {
        return run_npages(p) << PAGE_SHIFT;
    }
    if (tag == TAG_MAPPING) {
        return mapping_npages(p) << PAGE_SHIFT;
    }
    if (p) {
        fault_pointer("size asked of a pointer that is not allocated", p);
    }
    return 0;
}

static void *move(void *p, size_t old_bytes, size_t bytes) {
    void *to = heap_malloc(bytes);
    if (to) {
        memcpy(to, p, min_size(old_bytes, bytes));
        heap_free(p);
    }
    return to;
}

void *heap_realloc(void *p, size_t bytes) {
    uint32_t tag = pagemap_tag(p);
    if (is_slobs(tag)) {
        return slob_reallocate(p, bytes);
    }
    size_t usable = heap_usable(p);
    if (tag >> TAG_CLASS_BITS) {
        /* Shrinking to less than half moves, so that a large object does not keep a small one's memory. */
        return bytes <= usable && (bytes >= usable / 2 || usable <= (size_t)2 * CLASS_GRANULE) ? p
                                                                                               : move(p, usable, bytes);
    }
    check_page_start(p);
    if (bytes > PTRDIFF_MAX - BLOCK_BYTES) {
        return no_memory();
    }
    if (tag == TAG_RUN && bytes > SLAB_MAX && bytes <= RUN_MAX && run_resize(p, pages_of(bytes))) {
        return p;
    }
    if (tag == TAG_MAPPING && bytes > RUN_MAX) {
        void *to = mapping_resize(p, bytes);
        if (to) {
            return to;
        }
    }
    return move(p, usable, bytes);
}

bool heap_trim(void) {
    heap_begin();
    struct owner *owner = options.slob ? owner_have() : heap_owner();
    if (owner) {
        run_cache_flush(owner);
        page_cache_flush(owner);
        remote_flush(owner);
        kmem_flush_remote(owner);
        magazine_flush(owner, false);
    }
    kmem_trim();
    for (uint32_t id = 1; id <= owner_count(); id++) {
        remote_return_inbox(owner_by_id(id));
    }
    for (uint32_t id = 1; id <= owner_count(); id++) {
        struct owner *each = owner_by_id(id);
        owner_lock(each);
        owner_drop_empty_slabs(each);
        owner_unlock(each);
    }
    size_t given = reclaim_slabs(true) + slob_trim() + mapping_trim() + zone_trim();
    zone_unmap_free();
    return given > 0;
}
