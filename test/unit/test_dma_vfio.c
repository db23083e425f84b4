/* slabmalloc_dma_attach_vfio promises: all memory is in the container while it is there, at the IOVAs asked for; its
 * level is LONGTERM then; nothing stays mapped that is no longer there. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dma_probe.h"

#include "dma.h"
#include "vfio_standin.h"

TestSuite(dma_vfio, .init = pool_share);

/* LONGTERM would take pages of the pool that another test counts. Who may not empty it has it as it is. */
static void set_pool_aside(void) {
    (void)pool_has(0);
}

static struct standin_container *attached(const struct slabmalloc_dma_vfio *how) {
    struct standin_container *container = standin_open();
    MUST(container && !slabmalloc_dma_attach_vfio(container->fd, how));
    return container;
}

static uint64_t iova_of(const struct standin_container *container, const void *p) {
    uint64_t iova = 0;
    return slabmalloc_dma_iova(container->fd, p, &iova) ? 0 : iova;
}

/* The device sees all BYTES at P, in one piece. */
static bool sees(const struct standin_container *container, const char *p, size_t bytes) {
    uint64_t iova = iova_of(container, p);
    return iova && standin_at(container, iova) == p && standin_at(container, iova + bytes - 1) == p + bytes - 1 &&
           iova_of(container, p + bytes - 1) == iova + bytes - 1;
}

static enum slabmalloc_dma_level level_of(const void *p) {
    struct slabmalloc_dma_info info;
    MUST(!slabmalloc_dma_info(p, &info));
    MUST(info.may_move == (info.level == SLABMALLOC_DMA_RESIDENT));
    return info.level;
}

static bool has_ring(const char *p) {
    lock_take(dma_lock());
    bool ring = dma_region_of(p, 1)->ring >= 0;
    lock_drop(dma_lock());
    return ring;
}

static void must_be_refused(int error, int fd, const struct slabmalloc_dma_vfio *how) {
    errno = 0;
    require(slabmalloc_dma_attach_vfio(fd, how) == -1 && errno == error, "%s instead of %s", strerror(errno),
            strerror(error));
    require(slabmalloc_dma_detach_vfio(fd) == -1 && errno == EINVAL);
}

/* --- Levels and lives --- */

Test(dma_vfio, what_is_there_and_what_comes_is_mapped) {
    char *early = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 3 * PAGE);
    char *shared = alloc_at(SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, MIB);
    struct standin_container *container = attached(NULL);
    char *late = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 5 * MIB);
    require(sees(container, early, 3 * PAGE) && sees(container, shared, MIB) && sees(container, late, 5 * MIB));
    require(container->maps == 3 && container->unmaps == 0);
    require(!slabmalloc_dma_free(shared) && container->unmaps == 1);
    require(!slabmalloc_dma_detach_vfio(container->fd));
    require(standin_entries(container) == 0 && !iova_of(container, early));
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 5 * MIB) && container->maps == 3);
}

Test(dma_vfio, memory_is_longterm_while_it_is_mapped) {
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    require(level_of(p) == SLABMALLOC_DMA_RESIDENT);
    struct standin_container *first = attached(NULL), *second = attached(NULL);
    require(level_of(p) == SLABMALLOC_DMA_LONGTERM);
    enum slabmalloc_dma_level level = 0;
    require(slabmalloc_dma_alloc(MIB, NULL, &level) && level == SLABMALLOC_DMA_LONGTERM);
    require(!slabmalloc_dma_detach_vfio(first->fd) && level_of(p) == SLABMALLOC_DMA_LONGTERM);
    require(!slabmalloc_dma_detach_vfio(second->fd) && level_of(p) == SLABMALLOC_DMA_RESIDENT);
}

static void longterm_without_io_uring(void *arg) {
    (void)arg;
    forbid_call(SYS_io_uring_setup, EPERM);
    MUST(!alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE) && errno == ENOTSUP);
    struct standin_container *container = attached(NULL);
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_SHARED, PAGE);
    MUST(p && level_of(p) == SLABMALLOC_DMA_LONGTERM && sees(container, p, PAGE));
}

Test(dma_vfio, longterm_needs_no_io_uring_where_a_container_is) {
    set_pool_aside();
    child_must_end_well(longterm_without_io_uring, NULL);
}

Test(dma_vfio, the_container_alone_pins_what_comes) {
    set_pool_aside();
    struct standin_container *container = attached(NULL);
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE);
    require(p && !has_ring(p) && sees(container, p, PAGE) && container->maps == 1);
}

Test(dma_vfio, ebusy_is_a_buffer_that_has_no_other_pin) {
    set_pool_aside();
    NEEDS_RING();
    char *ringed = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE);
    struct standin_container *first = attached(NULL), *second = attached(NULL);
    char *pinned = alloc_at(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_SHARED, PAGE);
    require(has_ring(ringed) && !has_ring(pinned) && sees(second, pinned, PAGE));
    errno = 0;
    require(slabmalloc_dma_detach_vfio(first->fd) == -1 && errno == EBUSY);
    require(sees(first, pinned, PAGE) && sees(first, ringed, PAGE) && first->unmaps == 0);
    require(!slabmalloc_dma_detach_vfio(second->fd) && standin_entries(second) == 0);
    require(!slabmalloc_dma_free(pinned) && !slabmalloc_dma_detach_vfio(first->fd));
    require(level_of(ringed) == SLABMALLOC_DMA_LONGTERM); /* by its ring */
    pinned = alloc_at(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_SHARED, PAGE);
    require(pinned && has_ring(pinned));
}

static char *made_meanwhile;
static int detached_again;

static void make_one(struct standin_container *container) {
    container->before_unmap = NULL;
    made_meanwhile = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE);
    detached_again = slabmalloc_dma_detach_vfio(container->fd);
    MUST(detached_again == -1 && errno == EINVAL);
}

Test(dma_vfio, a_container_that_leaves_pins_nothing_more) {
    set_pool_aside();
    NEEDS_RING();
    struct standin_container *container = attached(NULL);
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE));
    container->before_unmap = make_one;
    require(!slabmalloc_dma_detach_vfio(container->fd) && standin_entries(container) == 0);
    require(made_meanwhile && has_ring(made_meanwhile));
}

/* --- The order among observers --- */

static struct standin_container *watched;
static int answer; /* to both */
static bool saw_added, saw_removed;

static int look_added(const struct slabmalloc_dma_info *region, void *context) {
    (void)context;
    saw_added = sees(watched, region->base, region->bytes) && region->level == SLABMALLOC_DMA_LONGTERM;
    return answer;
}

static int look_removed(const struct slabmalloc_dma_info *region, void *context) {
    (void)context;
    saw_removed = sees(watched, region->base, region->bytes) && region->level == SLABMALLOC_DMA_LONGTERM;
    return answer;
}

static const struct slabmalloc_dma_observer looking = {look_added, look_removed, NULL};

Test(dma_vfio, observers_find_memory_mapped_from_first_to_last) {
    set_pool_aside();
    require(slabmalloc_dma_observe(&looking) >= 0); /* before the container */
    watched = attached(NULL);
    for (enum slabmalloc_dma_level level = SLABMALLOC_DMA_RESIDENT; level <= SLABMALLOC_DMA_LONGTERM; level += 2) {
        saw_added = saw_removed = false;
        char *p = alloc_at(level, 0, MIB);
        require(p && saw_added && !slabmalloc_dma_free(p) && saw_removed, "level %d", level);
        require(standin_entries(watched) == 0);
    }
}

Test(dma_vfio, an_observer_that_refuses_keeps_the_mapping_as_it_is) {
    set_pool_aside();
    watched = attached(NULL);
    require(slabmalloc_dma_observe(&looking) >= 0);
    for (enum slabmalloc_dma_level level = SLABMALLOC_DMA_RESIDENT; level <= SLABMALLOC_DMA_LONGTERM; level += 2) {
        size_t unmaps = watched->unmaps;
        char *p = alloc_at(level, 0, MIB);
        answer = EBUSY;
        require(slabmalloc_dma_free(p) == -1 && errno == EBUSY);
        require(sees(watched, p, MIB) && watched->unmaps == unmaps, "level %d", level); /* not for a moment */
        answer = 0;
        require(!slabmalloc_dma_free(p) && watched->unmaps == unmaps + 1);
        answer = ENXIO;
        require(!alloc_at(level, 0, MIB) && errno == ENXIO && standin_entries(watched) == 0, "level %d", level);
        answer = 0;
    }
    require(!slabmalloc_dma_detach_vfio(watched->fd)); /* nothing holds it */
}

/* --- IOVAs --- */

Test(dma_vfio, an_iova_is_the_address_where_that_will_do) {
    static const struct slabmalloc_dma_vfio same = {0, 0, SLABMALLOC_DMA_IOVA_VA};
    struct standin_container *any = attached(NULL), *must = attached(&same);
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    require(iova_of(any, p) == (uintptr_t)p && iova_of(must, p) == (uintptr_t)p);
    uint64_t iova = 7;
    char here;
    require(slabmalloc_dma_iova(any->fd, &here, &iova) == -1 && errno == EINVAL && iova == 7);
    require(slabmalloc_dma_iova(0, p, &iova) == -1 && errno == EINVAL && iova == 7);
}

Test(dma_vfio, an_iommu_of_39_bits_has_iovas_of_its_own) {
    set_pool_aside();
    static const struct slabmalloc_dma_vfio same = {0, 0, SLABMALLOC_DMA_IOVA_VA};
    struct standin_container *container = standin_open();
    container->nranges = 1;
    container->range[0].last = ((uint64_t)1 << 39) - 1;
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    must_be_refused(ERANGE, container->fd, &same);
    require(!slabmalloc_dma_attach_vfio(container->fd, NULL));
    char *q = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, MIB);
    require(sees(container, p, PAGE) && sees(container, q, MIB));
    require(iova_of(container, p) && iova_of(container, q) < MIB + GIB); /* from the lowest on, never 0 */
}

Test(dma_vfio, iovas_are_where_the_program_says) {
    static const struct slabmalloc_dma_vfio below = {0, 0xffffffff, 0}, window = {5 * MIB, 9 * MIB - 1, 0};
    struct standin_container *low = attached(&below), *small = attached(&window);
    char *p[4];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
        require(p[i] && sees(low, p[i], MIB) && iova_of(low, p[i] + MIB - 1) <= below.last);
        require(sees(small, p[i], MIB) && iova_of(small, p[i]) >= window.first);
    }
    errno = 0;
    require(!alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE) && errno == ENOSPC);
    require(standin_entries(low) == COUNT_OF(p)); /* which had room for it */
    for (unsigned round = 0; round < 20; round++) {
        size_t i = round * 3 % COUNT_OF(p);
        require(!slabmalloc_dma_free(p[i]));
        p[i] = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
        require(p[i] && sees(small, p[i], MIB), "round %u: %s", round, strerror(errno));
    }
}

Test(dma_vfio, a_hole_of_any_size_is_found) {
    static const struct slabmalloc_dma_vfio window = {64 * MIB, 67 * MIB - 1, 0};
    struct standin_container *container = attached(&window);
    char *first = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
    char *second = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 300 * KIB), *third = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
    require(first && !slabmalloc_dma_free(second) && !slabmalloc_dma_free(third));
    char *all = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 2 * MIB);
    require(all && sees(container, all, 2 * MIB) && sees(container, first, MIB));
}

static void map_own(struct standin_container *container, uint64_t iova, uint64_t bytes) {
    struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map, .vaddr = PAGE, .iova = iova, .size = bytes};
    map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    MUST(!standin_answer(container, VFIO_IOMMU_MAP_DMA, &map));
}

Test(dma_vfio, what_the_program_has_mapped_itself_is_left_alone) {
    static const struct slabmalloc_dma_vfio below = {0, 16 * MIB - 1, 0}, same = {0, 0, SLABMALLOC_DMA_IOVA_VA};
    struct standin_container *container = standin_open(), *other = standin_open();
    map_own(container, 0, 2 * MIB);
    map_own(container, 4 * MIB, 9 * MIB);
    require(!slabmalloc_dma_attach_vfio(container->fd, &below));
    char *p[5];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
        require(p[i] && sees(container, p[i], MIB), "%zu: %s", i, strerror(errno));
    }
    require(!alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB) && errno == ENOSPC);
    require(standin_at(container, 0) == (char *)PAGE);
    map_own(other, (uintptr_t)p[0], PAGE);
    must_be_refused(EEXIST, other->fd, &same);
    require(!slabmalloc_dma_attach_vfio(other->fd, NULL) && sees(other, p[0], MIB));
}

Test(dma_vfio, huge_pages_are_huge_for_the_iommu_too) {
    NEEDS_POOL(2);
    static const struct slabmalloc_dma_vfio below = {0, 0xffffffff, 0};
    struct standin_container *container = attached(&below);
    char *small = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE), *huge = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, MIB);
    require(small && huge && iova_of(container, huge) % HUGE == (uintptr_t)huge % HUGE);
    require(sees(container, huge, MIB));
}

Test(dma_vfio, interrupts_arrive_where_no_memory_is) {
    set_pool_aside();
    static const struct slabmalloc_dma_vfio around = {0xfedf0000, 0xfef0ffff, 0};
    struct standin_container *container = attached(&around);
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 64 * KIB + MIB);
    require(!p && errno == ENOSPC);
    for (unsigned i = 0; i < 2; i++) {
        struct slabmalloc_dma_spec spec = spec_at(SLABMALLOC_DMA_LONGTERM, 0);
        container->bytes_max = 128 * KIB; /* so that regions are no larger than they must be */
        p = slabmalloc_dma_alloc(64 * KIB, &spec, NULL);
        require(p && sees(container, p, 64 * KIB), "%u: %s", i, strerror(errno));
    }
}

Test(dma_vfio, a_kernel_without_a_list_of_ranges_judges_by_itself) {
    struct standin_container *old = standin_open();
    old->old = true;
    old->nranges = 1;
    old->range[0].last = 0xffffffff;
    require(!slabmalloc_dma_attach_vfio(old->fd, NULL));
    require(!alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE) && errno == ERANGE);
    require(!slabmalloc_dma_detach_vfio(old->fd));
    struct slabmalloc_dma_vfio below = {0, 0xffffffff, 0};
    require(!slabmalloc_dma_attach_vfio(old->fd, &below) && alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE));
}

/* Ranges of 1 MiB, each 2 MiB behind the last. */
static struct standin_container *with_ranges(unsigned n) {
    struct standin_container *container = standin_open();
    container->nranges = n;
    for (unsigned i = 0; i < n; i++) {
        container->range[i].first = (1 + i) * 2 * MIB;
        container->range[i].last = container->range[i].first + MIB - 1;
    }
    MUST(!slabmalloc_dma_attach_vfio(container->fd, NULL));
    return container;
}

Test(dma_vfio, of_more_ranges_than_there_is_room_for_the_first_serve) {
    struct standin_container *container = with_ranges(SYS_IOVA_RANGES_MAX + 1);
    for (unsigned i = 0; i < SYS_IOVA_RANGES_MAX; i++) {
        char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
        require(p && sees(container, p, MIB), "%u: %s", i, strerror(errno));
    }
    require(!alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB) && errno == ENOSPC);
}

Test(dma_vfio, of_a_list_too_long_to_be_read_nothing_is_believed) {
    struct standin_container *container = with_ranges(STANDIN_RANGES);
    require(!alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE) && errno == ERANGE); /* the kernel's answer */
    require(!slabmalloc_dma_detach_vfio(container->fd));
}

/* --- Errors --- */

Test(dma_vfio, what_is_no_container_is_refused_by_name) {
    int file = open("/dev/null", O_RDWR), closed = dup(file);
    MUST(file >= 0 && closed >= 0 && !close(closed));
    must_be_refused(EBADF, closed, NULL);
    must_be_refused(EBADF, -1, NULL);
    must_be_refused(ENOTTY, file, NULL);
    int pipes[2];
    MUST(!pipe(pipes));
    must_be_refused(ENOTTY, pipes[0], NULL);
    struct standin_container *container = standin_open();
    container->kind = STANDIN_UNSET;
    must_be_refused(EINVAL, container->fd, NULL);
    container->kind = STANDIN_NO_IOMMU;
    must_be_refused(ENOTSUP, container->fd, NULL);
}

Test(dma_vfio, einval_is_a_demand_that_makes_no_sense) {
    struct standin_container *container = standin_open();
    must_be_refused(EINVAL, container->fd, &(struct slabmalloc_dma_vfio){.flags = 2});
    must_be_refused(EINVAL, container->fd, &(struct slabmalloc_dma_vfio){.first = 2 * MIB, .last = MIB});
    must_be_refused(ERANGE, container->fd, &(struct slabmalloc_dma_vfio){.first = (uint64_t)1 << 50});
    must_be_refused(ERANGE, container->fd, &(struct slabmalloc_dma_vfio){.first = 0xfee00000, .last = 0xfee00fff});
    require(!slabmalloc_dma_attach_vfio(container->fd, NULL));
}

Test(dma_vfio, a_container_is_attached_once_and_four_of_them_at_most) {
    struct standin_container *container[SLABMALLOC_DMA_CONTAINERS_MAX];
    for (size_t i = 0; i < COUNT_OF(container); i++) {
        container[i] = attached(NULL);
    }
    errno = 0;
    require(slabmalloc_dma_attach_vfio(container[2]->fd, NULL) == -1 && errno == EBUSY);
    struct standin_container *more = standin_open();
    must_be_refused(ENOSPC, more->fd, NULL);
    require(!slabmalloc_dma_detach_vfio(container[1]->fd) && !slabmalloc_dma_attach_vfio(more->fd, NULL));
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE);
    require(sees(more, p, PAGE) && sees(container[0], p, PAGE) && sees(container[3], p, PAGE));
    require(container[1]->maps == 0);
}

Test(dma_vfio, containers_take_no_observers_place) {
    attached(NULL);
    for (unsigned i = 0; i < SLABMALLOC_DMA_OBSERVERS_MAX; i++) {
        require(slabmalloc_dma_observe(&looking) == (int)i);
    }
    require(slabmalloc_dma_observe(&looking) == -1 && errno == ENOSPC);
    require(slabmalloc_dma_unobserve(SLABMALLOC_DMA_OBSERVERS_MAX) == -1 && errno == EINVAL);
}

Test(dma_vfio, memory_that_cannot_be_mapped_is_not_attached_to) {
    char *p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB), *q = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 2 * MIB);
    struct standin_container *container = standin_open();
    container->bytes_max = 2 * MIB;
    must_be_refused(EAGAIN, container->fd, NULL);
    require(container->maps == 1 && standin_entries(container) == 0);
    container->bytes_max = 0;
    container->entries_max = 1;
    must_be_refused(ENOSPC, container->fd, NULL);
    require(standin_entries(container) == 0 && level_of(p) == SLABMALLOC_DMA_RESIDENT);
    require(!slabmalloc_dma_free(q) && !slabmalloc_dma_attach_vfio(container->fd, NULL));
}

Test(dma_vfio, eagain_is_rlimit_memlock_and_what_fits_is_had) {
    set_pool_aside();
    struct standin_container *container = attached(NULL);
    container->bytes_max = 128 * KIB;
    for (enum slabmalloc_dma_level level = SLABMALLOC_DMA_RESIDENT; level <= SLABMALLOC_DMA_LONGTERM; level += 2) {
        errno = 0;
        require(!alloc_at(level, 0, 129 * KIB) && errno == EAGAIN, "level %d", level);
        require(!dma_regions() && standin_entries(container) == 0, "level %d", level);
        char *p = alloc_at(level, 0, 128 * KIB); /* not in a region for others too */
        require(p && sees(container, p, 128 * KIB) && !slabmalloc_dma_free(p), "level %d", level);
    }
}

Test(dma_vfio, a_container_that_was_closed_fails_allocations) {
    set_pool_aside();
    struct standin_container *container = attached(NULL);
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE);
    int fd = container->fd;
    standin_close(container);
    for (enum slabmalloc_dma_level level = SLABMALLOC_DMA_RESIDENT; level <= SLABMALLOC_DMA_LONGTERM; level += 2) {
        errno = 0;
        require(!alloc_at(level, 0, MIB) && errno == EBADF, "level %d: %s", level, strerror(errno));
    }
    require(!slabmalloc_dma_free(p) && !slabmalloc_dma_detach_vfio(fd));
    require(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB));
}

Test(dma_vfio, attempts_that_miss_max_addr_leave_nothing_mapped) {
    set_pool_aside();
    NEEDS_FRAMES();
    struct standin_container *container = attached(NULL);
    struct slabmalloc_dma_spec spec = spec_at(SLABMALLOC_DMA_LONGTERM, 0);
    spec.max_addr = 16 * MIB;
    errno = 0;
    require(!slabmalloc_dma_alloc(PAGE, &spec, NULL) && errno == ERANGE);
    require(container->maps > 1 && standin_entries(container) == 0);
    require(!slabmalloc_dma_detach_vfio(container->fd));
}

Test(dma_vfio, every_refusal_is_an_error_and_leaves_nothing_behind) {
    NEEDS_POOL(1);
    struct standin_container *container = standin_open();
    fault_arm(1u << SYS_VFIO, 0, FOREVER);
    errno = 0;
    require(slabmalloc_dma_attach_vfio(container->fd, NULL) == -1 && errno == ENOTSUP);
    fault_disarm();
    require(!slabmalloc_dma_attach_vfio(container->fd, NULL));
    for (enum slabmalloc_dma_level level = SLABMALLOC_DMA_RESIDENT; level <= SLABMALLOC_DMA_LONGTERM; level++) {
        fault_arm(1u << SYS_VFIO, 0, FOREVER);
        errno = 0;
        void *p = alloc_at(level, 0, PAGE);
        fault_disarm();
        require(!p && errno == EAGAIN, "level %d: %s", level, strerror(errno));
        require(!dma_regions() && pool_free() == 1 && standin_entries(container) == 0, "level %d", level);
    }
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE);
    fault_arm(1u << SYS_UNMAP, 0, FOREVER);
    require(!slabmalloc_dma_free(p) && fault_disarm() && dma_regions());
    require(standin_entries(container) == 0 && !slabmalloc_dma_detach_vfio(container->fd));
    slabmalloc_trim();
    require(!dma_regions());
}

/* --- Others --- */

Test(dma_vfio, a_pools_addresses_are_not_kept_beyond_the_container) {
    NEEDS_FRAMES();
    struct standin_container *container = attached(NULL);
    struct slabmalloc_dma_pool *pool = slabmalloc_dma_pool_create("moves", 64, 0, 0, NULL);
    uint64_t phys = 0;
    char *p = slabmalloc_dma_pool_alloc(pool, &phys);
    require(p && phys == phys_of(p) && !slabmalloc_dma_pool_free(pool, p));
    require(!slabmalloc_dma_detach_vfio(container->fd));
    /* The page moves. */
    char *page = (char *)((uintptr_t)p & ~(PAGE - 1)),
         *other = mmap(NULL, PAGE, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(!syscall(SYS_munlock, page, PAGE) && !madvise(page, PAGE, MADV_DONTNEED));
    memset(other, 1, PAGE);
    memset(page, 1, PAGE);
    char *again = slabmalloc_dma_pool_alloc(pool, &phys);
    require(again == p && phys == phys_of(p));
}

static void without_the_container(void *arg) {
    char **held = arg;
    struct standin_container *container = standin;
    struct slabmalloc_dma_info info;
    MUST(!iova_of(container, held[1]) && slabmalloc_dma_detach_vfio(container->fd) == -1 && errno == EINVAL);
    MUST(!slabmalloc_dma_info(held[1], &info) && info.level == 0 && info.may_move);
    MUST(!slabmalloc_dma_info(held[2], &info) && info.level == SLABMALLOC_DMA_LONGTERM);
    MUST(!slabmalloc_dma_free(held[1]) && !slabmalloc_dma_free(held[2]));
    MUST(alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE));
    MUST(container->maps == 3 && container->unmaps == 0);
}

Test(dma_vfio, a_child_leaves_its_parents_container_alone) {
    set_pool_aside();
    struct standin_container *container = attached(NULL);
    char *held[] = {alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE),
                    alloc_at(SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, PAGE),
                    alloc_at(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_SHARED, PAGE)};
    child_must_end_well(without_the_container, held);
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        require(sees(container, held[i], PAGE) && !slabmalloc_dma_free(held[i]), "buffer %zu", i);
    }
    require(standin_entries(container) == 0 && !slabmalloc_dma_detach_vfio(container->fd));
}

#define WORKERS 4
static _Atomic bool stop_attaching;

static void attach_and_detach(void) {
    struct standin_container *container = standin_open();
    for (unsigned long i = 0; i < rounds(400); i++) {
        MUST(!slabmalloc_dma_attach_vfio(container->fd, NULL));
        while (slabmalloc_dma_detach_vfio(container->fd)) {
            MUST(errno == EBUSY);
            sched_yield();
        }
        pthread_mutex_lock(&standin_mutex);
        MUST(standin_entries(container) == 0);
        pthread_mutex_unlock(&standin_mutex);
    }
    stop_attaching = true;
}

static void come_and_go(unsigned index) {
    struct rng rng = {index};
    if (!index) {
        attach_and_detach();
        return;
    }
    while (!stop_attaching) {
        bool longterm = rng_below(&rng, 2);
        char *p =
            alloc_at(longterm ? SLABMALLOC_DMA_LONGTERM : SLABMALLOC_DMA_RESIDENT, 0, PAGE * rng_between(&rng, 1, 40));
        MUST(p && (!longterm || level_of(p) == SLABMALLOC_DMA_LONGTERM));
        *p = (char)index;
        MUST(!longterm || level_of(p) == SLABMALLOC_DMA_LONGTERM);
        while (slabmalloc_dma_free(p)) {
            MUST(errno == EBUSY); /* told of at this moment */
        }
    }
}

Test(dma_vfio, containers_and_buffers_come_and_go_in_many_threads) {
    set_pool_aside();
    NEEDS_RING();
    threads_run(WORKERS, come_and_go);
    require(!dma_regions());
}
