/*
 * A fork child's own copy of what its parent has in the hugetlb pool.
 *
 *      parent   prepare: copies all pages of the pool into ordinary memory          [ page | page ] -> [ copy | copy ]
 *               afterwards: unmaps the copies
 *      child    moves the copies over the pages it shares with the parent
 *
 * Without that, a write of either one would have to copy a page of the pool to another page of the pool; if there is
 * none, the kernel takes the page from the child, which dies at its next access. What was copied stays marked as the
 * pool's in the child: it is unmapped as a whole, and never purged, as before.
 *
 * Another thread may unmap pages while they are copied (they are marked no more before that): the kernel copies, and
 * does not mind. If the copies cannot be had the child shares the pages after all.
 */
#include "hugetlb.h"
#include "pagemap.h"
#include "sys.h"

/* Of the fork in progress: fork holds every lock. */
static struct {
    char *room, *copies; /* what is mapped, and the aligned part of it */
    size_t bytes;        /* of the room */
    uintptr_t *pfn;      /* of the pieces copied; NULL: there is no room */
    size_t npieces, done;
    size_t piece; /* bytes: a page of the pool, or a pageblock */
} forking;

/* A page of the pool is looked at when its first pageblock is. */
static bool begins_piece(uintptr_t pfn, const struct block *block) {
    forking.piece = max_size((size_t)1 << block_pool_shift(block), BLOCK_BYTES);
    return !(pfn & ((forking.piece >> PAGE_SHIFT) - 1));
}

static bool count_piece(uintptr_t pfn, struct block *block, void *arg) {
    (void)arg;
    forking.npieces += begins_piece(pfn, block);
    return true;
}

static bool copy_piece(uintptr_t pfn, struct block *block, void *arg) {
    (void)arg;
    if (forking.done < forking.npieces && begins_piece(pfn, block) &&
        sys_copy(forking.copies + forking.done * forking.piece, pfn_pointer(pfn), forking.piece)) {
        forking.pfn[forking.done++] = pfn;
    }
    return true;
}

/* Aligned, so that whole huge pages are moved. */
static bool make_room(void) {
    forking.bytes = (forking.npieces + 1) * forking.piece;
    char *room = sys_map(NULL, forking.bytes);
    if (!room) {
        return false;
    }
    sys_advise(room, forking.bytes, SYS_HUGEPAGE);
    forking.pfn = sys_map(NULL, forking.npieces * sizeof *forking.pfn);
    if (!forking.pfn) {
        sys_unmap(room, forking.bytes);
        return false;
    }
    forking.room = room;
    forking.copies = (char *)round_up((uintptr_t)room, forking.piece);
    return true;
}

void hugetlb_fork_prepare(void) {
    forking.npieces = forking.done = 0;
    forking.pfn = NULL;
    if (hugetlb_used()) {
        pagemap_each_pool_block(count_piece, NULL);
    }
    if (forking.npieces && make_room()) {
        pagemap_each_pool_block(copy_piece, NULL);
    }
}

static void leave(void) {
    if (forking.pfn) {
        sys_unmap(forking.room, forking.bytes);
        sys_unmap(forking.pfn, forking.npieces * sizeof *forking.pfn);
    }
}

void hugetlb_fork_parent(void) {
    leave();
}

void hugetlb_fork_child(void) {
    hugetlb_new_process();
    for (size_t i = 0; i < forking.done; i++) {
        if (block_pool_shift(pagemap_block(forking.pfn[i]))) {
            sys_move(forking.copies + i * forking.piece, forking.piece, forking.piece, pfn_pointer(forking.pfn[i]));
        }
    }
    leave();
}
