#include "slob.h"

#include <string.h>

#include "expose.h"
#include "fault.h"
#include "meta.h"
#include "options.h"
#include "slob_boot.h"
#include "slob_large.h"
#include "slob_page.h"

/* Pages of a list a search looks at, from where the last one ended; what is passed over waits for the next search. */
#define SEARCH_PAGES 512

/* Ids tell the pages of one heap from those of another, as far as eight bits can. The process's heap has the first. */
#define ID_PROCESS 1
#define ID_LAST 255

static struct slob process = {.id = ID_PROCESS, .step = 2, .boot = true, .kind = ZONE_NORMAL};

EXPOSE(SLOB, process);

static struct {
    struct lock lock;
    struct slob *first; /* made by slob_create; a walk without the lock, by fork, finds a list at any moment */
    uint8_t last_id;
    _Atomic bool zones_ready;
} heaps WRITTEN_AT_START;

/* --- The pages of a heap --- */

static struct page *desc_of(uintptr_t pfn) {
    return slob_boot_has(pfn) ? slob_boot_page(pfn) : pagemap_page(pfn);
}

struct slob_page slob_page_at(uintptr_t pfn) {
    return slob_page_load(desc_of(pfn));
}

static void store(uintptr_t pfn, const struct slob_page *sp) {
    slob_page_store(desc_of(pfn), sp);
}

static void set_next(uintptr_t pfn, uintptr_t next) {
    struct slob_page sp = slob_page_at(pfn);
    sp.next = next;
    store(pfn, &sp);
}

static void set_prev(uintptr_t pfn, uintptr_t prev) {
    struct slob_page sp = slob_page_at(pfn);
    sp.prev = prev;
    store(pfn, &sp);
}

/* PFN becomes the first of LIST. */
static void list_add(struct slob *heap, unsigned list, uintptr_t pfn, struct slob_page *sp) {
    uintptr_t at = heap->list[list];
    sp->next = at ? at : pfn;
    sp->prev = at ? slob_page_at(at).prev : pfn;
    store(pfn, sp);
    if (at) {
        set_next(sp->prev, pfn);
        set_prev(at, pfn);
    }
    heap->list[list] = pfn;
    heap->npages[list]++;
}

static void list_remove(struct slob *heap, unsigned list, uintptr_t pfn, const struct slob_page *sp) {
    if (sp->next == pfn) {
        heap->list[list] = 0;
    } else {
        set_next(sp->prev, sp->next);
        set_prev(sp->next, sp->prev);
        heap->list[list] = heap->list[list] == pfn ? sp->next : heap->list[list];
    }
    heap->npages[list]--;
}

static unsigned list_of(const struct slob_page *sp) {
    return sp->nfree ? sp->list : SLOB_FULL;
}

/* SP is what became of the page at PFN, which was in list FROM. */
static void list_move(struct slob *heap, unsigned from, uintptr_t pfn, struct slob_page *sp) {
    if (list_of(sp) == from) {
        store(pfn, sp);
    } else {
        list_remove(heap, from, pfn, sp);
        list_add(heap, list_of(sp), pfn, sp);
    }
}

/* --- Getting and giving back pages: without the lock, but for boot pages --- */

bool slob_zones_started(void) {
    return !options.slob || atomic_load_explicit(&heaps.zones_ready, memory_order_acquire);
}

void slob_need_zones(void) {
    if (slob_zones_started()) {
        return;
    }
    lock_take(&heaps.lock);
    if (!atomic_load_explicit(&heaps.zones_ready, memory_order_relaxed)) {
        pagemap_init();
        zone_init();
        atomic_store_explicit(&heaps.zones_ready, true, memory_order_release);
    }
    lock_drop(&heaps.lock);
}

static uintptr_t page_get(const struct slob *heap) {
    slob_need_zones();
    return zone_alloc(numa_home(), heap->kind, GROUP_RUN, 1, 0);
}

static void page_put(uintptr_t pfn) {
    pagemap_set_tag(pfn, TAG_FREED);
    page_mark(pagemap_page(pfn), PAGE_BODY, 0);
    zone_free(pfn, 1, 1);
}

static void *grid_of(uintptr_t pfn, const struct slob_page *sp) {
    return slob_grid(pfn_pointer(pfn), slob_is_sized(sp));
}

static void page_add(struct slob *heap, uintptr_t pfn, unsigned list) {
    struct slob_page sp = {.list = list, .heap = heap->id};
    if (slob_is_sized(&sp)) {
        slob_page_init_sized(&sp, grid_of(pfn, &sp));
    } else {
        slob_page_init(&sp, grid_of(pfn, &sp), heap->step);
    }
    list_add(heap, list, pfn, &sp);
    if (!slob_boot_has(pfn)) {
        pagemap_set_tag(pfn, TAG_SLOB);
    }
}

/* With the lock. Returns the page if somebody must give it back without. */
static uintptr_t page_drop(struct slob *heap, unsigned list, uintptr_t pfn, const struct slob_page *sp) {
    list_remove(heap, list, pfn, sp);
    if (!slob_boot_has(pfn)) {
        return pfn;
    }
    page_mark(slob_boot_page(pfn), PAGE_NONE, 0);
    slob_boot_give(pfn, 1, false);
    return 0;
}

/* --- Small blocks --- */

struct request {
    unsigned units, align; /* both in units */
    unsigned reach;        /* a free block of so many serves it wherever it lies */
    unsigned list;
};

static bool is_small(const struct slob *heap, size_t bytes, size_t align) {
    size_t room = (SLOB_END - slob_first(heap->step)) * (size_t)SLOB_UNIT - SLOB_HEAD;
    return bytes <= room && (align <= (size_t)heap->step * SLOB_UNIT || (align < PAGE_BYTES && bytes + align <= room));
}

static unsigned units_of(const struct slob *heap, size_t bytes) {
    return (unsigned)(round_up(bytes + SLOB_HEAD, (size_t)heap->step * SLOB_UNIT) / SLOB_UNIT);
}

static unsigned list_for(size_t bytes) {
    return bytes < SLOB_SMALL ? SLOB_LIST_SMALL : bytes < SLOB_MEDIUM ? SLOB_LIST_MEDIUM : SLOB_LIST_LARGE;
}

static struct request request_of(const struct slob *heap, size_t bytes, size_t align) {
    unsigned units = units_of(heap, bytes), rounded = (unsigned)(align / SLOB_UNIT);
    rounded = rounded > heap->step ? rounded : heap->step;
    return (struct request){
        .units = units,
        .align = rounded,
        .reach = units + rounded - heap->step,
        .list = list_for(bytes),
    };
}

/* With the lock: from the page at PFN, which is in LIST and has a block of that reach. */
static void *take_from(struct slob *heap, unsigned list, uintptr_t pfn, const struct request *request) {
    struct slob_page sp = slob_page_at(pfn);
    void *grid = grid_of(pfn, &sp);
    unsigned block = slob_page_take(&sp, grid, request->units, request->align);
    ASSERT(block != SLOB_NONE);
    heap->used_units += request->units;
    if (slob_is_sized(&sp)) {
        heap->nsized++;
    } else {
        heap->nblocks++;
    }
    heap->list[list] = pfn; /* the next search begins here */
    list_move(heap, list, pfn, &sp);
    return slob_is_sized(&sp) ? (char *)pfn_pointer(pfn) + (size_t)block * SLOB_UNIT : slob_payload(grid, block);
}

/* The tightest page found so far. */
struct found {
    uintptr_t pfn; /* 0: none */
    unsigned list, longest;
};

/* With the lock: is one of the next pages of LIST tighter? The next search begins behind them. */
static void search(struct slob *heap, unsigned list, const struct request *request, struct found *found) {
    uintptr_t at = heap->list[list];
    size_t most = min_size(heap->npages[list], SEARCH_PAGES);
    for (size_t n = 0; n < most && found->longest != request->reach; n++) {
        struct slob_hint hint = slob_page_hint(desc_of(at));
        if (hint.longest >= request->reach && hint.longest < found->longest) {
            *found = (struct found){at, list, hint.longest};
        }
        at = hint.next;
    }
    heap->list[list] = at;
}

/*
 * With the lock: in the pages there are, those of its own list first; in a boot page if that is all free. Sized blocks
 * go to the tightest page of all their lists: programs that want the fewest pages use them.
 */
static void *take(struct slob *heap, const struct request *request) {
    bool sized = request->list >= SLOB_SIZED;
    unsigned first = sized ? SLOB_SIZED : 0;
    struct found found = {.longest = SLOB_NONE};
    search(heap, request->list, request, &found);
    for (unsigned list = first; (sized || !found.pfn) && list < first + SLOB_LISTS; list++) {
        if (list != request->list) {
            search(heap, list, request, &found);
        }
    }
    if (found.pfn) {
        return take_from(heap, found.list, found.pfn, request);
    }
    bool fresh;
    uintptr_t pfn = heap->boot ? slob_boot_take(1, &fresh) : 0;
    if (!pfn) {
        return NULL;
    }
    page_add(heap, pfn, request->list);
    return take_from(heap, request->list, pfn, request);
}

static void *small_alloc(struct slob *heap, const struct request *request) {
    lock_take(&heap->lock);
    void *p = take(heap, request);
    lock_drop(&heap->lock);
    if (p) {
        return p;
    }
    uintptr_t pfn = page_get(heap);
    if (!pfn) {
        return NULL;
    }
    lock_take(&heap->lock);
    page_add(heap, pfn, request->list);
    p = take_from(heap, request->list, pfn, request);
    lock_drop(&heap->lock);
    return p;
}

void *slob_alloc(struct slob *heap, size_t bytes, size_t align, bool zero) {
    if (!is_small(heap, bytes, align)) {
        return slob_large_alloc(heap, bytes, align, zero);
    }
    struct request request = request_of(heap, bytes, align);
    void *p = small_alloc(heap, &request);
    return p && zero ? memset(p, 0, bytes) : p;
}

static unsigned sized_units(size_t bytes) {
    return (unsigned)(round_up(max_size(bytes, 1), SLOB_UNIT) / SLOB_UNIT);
}

void *slob_alloc_sized(struct slob *heap, size_t bytes) {
    if (bytes >= PAGE_BYTES) {
        return slob_large_alloc(heap, bytes, 1, false);
    }
    unsigned units = sized_units(bytes);
    struct request request = {.units = units, .align = 1, .reach = units, .list = SLOB_SIZED + list_for(bytes)};
    return small_alloc(heap, &request);
}

/* --- What is at an address --- */

static void refuse(const struct slob *heap, const void *p, uint32_t tag) {
    bool freed = tag == TAG_FREED || tag == TAG_RUN_CACHED || (heap->boot && slob_boot_has(pointer_pfn(p)));
    fault_pointer(freed ? "double free" : "free of a pointer that was not allocated here", p);
}

static enum page_state state_of(const struct slob *heap, const void *p) {
    uintptr_t pfn = pointer_pfn(p);
    if (heap->boot && slob_boot_has(pfn)) {
        return page_peek(slob_boot_page(pfn)).state; /* others change the words beside it */
    }
    uint32_t tag = pagemap_tag(p);
    return tag == TAG_SLOB ? PAGE_SLOB : tag == TAG_SLOB_LARGE ? PAGE_RUN : PAGE_NONE;
}

/* True: P is in a page of small blocks; false: at the first page of a large one. Does not return if it is neither. */
static bool lies_in_page(const struct slob *heap, const void *p) {
    enum page_state state = state_of(heap, p);
    if (state != PAGE_SLOB && state != PAGE_RUN) {
        refuse(heap, p, pagemap_tag(p));
    }
    return state == PAGE_SLOB;
}

static void must_be_ours(const struct slob *heap, const struct slob_page *sp, const void *p) {
    if (sp->heap != heap->id) {
        fault_pointer("free of a pointer of another heap", p);
    }
}

static void must_be_good(enum slob_verdict verdict, const char *otherwise, const void *p) {
    if (verdict != SLOB_GOOD) {
        fault_pointer(verdict == SLOB_FREE_ALREADY ? "double free" : otherwise, p);
    }
}

/* With the lock: the block at P, whose page is SP. */
static unsigned block_at(const struct slob *heap, const struct slob_page *sp, const void *p) {
    uintptr_t offset = (uintptr_t)p & (PAGE_BYTES - 1);
    void *base = (void *)((uintptr_t)p - offset);
    unsigned block = (unsigned)(offset / SLOB_UNIT) - 1; /* of the first unit: none */
    must_be_ours(heap, sp, p);
    if (slob_is_sized(sp)) {
        fault_pointer("free without its size of a block that has no header", p);
    }
    bool aligned = offset % SLOB_UNIT == 0;
    enum slob_verdict verdict = aligned ? slob_page_judge(sp, base, block) : SLOB_NO_BLOCK;
    must_be_good(verdict, "free of a pointer inside an object", p);
    return block;
}

/* SP is what a free made of the page at PFN, which was in list FROM. Drops the lock. */
static void settle(struct slob *heap, unsigned from, uintptr_t pfn, struct slob_page *sp, bool empty) {
    uintptr_t gone = empty ? page_drop(heap, from, pfn, sp) : 0;
    if (!empty) {
        list_move(heap, from, pfn, sp);
    }
    lock_drop(&heap->lock);
    if (gone) {
        page_put(gone);
    }
}

static void small_free(struct slob *heap, void *p) {
    uintptr_t pfn = pointer_pfn(p);
    lock_take(&heap->lock);
    struct slob_page sp = slob_page_at(pfn);
    unsigned block = block_at(heap, &sp, p), from = list_of(&sp);
    heap->used_units -= slob_block_units(pfn_pointer(pfn), block);
    heap->nblocks--;
    slob_page_give(&sp, pfn_pointer(pfn), block);
    settle(heap, from, pfn, &sp, slob_page_empty(&sp, heap->step));
}

/* With the lock: the sized block of UNITS at P, whose page is SP. */
static unsigned sized_at(const struct slob *heap, const struct slob_page *sp, const void *p, size_t units) {
    unsigned offset = (unsigned)((uintptr_t)p & (PAGE_BYTES - 1)), block = offset / SLOB_UNIT;
    must_be_ours(heap, sp, p);
    if (!slob_is_sized(sp)) {
        fault_pointer("free with a size of a block that has a header", p);
    }
    if (offset % SLOB_UNIT) {
        fault_pointer("free of a pointer inside an object", p);
    }
    const void *grid = grid_of(pointer_pfn(p), sp);
    must_be_good(slob_page_judge_sized(sp, grid, block, units), "free with a wrong size", p);
    return block;
}

static void small_free_sized(struct slob *heap, void *p, unsigned units) {
    uintptr_t pfn = pointer_pfn(p);
    lock_take(&heap->lock);
    struct slob_page sp = slob_page_at(pfn);
    unsigned block = sized_at(heap, &sp, p, units), from = list_of(&sp);
    heap->used_units -= units;
    heap->nsized--;
    slob_page_give_sized(&sp, grid_of(pfn, &sp), block, units);
    settle(heap, from, pfn, &sp, sp.nfree == SLOB_SIZED_END);
}

void slob_free_sized(struct slob *heap, void *p, size_t bytes) {
    bool small = bytes < PAGE_BYTES;
    if (lies_in_page(heap, p) != small || (!small && slob_large_pages(heap, p) < pages_of(bytes))) {
        fault_pointer("free with a wrong size", p);
    }
    if (small) {
        small_free_sized(heap, p, sized_units(bytes));
    } else {
        slob_large_free(heap, p);
    }
}

void slob_free(struct slob *heap, void *p) {
    if (lies_in_page(heap, p)) {
        small_free(heap, p);
    } else {
        slob_large_free(heap, p);
    }
}

size_t slob_usable(struct slob *heap, const void *p) {
    if (!lies_in_page(heap, p)) {
        return slob_large_pages(heap, p) << PAGE_SHIFT;
    }
    uintptr_t pfn = pointer_pfn(p);
    lock_take(&heap->lock);
    struct slob_page sp = slob_page_at(pfn);
    unsigned block = block_at(heap, &sp, p);
    size_t units = slob_block_units(pfn_pointer(pfn), block);
    lock_drop(&heap->lock);
    return units * SLOB_UNIT - SLOB_HEAD;
}

/* --- Resizing --- */

/* In place; false: no room. *USABLE: what the block has, or had. */
static bool small_resize(struct slob *heap, void *p, size_t bytes, size_t *usable) {
    uintptr_t pfn = pointer_pfn(p);
    lock_take(&heap->lock);
    struct slob_page sp = slob_page_at(pfn);
    unsigned block = block_at(heap, &sp, p), from = list_of(&sp);
    unsigned old = slob_block_units(pfn_pointer(pfn), block),
             units = is_small(heap, bytes, 1) ? units_of(heap, bytes) : 0;
    bool done = units && slob_page_resize(&sp, pfn_pointer(pfn), block, units);
    if (done) {
        heap->used_units += (size_t)units - old;
        list_move(heap, from, pfn, &sp);
    }
    lock_drop(&heap->lock);
    *usable = (size_t)(done ? units : old) * SLOB_UNIT - SLOB_HEAD;
    return done;
}

void *slob_realloc(struct slob *heap, void *p, size_t bytes) {
    size_t usable;
    if (lies_in_page(heap, p)) {
        if (small_resize(heap, p, bytes, &usable)) {
            return p;
        }
    } else {
        void *to = is_small(heap, bytes, 1) ? NULL : slob_large_resize(heap, p, bytes);
        if (to) {
            return to;
        }
        usable = slob_large_pages(heap, p) << PAGE_SHIFT;
    }
    void *to = slob_alloc(heap, bytes, 1, false);
    if (to) {
        slob_large_carry(heap, to, p, min_size(usable, bytes));
        slob_free(heap, p);
    }
    return to;
}

/* --- Heaps --- */

struct slob *slob_of_process(void) {
    return &process;
}

void slob_start_process(void) {
    slob_boot_init();
}

struct slob *slob_create(unsigned step) {
    slob_need_zones();
    struct slob *heap = meta_alloc(sizeof *heap);
    if (!heap) {
        return NULL;
    }
    heap->step = (uint8_t)step;
    heap->kind = ZONE_HIGHMEM;
    lock_take(&heaps.lock);
    heaps.last_id = heaps.last_id < ID_PROCESS || heaps.last_id == ID_LAST ? ID_PROCESS + 1 : heaps.last_id + 1;
    heap->id = heaps.last_id;
    heap->next = heaps.first;
    heaps.first = heap;
    lock_drop(&heaps.lock);
    return heap;
}

static void leave_list(struct slob *heap) {
    lock_take(&heaps.lock);
    struct slob **link = &heaps.first;
    while (*link != heap) {
        link = &(*link)->next;
    }
    *link = heap->next;
    lock_drop(&heaps.lock);
}

void slob_destroy(struct slob *heap) {
    leave_list(heap);
    while (heap->large) {
        slob_large_free(heap, heap->large->p);
    }
    for (unsigned list = 0; list <= SLOB_FULL; list++) {
        while (heap->list[list]) {
            uintptr_t pfn = heap->list[list];
            struct slob_page sp = slob_page_at(pfn);
            list_remove(heap, list, pfn, &sp);
            page_put(pfn);
        }
    }
    meta_free(heap, sizeof *heap);
}

/* The list's own lock is the first that fork takes and the last that it gives back: heaps come and go. */
void slob_each_lock(void (*visit)(struct lock *lock)) {
    bool held = lock_held(&heaps.lock);
    if (!held) {
        visit(&heaps.lock);
    }
    visit(&process.lock);
    for (struct slob *heap = heaps.first; heap; heap = heap->next) {
        visit(&heap->lock);
    }
    if (held) {
        visit(&heaps.lock);
    }
}

size_t slob_dirty_pages(void) {
    return counter_read(&slob_boot.ndirty);
}

size_t slob_trim(void) {
    size_t total = 0;
    for (uintptr_t pfn = 1; pfn;) {
        size_t npages;
        lock_take(&process.lock);
        pfn = slob_boot_take_dirty(&npages);
        lock_drop(&process.lock);
        if (pfn && !slob_boot_return(pfn, npages)) {
            break;
        }
        total += npages;
    }
    return total;
}
