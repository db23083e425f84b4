/*
 * slob_trace: what a heap holds beyond what the program asked for, on two traces of blocks with a mean size of 128
 * bytes, for SLOB through its own API (8-byte alignment), with headers and without (sized), and for whatever malloc is.
 *
 *     slob_trace [-n OBJECTS] [LIBRARY.so]
 *
 * boot   as a system that starts: of what is allocated, half is freed within the next 100 allocations, the other half
 *        stays to the end; the largest overhead once half of the objects are there.
 * churn  then each of ten times OBJECTS steps replaces a random object by one of another size: the mean.
 *
 * Sizes are exponentially distributed, cut at 3,000 bytes. Overhead is (held - live) / live, where live is the sum of
 * sizes asked for. held: for SLOB's API the pages of the heap; for malloc the anonymous memory that the process has
 * more than before (exact, from smaps_rollup). malloc is measured in children of this program: as it is, with LIBRARY
 * preloaded, and with LIBRARY and heap:slob.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "slabmalloc/slob.h"

enum { MEAN = 128, SIZE_MAXIMUM = 3000, YOUNG = 100, SAMPLES = 40 };

struct trace_object {
    void *p;
    uint32_t size;
};

static struct slabmalloc_slob *trace_heap; /* NULL: malloc */
static bool trace_sized;                   /* its blocks without headers */
static struct trace_object *trace_objects;
static size_t trace_count, trace_live;
static long trace_base_kib;
static uint64_t trace_state = 1;

static uint64_t trace_random(void) {
    uint64_t z = trace_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t trace_size(void) {
    double uniform = (double)(trace_random() >> 11) * 0x1p-53, size = 1 - log(1 - uniform) * (MEAN - 1);
    return size < SIZE_MAXIMUM ? (uint32_t)size : SIZE_MAXIMUM;
}

static void trace_take(struct trace_object *object) {
    object->size = trace_size();
    if (trace_sized)
        object->p = slabmalloc_slob_alloc_sized(trace_heap, object->size);
    else
        object->p = trace_heap ? slabmalloc_slob_alloc(trace_heap, object->size) : malloc(object->size);
    if (object->p == NULL) {
        fprintf(stderr, "slob_trace: no memory\n");
        exit(1);
    }
    memset(object->p, 1, object->size);
    trace_live += object->size;
}

static void trace_give(struct trace_object *object) {
    trace_live -= object->size;
    if (trace_sized)
        slabmalloc_slob_free_sized(trace_heap, object->p, object->size);
    else if (trace_heap)
        slabmalloc_slob_free(trace_heap, object->p);
    else
        free(object->p);
}

/* In percent of what is live. */
static double trace_overhead(void) {
    double held = (double)(probe_self_kib("Anonymous") - trace_base_kib) * 1024;
    if (trace_heap) {
        struct slabmalloc_slob_stats stats;
        slabmalloc_slob_stats(trace_heap, &stats, sizeof(stats));
        held = (double)stats.held_bytes;
    }
    return (held / (double)trace_live - 1) * 100;
}

static double trace_boot(void) {
    struct trace_object young[YOUNG] = {{NULL, 0}};
    double worst = 0;
    for (size_t i = 0; i < trace_count; i++) {
        struct trace_object *one = &young[trace_random() % YOUNG];
        if (one->p != NULL)
            trace_give(one);
        trace_take(one);
        trace_take(&trace_objects[i]);
        if (i >= trace_count / 2 && i % (trace_count / SAMPLES) == 0) {
            double now = trace_overhead();
            worst = now > worst ? now : worst;
        }
    }
    for (size_t i = 0; i < YOUNG; i++)
        if (young[i].p != NULL)
            trace_give(&young[i]);
    return worst;
}

static double trace_churn(void) {
    double sum = 0;
    for (size_t sample = 0; sample < SAMPLES; sample++) {
        for (size_t i = 0; i < trace_count * 10 / SAMPLES; i++) {
            struct trace_object *object = &trace_objects[trace_random() % trace_count];
            trace_give(object);
            trace_take(object);
        }
        sum += trace_overhead();
    }
    return sum / SAMPLES;
}

static void trace_run(const char *name) {
    size_t bytes = trace_count * sizeof(*trace_objects);
    trace_objects = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (trace_objects == MAP_FAILED)
        exit(1);
    memset(trace_objects, 0xff, bytes);
    trace_base_kib = probe_self_kib("Anonymous");
    double boot = trace_boot(), churn = trace_churn();
    printf("%-28s%9.1f%%%9.1f%%\n", name, boot, churn);
    fflush(stdout);
}

/* This program again, with malloc as LIBRARY makes it. */
static void trace_child(const char *program, const char *count, const char *name, const char *library,
                        const char *conf) {
    pid_t child = fork();
    if (child == 0) {
        if (library != NULL)
            setenv("LD_PRELOAD", library, 1);
        setenv("SLABMALLOC_CONF", conf, 1);
        setenv("SLOB_TRACE_NAME", name, 1);
        execl(program, program, "-n", count, (char *)NULL);
        _exit(127);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        fprintf(stderr, "slob_trace: %s failed\n", name);
}

int main(int argc, char **argv) {
    const char *count = "100000", *name = getenv("SLOB_TRACE_NAME");
    int option;
    while ((option = getopt(argc, argv, "n:")) != -1) {
        if (option != 'n') {
            fprintf(stderr, "usage: slob_trace [-n OBJECTS] [LIBRARY.so]\n");
            return 2;
        }
        count = optarg;
    }
    trace_count = strtoul(count, NULL, 10);
    if (trace_count < SAMPLES) {
        fprintf(stderr, "slob_trace: at least %d objects\n", SAMPLES);
        return 2;
    }
    if (name != NULL) {
        trace_run(name);
        return 0;
    }
    printf("%-28s%10s%10s\n", "overhead of", "boot", "churn");
    fflush(stdout);
    trace_child("/proc/self/exe", count, "malloc of glibc", NULL, "");
    if (optind < argc) {
        trace_child("/proc/self/exe", count, "malloc, slab mode", argv[optind], "");
        trace_child("/proc/self/exe", count, "malloc, heap:slob", argv[optind], "heap:slob");
    }
    trace_heap = slabmalloc_slob_create();
    trace_run("slabmalloc_slob_alloc");
    slabmalloc_slob_destroy(trace_heap);
    trace_heap = slabmalloc_slob_create();
    trace_sized = true;
    trace_state = 1;
    trace_live = 0;
    trace_run("slabmalloc_slob_alloc_sized");
    return 0;
}
