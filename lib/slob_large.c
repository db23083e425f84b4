#include "slob_large.h"

#include <string.h>

#include "fault.h"
#include "mapping.h"
#include "pagemap.h"
#include "run.h"
#include "slob_boot.h"
#include "sys.h"

/* Freed runs of boot pages from this length on go back to the kernel at once. */
#define PURGE_PAGES (((size_t)64 << 10) >> PAGE_SHIFT)

static struct page *first_page(const void *p) {
    uintptr_t pfn = pointer_pfn(p);
    return slob_boot_has(pfn) ? slob_boot_page(pfn) : pagemap_page(pfn);
}

static void set_node(void *p, struct slob_node *node) {
    first_page(p)->prev = (uintptr_t)node & (((uint64_t)1 << 48) - 1);
    if (!slob_boot_has(pointer_pfn(p))) {
        pagemap_set_tag(pointer_pfn(p), TAG_SLOB_LARGE);
    }
}

/* With the lock. */
static struct slob_node *node_of(const struct slob *heap, const void *p) {
    if ((uintptr_t)p & (PAGE_BYTES - 1)) {
        fault_pointer("free of a pointer inside an object", p);
    }
    struct slob_node *node = (struct slob_node *)(uintptr_t)first_page(p)->prev;
    if (node->heap != heap) {
        fault_pointer("free of a pointer of another heap", p);
    }
    return node;
}

static void *boot_run(struct slob *heap, size_t npages, size_t align, bool zero) {
    if (!heap->boot || align > PAGE_BYTES) {
        return NULL;
    }
    bool fresh;
    lock_take(&heap->lock);
    uintptr_t pfn = slob_boot_take(npages, &fresh);
    if (pfn) {
        page_mark(slob_boot_page(pfn), PAGE_RUN, npages);
    }
    lock_drop(&heap->lock);
    return pfn && zero && !fresh ? memset(pfn_pointer(pfn), 0, npages << PAGE_SHIFT) : pfn_pointer(pfn);
}

static void *pages_alloc(struct slob *heap, size_t bytes, size_t align, bool zero) {
    void *p = boot_run(heap, pages_of(bytes), align, zero);
    if (p) {
        return p;
    }
    slob_need_zones();
    return bytes <= RUN_MAX && align <= BLOCK_BYTES ? run_alloc(NULL, pages_of(bytes), order_of(pages_of(align)), zero)
                                                    : mapping_alloc(bytes, align, zero);
}

/* A run is as long as was asked for, a mapping perhaps longer. */
static void link_node(struct slob *heap, struct slob_node *node, void *p) {
    size_t npages = first_page(p)->link;
    lock_take(&heap->lock);
    *node = (struct slob_node){.next = heap->large, .heap = heap, .p = p, .npages = npages};
    if (node->next) {
        node->next->prev = node;
    }
    heap->large = node;
    heap->large_pages += npages;
    heap->nlarge++;
    set_node(p, node);
    lock_drop(&heap->lock);
}

/* With the lock. */
static void unlink_node(struct slob *heap, struct slob_node *node) {
    if (node->prev) {
        node->prev->next = node->next;
    } else {
        heap->large = node->next;
    }
    if (node->next) {
        node->next->prev = node->prev;
    }
    heap->large_pages -= node->npages;
    heap->nlarge--;
}

void *slob_large_alloc(struct slob *heap, size_t bytes, size_t align, bool zero) {
    if (bytes > PTRDIFF_MAX - BLOCK_BYTES || align > PTRDIFF_MAX - BLOCK_BYTES - bytes) {
        return NULL;
    }
    struct slob_node *node = slob_alloc(heap, sizeof *node, 1, false);
    void *p = node ? pages_alloc(heap, max_size(bytes, 1), align, zero) : NULL;
    if (p) {
        link_node(heap, node, p);
    } else if (node) {
        slob_free(heap, node);
    }
    return p;
}

bool slob_boot_return(uintptr_t pfn, size_t npages) {
    bool purged = !sys_advise(pfn_pointer(pfn), npages << PAGE_SHIFT, SYS_DONTNEED);
    struct slob *heap = slob_of_process();
    lock_take(&heap->lock);
    slob_boot_give(pfn, npages, purged);
    lock_drop(&heap->lock);
    return purged;
}

static void pages_free(void *p, size_t npages) {
    uintptr_t pfn = pointer_pfn(p);
    if (slob_boot_has(pfn)) {
        slob_boot_return(pfn, npages);
    } else if (pagemap_page(pfn)->state == PAGE_MAPPING) {
        mapping_free(p);
    } else {
        run_free(NULL, p);
    }
}

void slob_large_free(struct slob *heap, void *p) {
    uintptr_t pfn = pointer_pfn(p);
    lock_take(&heap->lock);
    struct slob_node *node = node_of(heap, p);
    size_t npages = node->npages;
    unlink_node(heap, node);
    bool boot = slob_boot_has(pfn), kept = boot && npages < PURGE_PAGES;
    if (boot) {
        page_mark(slob_boot_page(pfn), PAGE_NONE, 0);
    }
    if (kept) {
        slob_boot_give(pfn, npages, false);
    }
    lock_drop(&heap->lock);
    slob_free(heap, node);
    if (!kept) {
        pages_free(p, npages);
    }
}

size_t slob_large_pages(struct slob *heap, const void *p) {
    lock_take(&heap->lock);
    size_t npages = node_of(heap, p)->npages;
    lock_drop(&heap->lock);
    return npages;
}

/* With the lock. */
static bool boot_resize(uintptr_t pfn, size_t old, size_t npages) {
    if (npages > old && !slob_boot_claim(pfn + old, npages - old)) {
        return false;
    }
    if (npages < old) {
        slob_boot_give(pfn + npages, old - npages, false);
    }
    page_mark(slob_boot_page(pfn), PAGE_RUN, npages);
    return true;
}

static bool boot_resize_locked(struct slob *heap, uintptr_t pfn, size_t old, size_t npages) {
    lock_take(&heap->lock);
    bool done = boot_resize(pfn, old, npages);
    lock_drop(&heap->lock);
    return done;
}

/* The block, perhaps elsewhere; NULL: cannot, nothing changed but the tag. */
static void *pages_resize(struct slob *heap, void *p, size_t old, size_t bytes) {
    size_t npages = pages_of(bytes);
    if (slob_boot_has(pointer_pfn(p))) {
        return boot_resize_locked(heap, pointer_pfn(p), old, npages) ? p : NULL;
    }
    if (first_page(p)->state == PAGE_MAPPING) {
        return bytes > RUN_MAX ? mapping_resize(p, bytes) : NULL;
    }
    return bytes <= RUN_MAX && run_resize(p, npages) ? p : NULL;
}

void *slob_large_resize(struct slob *heap, void *p, size_t bytes) {
    if (bytes > PTRDIFF_MAX - BLOCK_BYTES) {
        return NULL;
    }
    lock_take(&heap->lock);
    struct slob_node *node = node_of(heap, p);
    size_t old = node->npages;
    unlink_node(heap, node); /* meanwhile others, also a child, could not make sense of it */
    lock_drop(&heap->lock);
    void *to = pages_resize(heap, p, old, bytes);
    link_node(heap, node, to ? to : p); /* also where it stays: resizing marked it as an ordinary run or mapping */
    return to;
}

void slob_large_carry(const struct slob *heap, void *to, void *from, size_t bytes) {
    const size_t piece = PURGE_PAGES << PAGE_SHIFT;
    bool gives = heap->boot && bytes >= 2 * piece && first_page(from)->state == PAGE_RUN;
    for (size_t done = 0; done < bytes; done += piece) {
        size_t n = min_size(bytes - done, piece);
        memcpy((char *)to + done, (char *)from + done, n);
        if (gives && n == piece) {
            sys_advise((char *)from + done, piece, SYS_DONTNEED); /* refused: it stays until it is freed */
        }
    }
}

const char *slob_large_check(const struct slob *heap) {
    size_t npages = 0, n = 0;
    const struct slob_node *before = NULL;
    for (const struct slob_node *node = heap->large; node; before = node, node = node->next, n++) {
        const struct page *page = first_page(node->p);
        if (node->prev != before || node->heap != heap) {
            return "a SLOB heap's list of large blocks is broken";
        }
        if ((uintptr_t)page->prev != (uintptr_t)node || page->link != node->npages) {
            return "a large SLOB block's page does not lead to its node";
        }
        if (!slob_boot_has(pointer_pfn(node->p)) && pagemap_tag(node->p) != TAG_SLOB_LARGE) {
            return "a large SLOB block has another tag";
        }
        npages += node->npages;
    }
    return npages == heap->large_pages && n == heap->nlarge ? NULL : "a SLOB heap's large blocks differ from its sums";
}
