/* sys_dma.c: the part of the seam that pins memory and says where it lies: mlock, io_uring, VFIO, the pagemap. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sys.h"

/* io_uring takes buffers of 1 GiB at most. */
#define RING_BUFFER_SHIFT 30
#define RING_BUFFERS_MAX 64

/* Room for what a container says of its IOMMU: some 50 ranges. */
#define VFIO_INFO_BYTES 1024

int sys_lock(void *address, size_t bytes) {
    if (sys_fault_due(SYS_LOCK)) {
        return -ENOMEM;
    }
    int saved = errno;
    int result = mlock2(address, bytes, MLOCK_ONFAULT) ? -errno : 0;
    errno = saved;
    return result;
}

/* Errors of the policy (seccomp, io_uring_disabled) and of the kernel's age are one to the caller. */
static int ring_register(int ring, char *address, size_t bytes) {
    struct iovec piece[RING_BUFFERS_MAX];
    unsigned n = 0;
    for (size_t done = 0; done < bytes; n++) {
        if (n == RING_BUFFERS_MAX) {
            return -ENOTSUP;
        }
        size_t length = min_size(bytes - done, (size_t)1 << RING_BUFFER_SHIFT);
        piece[n] = (struct iovec){address + done, length};
        done += length;
    }
    if (!syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, piece, n)) {
        return 0;
    }
    return errno == ENOMEM ? -ENOMEM : -ENOTSUP;
}

int sys_ring_pin(void *address, size_t bytes, int *ring) {
    if (sys_fault_due(SYS_RING)) {
        return -ENOTSUP;
    }
    int saved = errno, result = -ENOTSUP;
    struct io_uring_params params = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 1, &params);
    if (fd >= 0) {
        result = ring_register(fd, address, bytes);
    }
    if (fd >= 0 && result) {
        close(fd);
    }
    errno = saved;
    *ring = fd;
    return result;
}

/* Closing alone would unpin a while later, and not while a fork child has the descriptor too. */
void sys_ring_unpin(int ring) {
    int saved = errno;
    syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
    errno = saved;
}

int sys_pagemap(const void *address, uint64_t *words, size_t n) {
    if (sys_fault_due(SYS_PAGEMAP)) {
        return -EPERM;
    }
    int saved = errno, result = -EPERM;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    off_t at = (off_t)((uintptr_t)address / sys_page_bytes() * sizeof *words);
    if (fd >= 0) {
        ssize_t got = pread(fd, words, n * sizeof *words, at);
        result = got == (ssize_t)(n * sizeof *words) ? 0 : got >= 0 ? -EINVAL : -EPERM;
        close(fd);
    }
    errno = saved;
    return result;
}

/* --- VFIO --- */

/* Where the kernel has no list of ranges (before Linux 5.4), or one longer than there is room for, the map call says.
 */
static void read_ranges(const char *info, size_t bytes, size_t offset, struct sys_vfio *vfio) {
    *vfio = (struct sys_vfio){.nranges = 1, .range = {{0, UINT64_MAX}}};
    while (offset && offset + sizeof(struct vfio_info_cap_header) <= bytes) {
        const struct vfio_info_cap_header *header = (const void *)(info + offset);
        if (header->id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
            const struct vfio_iommu_type1_info_cap_iova_range *list = (const void *)header;
            vfio->nranges = (unsigned)min_size(list->nr_iovas, SYS_IOVA_RANGES_MAX);
            for (unsigned i = 0; i < vfio->nranges; i++) {
                vfio->range[i] = (struct sys_iova_range){list->iova_ranges[i].start, list->iova_ranges[i].end};
            }
        }
        offset = header->next;
    }
}

static int ask_vfio(int container, struct sys_vfio *vfio) {
    union {
        struct vfio_iommu_type1_info info;
        char bytes[VFIO_INFO_BYTES];
    } room = {.info.argsz = sizeof room};
    int version = ioctl(container, VFIO_GET_API_VERSION);
    if (version < 0) {
        return -errno;
    }
    if (version != VFIO_API_VERSION || ioctl(container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0) {
        return -ENOTSUP;
    }
    if (ioctl(container, VFIO_IOMMU_GET_INFO, &room)) {
        return -errno;
    }
    read_ranges(room.bytes, sizeof room, room.info.flags & VFIO_IOMMU_INFO_CAPS ? room.info.cap_offset : 0, vfio);
    return 0;
}

int sys_vfio_info(int container, struct sys_vfio *vfio) {
    if (sys_fault_due(SYS_VFIO)) {
        return -ENOTSUP;
    }
    int saved = errno;
    int result = ask_vfio(container, vfio);
    errno = saved;
    return result;
}

int sys_vfio_map(int container, const void *address, size_t bytes, uint64_t iova) {
    if (sys_fault_due(SYS_VFIO)) {
        return -ENOMEM;
    }
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof map,
        .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        .vaddr = (uintptr_t)address,
        .iova = iova,
        .size = bytes,
    };
    int saved = errno;
    int result = ioctl(container, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
    errno = saved;
    return result;
}

void sys_vfio_unmap(int container, uint64_t iova, size_t bytes) {
    struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = iova, .size = bytes};
    int saved = errno;
    ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap);
    errno = saved;
}
