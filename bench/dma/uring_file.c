/*
 * uring_file FILE [MIB [BLOCK_KIB [DEPTH]]]: writes and reads a file of MIB [256] with O_DIRECT through io_uring,
 * BLOCK_KIB [128] at a time, DEPTH [16] at once, and checks every byte. Once for each kind of buffer:
 *
 *   posix_memalign             the kernel pins and unpins the pages at every request
 *   posix_memalign, registered pinned once
 *   RESIDENT, HUGETLB, LONGTERM  of slabmalloc_dma_alloc, registered by an observer as the regions come
 *
 * FILE is overwritten, and removed at the end.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "slabmalloc/dma.h"

enum { ROUNDS = 3, DEPTH_MAX = 256 };

static struct {
    const char *file;
    size_t bytes, block;
    unsigned depth;
} job;

struct buffers {
    struct io_uring ring;
    char *at[DEPTH_MAX];
    int fixed; /* registered with the ring, as its only buffer */
};

static void die(const char *what, int error) {
    fprintf(stderr, "uring_file: %s: %s\n", what, strerror(error));
    exit(1);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- Contents: each word depends on its place in the file and on the round --- */

static uint64_t word_at(uint64_t place, uint64_t seed) {
    return (place + seed) * UINT64_C(0x9e3779b97f4a7c15);
}

static void fill(char *block, size_t offset, uint64_t seed) {
    uint64_t *words = (uint64_t *)block;
    for (size_t i = 0; i < job.block / 8; i++) {
        words[i] = word_at(offset / 8 + i, seed);
    }
}

static int holds(const char *block, size_t offset, uint64_t seed) {
    const uint64_t *words = (const uint64_t *)block;
    for (size_t i = 0; i < job.block / 8; i++) {
        if (words[i] != word_at(offset / 8 + i, seed)) {
            return 0;
        }
    }
    return 1;
}

/* --- Transfers --- */

static void submit(struct buffers *buffers, int fd, unsigned slot, size_t offset, int writing) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&buffers->ring);
    unsigned bytes = (unsigned)job.block;
    if (buffers->fixed && writing) {
        io_uring_prep_write_fixed(sqe, fd, buffers->at[slot], bytes, offset, 0);
    } else if (buffers->fixed) {
        io_uring_prep_read_fixed(sqe, fd, buffers->at[slot], bytes, offset, 0);
    } else if (writing) {
        io_uring_prep_write(sqe, fd, buffers->at[slot], bytes, offset);
    } else {
        io_uring_prep_read(sqe, fd, buffers->at[slot], bytes, offset);
    }
    io_uring_sqe_set_data64(sqe, slot);
    int result = io_uring_submit(&buffers->ring);
    if (result < 0) {
        die("submit", -result);
    }
}

static unsigned complete(struct buffers *buffers) {
    struct io_uring_cqe *cqe;
    int result = io_uring_wait_cqe(&buffers->ring, &cqe);
    if (result < 0) {
        die("wait", -result);
    }
    if (cqe->res != (int)job.block) {
        die("transfer", cqe->res < 0 ? -cqe->res : EIO);
    }
    unsigned slot = (unsigned)io_uring_cqe_get_data64(cqe);
    io_uring_cqe_seen(&buffers->ring, cqe);
    return slot;
}

/* The whole file once; returns seconds spent outside filling and checking. */
static double pass(struct buffers *buffers, int fd, uint64_t seed, int writing) {
    size_t at[DEPTH_MAX], next = 0, running = 0;
    double start = seconds(), own = 0;
    for (unsigned slot = 0; slot < job.depth || running;) {
        int fresh = slot < job.depth;
        unsigned use = fresh ? slot++ : complete(buffers);
        double before = seconds();
        if (!fresh) {
            running--;
            if (!writing && !holds(buffers->at[use], at[use], seed)) {
                die("a block read is not what was written", EIO);
            }
        }
        if (next < job.bytes) {
            at[use] = next;
            if (writing) {
                fill(buffers->at[use], next, seed);
            }
            own += seconds() - before;
            submit(buffers, fd, use, next, writing);
            next += job.block;
            running++;
        } else {
            own += seconds() - before;
        }
    }
    return seconds() - start - own;
}

static void measure(const char *name, struct buffers *buffers) {
    double best[2] = {1e9, 1e9};
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (int writing = 1; writing >= 0; writing--) {
            int fd = open(job.file, O_RDWR | O_CREAT | O_DIRECT, 0600);
            if (fd < 0) {
                die(job.file, errno);
            }
            double took = pass(buffers, fd, round + (uint64_t)(uintptr_t)name, writing);
            best[writing] = took < best[writing] ? took : best[writing];
            close(fd);
        }
    }
    double mib = (double)job.bytes / (1 << 20);
    printf("%-28s write %7.0f MiB/s   read %7.0f MiB/s   every byte checked\n", name, mib / best[1], mib / best[0]);
}

/* --- Buffers --- */

static void open_ring(struct buffers *buffers) {
    int result = io_uring_queue_init(DEPTH_MAX, &buffers->ring, 0);
    if (result < 0) {
        die("io_uring", -result);
    }
}

static void set_slots(struct buffers *buffers, char *all) {
    for (unsigned i = 0; i < job.depth; i++) {
        buffers->at[i] = all + i * job.block;
    }
}

static void with_memalign(const char *name, int registered) {
    struct buffers buffers = {.fixed = registered};
    void *all;
    int result = posix_memalign(&all, 4096, job.depth * job.block);
    if (result) {
        die("posix_memalign", result);
    }
    memset(all, 0, job.depth * job.block);
    open_ring(&buffers);
    set_slots(&buffers, all);
    struct iovec whole = {all, job.depth * job.block};
    result = registered ? io_uring_register_buffers(&buffers.ring, &whole, 1) : 0;
    if (result < 0) {
        die("register", -result);
    }
    measure(name, &buffers);
    io_uring_queue_exit(&buffers.ring);
    free(all);
}

static int region_added(const struct slabmalloc_dma_info *region, void *context) {
    struct buffers *buffers = context;
    struct iovec whole = {region->base, region->bytes};
    int result = io_uring_register_buffers(&buffers->ring, &whole, 1);
    buffers->fixed = !result;
    return -result;
}

static int region_removed(const struct slabmalloc_dma_info *region, void *context) {
    struct buffers *buffers = context;
    (void)region;
    buffers->fixed = 0;
    return -io_uring_unregister_buffers(&buffers->ring);
}

static void with_dma(const char *name, enum slabmalloc_dma_level level) {
    struct buffers buffers = {.fixed = 0};
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    struct slabmalloc_dma_observer observer = {region_added, region_removed, &buffers};
    spec.level = level;
    open_ring(&buffers);
    int number = slabmalloc_dma_observe(&observer);
    char *all = slabmalloc_dma_alloc(job.depth * job.block, &spec, NULL);
    if (!all) {
        printf("%-28s skipped: %s\n", name, strerror(errno));
    } else {
        set_slots(&buffers, all);
        measure(name, &buffers);
        slabmalloc_dma_free(all);
    }
    slabmalloc_dma_unobserve(number);
    io_uring_queue_exit(&buffers.ring);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "Usage: uring_file FILE [MIB [BLOCK_KIB [DEPTH]]]\n");
        return 2;
    }
    job.file = argv[1];
    job.block = (argc > 3 ? strtoul(argv[3], NULL, 10) : 128) << 10;
    job.bytes = (argc > 2 ? strtoul(argv[2], NULL, 10) : 256) << 20;
    job.depth = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 16;
    if (!job.block || job.bytes % job.block || !job.depth || job.depth > DEPTH_MAX) {
        fprintf(stderr, "uring_file: the file must be whole blocks, the depth 1 to %d\n", DEPTH_MAX);
        return 2;
    }
    with_memalign("posix_memalign", 0);
    with_memalign("posix_memalign, registered", 1);
    with_dma("RESIDENT, registered", SLABMALLOC_DMA_RESIDENT);
    with_dma("HUGETLB, registered", SLABMALLOC_DMA_HUGETLB);
    with_dma("LONGTERM, registered", SLABMALLOC_DMA_LONGTERM);
    unlink(job.file);
    return 0;
}
