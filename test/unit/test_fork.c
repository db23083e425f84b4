/* Children of busy parents get a sound, fully usable heap; fork may come at any moment. */
#include "lock_wait.h"
#include "magazine.h"
#include "mapping.h"
#include "meta.h"
#include "owner.h"
#include "pagemap.h"
#include "remote.h"
#include "support.h"
#include "zone.h"

#include <sched.h>

/* A child that hangs is killed, which the parent sees. */
#define HANG_SECONDS 20

#define BUSY_THREADS 3
#define SLOTS 512

static _Atomic(char *) slot[SLOTS];
static _Atomic bool stop;

/* Everything at once, much of it other threads' memory. */
static void churn(struct rng *rng) {
    size_t bytes = 1 + random_size(rng, rng_below(rng, 64) ? 8 * KIB : 3 * MIB);
    char *p = rng_below(rng, 8) ? slabmalloc_malloc(bytes) : slabmalloc_calloc(1, bytes);
    MUST(p != NULL);
    p[0] = p[bytes - 1] = 1;
    p = atomic_exchange(&slot[rng_below(rng, SLOTS)], p);
    if (p && rng_below(rng, 8) == 0) {
        p = slabmalloc_realloc(p, 1 + random_size(rng, 50 * KIB));
    }
    slabmalloc_free(p);
}

static _Atomic unsigned begun;

static void *busy_thread(void *arg) {
    struct rng rng = {(uintptr_t)arg};
    begun++;
    while (!stop) {
        churn(&rng);
    }
    return NULL;
}

static pthread_t busy[BUSY_THREADS];

static void start_busy_threads(void) {
    for (uintptr_t i = 0; i < BUSY_THREADS; i++) {
        MUST(!pthread_create(&busy[i], NULL, busy_thread, (void *)(i + 1)));
    }
    while (!FORK_MAY_MEET_A_THREADS_START && begun < BUSY_THREADS) {
        sched_yield();
    }
}

static void stop_busy_threads(void) {
    stop = true;
    for (unsigned i = 0; i < BUSY_THREADS; i++) {
        pthread_join(busy[i], NULL);
    }
}

static pid_t guarded_fork(void) {
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        alarm(HANG_SECONDS);
    }
    return pid;
}

static void wait_for(pid_t pid) {
    int status;
    pid_t got;
    while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {
    }
    MUST(got == pid);
    MUST_BE_GOOD_END(status);
}

static void churn_for_a_while(unsigned index) {
    struct rng rng = {index + 77};
    for (unsigned i = 0; i < 200; i++) {
        churn(&rng);
    }
}

static void prove_heap_works(unsigned depth) {
    MUST_BE_SOUND();
    churn_for_a_while(depth);
    MUST_BE_SOUND();
    if (CHILDREN_MAY_START_THREADS && depth % 4 == 0) {
        threads_run(2, churn_for_a_while);
        MUST_BE_SOUND();
    }
    if (depth % 4 == 1) {
        slabmalloc_trim();
        MUST_BE_SOUND();
    }
}

static void fork_often(void *arg) {
    (void)arg;
    alarm(2 * HANG_SECONDS);
    start_busy_threads();
    char *mine = slabmalloc_malloc(5000);
    words_fill(mine, 5000, 1);
    for (unsigned i = 0; i < rounds(200 / SUPPORT_SLOWDOWN); i++) {
        pid_t pid = guarded_fork();
        if (!pid) {
            MUST(words_hold(mine, 5000, 1));
            MUST(stats_now().owners_active == 1);
            prove_heap_works(i);
            if (i % 8 == 0) {
                pid_t grandchild = guarded_fork();
                if (!grandchild) {
                    prove_heap_works(i + 1);
                    _exit(0);
                }
                wait_for(grandchild);
            }
            slabmalloc_free(mine);
            _exit(0);
        }
        wait_for(pid);
    }
    stop_busy_threads();
    MUST(words_hold(mine, 5000, 1));
    prove_heap_works(0);
}

Test(fork, children_of_a_busy_parent_can_do_everything) {
    child_must_end_well(fork_often, NULL);
}

/* --- What a child may free --- */

static void *of_threads[BUSY_THREADS][1000];
static pthread_barrier_t ready, done;

static void *allocate_and_stay(void *arg) {
    size_t index = (size_t)arg;
    for (size_t i = 0; i < 1000; i++) {
        of_threads[index][i] = slabmalloc_malloc(64 + i % 7 * 100);
        words_fill(of_threads[index][i], 64, i);
    }
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&done);
    return NULL;
}

Test(fork, child_can_free_what_the_parents_threads_allocated) {
    pthread_barrier_init(&ready, NULL, BUSY_THREADS + 1);
    pthread_barrier_init(&done, NULL, BUSY_THREADS + 1);
    for (size_t i = 0; i < BUSY_THREADS; i++) {
        pthread_create(&busy[i], NULL, allocate_and_stay, (void *)i);
    }
    pthread_barrier_wait(&ready);
    size_t used = stats_now().used_bytes, slab_bytes = stats_now().slab_bytes;
    pid_t pid = guarded_fork();
    if (!pid) {
        for (size_t t = 0; t < BUSY_THREADS; t++) {
            for (size_t i = 0; i < 1000; i++) {
                MUST(words_hold(of_threads[t][i], 64, i));
                slabmalloc_free(of_threads[t][i]);
            }
        }
        slabmalloc_trim();
        MUST_BE_SOUND();
        /* All but what was in the magazines of threads that are gone. */
        MUST(stats_now().used_bytes <= used / 2);
        /* And their slabs serve this thread: the same again takes little new memory. */
        for (size_t i = 0; i < BUSY_THREADS * 1000; i++) {
            MUST(slabmalloc_malloc(64 + i % 7 * 100));
        }
        MUST(stats_now().slab_bytes <= slab_bytes + slab_bytes / 2);
        MUST_BE_SOUND();
        _exit(0);
    }
    wait_for(pid);
    pthread_barrier_wait(&done);
    for (unsigned i = 0; i < BUSY_THREADS; i++) {
        pthread_join(busy[i], NULL);
    }
    MUST_BE_SOUND();
}

/* Everything an owner can hold beside its slabs. */
static void *hold_all(void *arg) {
    (void)arg;
    void *p[100];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = slabmalloc_malloc(64);
    }
    for (size_t i = 0; i < 50; i++) {
        slabmalloc_free(p[i]);
        slabmalloc_free(of_threads[0][i]);
    }
    slabmalloc_free(slabmalloc_malloc(100 * KIB));
    of_threads[1][0] = p[60];
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&done);
    return NULL;
}

static const struct owner *owner_of_thread(void) {
    return owner_of_tag(pagemap_tag(of_threads[1][0]));
}

static void free_to_the_inbox(void) {
    slabmalloc_free(of_threads[1][0]);
    remote_flush(owner_get());
}

static bool holds_remote_frees(const struct owner *owner) {
    for (unsigned way = 0; way < REMOTE_WAYS; way++) {
        if (owner->open[way]) {
            return true;
        }
    }
    return owner->spare || owner->inbox || owner->inbox_count;
}

static bool holds_runs(const struct owner *owner) {
    for (unsigned i = 0; i < RUN_CACHE_SLOTS; i++) {
        if (owner->run_cache[i]) {
            return true;
        }
    }
    return owner->run_cache_pages;
}

static bool holds_magazines(const struct owner *owner) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        if (owner->cache[class].capacity || owner->cache[class].batch || *owner->magazines.of[class].top) {
            return true;
        }
    }
    return false;
}

/* Any of it may have been in mid-step when fork came. */
Test(fork, child_trusts_nothing_a_lost_thread_held_beside_its_slabs) {
    pthread_barrier_init(&ready, NULL, 2);
    pthread_barrier_init(&done, NULL, 2);
    for (size_t i = 0; i < 50; i++) {
        of_threads[0][i] = slabmalloc_malloc(200);
    }
    pthread_create(&busy[0], NULL, hold_all, NULL);
    pthread_barrier_wait(&ready);
    free_to_the_inbox();
    const struct owner *lost = owner_of_thread(), *self = owner_have();
    MUST(lost != self && holds_remote_frees(lost) && lost->inbox && holds_runs(lost) && holds_magazines(lost));
    MUST(owner_active(lost));
    pid_t pid = guarded_fork();
    if (!pid) {
        owner_settle(); /* as the first slow call does */
        MUST(!owner_active(lost) && !lost->inbox);
        MUST(!holds_remote_frees(lost) && !holds_runs(lost) && !holds_magazines(lost));
        MUST(owner_have() == self && owner_active(self));
        MUST_BE_SOUND();
        _exit(0);
    }
    wait_for(pid);
    MUST(holds_runs(lost) && owner_active(lost));
    pthread_barrier_wait(&done);
    pthread_join(busy[0], NULL);
}

Test(fork, generations_of_forks_do_not_eat_owners) {
    pid_t pid = guarded_fork();
    if (!pid) {
        for (unsigned generation = 0; generation < 30; generation++) {
            threads_run(3, churn_for_a_while);
            pid_t child = guarded_fork();
            if (child) {
                wait_for(child);
                _exit(0);
            }
        }
        MUST(owner_count() <= 5);
        MUST(stats_now().owners_active == 1);
        MUST_BE_SOUND();
        _exit(0);
    }
    wait_for(pid);
}

/* --- fork by a thread that is inside the library --- */

static void fork_with(struct lock *lock) {
    lock_take(lock);
    pid_t pid = guarded_fork();
    MUST(lock_held(lock));
    lock_drop(lock);
    prove_heap_works(1);
    if (!pid) {
        _exit(0);
    }
    wait_for(pid);
}

Test(fork, can_come_while_this_thread_holds_a_lock) {
    churn_for_a_while(1);
    fork_with(owner_get()->lock);
    fork_with(&zone_next(NULL)->lock);
    fork_with(mapping_lock());
    fork_with(pagemap_lock());
    fork_with(meta_lock());
}

static struct lock *locks[256];
static size_t nlocks;

static void note_lock(struct lock *lock) {
    MUST(nlocks < COUNT_OF(locks));
    locks[nlocks++] = lock;
}

static void fork_once(void) {
    pid_t pid = guarded_fork();
    if (!pid) {
        slabmalloc_free(slabmalloc_malloc(5000));
        _exit(0);
    }
    wait_for(pid);
}

/* What a lock covers may be in mid-step while another thread holds it. */
Test(fork, waits_for_every_lock_that_another_thread_holds) {
    threads_run(3, churn_for_a_while);
    owner_each_lock(note_lock);
    zone_each_lock(note_lock);
    note_lock(mapping_lock());
    note_lock(pagemap_lock());
    note_lock(meta_lock());
    for (size_t i = 0; i < nlocks; i++) {
        if (i < 2 || i >= NODE_SETS - 1) { /* of the depots' locks the first and the last will do */
            MUST(waits_for(locks[i], fork_once));
        }
    }
    MUST_BE_SOUND();
}

static void *drop_slabs(void *arg) {
    pthread_barrier_wait(&ready);
    struct owner *owner = arg;
    owner_lock(owner);
    owner_drop_empty_slabs(owner);
    owner_unlock(owner); /* waits for the zone */
    return NULL;
}

/* This thread holds a zone; another, on its way from an owner, which fork wants first, waits for the zone. */
static void fork_across_a_waiter(void *arg) {
    (void)arg;
    alarm(HANG_SECONDS);
    struct owner *self = owner_get();
    void *p = slabmalloc_malloc(64);
    slabmalloc_free(p);
    struct lock *zone = &zone_next(NULL)->lock;
    magazine_flush(self, true);
    MUST(self->cache[sizeclass_of(64)].count[SLAB_EMPTY]);
    pthread_barrier_init(&ready, NULL, 2);
    pthread_create(&busy[0], NULL, drop_slabs, self);
    lock_take(zone);
    pthread_barrier_wait(&ready);
    usleep(20000);
    pid_t pid = guarded_fork();
    lock_drop(zone);
    if (pid) {
        pthread_join(busy[0], NULL);
        wait_for(pid);
    }
    prove_heap_works(1);
    _exit(0);
}

Test(fork, can_come_while_a_thread_with_a_lower_lock_waits_for_ours) {
    child_must_end_well(fork_across_a_waiter, NULL);
}

/* As when a signal handler forks while its thread adopts an owner or, at its end, releases one. */
static void fork_with_a_borrowed_owner(void *arg) {
    (void)arg;
    alarm(HANG_SECONDS);
    threads_run(4, churn_for_a_while); /* some are idle */
    struct owner *owner = owner_borrow();
    MUST(owner);
    pid_t pid = guarded_fork();
    MUST(owner_active(owner));
    owner_return(owner);
    MUST(!owner_active(owner));
    prove_heap_works(0);
    /* Each is in the depot once: as many can be borrowed as are idle, and the next one is new. */
    uint32_t n = owner_count();
    for (uint32_t i = 0; i < n; i++) {
        MUST(owner_borrow());
    }
    MUST(owner_count() == n + 1);
    if (pid) {
        wait_for(pid);
    }
    _exit(0);
}

Test(fork, can_come_while_this_thread_changes_its_owner) {
    child_must_end_well(fork_with_a_borrowed_owner, NULL);
}

static volatile pid_t forked;

static void fork_in_handler(int number) {
    (void)number;
    if (!forked) {
        forked = fork(); /* the child goes on where the handler came in */
        if (!forked) {
            forked = -1;
            alarm(HANG_SECONDS);
            signal(SIGUSR1, SIG_IGN);
        }
    }
}

static void *send_signals(void *arg) {
    pthread_t target = *(pthread_t *)arg;
    while (!stop) {
        pthread_kill(target, SIGUSR1);
        usleep(500);
    }
    return NULL;
}

static void fork_in_handlers(void *arg) {
    (void)arg;
    alarm(2 * HANG_SECONDS);
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
    pthread_t self = pthread_self(), sender;
    struct rng rng = {1};
    start_busy_threads();
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&sender, NULL, send_signals, &self);
    for (unsigned forks = 0; forks < rounds(100 / SUPPORT_SLOWDOWN);) {
        churn(&rng); /* interrupted anywhere */
        if (rng_below(&rng, 64) == 0) {
            slabmalloc_trim(); /* much of it under locks */
        }
        if (forked == -1) {
            prove_heap_works(1);
            _exit(0);
        }
        if (forked > 0) {
            wait_for(forked);
            forks++;
            forked = 0;
        }
    }
    /* No fork from here on: pthread_join cannot go on in a child. */
    signal(SIGUSR1, SIG_IGN);
    if (forked == -1) {
        _exit(0);
    }
    stop_busy_threads();
    pthread_join(sender, NULL);
    if (forked > 0) {
        wait_for(forked);
    }
    prove_heap_works(0);
}

Test(fork, can_come_in_a_signal_handler_that_interrupted_malloc) {
    child_must_end_well(fork_in_handlers, NULL);
}

#define FORKING_THREADS 4

static _Atomic unsigned there[2];

static void meet(unsigned place) {
    there[place]++;
    while (!FORK_MAY_MEET_A_THREADS_START && there[place] < FORKING_THREADS) {
        sched_yield();
    }
}

static void fork_from_a_thread(unsigned index) {
    churn_for_a_while(index);
    meet(0);
    for (unsigned i = 0; i < 10; i++) {
        pid_t pid = guarded_fork();
        if (!pid) {
            prove_heap_works(i);
            _exit(0);
        }
        wait_for(pid);
    }
    meet(1);
}

Test(fork, several_threads_can_fork_at_once) {
    threads_run(FORKING_THREADS, fork_from_a_thread);
    prove_heap_works(0);
}
