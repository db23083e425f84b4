/*
 * observe.h: a snapshot of another process's heap, taken from outside.
 *
 * The process goes on meanwhile, so what is read may contradict itself. Nothing is followed from one object of its to
 * the next: slabs are found through the page map, whose size bounds the walk, and what does not fit what the page map
 * or the size classes say is left out. An observation is consistent if nothing was left out, and if no slow path of the
 * library ran between its beginning and its end; else it is tried again a few times, and says so.
 */
#ifndef SLABMALLOC_OBSERVE_H
#define SLABMALLOC_OBSERVE_H

#include "snapshot.h"

#include "target.h"

struct observation {
    struct snapshot snapshot;
    struct snapshot_zone *zone; /* what snapshot.next_zone gives */
    size_t nzones;
    struct snapshot_object_cache *cache; /* what snapshot.next_cache gives, and unused ones; by class */
    size_t ncaches;
};

enum observe_result {
    OBSERVED,
    OBSERVE_NO_PROCESS,
    OBSERVE_NO_RIGHT,
    OBSERVE_NO_MEMORY,     /* it has ended, or is the kernel's */
    OBSERVE_NO_LIBRARY,    /* the process does not have it */
    OBSERVE_OTHER_VERSION, /* it has another: VERSION says which */
    OBSERVE_FAILED,        /* errno */
};

/* Of the process PID. VERSION gets that of the library it has, "" if it has none. The caller gives OUT to observe_free
 * in any case. */
enum observe_result observe(pid_t pid, struct observation *out, char version[32]);

void observe_free(struct observation *observation);

#endif
