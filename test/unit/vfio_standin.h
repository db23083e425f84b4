/*
 * vfio_standin.h: a VFIO container with a type 1 IOMMU for tests where the machine has none. It stands behind the
 * library's ioctl (--wrap=ioctl) and answers as the kernel's drivers/vfio does: who maps over a mapping, beyond the
 * ranges or the limits gets the kernel's errors. test/numa has the real one.
 */
#ifndef SLABMALLOC_TEST_VFIO_STANDIN_H
#define SLABMALLOC_TEST_VFIO_STANDIN_H

#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define STANDIN_CONTAINERS 8
#define STANDIN_MAPPINGS 512
#define STANDIN_RANGES 80

struct standin_mapping {
    uint64_t iova, va, bytes; /* no bytes: none */
};

/* Tests set all but the mappings and what is counted. */
static struct standin_container {
    int fd; /* 0: none */
    enum { STANDIN_TYPE1, STANDIN_NO_IOMMU, STANDIN_UNSET } kind;
    bool old;         /* it does not say its ranges */
    unsigned nranges; /* 0: all of 48 bits, but for the 1 MiB in which interrupts arrive */
    struct {
        uint64_t first, last;
    } range[STANDIN_RANGES];
    size_t entries_max, bytes_max; /* 0: as many as there is room for */
    size_t maps, unmaps;           /* calls that did something */
    void (*before_unmap)(struct standin_container *);
    struct standin_mapping mapping[STANDIN_MAPPINGS];
} standin[STANDIN_CONTAINERS];
static pthread_mutex_t standin_mutex = PTHREAD_MUTEX_INITIALIZER;

static inline struct standin_container *standin_of(int fd) {
    for (unsigned i = 0; i < STANDIN_CONTAINERS; i++) {
        if (standin[i].fd == fd && fd > 0) {
            return &standin[i];
        }
    }
    return NULL;
}

static inline struct standin_container *standin_open(void) {
    for (unsigned i = 0; i < STANDIN_CONTAINERS; i++) {
        if (!standin[i].fd) {
            standin[i].fd = eventfd(0, EFD_CLOEXEC);
            return &standin[i];
        }
    }
    return NULL;
}

static inline void standin_close(struct standin_container *container) {
    close(container->fd);
    memset(container, 0, sizeof *container);
}

static inline size_t standin_bytes(const struct standin_container *container, size_t *entries) {
    size_t bytes = 0;
    *entries = 0;
    for (unsigned i = 0; i < STANDIN_MAPPINGS; i++) {
        bytes += container->mapping[i].bytes;
        *entries += container->mapping[i].bytes != 0;
    }
    return bytes;
}

static inline size_t standin_entries(const struct standin_container *container) {
    size_t entries;
    standin_bytes(container, &entries);
    return entries;
}

/* What the device finds at IOVA; NULL: nothing. */
static inline char *standin_at(const struct standin_container *container, uint64_t iova) {
    for (unsigned i = 0; i < STANDIN_MAPPINGS; i++) {
        const struct standin_mapping *mapping = &container->mapping[i];
        if (iova >= mapping->iova && iova - mapping->iova < mapping->bytes) {
            return (char *)(uintptr_t)(mapping->va + (iova - mapping->iova));
        }
    }
    return NULL;
}

static inline bool standin_reaches(const struct standin_container *container, uint64_t first, uint64_t last) {
    for (unsigned i = 0; i < container->nranges; i++) {
        if (container->range[i].first <= first && last <= container->range[i].last) {
            return true;
        }
    }
    return false;
}

static inline int standin_map(struct standin_container *container, const struct vfio_iommu_type1_dma_map *map) {
    struct standin_mapping *room = NULL;
    size_t entries, bytes = standin_bytes(container, &entries);
    uint64_t last = map->iova + map->size - 1;
    if (!map->size || (map->iova | map->vaddr | map->size) & 4095 || last < map->iova ||
        map->flags != (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)) {
        return EINVAL;
    }
    for (unsigned i = 0; i < STANDIN_MAPPINGS; i++) {
        struct standin_mapping *at = &container->mapping[i];
        if (at->bytes && at->iova <= last && map->iova <= at->iova + at->bytes - 1) {
            return EEXIST;
        }
        room = at->bytes ? room : at;
    }
    if (!room || (container->entries_max && entries >= container->entries_max)) {
        return ENOSPC;
    }
    if (!standin_reaches(container, map->iova, last)) {
        return EINVAL;
    }
    if (container->bytes_max && bytes + map->size > container->bytes_max) {
        return ENOMEM;
    }
    *room = (struct standin_mapping){map->iova, map->vaddr, map->size};
    container->maps++;
    return 0;
}

static inline int standin_unmap(struct standin_container *container, struct vfio_iommu_type1_dma_unmap *unmap) {
    uint64_t bytes = 0;
    for (unsigned i = 0; i < STANDIN_MAPPINGS; i++) {
        struct standin_mapping *at = &container->mapping[i];
        if (at->bytes && at->iova >= unmap->iova && at->iova + at->bytes <= unmap->iova + unmap->size) {
            bytes += at->bytes;
            at->bytes = 0;
            container->unmaps++;
        }
    }
    unmap->size = bytes;
    return 0;
}

/* Another capability first: the list is a chain. */
static inline int standin_info(const struct standin_container *container, struct vfio_iommu_type1_info *info) {
    struct vfio_info_cap_header other = {.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, .version = 1};
    struct vfio_iommu_type1_info_cap_iova_range list = {
        .header = {.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, .version = 1}, .nr_iovas = container->nranges};
    size_t at = sizeof *info, room = info->argsz, list_at = at + 16,
           all = list_at + sizeof list + container->nranges * 16;
    info->flags = VFIO_IOMMU_INFO_PGSIZES;
    info->iova_pgsizes = 4096;
    if (container->old) {
        return 0;
    }
    info->flags |= VFIO_IOMMU_INFO_CAPS;
    info->argsz = (uint32_t)all;
    info->cap_offset = 0;
    if (all <= room) {
        info->cap_offset = (uint32_t)at;
        other.next = (uint32_t)list_at;
        memcpy((char *)info + at, &other, sizeof other);
        memcpy((char *)info + list_at, &list, sizeof list);
        memcpy((char *)info + list_at + sizeof list, container->range, container->nranges * 16);
    }
    return 0;
}

static inline int standin_answer(struct standin_container *container, unsigned long what, void *arg) {
    if (container->kind == STANDIN_TYPE1 && !container->nranges) {
        container->nranges = 2;
        container->range[0].last = 0xfedfffff;
        container->range[1].first = 0xfef00000;
        container->range[1].last = ((uint64_t)1 << 48) - 1;
    }
    if (what != VFIO_IOMMU_GET_INFO && what != VFIO_IOMMU_MAP_DMA && what != VFIO_IOMMU_UNMAP_DMA) {
        return ENOTTY;
    }
    if (container->kind != STANDIN_TYPE1) {
        return container->kind == STANDIN_UNSET ? EINVAL : ENOTTY;
    }
    return what == VFIO_IOMMU_GET_INFO  ? standin_info(container, arg)
           : what == VFIO_IOMMU_MAP_DMA ? standin_map(container, arg)
                                        : standin_unmap(container, arg);
}

int __real_ioctl(int fd, unsigned long what, ...);
int __wrap_ioctl(int fd, unsigned long what, ...);

int __wrap_ioctl(int fd, unsigned long what, ...) {
    va_list arguments;
    va_start(arguments, what);
    void *arg = va_arg(arguments, void *);
    va_end(arguments);
    struct standin_container *container = standin_of(fd);
    if (container && container->before_unmap && what == VFIO_IOMMU_UNMAP_DMA) {
        container->before_unmap(container);
    }
    pthread_mutex_lock(&standin_mutex);
    int result = 0, error = 0;
    if (container && what == VFIO_GET_API_VERSION) {
        result = VFIO_API_VERSION;
    } else if (container && what == VFIO_CHECK_EXTENSION) {
        result = container->kind != STANDIN_NO_IOMMU && (uintptr_t)arg == VFIO_TYPE1v2_IOMMU;
    } else if (container) {
        error = standin_answer(container, what, arg);
    }
    pthread_mutex_unlock(&standin_mutex);
    if (!container) {
        return __real_ioctl(fd, what, arg);
    }
    if (error) {
        errno = error;
    }
    return error ? -1 : result;
}

#endif
