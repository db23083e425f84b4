/*
 * after_peak: how much memory stays resident after a peak, when the survivors are scattered.
 *
 *     after_peak [-m MIB at peak] [-k PERCENT kept] [-i SECONDS idle] [-s SEED]
 *
 * Objects of log-uniform size from 16 bytes to 64 KiB, all bytes written, up to the peak; then each one survives with
 * the given probability, the others are freed in order of allocation. "Pages with a live byte" is the least an
 * allocator that cannot move objects could keep. RSS excludes this program's own table. The situation is that of B.
 * Powers et al., "Mesh: Compacting Memory Management for C/C++ Applications", PLDI 2019.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <malloc.h>
#include <math.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

enum { SMALLEST = 16, LARGEST = 65536, PAGE_SHIFT = 12 };

struct peak_object {
    unsigned char *data;
    size_t size;
};

/* In a mapping of its own, out of the allocator's sight. */
static struct peak_object *peak_objects;
static size_t peak_count, peak_table_bytes;

static uint64_t peak_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static double peak_uniform(uint64_t *state) {
    return (double)(peak_random(state) >> 11) / 9007199254740992.0;
}

static _Noreturn void peak_fail(const char *what) {
    fprintf(stderr, "after_peak: %s\n", what);
    exit(1);
}

static void peak_print(const char *when) {
    long kib = probe_self_kib("Rss") - (long)(peak_count * sizeof(*peak_objects) >> 10);
    printf("%-34s%10.1f MiB\n", when, (double)kib / 1024);
}

static void peak_build(size_t bytes, uint64_t *random) {
    peak_table_bytes = (bytes / 1024 + 4096) * sizeof(*peak_objects);
    peak_objects =
        mmap(NULL, peak_table_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (peak_objects == MAP_FAILED)
        peak_fail("no memory for the table");
    for (size_t total = 0; total < bytes;) {
        size_t size = (size_t)(SMALLEST * pow((double)LARGEST / SMALLEST, peak_uniform(random)));
        unsigned char *data = malloc(size);
        if (data == NULL || (peak_count + 1) * sizeof(*peak_objects) > peak_table_bytes)
            peak_fail("out of memory");
        memset(data, (int)(size & 0xff), size);
        peak_objects[peak_count++] = (struct peak_object){data, size};
        total += size;
    }
}

/* Frees in order of allocation and closes the table up; returns the bytes still live. */
static size_t peak_thin(double kept, uint64_t *random) {
    size_t left = 0, live = 0;
    for (size_t i = 0; i < peak_count; i++) {
        if (peak_uniform(random) < kept) {
            live += peak_objects[i].size;
            peak_objects[left++] = peak_objects[i];
        } else
            free(peak_objects[i].data);
    }
    memset(peak_objects + left, 0, (peak_count - left) * sizeof(*peak_objects));
    peak_count = left;
    uintptr_t end = (uintptr_t)(peak_objects + left), page = (uintptr_t)1 << PAGE_SHIFT;
    uintptr_t first_free = (end + page - 1) & ~(page - 1);
    munmap((void *)first_free, (uintptr_t)peak_objects + peak_table_bytes - first_free);
    return live;
}

static void peak_sift(size_t root, size_t end) {
    struct peak_object moved = peak_objects[root];
    for (size_t child; (child = 2 * root + 1) < end; root = child) {
        child += child + 1 < end && peak_objects[child].data < peak_objects[child + 1].data;
        if (peak_objects[child].data <= moved.data)
            break;
        peak_objects[root] = peak_objects[child];
    }
    peak_objects[root] = moved;
}

/* By address. In place: glibc's qsort calls malloc, which would change what is measured. */
static void peak_sort(void) {
    for (size_t root = peak_count / 2; root-- > 0;)
        peak_sift(root, peak_count);
    for (size_t end = peak_count; end-- > 1;) {
        struct peak_object largest = peak_objects[0];
        peak_objects[0] = peak_objects[end];
        peak_objects[end] = largest;
        peak_sift(0, end);
    }
}

/* Pages holding at least one byte of a live object. Sorts the table. */
static size_t peak_live_pages(void) {
    uintptr_t next = 0;
    size_t pages = 0;
    peak_sort();
    for (size_t i = 0; i < peak_count; i++) {
        uintptr_t first = (uintptr_t)peak_objects[i].data >> PAGE_SHIFT;
        uintptr_t last = ((uintptr_t)peak_objects[i].data + peak_objects[i].size - 1) >> PAGE_SHIFT;
        first = first < next ? next : first;
        if (last >= first) {
            pages += last - first + 1;
            next = last + 1;
        }
    }
    return pages;
}

static void peak_check_contents(void) {
    for (size_t i = 0; i < peak_count; i++)
        for (size_t at = 0; at < peak_objects[i].size; at++)
            if (peak_objects[i].data[at] != (peak_objects[i].size & 0xff))
                peak_fail("a survivor lost its contents");
}

static void peak_idle(double seconds) {
    struct timespec wait = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&wait, NULL);
}

int main(int argc, char **argv) {
    double mib = 800, percent = 10, idle = 2;
    uint64_t random = 88172645463325252u;
    int option;
    while ((option = getopt(argc, argv, "m:k:i:s:")) != -1) {
        if (option == 'm')
            mib = atof(optarg);
        else if (option == 'k')
            percent = atof(optarg);
        else if (option == 'i')
            idle = atof(optarg);
        else if (option == 's')
            random += strtoull(optarg, NULL, 10) * 2654435761u;
        else {
            fputs("usage: after_peak [-m MIB at peak] [-k PERCENT kept] [-i SECONDS idle] [-s SEED]\n", stderr);
            return 2;
        }
    }
    peak_print("before");
    peak_build((size_t)(mib * 1048576), &random);
    peak_print("at the peak");
    size_t live = peak_thin(percent / 100, &random);
    peak_print("after the frees");
    peak_idle(idle);
    peak_print("after idling");
    malloc_trim(0);
    peak_print("after malloc_trim");
    printf("%-34s%10.1f MiB\n", "live bytes", (double)live / 1048576);
    printf("%-34s%10.1f MiB\n", "pages with a live byte", (double)(peak_live_pages() << PAGE_SHIFT) / 1048576);
    peak_check_contents();
    for (size_t i = 0; i < peak_count; i++)
        free(peak_objects[i].data);
    peak_print("all freed");
    peak_idle(idle);
    peak_print("all freed, after idling");
    malloc_trim(0);
    peak_print("all freed, after malloc_trim");
    return 0;
}
