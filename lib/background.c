#include "background.h"

#include "mapping.h"
#include "options.h"
#include "program.h"
#include "reclaim.h"
#include "sys.h"
#include "thread.h"
#include "zone.h"

/* Passes in a row without anything to give back until the helper ends. */
#define QUIET_MAX 4

/* With less than this left the helper ends. */
#define ENOUGH_BYTES (BACKGROUND_BYTES / 4)

/* After the kernel refused a thread. */
#define RETRY_MS 10000

static struct {
    _Atomic uint32_t alive; /* the thread's id, cleared by the kernel when it has ended; STARTING: being made */
    _Atomic uint64_t pass_at, retry_at; /* ms */
    _Atomic size_t floor;               /* bytes the last helper could not give back */
    int32_t pid;
    struct thread thread;
} background;

#define STARTING 1 /* init's id, so never one of ours */

static size_t idle_bytes(size_t sparse_pages) {
    return ((zone_dirty_pages() + sparse_pages) << PAGE_SHIFT) + mapping_cached_bytes();
}

size_t background_pass(uint64_t now_ms) {
    size_t pages = reclaim_slabs(false) + zone_decay_all();
    size_t bytes = (pages << PAGE_SHIFT) + mapping_decay(now_ms);
    atomic_store_explicit(&background.pass_at, sys_now_ms(), memory_order_relaxed);
    return bytes;
}

static int background_main(void *unused) {
    thread_started("slabmalloc");
    for (unsigned quiet = 0; quiet < QUIET_MAX;) {
        sys_sleep((uint64_t)options.decay_ms);
        quiet = background_pass(sys_now_ms()) ? 0 : quiet + 1;
        if (idle_bytes(reclaim_sparse_pages()) < ENOUGH_BYTES) {
            break;
        }
    }
    /* What could not be given back is no reason to start again. */
    atomic_store_explicit(&background.floor, idle_bytes(reclaim_sparse_pages()), memory_order_relaxed);
    (void)unused;
    return 0;
}

static bool wanted(size_t bytes) {
    size_t floor = atomic_load_explicit(&background.floor, memory_order_relaxed);
    if (bytes < floor) {
        atomic_store_explicit(&background.floor, bytes, memory_order_relaxed);
    }
    return bytes > floor + BACKGROUND_BYTES;
}

static void start(void) {
    uint32_t none = 0;
    if (!atomic_compare_exchange_strong_explicit(&background.alive, &none, STARTING, memory_order_acquire,
                                                 memory_order_relaxed)) {
        return;
    }
    /* A child of vfork runs in its parent's memory: a thread of it would end with it. */
    bool done = sys_pid() == background.pid && !program_must_stay_single() &&
                thread_start(&background.thread, background_main, &background.alive);
    if (!done) {
        atomic_store_explicit(&background.retry_at, sys_now_ms() + RETRY_MS, memory_order_relaxed);
        atomic_store_explicit(&background.alive, 0, memory_order_release);
    }
}

void background_consider(size_t sparse_pages) {
    if (!options.background || options.decay_ms <= 0 || !wanted(idle_bytes(sparse_pages)) ||
        atomic_load_explicit(&background.alive, memory_order_relaxed) ||
        sys_now_ms() < atomic_load_explicit(&background.retry_at, memory_order_relaxed)) {
        return;
    }
    start();
}

bool background_runs(uint64_t now_ms) {
    /* A helper that does not pass by is none: this may be a process made without fork handlers. */
    uint64_t passed = atomic_load_explicit(&background.pass_at, memory_order_relaxed);
    return atomic_load_explicit(&background.alive, memory_order_relaxed) &&
           now_ms < passed + 4 * (uint64_t)options.decay_ms;
}

void background_new_process(void) {
    background.pid = sys_pid();
    atomic_store_explicit(&background.alive, 0, memory_order_relaxed);
}
