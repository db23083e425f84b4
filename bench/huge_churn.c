/*
 * huge_churn: whether huge pages make bloat: what a heap of small objects gives back when it was churned down.
 *
 *     huge_churn [-m MIB of objects] [-k PERCENT kept] [-l LARGEST object, bytes] [-i SECONDS]
 *
 * Fills the heap with objects of 16 to LARGEST bytes, frees all but PERCENT of them, at random and in random order,
 * and looks which base pages of those that held a byte of an object hold none now, and which of these are still
 * resident (/proc/self/pagemap): at once, after SECONDS in which the program does nothing, after as long with a few
 * calls every 10 ms (an allocator without a thread of its own may need them), and after malloc_trim. The program's own
 * tables are on small pages outside the heap; "on huge pages" and RSS leave them out.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

enum {
    SMALLEST = 16,
    PAGE_SHIFT = 12,
    ADDRESS_BITS = 47,
    CHUNK_SHIFT = PAGE_SHIFT + 3 + PAGE_SHIFT, /* what a page of a bitmap describes: 128 MiB */
    CHUNK_PAGES = 1 << (CHUNK_SHIFT - PAGE_SHIFT),
    CHUNKS = 1 << (ADDRESS_BITS - CHUNK_SHIFT),
    CALLS_MS = 10,
};

struct churn_object {
    unsigned char *data; /* NULL: freed */
    size_t size;
};

static struct churn_object *churn_objects;
static size_t churn_count;
static uint64_t churn_state = 88172645463325252u;

/* A bit for each base page of the address space; pages of it that were never written to are not there. */
static uint64_t *churn_held, *churn_live;
static unsigned char churn_chunks[CHUNKS]; /* there are bits in that page of the bitmaps */

static uint64_t churn_random(void) {
    churn_state ^= churn_state << 13;
    churn_state ^= churn_state >> 7;
    return churn_state ^= churn_state << 17;
}

static _Noreturn void churn_fail(const char *what) {
    fprintf(stderr, "huge_churn: %s\n", what);
    exit(1);
}

/* Out of the allocator's sight, and on small pages whatever the system's setting. */
static void *churn_map(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        churn_fail("no memory for its tables");
    madvise(p, bytes, MADV_NOHUGEPAGE);
    return p;
}

static void churn_fill(size_t bytes, size_t largest) {
    size_t average = (SMALLEST + largest) / 2;
    churn_count = bytes / average;
    churn_objects = churn_map(churn_count * sizeof(*churn_objects));
    for (size_t i = 0; i < churn_count; i++) {
        size_t size = SMALLEST + (churn_random() >> 32) % (largest - SMALLEST + 1);
        unsigned char *data = malloc(size);
        if (data == NULL)
            churn_fail("out of memory");
        memset(data, (int)(size & 0xff), size);
        churn_objects[i] = (struct churn_object){data, size};
    }
}

static void churn_mark(uint64_t *pages) {
    for (size_t i = 0; i < churn_count; i++) {
        if (churn_objects[i].data == NULL)
            continue;
        uintptr_t at = (uintptr_t)churn_objects[i].data;
        for (uintptr_t page = at >> PAGE_SHIFT; page <= (at + churn_objects[i].size - 1) >> PAGE_SHIFT; page++) {
            churn_chunks[page / CHUNK_PAGES] = 1;
            pages[page / 64] |= (uint64_t)1 << page % 64;
        }
    }
}

/* Shuffles the table, and frees the first objects in it. */
static void churn_free(double kept) {
    for (size_t i = churn_count - 1; i > 0; i--) {
        size_t other = (size_t)((churn_random() >> 16) % (i + 1));
        struct churn_object swapped = churn_objects[i];
        churn_objects[i] = churn_objects[other];
        churn_objects[other] = swapped;
    }
    size_t freed = (size_t)((double)churn_count * (1 - kept));
    for (size_t i = 0; i < freed; i++) {
        free(churn_objects[i].data);
        churn_objects[i].data = NULL;
    }
}

static size_t churn_tables_kib(void) {
    size_t chunks = 0;
    for (size_t i = 0; i < CHUNKS; i++)
        chunks += churn_chunks[i];
    return churn_count * sizeof(*churn_objects) / 1024 + 2 * chunks * CHUNK_PAGES / 8 / 1024;
}

/* Pages of a chunk that held a byte, hold none, and whether they are resident. */
static void churn_look(int file, size_t chunk, size_t *empty, size_t *resident) {
    static uint64_t entries[CHUNK_PAGES];
    size_t first = chunk * CHUNK_PAGES;
    if (pread(file, entries, sizeof(entries), (off_t)(first * sizeof(*entries))) != (ssize_t)sizeof(entries))
        churn_fail("cannot read /proc/self/pagemap");
    for (size_t i = 0; i < CHUNK_PAGES; i++) {
        uint64_t bits = churn_held[(first + i) / 64] & ~churn_live[(first + i) / 64];
        if (bits >> i % 64 & 1) {
            *empty += 1;
            *resident += (entries[i] >> 62) != 0; /* present or swapped */
        }
    }
}

static void churn_print(const char *when) {
    long tables = (long)churn_tables_kib(), huge = probe_self_kib("AnonHugePages");
    long anonymous = probe_self_kib("Anonymous") - tables, rss = probe_self_kib("Rss") - tables;
    size_t empty = 0, resident = 0;
    int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < CHUNKS; i++)
        if (churn_chunks[i])
            churn_look(file, i, &empty, &resident);
    close(file);
    printf("%-24s RSS %7.1f MiB  on huge pages %5.1f%%", when, (double)rss / 1024,
           anonymous > 0 ? 100.0 * (double)huge / (double)anonymous : 0.0);
    if (empty > 0)
        printf("  given back %5.1f%%", 100.0 * (double)(empty - resident) / (double)empty);
    printf("\n");
}

static size_t churn_live_pages(void) {
    size_t pages = 0;
    for (size_t chunk = 0; chunk < CHUNKS; chunk++)
        for (size_t i = 0; churn_chunks[chunk] && i < CHUNK_PAGES / 64; i++)
            pages += (size_t)__builtin_popcountll(churn_live[chunk * CHUNK_PAGES / 64 + i]);
    return pages;
}

static void churn_call(unsigned seconds) {
    for (unsigned n = 0; n < seconds * 1000 / CALLS_MS; n++) {
        for (size_t i = 0; i < 64; i++) {
            unsigned char *volatile data = malloc(SMALLEST << i % 6);
            free(data);
        }
        nanosleep(&(struct timespec){.tv_nsec = CALLS_MS * 1000000}, NULL);
    }
}

static void churn_check(void) {
    for (size_t i = 0; i < churn_count; i++)
        for (size_t at = 0; churn_objects[i].data != NULL && at < churn_objects[i].size; at++)
            if (churn_objects[i].data[at] != (churn_objects[i].size & 0xff))
                churn_fail("a survivor lost its contents");
}

static void churn_run(double kept, unsigned wait) {
    size_t bitmap_bytes = (size_t)CHUNKS << PAGE_SHIFT;
    churn_held = churn_map(bitmap_bytes);
    churn_live = churn_map(bitmap_bytes);
    churn_mark(churn_held);
    churn_mark(churn_live); /* both have their pages from here on: churn_tables_kib */
    churn_print("filled");
    churn_free(kept);
    for (size_t i = 0; i < CHUNKS; i++)
        if (churn_chunks[i])
            memset(churn_live + i * CHUNK_PAGES / 64, 0, CHUNK_PAGES / 8);
    churn_mark(churn_live);
    printf("pages with a live byte   %11.1f MiB\n", (double)(churn_live_pages() << PAGE_SHIFT) / 1048576);
    churn_print("freed");
    nanosleep(&(struct timespec){.tv_sec = wait}, NULL);
    churn_print("idle");
    churn_call(wait);
    churn_print("with a few calls");
    malloc_trim(0);
    churn_print("after malloc_trim");
    churn_check();
}

int main(int argc, char **argv) {
    static char output[BUFSIZ]; /* or stdio takes one from the heap */
    setvbuf(stdout, output, _IOLBF, sizeof(output));
    size_t mib = 1024, largest = 512;
    unsigned wait = 5;
    double percent = 10;
    int option;
    while ((option = getopt(argc, argv, "m:k:l:i:")) != -1) {
        if (option == 'm' && atoi(optarg) > 0)
            mib = (size_t)atoi(optarg);
        else if (option == 'k' && atof(optarg) >= 0 && atof(optarg) <= 100)
            percent = atof(optarg);
        else if (option == 'l' && atoi(optarg) >= SMALLEST)
            largest = (size_t)atoi(optarg);
        else if (option == 'i')
            wait = (unsigned)atoi(optarg);
        else {
            fputs("usage: huge_churn [-m MIB of objects] [-k PERCENT kept] [-l LARGEST object] [-i SECONDS]\n", stderr);
            return 2;
        }
    }
    churn_fill(mib << 20, largest);
    churn_run(percent / 100, wait);
    return 0;
}
