/*
 * dma.h: pinned memory in regions, and buffers of whole pages in them. The promises are in slabmalloc/dma.h.
 *
 *      region   one mapping, of one backing (ordinary or 2 MiB pages), pinned in one way as a whole
 *               [ buffer  | free | buffer             | free ... ]
 *      used[]   111111111   000   11111111111111111111  0          a bit per page, in metadata
 *      last[]   000000001   000   00000000000000000001  0          the end of each buffer
 *
 * Regions are few and large, in one list. Small buffers of like demands share one, so that a 4 KiB buffer costs neither
 * a map area nor a 2 MiB page of its own. A region without buffers is unmapped at once: its pages go back to the pool.
 *
 * The life of a region:
 *
 *      COMING --all observers told--> LIVE --its last buffer freed--> LEAVING --all observers told--> unmapped
 *                                      ^-----------an observer said no----------'
 *
 * One that the kernel refuses to unmap (the cut would need one map area too many) is DEAD: it waits for the next trim.
 *
 * Only the thread that made it so touches a region that is COMING or LEAVING. `pins` are threads that tell an observer
 * of a LIVE one; it does not leave meanwhile. `told` has a bit per observer that knows the region. VFIO containers are
 * observers too, told of a region first and of its end last (dma_vfio.c).
 *
 * Lock: one, for the list, what is in the regions, the observers and the pools. Not held while an observer runs, nor
 * across any system call.
 */
#ifndef SLABMALLOC_DMA_INTERNAL_H
#define SLABMALLOC_DMA_INTERNAL_H

#include "base.h"
#include "lock.h"
#include "slabmalloc/dma.h"
#include "sys.h"

#define DMA_HUGE_SHIFT 21
#define DMA_HUGE_BYTES ((size_t)1 << DMA_HUGE_SHIFT)

enum dma_state { DMA_COMING, DMA_LIVE, DMA_LEAVING, DMA_DEAD };

/* What a region is, or what one is wanted for. */
struct dma_kind {
    enum slabmalloc_dma_level level;
    bool huge;   /* 2 MiB pages */
    bool shared; /* with fork children */
    int node;    /* preferred, or -1 */
};

struct dma_region {
    struct dma_region *next;
    char *base;
    size_t bytes;
    struct dma_kind kind;
    int ring; /* the descriptor that pins it; -1: none */
    struct sys_file ring_file;
    int holder;      /* the container that pins it instead; -1: none */
    uint32_t mapped; /* bit n: container n has it, at iova[n] */
    uint64_t iova[SLABMALLOC_DMA_CONTAINERS_MAX];
    enum dma_state state;
    bool inherited; /* from a fork parent, which may use it: no new buffers */
    unsigned pins;
    uint32_t told;
    uint64_t max_phys; /* the highest physical address in it; UINT64_MAX: not known, or it may change */
    size_t nused;      /* pages */
    uint64_t *used, *last;
};

/* --- dma_region.c: making and unmaking --- */

/* A region of BYTES (pages, of 2 MiB if KIND is huge), its start aligned to ALIGN; in no list, state COMING. 0, or a
 * negative errno value as slabmalloc_dma_alloc names them; then *MADE is NULL, or what could not be undone. */
int dma_region_make(const struct dma_kind *kind, size_t bytes, size_t align, struct dma_region **made);

/* False: the kernel refused to unmap it; nothing changed. */
bool dma_region_unmake(struct dma_region *region);

/* Without its memory, which is not this process's to unmap. The metadata's lock can be had, or the metadata is given
 * up. */
void dma_region_forget(struct dma_region *region, bool lockable);

/* A place for NPAGES free pages that is aligned and crosses no BOUNDARY (0: none); SIZE_MAX: none. With the lock, as
 * the next three. */
size_t dma_region_find(const struct dma_region *region, size_t npages, size_t align, size_t boundary);
void dma_region_take(struct dma_region *region, size_t page, size_t npages);

/* The pages of the buffer that *PAGE is of, and in *PAGE its first; 0: none. */
size_t dma_region_around(const struct dma_region *region, size_t *page);
void dma_region_give(struct dma_region *region, size_t page, size_t npages);

/* --- dma.c --- */

/* The region that [P, P + BYTES) lies in; NULL: none. With the lock. */
struct dma_region *dma_region_of(const void *p, size_t bytes);

/* The first region; for walks. With the lock. */
struct dma_region *dma_regions(void);

/* What observers and programs are told of it: of a copy, or what a container maps meanwhile is not known. */
struct slabmalloc_dma_info dma_describe(const struct dma_region *region);

/* 0, or a negative errno value. SPEC may be NULL. */
int dma_alloc(size_t bytes, const struct slabmalloc_dma_spec *spec, void **p, struct slabmalloc_dma_info *info);
int dma_free(void *p);

/* -EINVAL or -ERANGE: dma_alloc would return that. */
int dma_check(size_t bytes, const struct slabmalloc_dma_spec *spec);

/* Of the buffer P points into; 0 or -EINVAL. */
int dma_info(const void *p, struct slabmalloc_dma_info *info);

/* Tries again to unmap what the kernel refused to. */
void dma_trim(void);

/* In a fork child: regions that it has not got are forgotten, the others are the parent's, observers are gone. INSIDE:
 * the forking thread may hold some lock of the library. */
void dma_fork_child(bool inside);

struct lock *dma_lock(void);

/* --- dma_observe.c --- */

/* Tells every observer that does not know REGION, which is COMING. On refusal those told are told that it goes. */
int dma_tell_added(struct dma_region *region);

/* Tells every observer that knows REGION, which is LEAVING. On refusal those told are told that it stays. */
int dma_tell_removed(struct dma_region *region);

/* The observer's number, or a negative errno value. */
int dma_observe(const struct slabmalloc_dma_observer *observer);
int dma_unobserve(int number);

/* The same for a container. */
int dma_observe_container(unsigned index);
void dma_unobserve_container(unsigned index);

void dma_observers_fork_child(void);

/* --- dma_vfio.c: 0, or a negative errno value --- */

int dma_vfio_attach(int fd, const struct slabmalloc_dma_vfio *how);
int dma_vfio_detach(int fd);
int dma_vfio_iova(int fd, const void *p, uint64_t *iova);

/* The container learns of a region, or forgets it. */
int dma_vfio_added(unsigned index, struct dma_region *region);
void dma_vfio_removed(unsigned index, struct dma_region *region);

/* Has a container pin REGION, which nobody knows yet, until dma_vfio_let_go, which does nothing where none does.
 * -ENOENT: there is no container. */
int dma_vfio_hold(struct dma_region *region);
void dma_vfio_let_go(struct dma_region *region);

void dma_vfio_fork_child(void);

/* --- dma_map.c --- */

/* The highest physical address of the populated pages at ADDRESS; 0 or -EPERM. */
int dma_highest(const void *address, size_t bytes, uint64_t *highest);

/* OURS: P is DMA memory, so there is a page. */
int dma_virt_to_phys(const void *p, bool ours, uint64_t *phys);

/* The number of entries, or a negative errno value. */
int dma_map_sg(const void *p, size_t bytes, size_t boundary, struct slabmalloc_dma_sg *list, int max);

/* --- dma_pool.c: 0, or a negative errno value --- */

int dma_pool_create(const char *name, size_t bytes, size_t align, size_t boundary,
                    const struct slabmalloc_dma_spec *spec, struct slabmalloc_dma_pool **made);
int dma_pool_alloc(struct slabmalloc_dma_pool *pool, uint64_t *phys, void **p);
int dma_pool_free(struct slabmalloc_dma_pool *pool, const void *p);
int dma_pool_destroy(struct slabmalloc_dma_pool *pool);
void dma_pool_info(const struct slabmalloc_dma_pool *pool, struct slabmalloc_dma_pool_info *info);

#endif
