/* slabmalloc/dma.h promises of fork: a buffer is the same pages in both processes, or the child has not got it; what
 * one frees is still the other's. Of pins: they end with their buffers, and close nobody's files. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dma_probe.h"

TestSuite(dma_fork, .init = pool_share);

static char *shared_by;

static void write_shared(void *arg) {
    uint64_t *frames = arg;
    size_t n = *frames;
    for (size_t i = 0; i < n; i++) {
        char *page = shared_by + i * PAGE;
        MUST(page[0] == 'p');
        page[1] = 'c';
        MUST(frame_of(page) == frames[1 + i]);
    }
}

static void must_share(enum slabmalloc_dma_level level, size_t bytes) {
    uint64_t frames[1 + 1024] = {bytes / PAGE};
    shared_by = alloc_at(level, SLABMALLOC_DMA_SHARED, bytes);
    require(shared_by, "%s", strerror(errno));
    for (size_t i = 0; i < bytes / PAGE; i++) {
        shared_by[i * PAGE] = 'p';
        frames[1 + i] = frame_of(shared_by + i * PAGE);
    }
    child_must_end_well(write_shared, frames);
    for (size_t i = 0; i < bytes / PAGE; i++) {
        char *page = shared_by + i * PAGE;
        require(page[1] == 'c', "level %d: page %zu", level, i);
        page[0] = 'q';
        require(frame_of(page) == frames[1 + i], "level %d: page %zu", level, i);
    }
    require(!slabmalloc_dma_free(shared_by));
}

Test(dma_fork, shared_buffers_are_the_same_pages_in_both_processes) {
    NEEDS_POOL(1);
    NEEDS_FRAMES();
    NEEDS_RING();
    must_share(SLABMALLOC_DMA_RESIDENT, 64 * PAGE);
    must_share(SLABMALLOC_DMA_HUGETLB, HUGE);
    must_share(SLABMALLOC_DMA_LONGTERM, 64 * PAGE);
}

static void touch(void *p) {
    *(volatile char *)p = 1;
}

Test(dma_fork, other_buffers_are_not_there_in_a_child) {
    NEEDS_RING();
    for (enum slabmalloc_dma_level level = SLABMALLOC_DMA_RESIDENT; level <= SLABMALLOC_DMA_LONGTERM; level += 2) {
        char *p = alloc_at(level, 0, 3 * PAGE);
        memset(p, 5, 3 * PAGE);
        uint64_t frame = frame_of(p);
        pid_t pid = fork();
        MUST(pid >= 0);
        if (!pid) {
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            signal(SIGSEGV, SIG_DFL);
            touch(p);
            _exit(0);
        }
        int status;
        MUST(waitpid(pid, &status, 0) == pid);
        require(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "level %d: status %x", level, (unsigned)status);
        p[0] = 6;
        require(frame_of(p) == frame && p[1] == 5, "level %d", level);
        require(!slabmalloc_dma_free(p));
    }
}

/* The descriptor of the pin that is in use now; -1: none. */
static int ring_descriptor(void) {
    for (int fd = 3; fd < 1024; fd++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) > 0 && strstr(target, "io_uring")) {
            return fd;
        }
    }
    return -1;
}

static void must_be_open(void *fd) {
    MUST(fcntl((int)(intptr_t)fd, F_GETFD) >= 0);
}

Test(dma_fork, a_file_by_the_number_of_a_closed_pin_stays_open) {
    NEEDS_RING();
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE);
    int ring = ring_descriptor();
    require(p && ring >= 100, "%d", ring); /* far from the numbers that programs count on */
    int file = open("/dev/null", O_RDONLY);
    MUST(file >= 0 && dup2(file, ring) == ring);
    child_must_end_well(must_be_open, (void *)(intptr_t)ring);
    require(!slabmalloc_dma_free(p) && fcntl(ring, F_GETFD) >= 0);
    MUST(!close(ring));
}

Test(dma_fork, a_pin_ends_with_its_descriptor) {
    NEEDS_RING();
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE);
    require(p && !slabmalloc_dma_free(p) && ring_descriptor() < 0);
}

static void life_of_a_child(void *arg) {
    char **held = arg;
    struct slabmalloc_dma_info info;
    MUST(slabmalloc_dma_free(held[0]) == -1 && errno == EINVAL); /* it has not got that one */
    MUST(slabmalloc_dma_info(held[0], &info) == -1 && errno == EINVAL);
    MUST(!slabmalloc_dma_info(held[1], &info) && info.level == 0 && info.may_move);
    MUST(!slabmalloc_dma_info(held[2], &info) && info.level == SLABMALLOC_DMA_LONGTERM);
    char *own = alloc_at(SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, PAGE);
    MUST(own != NULL);
    MUST(own < held[1] || own >= held[1] + 256 * KIB); /* the rest of that region is the parent's */
    memset(own, 9, PAGE);
    MUST(!slabmalloc_dma_free(held[1]) && !slabmalloc_dma_free(held[2]) && !slabmalloc_dma_free(own));
}

Test(dma_fork, what_a_child_frees_is_still_its_parents) {
    NEEDS_POOL(0);
    NEEDS_RING();
    char *held[] = {alloc_at(SLABMALLOC_DMA_RESIDENT, 0, PAGE),
                    alloc_at(SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, PAGE),
                    alloc_at(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_SHARED, PAGE)};
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        memset(held[i], 'x', PAGE);
    }
    uint64_t frame = frame_of(held[2]);
    child_must_end_well(life_of_a_child, held);
    stir_memory(held[2], PAGE);
    struct slabmalloc_dma_sg sg;
    require(slabmalloc_dma_map_sg(held[2], PAGE, 0, &sg, 1) == 1 &&
            sg.phys == frame * PAGE); /* its pin did not end with the child's */
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        require(all_bytes_are(held[i], PAGE, 'x') && !slabmalloc_dma_free(held[i]), "buffer %zu", i);
    }
}
