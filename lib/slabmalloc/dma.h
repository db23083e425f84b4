/*
 * slabmalloc/dma.h: buffers that stay where they are, for devices and for system calls that want registered memory.
 *
 * What user space can promise about physical memory comes in levels, and each promises something else:
 *
 *   RESIDENT  mlock: never swapped out. The kernel may still move a page to another physical address (compaction, NUMA
 *             balancing, memory going offline): a physical address is a snapshot. Contiguous within one page.
 *   HUGETLB   pages of 2 MiB from the hugetlb pool, populated: physically contiguous within each, never swapped, and
 *             not moved by compaction. An administrator can still have them moved (memory offline, migratepages).
 *   LONGTERM  pinned by the kernel on behalf of a device, by a VFIO container if the program has attached one, else by
 *             io_uring (registered buffers): the contract that physical addresses do not change until the buffer is
 *             freed. On 2 MiB pages if the pool has some, else on ordinary ones.
 *
 * doc/dma.md says which one a program needs. Memory below 16 MiB cannot be had from user space, whatever the level.
 *
 * fork: a buffer is in one of two modes. By default the child does not get it (MADV_DONTFORK): the parent's buffer is
 * never copied on write behind a device's back, and an access in the child faults. With SLABMALLOC_DMA_SHARED both have
 * the same pages; the child's bookkeeping is a copy, so what one process frees is still the other's. Locks are not
 * inherited: in the child such a RESIDENT buffer stays in memory only as long as the parent holds it. Observers,
 * containers and pools are the parent's alone.
 *
 * All functions are thread safe, none may be called from a signal handler. Functions that return int return 0, or -1
 * with errno set. Buffers are not the heap's: free() does not take them.
 */
#ifndef SLABMALLOC_DMA_H
#define SLABMALLOC_DMA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum slabmalloc_dma_level {
    SLABMALLOC_DMA_RESIDENT = 1,
    SLABMALLOC_DMA_HUGETLB = 2,
    SLABMALLOC_DMA_LONGTERM = 3,
};

#define SLABMALLOC_DMA_SHARED 1u /* MAP_SHARED: fork children have the same pages */
#define SLABMALLOC_DMA_HUGE 2u   /* 2 MiB pages or nothing, at level LONGTERM too */

#define SLABMALLOC_DMA_ANY_NODE (-1)

/* What is asked for. All zero but the node is what most want: see SLABMALLOC_DMA_SPEC. */
struct slabmalloc_dma_spec {
    size_t align;      /* a power of two, in bytes; 0: a page. Beyond a page of the backing it is of the address only */
    size_t boundary;   /* a power of two >= the size: the buffer crosses no multiple of it; 0: none. Of the address,
                          and physically as far as a page of the backing goes */
    uint64_t max_addr; /* the highest physical address a byte may have, such as 0xffffffff; 0: any. Looked at when the
                          buffer is made. Needs CAP_SYS_ADMIN */
    int node;          /* NUMA node to prefer, or SLABMALLOC_DMA_ANY_NODE */
    enum slabmalloc_dma_level level; /* the least that will do; 0: RESIDENT */
    unsigned flags;                  /* SLABMALLOC_DMA_SHARED, SLABMALLOC_DMA_HUGE */
};

#define SLABMALLOC_DMA_SPEC                                                                                            \
    { 0, 0, 0, SLABMALLOC_DMA_ANY_NODE, SLABMALLOC_DMA_RESIDENT, 0 }

/*
 * BYTES of populated memory as SPEC says (NULL: SLABMALLOC_DMA_SPEC), contents undefined; *OBTAINED (may be NULL) is
 * the level it has got, which may be higher than asked: RESIDENT falls back to HUGETLB where RLIMIT_MEMLOCK is in the
 * way, and a container pins all there is. Sizes are rounded up to pages. The caller owns it until slabmalloc_dma_free.
 * NULL with errno:
 *   EINVAL   no bytes; align or boundary no power of two, boundary < BYTES; node not there; unknown level or flag
 *   ENOMEM   no memory: for HUGETLB, the pool or the hugetlb cgroup has no free pages left
 *   EAGAIN   RLIMIT_MEMLOCK is too low
 *   ENOTSUP  this kernel, or its policy, has no hugetlb pages, or neither io_uring nor a container is there
 *   EPERM    max_addr is given and the kernel hides physical addresses (no CAP_SYS_ADMIN)
 *   ERANGE   max_addr was not met in several attempts; below 16 MiB always
 * or what an observer returned, or a container, as slabmalloc_dma_attach_vfio says.
 */
void *slabmalloc_dma_alloc(size_t bytes, const struct slabmalloc_dma_spec *spec, enum slabmalloc_dma_level *obtained);

/* Gives a buffer back. EINVAL: P is not the start of one. EBUSY: an observer still uses the memory, or is being told of
 * it at this moment; nothing changed. */
int slabmalloc_dma_free(void *p);

struct slabmalloc_dma_info {
    void *base;                      /* of the buffer, or of the region an observer is told of */
    size_t bytes;                    /* in whole pages */
    size_t page_bytes;               /* physically contiguous at least within multiples of this */
    enum slabmalloc_dma_level level; /* now; 0 in a fork child for what the parent has locked */
    int may_move;                    /* 1: physical addresses may change, those taken are a snapshot */
    unsigned flags;                  /* as asked for */
    int node;                        /* where its first page is now; -1: the kernel does not say */
};

/* What the buffer that P points into is. EINVAL: none. */
int slabmalloc_dma_info(const void *p, struct slabmalloc_dma_info *info);

/* --- Physical addresses --- */

/* The physical address of the byte at P, any address of this process, from /proc/self/pagemap. EPERM: hidden (no
 * CAP_SYS_ADMIN, no /proc). EINVAL: no page of memory is there. */
int slabmalloc_virt_to_phys(const void *p, uint64_t *phys);

struct slabmalloc_dma_sg {
    void *va;
    uint64_t phys;
    size_t len; /* bytes, physically contiguous */
};

/*
 * The scatter-gather list of BYTES at P, which lie in one buffer: the fewest entries, none crossing a physical multiple
 * of BOUNDARY (a power of two; 0: none). Returns how many there are in LIST, which has room for MAX, or -1 with errno:
 * EINVAL not in one buffer, no bytes, BOUNDARY; ENOSPC the list is too short; EPERM as slabmalloc_virt_to_phys. At
 * level RESIDENT a snapshot.
 */
int slabmalloc_dma_map_sg(const void *p, size_t bytes, size_t boundary, struct slabmalloc_dma_sg *list, int max);

/* --- Observers: who must know the memory before buffers are used (SPDK, RDMA, cudaHostRegister) --- */

/*
 * ADDED is told of every region that buffers are taken from, before the first one is handed out, and when the observer
 * is registered of those that are there (replay). Returns 0, or an errno value: the allocation or the registration
 * then fails with it. REMOVED is told before a region is unmapped; returns 0, or an errno value if the memory is still
 * in use: slabmalloc_dma_free then fails with EBUSY. Both see each region exactly once, in any thread, without a lock
 * of ours held: they may call malloc and ask about addresses, but not allocate, free, (un)register or
 * fork here: the child would go on with a region that it has not got.
 */
struct slabmalloc_dma_observer {
    int (*added)(const struct slabmalloc_dma_info *region, void *context);
    int (*removed)(const struct slabmalloc_dma_info *region, void *context);
    void *context;
};

#define SLABMALLOC_DMA_OBSERVERS_MAX 16

/* Registers a copy of *OBSERVER. Its number for slabmalloc_dma_unobserve, or -1 with errno: EINVAL a function is
 * missing, ENOSPC there are SLABMALLOC_DMA_OBSERVERS_MAX, or what ADDED returned in the replay. */
int slabmalloc_dma_observe(const struct slabmalloc_dma_observer *observer);

/* Takes it back: REMOVED is told of all regions (its answer does not matter). When this returns neither function runs
 * or will be called. EINVAL: no such observer. */
int slabmalloc_dma_unobserve(int number);

/* --- VFIO: devices behind an IOMMU --- */

/* Which I/O virtual addresses (IOVAs), those that devices use, the memory may have. All zero: any. */
struct slabmalloc_dma_vfio {
    uint64_t first, last; /* the lowest and the highest, as far as the IOMMU has them: what the device reaches (such as
                             0xffffffff), and where the program maps nothing itself. LAST 0: no limit */
    unsigned flags;       /* SLABMALLOC_DMA_IOVA_VA */
};

#define SLABMALLOC_DMA_IOVA_VA 1u /* the IOVA is the address in this process, or it is an error */

#define SLABMALLOC_DMA_CONTAINERS_MAX 4

/*
 * Maps all DMA memory into the VFIO container CONTAINER, that which is there and that which comes, for devices to read
 * and write, at the IOVAs that HOW says (NULL: any): the address in this process where that will do, else the lowest
 * that is free, but never 0. While it is mapped its level is LONGTERM, and addresses do not change, whatever was asked
 * for; what is asked for at level LONGTERM from now on is pinned so, and needs no io_uring.
 *
 * The program opens the container, adds its groups and sets the IOMMU (type 1) before, and keeps it open until it is
 * detached. RLIMIT_MEMLOCK counts what is mapped, in each container anew, beside what is locked.
 *
 * -1 with errno, also that of slabmalloc_dma_alloc while it is attached:
 *   EBADF    no file descriptor, or closed
 *   ENOTTY   not a VFIO container
 *   EINVAL   it has no IOMMU yet; FIRST > LAST, unknown flag
 *   ENOTSUP  its IOMMU is not type 1, or there is none (no-IOMMU mode)
 *   EBUSY    attached already
 *   ENOSPC   there are SLABMALLOC_DMA_CONTAINERS_MAX; no IOVA is free; no mapping is left (VFIO's dma_entry_limit)
 *   ERANGE   the IOMMU has no such IOVAs
 *   EEXIST   SLABMALLOC_DMA_IOVA_VA, and the program has mapped something there
 *   EAGAIN   RLIMIT_MEMLOCK is too low
 * or what else VFIO says. If the memory that is there cannot be mapped, nothing is attached.
 */
int slabmalloc_dma_attach_vfio(int container, const struct slabmalloc_dma_vfio *how);

/* Unmaps all from the container, whose devices must be at rest; levels are again what they were. EINVAL: not attached.
 * EBUSY: buffers are there that were made at level LONGTERM and that only this container pins; nothing changed. */
int slabmalloc_dma_detach_vfio(int container);

/* The IOVA of the byte at P, which is in DMA memory; it and what follows in the buffer are in one piece, whatever the
 * physical addresses. EINVAL: P is not in DMA memory, or CONTAINER is not attached. */
int slabmalloc_dma_iova(int container, const void *p, uint64_t *iova);

/* --- Pools: small objects of one size --- */

struct slabmalloc_dma_pool;

/*
 * A pool of objects of BYTES, each physically contiguous, aligned to ALIGN (a power of two; 0: 16) and crossing no
 * multiple of BOUNDARY (a power of two; 0: none). SPEC says the rest, NULL as above. Objects larger than a page
 * raise the level to HUGETLB. NAME is for reports, copied, cut at 31 bytes. NULL with errno EINVAL: no bytes or more
 * than 2 MiB, align, boundary < BYTES, or SPEC's own; ERANGE: as slabmalloc_dma_alloc; ENOMEM.
 */
struct slabmalloc_dma_pool *slabmalloc_dma_pool_create(const char *name, size_t bytes, size_t align, size_t boundary,
                                                       const struct slabmalloc_dma_spec *spec);

/* An object and, unless PHYS is NULL, its physical address: exact at HUGETLB and LONGTERM, a snapshot at RESIDENT.
 * NULL with errno as slabmalloc_dma_alloc, EPERM if PHYS is wanted and hidden. */
void *slabmalloc_dma_pool_alloc(struct slabmalloc_dma_pool *pool, uint64_t *phys);

/* EINVAL: P is not an object of POOL that is out. Memory stays with the pool. */
int slabmalloc_dma_pool_free(struct slabmalloc_dma_pool *pool, void *p);

/* No other thread may be using POOL. EBUSY: objects are out, or an observer uses the memory; the pool still works. */
int slabmalloc_dma_pool_destroy(struct slabmalloc_dma_pool *pool);

struct slabmalloc_dma_pool_info {
    const char *name;    /* the pool's */
    size_t object_bytes; /* as asked for */
    size_t out;          /* objects that are out */
    size_t objects;      /* objects there is memory for */
    size_t bytes;        /* memory it holds */
};
void slabmalloc_dma_pool_info(const struct slabmalloc_dma_pool *pool, struct slabmalloc_dma_pool_info *info);

#ifdef __cplusplus
}
#endif

#endif
