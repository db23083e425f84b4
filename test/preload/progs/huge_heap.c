/*
 * huge_heap: transparent huge pages under a big heap of small objects and not under a small one.
 */
#include "tap.h"

#include <sys/mman.h>

struct object {
    struct object *next;
    char bytes[88];
};

static struct object *grow(struct object *list, size_t bytes) {
    for (size_t i = 0; i < bytes / sizeof *list; i++) {
        struct object *object = opaque(malloc(sizeof *object));
        if (!object)
            break;
        memset(object->bytes, 1, sizeof object->bytes);
        object->next = list;
        list = object;
    }
    return list;
}

static long huge_bytes(void) {
    return proc_bytes("/proc/self/smaps_rollup", "AnonHugePages:");
}

static long anonymous_bytes(void) {
    return proc_bytes("/proc/self/smaps_rollup", "Anonymous:");
}

/* The kernel may be out of free 2 MiB blocks, which says nothing about the library. */
static int kernel_gives_huge_pages(size_t bytes) {
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || madvise(p, bytes, MADV_HUGEPAGE) != 0)
        return 0;
    for (size_t i = 0; i < bytes; i += 4096)
        p[i] = 1;
    long got = huge_bytes();
    munmap(p, bytes);
    return got >= (long)(bytes / 100 * 95);
}

int main(int argc, char **argv) {
    tap_begin();
    size_t mib = (size_t)1 << 20;
    int small_only = argc > 1 && strcmp(argv[1], "small") == 0;
    struct object *list = grow(NULL, 4 * mib);
    long huge = huge_bytes(), anonymous = anonymous_bytes();
    note("4 MiB heap: %ld KiB anonymous, %ld KiB of it huge", anonymous / 1024, huge / 1024);
    ok(huge == 0, "a 4 MiB heap of small objects has no huge pages");
    ok(anonymous < (long)(7 * mib), "and takes less than 7 MiB");
    if (small_only)
        return done_testing();

    if (!tap_subject_is("slabmalloc"))
        skip("a 512 MiB heap is huge", "promised by slabmalloc only");
    else if (!kernel_gives_huge_pages(560 * mib))
        skip("a 512 MiB heap is huge", "the kernel has not enough free 2 MiB blocks");
    else {
        list = grow(list, 508 * mib);
        huge = huge_bytes();
        anonymous = anonymous_bytes();
        note("512 MiB heap: %ld MiB anonymous, %ld MiB of it huge", anonymous >> 20, huge >> 20);
        ok(huge >= (long)(512 * mib / 10 * 9), "a 512 MiB heap of small objects is at least nine tenths huge pages");
        ok(anonymous < (long)(512 * mib / 100 * 115), "and takes at most 1.15 times what its objects do");
    }
    size_t count = 0;
    while (list) {
        struct object *next = list->next;
        count += list->bytes[7] == 1;
        free(list);
        list = next;
    }
    note("%zu objects freed", count);
    return done_testing();
}
