/* slob_check.c: a SLOB heap's invariants at run time, and its totals. */
#include "slob.h"
#include "slob_boot.h"
#include "slob_large.h"
#include "slob_page.h"

struct sum {
    size_t blocks, units;
};

static const char *check_page(const struct slob *heap, unsigned list, uintptr_t pfn, const struct slob_page *sp,
                              struct sum *sum) {
    bool boot = heap->boot && slob_boot_has(pfn);
    if (!boot && pagemap_tag(pfn_pointer(pfn)) != TAG_SLOB) {
        return "a SLOB page has another tag";
    }
    if (sp->heap != heap->id || (sp->nfree ? sp->list : SLOB_FULL) != list) {
        return "a SLOB page is in a list it does not belong to";
    }
    bool sized = slob_is_sized(sp);
    unsigned units = sized ? SLOB_SIZED_END : SLOB_END - slob_first(heap->step);
    if (sp->nfree == units) {
        return "an empty SLOB page was not given back";
    }
    sum->units += units - sp->nfree;
    if (sized) {
        return slob_page_check_sized(sp, slob_grid(pfn_pointer(pfn), true));
    }
    return slob_page_check(sp, pfn_pointer(pfn), heap->step, &sum->blocks);
}

static const char *check_list(const struct slob *heap, unsigned list, struct sum *sum) {
    uintptr_t pfn = heap->list[list];
    size_t npages = 0;
    for (uintptr_t before = 0; pfn && (!npages || pfn != heap->list[list]); npages++) {
        struct slob_page sp = slob_page_at(pfn);
        if (before && sp.prev != before) {
            return "a list of SLOB pages is broken";
        }
        const char *broken = check_page(heap, list, pfn, &sp, sum);
        if (broken) {
            return broken;
        }
        before = pfn;
        pfn = sp.next;
    }
    return npages == heap->npages[list] ? NULL : "a list of SLOB pages has another length";
}

const char *slob_check(struct slob *heap) {
    struct sum sum = {0};
    const char *broken = NULL;
    lock_take(&heap->lock);
    for (unsigned list = 0; list <= SLOB_FULL && !broken; list++) {
        broken = check_list(heap, list, &sum);
    }
    if (!broken && (sum.blocks != heap->nblocks || sum.units != heap->used_units)) {
        broken = "a SLOB heap's blocks differ from its sums";
    }
    broken = broken ? broken : slob_large_check(heap);
    lock_drop(&heap->lock);
    return broken;
}

void slob_stats(struct slob *heap, struct slabmalloc_slob_stats *stats) {
    lock_take(&heap->lock);
    size_t npages = heap->npages[SLOB_FULL];
    for (unsigned list = 0; list < SLOB_LISTS; list++) {
        stats->pages[list] = heap->npages[list] + heap->npages[SLOB_SIZED + list];
        npages += stats->pages[list];
    }
    stats->full_pages = heap->npages[SLOB_FULL];
    stats->large_blocks = heap->nlarge;
    stats->large_bytes = heap->large_pages << PAGE_SHIFT;
    stats->blocks = heap->nblocks - heap->nlarge + heap->nsized;
    stats->held_bytes = (npages << PAGE_SHIFT) + stats->large_bytes;
    stats->used_bytes = heap->used_units * SLOB_UNIT + stats->large_bytes;
    lock_drop(&heap->lock);
}
