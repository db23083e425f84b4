/*
 * huge_blocks: what growing and clearing gigabytes costs.
 *
 *     huge_blocks [-d]
 *
 * A block of 3 GiB, of which one byte in each 64 KiB is written, grows to 4 GiB by realloc: an allocator that copies
 * makes all of it resident. Then 2 GiB from calloc are read once per 64 KiB: nothing but the pages read may be
 * resident, and pages that were only read need not be. -d: the 3 GiB are written in full, for the time alone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static const size_t block_gib = (size_t)1 << 30, block_step = 65536;

static double block_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static _Noreturn void block_fail(const char *what) {
    fprintf(stderr, "huge_blocks: %s\n", what);
    exit(1);
}

static double block_peak_mib(void) {
    char text[4096];
    probe_read("/proc/self/status", text, sizeof(text));
    return (double)probe_find_kib(text, "VmHWM") / 1024;
}

static void block_grow(bool dense) {
    unsigned char *block = malloc(3 * block_gib);
    if (block == NULL)
        block_fail("no 3 GiB");
    if (dense)
        memset(block, 1, 3 * block_gib);
    for (size_t at = 0; at < 3 * block_gib; at += block_step)
        block[at] = (unsigned char)(at / block_step % 251);
    if (!dense)
        printf("%-34s%10.1f MiB\n", "malloc: resident after writing", (double)probe_self_kib("Rss") / 1024);
    double before = block_peak_mib(), start = block_now();
    unsigned char *grown = realloc(block, 4 * block_gib);
    double taken = block_now() - start;
    if (grown == NULL)
        block_fail("no 4 GiB");
    for (size_t at = 0; at < 3 * block_gib; at += block_step)
        if (grown[at] != at / block_step % 251)
            block_fail("contents lost in realloc");
    printf("%-34s%10.1f ms\n", "realloc from 3 to 4 GiB", taken);
    printf("%-34s%10.1f MiB\n", "realloc: peak RSS gained", block_peak_mib() - before);
    free(grown);
}

static void block_clear(void) {
    double start = block_now();
    long before = probe_self_kib("Rss");
    volatile unsigned char *block = calloc(2 * block_gib / 64, 64);
    if (block == NULL)
        block_fail("no 2 GiB");
    for (size_t at = 0; at < 2 * block_gib; at += block_step)
        if (block[at] != 0)
            block_fail("calloc: not zero");
    printf("%-34s%10.1f ms\n", "calloc of 2 GiB, read sparsely", block_now() - start);
    printf("%-34s%10.1f MiB\n", "calloc: resident after reading", (double)(probe_self_kib("Rss") - before) / 1024);
    free((void *)block);
}

int main(int argc, char **argv) {
    bool dense = argc == 2 && strcmp(argv[1], "-d") == 0;
    if (argc > 1 && !dense) {
        fputs("usage: huge_blocks [-d]\n", stderr);
        return 2;
    }
    /* First: afterwards an allocator may have the 4 GiB at hand, whose pages are not known to be zero. */
    block_clear();
    block_grow(dense);
    return 0;
}
