/* Every call to the system may be refused, at every place where there is one: NULL with ENOMEM or no harm at all, and
 * when the fault is over nothing is lost. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hugetlb_pool.h"
#include "inject_dma.h"
#include "inject_pages.h"
#include "inject_slob.h"

/* DMA buffers and hugetlb heaps take what the pool has, which others count. */
TestSuite(inject, .init = pool_share);

static const struct workload workloads[] = {
    {"small_objects", small_objects, false},
    {"runs", runs, false},
    {"mappings", mappings, false},
    {"mappings_grown_far", mappings_grown_far, false},
    {"mappings_moved", mappings_moved, false},
    {"every_kind_becomes_every_other", every_kind_becomes_every_other, false},
    {"zeroed_blocks", zeroed_blocks, false},
    {"aligned_blocks", aligned_blocks, false},
    {"threads", threads, false},
    {"waiting_for_a_lock", waiting_for_a_lock, false},
    {"metadata_used_up", metadata_used_up, false},
    {"blocks_of_pages", blocks_of_pages, false},
    {"trims_and_decay", trims_and_decay, false},
    {"holes_given_back", holes_given_back, false},
    {"memory_given_up", memory_given_up, false},
    {"huge_pages", huge_pages, false},
    {"mixed_life_with_decay_at_once", mixed_life_with_decay_at_once, false},
    {"mixed_life_without_caches", mixed_life_without_caches, false},
    {"mixed_life_on_huge_pages", mixed_life_on_huge_pages, false},
    {"dma_buffers", dma_buffers, false},
    {"vfio_containers", vfio_containers, false},
    {"hugetlb_memory", hugetlb_memory, false},
    {"forked_children", forked_children, false},
    {"messages", messages, false},
    {"object_caches", object_caches, false},
    {"slob_heaps", slob_heaps, false},
    {"first_calls", first_calls, true},
    {"two_numa_nodes", two_numa_nodes, true},
};

/* --- A process that is watched from its start --- */

static void watch(int argc, char **argv, char **environment) {
    (void)argc;
    (void)argv;
    size_t length = strlen(INJECT_ENVIRONMENT "=");
    while (*environment && strncmp(*environment, INJECT_ENVIRONMENT "=", length) != 0) {
        environment++;
    }
    if (*environment) {
        inject = mmap(NULL, sizeof *inject, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(*environment + length), 0);
        MUST(inject != MAP_FAILED);
        two_nodes = workloads[inject->workload].run == two_numa_nodes;
        sys_fault_hook = refused;
    }
}

/* Before any constructor, so before the library's. */
__attribute__((section(".preinit_array"), used)) static void (*const watch_early)(int, char **, char **) = watch;

/* After the library's. */
__attribute__((constructor(200))) static void live_if_watched(void) {
    if (inject) {
        life(&workloads[inject->workload]);
        _exit(0);
    }
}

/* --- Tests --- */

static long point[CALLS_MAX], last[CALLS_MAX];

static void walk(const char *name) {
    SKIP_UNDER_TSAN("what the process holds would be the sanitizer's too");
    size_t i = 0;
    while (strcmp(workloads[i].name, name) != 0) {
        i++;
    }
    inject_share();
    inject->workload = i;
    size_t n = inject_points(&workloads[i], point, last), runs_made = 0, bad = 0;
    long ncalls = inject->seen;
    for (size_t k = 0; k < n && bad < 10; k++) {
        for (enum fault_extent extent = 0; extent < FAULT_EXTENTS; extent++) {
            bad += !inject_survives(&workloads[i], point[k], extent);
            runs_made++;
            if (last[k] != point[k] && rounds(20) == 20) {
                bad += !inject_survives(&workloads[i], last[k], extent);
                runs_made++;
            }
        }
    }
    printf("%s: %ld calls, %zu points, refused in %zu runs\n", name, ncalls, n, runs_made);
    fflush(stdout);
    cr_assert(n > 0 && bad == 0);
}

#define WALK(name)                                                                                                     \
    Test(inject, name) {                                                                                               \
        walk(#name);                                                                                                   \
    }

WALK(small_objects)
WALK(runs)
WALK(mappings)
WALK(mappings_grown_far)
WALK(mappings_moved)
WALK(every_kind_becomes_every_other)
WALK(zeroed_blocks)
WALK(aligned_blocks)
WALK(threads)
WALK(waiting_for_a_lock)
WALK(metadata_used_up)
WALK(blocks_of_pages)
WALK(trims_and_decay)
WALK(holes_given_back)
WALK(memory_given_up)
WALK(huge_pages)
WALK(mixed_life_with_decay_at_once)
WALK(mixed_life_without_caches)
WALK(mixed_life_on_huge_pages)
WALK(dma_buffers)
WALK(vfio_containers)
WALK(hugetlb_memory)
WALK(forked_children)
WALK(messages)
WALK(object_caches)
WALK(slob_heaps)
WALK(first_calls)
WALK(two_numa_nodes)

/* What the tests above have to pass, counted by itself. */
Test(inject, there_are_at_least_300_points) {
    SKIP_UNDER_TSAN("what the process holds would be the sanitizer's too");
    static struct seen_call place[CALLS_MAX];
    size_t total = 0, nplaces = 0;
    inject_share();
    for (size_t i = 0; i < COUNT_OF(workloads); i++) {
        inject->workload = i;
        size_t n = inject_points(&workloads[i], point, last);
        printf("%4zu points in %s\n", n, workloads[i].name);
        total += n;
        for (size_t k = 0; k < n; k++) {
            const struct seen_call *seen = &inject->call[point[k]];
            size_t at = 0;
            while (at < nplaces && memcmp(&place[at], seen, sizeof *seen) != 0) {
                at++;
            }
            place[at] = *seen;
            nplaces += at == nplaces;
        }
    }
    printf("%4zu points in all: %zu ways to a system call, by the workload that goes them\n", total, nplaces);
    fflush(stdout);
    cr_assert(total >= 300, "%zu points", total);
}
