/*
 * memory_probe.h: what the kernel says this process, or another, holds.
 *
 * Read from smaps_rollup, which walks the page tables and is exact. statm, VmRSS and ru_maxrss add up per-processor
 * counters since Linux 6.2 and may be wrong by some hundred KiB. Reading allocates nothing.
 */
#ifndef SLABMALLOC_BENCH_MEMORY_PROBE_H
#define SLABMALLOC_BENCH_MEMORY_PROBE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The text of a small /proc file; empty when it cannot be read. */
static inline void probe_read(const char *path, char *text, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t got;
    while (file >= 0 && used + 1 < size && (got = read(file, text + used, size - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    if (file >= 0)
        close(file);
}

/* The number after "name:" at the start of a line, in KiB; -1 when there is none. */
static inline long probe_find_kib(const char *text, const char *name) {
    size_t length = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            return strtol(line + length + 1, NULL, 10);
        if (*line == '\0')
            break;
    }
    return -1;
}

/* A field of smaps_rollup of this process ("Rss", "Anonymous", "AnonHugePages"), in KiB. */
static inline long probe_self_kib(const char *name) {
    char text[4096];
    probe_read("/proc/self/smaps_rollup", text, sizeof(text));
    return probe_find_kib(text, name);
}

#endif
