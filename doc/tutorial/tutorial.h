/* tutorial.h: what the programs of doc/tutorial.md share: one zone in a known state, and its line of buddyinfo. */
#ifndef TUTORIAL_H
#define TUTORIAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <slabmalloc/pages.h>
#include <slabmalloc/report.h>

/* malloc takes from NORMAL: in HIGHMEM a program sees its own requests alone. */
static const struct slabmalloc_zone high = {0, SLABMALLOC_ZONE_HIGHMEM};

static inline void *must(void *p) {
    if (!p) {
        perror("tutorial");
        exit(1);
    }
    return p;
}

static inline void *take_pages(unsigned order) {
    return must(slabmalloc_alloc_pages_zonelist(&high, 1, 0, order));
}

/* Leaves the zone with one free block, of ORDER: all others are taken, and NOWAIT does not let it grow. */
static inline void leave_one_free(unsigned order) {
    void *one = take_pages(order);
    while (slabmalloc_alloc_pages_zonelist(&high, 1, SLABMALLOC_PAGE_NOWAIT, order)) {
    }
    slabmalloc_free_pages(one, order);
}

/* The zone's line of the report, with a title. The report goes to a file in memory; standard output would do as well,
 * for those who want to see every zone. */
static inline void show_buddyinfo(const char *title) {
    char line[256];
    int fd = memfd_create("buddyinfo", 0);
    FILE *file = must(fdopen(fd, "r"));
    if (slabmalloc_report_buddyinfo(fd) || lseek(fd, 0, SEEK_SET)) {
        perror("buddyinfo");
        exit(1);
    }
    printf("%s\n", title);
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, "Node 0, zone  HighMem", 21)) {
            fputs(line, stdout);
        }
    }
    fclose(file);
}

static inline struct slabmalloc_zone_info zone_now(void) {
    struct slabmalloc_zone_info info;
    slabmalloc_zone_info(high, &info, sizeof info);
    return info;
}

#endif
