/* Frees by threads that do not own the object: they come back, wait in bounded numbers, and find slabs that moved. */
#include <semaphore.h>

#include "magazine.h"
#include "meta.h"
#include "owner.h"
#include "remote.h"
#include "support.h"

#define MANY 20000

static void *object[MANY];

static void allocate(size_t n, size_t bytes) {
    for (size_t i = 0; i < n; i++) {
        object[i] = slabmalloc_malloc(bytes);
        MUST(object[i] != NULL);
        words_fill(object[i], bytes, i);
    }
}

static void release_from(size_t first, size_t n) {
    for (size_t i = first; i < first + n; i++) {
        slabmalloc_free(object[i]);
    }
}

/* What may be on its way from one thread: full ways, and inboxes at their limit. */
#define OPEN_MOST (REMOTE_WAYS * (REMOTE_BYTES + 32 * KIB))
#define INBOX_MOST ((INBOX_LIMIT + 2) * (REMOTE_BYTES + 32 * KIB))

static void free_all(unsigned index) {
    (void)index;
    release_from(0, MANY);
}

Test(remote, frees_from_another_thread_come_back_to_the_owner) {
    size_t used = stats_now().used_bytes;
    allocate(MANY, 64);
    size_t slabs = stats_now().slab_bytes;
    for (unsigned round = 0; round < 20; round++) {
        threads_run(1, free_all);
        MUST(stats_now().used_bytes - used <= INBOX_MOST);
        allocate(MANY, 64);
        MUST(stats_now().slab_bytes <= slabs + slabs / 8);
    }
    threads_run(1, free_all);
    slabmalloc_trim();
    MUST(stats_now().used_bytes == used);
    MUST_BE_SOUND();
}

Test(remote, freed_objects_keep_their_bytes) {
    options.decay_ms = -1;
    allocate(MANY, 128);
    threads_run(1, free_all);
    for (size_t i = 0; i < MANY; i++) {
        MUST(words_hold(object[i], 128, i));
    }
}

/* --- A consumer that never allocates --- */

#define RING 256

static struct {
    _Atomic(void *) slot[RING];
    _Atomic bool done;
} ring;

static void consume(unsigned index) {
    (void)index;
    for (size_t i = 0;; i = (i + 1) % RING) {
        void *p;
        while (!(p = atomic_exchange(&ring.slot[i], NULL))) {
            if (ring.done) {
                return;
            }
            sched_yield();
        }
        slabmalloc_free(p);
    }
}

static void *consumer_thread(void *arg) {
    (void)arg;
    consume(0);
    return NULL;
}

Test(remote, consumer_that_never_allocates_strands_nothing) {
    static const size_t sizes[] = {16, 64, 1000, 5000, 32 * KIB};
    pthread_t consumer;
    size_t used = stats_now().used_bytes;
    pthread_create(&consumer, NULL, consumer_thread, NULL);
    for (size_t n = 0; n < 600000 / SUPPORT_SLOWDOWN; n++) {
        void *p = slabmalloc_malloc(sizes[n / 64 % COUNT_OF(sizes)]);
        while (atomic_load(&ring.slot[n % RING])) {
            sched_yield();
        }
        atomic_store(&ring.slot[n % RING], p);
        if (n % 20000 == 0) {
            size_t out = RING * 32 * KIB;
            MUST(stats_now().used_bytes - used <= out + OPEN_MOST + INBOX_MOST);
            MUST(stats_now().slab_bytes <= used + 4 * (out + OPEN_MOST + INBOX_MOST));
        }
    }
    ring.done = true;
    pthread_join(consumer, NULL);
    slabmalloc_trim();
    MUST(stats_now().used_bytes == used);
    MUST_BE_SOUND();
}

/* --- An owner that does not look at its inbox --- */

static size_t used_at_start, most_waiting;

static void free_for_a_sleeper(unsigned index) {
    (void)index;
    for (size_t i = 0; i < MANY; i++) {
        slabmalloc_free(object[i]);
        if (i % 97 == 0) {
            struct owner *target = owner_by_id(pagemap_tag(object[MANY - 1]) >> TAG_CLASS_BITS);
            most_waiting = max_size(most_waiting, target->inbox_count);
        }
    }
    MUST(stats_now().used_bytes - used_at_start <= OPEN_MOST + INBOX_MOST);
}

Test(remote, full_inbox_is_emptied_by_the_sender) {
    static const size_t sizes[] = {16, 200, 3000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        used_at_start = stats_now().used_bytes;
        allocate(MANY, sizes[i]);
        threads_run(1, free_for_a_sleeper); /* this thread, the owner, only waits */
        MUST(most_waiting > 0 && most_waiting <= INBOX_LIMIT + 1);
        slabmalloc_trim();
        MUST(stats_now().used_bytes == used_at_start);
    }
    MUST_BE_SOUND();
}

static struct owner *sleeper;

static void free_magazines_one_by_one(unsigned index) {
    (void)index;
    for (uint32_t n = 1; n <= INBOX_LIMIT; n++) {
        release_from((n - 1) * REMOTE_OBJECTS, REMOTE_OBJECTS);
        MUST(sleeper->inbox && sleeper->inbox_count == n);
    }
    release_from((size_t)INBOX_LIMIT * REMOTE_OBJECTS, REMOTE_OBJECTS); /* one more than may wait */
    MUST(!sleeper->inbox && sleeper->inbox_count == 0);
}

Test(remote, inbox_holds_its_limit_and_no_more) {
    allocate((INBOX_LIMIT + 1) * REMOTE_OBJECTS, 64);
    sleeper = owner_have();
    threads_run(1, free_magazines_one_by_one);
    MUST_BE_SOUND();
}

Test(remote, large_objects_wait_by_bytes_not_by_number) {
    size_t used = stats_now().used_bytes;
    allocate(200, 32 * KIB);
    used_at_start = used;
    pthread_t thread;
    (void)thread;
    for (size_t i = 0; i < 200; i++) {
        object[i + 200] = NULL;
    }
    struct owner *mine = owner_have();
    threads_run(1, free_all); /* frees 200 objects and many NULLs */
    MUST(mine->inbox_count <= INBOX_LIMIT + 1);
    MUST(stats_now().used_bytes - used <= INBOX_MOST);
    slabmalloc_trim();
    MUST(stats_now().used_bytes == used);
}

static void free_some(unsigned index) {
    (void)index;
    release_from(0, 600);
}

Test(remote, received_magazines_are_used_again_or_given_back) {
    static const void *received[16];
    unsigned n = 0;
    allocate(600, 64);
    struct owner *self = owner_have();
    threads_run(1, free_some);
    for (const struct remote_magazine *m = self->inbox; m; m = m->next) {
        received[n++] = m;
    }
    MUST(n >= 9 && n == self->inbox_count);
    while (remote_receive(self, sizeclass_of(64))) {
    }
    MUST(!self->inbox && !self->received && self->inbox_count == 0 && self->spare);
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++) {
        found += received[i] == self->spare;
    }
    for (unsigned i = 0; i < 200; i++) { /* free pieces of metadata are used again in turn */
        const void *piece = meta_alloc_dirty(sizeof(struct remote_magazine));
        for (unsigned k = 0; k < n; k++) {
            found += received[k] == piece;
        }
    }
    MUST(found == n);
}

Test(remote, what_came_back_is_used_before_anything_else) {
    static void *before[600];
    allocate(600, 64);
    magazine_flush(owner_have(), false); /* what the last refill took beyond them */
    memcpy(before, object, sizeof before);
    threads_run(1, free_some);
    for (size_t i = 0; i < 600; i++) {
        const void *p = slabmalloc_malloc(64);
        bool known = false;
        for (size_t k = 0; k < COUNT_OF(before) && !known; k++) {
            known = before[k] == p;
        }
        MUST(known);
    }
    MUST(!remote_waits(owner_have()));
}

Test(remote, one_way_gathers_for_one_owner_at_a_time) {
    struct owner *self = owner_get(), *other[REMOTE_WAYS + 1];
    void *p[REMOTE_WAYS + 1];
    for (unsigned i = 0; i < COUNT_OF(other); i++) {
        other[i] = owner_borrow();
        p[i] = magazine_take_one(other[i], sizeclass_of(64));
    }
    slabmalloc_free(p[0]);
    MUST(!other[0]->inbox);
    slabmalloc_free(p[REMOTE_WAYS]); /* the same way */
    MUST(other[0]->inbox && other[0]->inbox->count == 1 && other[0]->inbox->object[0] == p[0]);
    MUST(!other[REMOTE_WAYS]->inbox);
    remote_flush(self);
    MUST(other[REMOTE_WAYS]->inbox && other[REMOTE_WAYS]->inbox->object[0] == p[REMOTE_WAYS]);
    for (unsigned i = 1; i < REMOTE_WAYS; i++) {
        slabmalloc_free(p[i]);
        MUST(!other[i]->inbox);
    }
    for (unsigned i = 0; i < COUNT_OF(other); i++) {
        owner_return(other[i]);
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}

/* --- Owners that are gone --- */

static void allocate_all(unsigned index) {
    (void)index;
    allocate(MANY, 200);
}

Test(remote, objects_of_an_exited_thread_can_be_freed) {
    size_t used = stats_now().used_bytes;
    threads_run(1, allocate_all);
    MUST(stats_now().used_bytes >= used + MANY * 200);
    release_from(0, MANY);
    MUST(stats_now().used_bytes - used <= OPEN_MOST); /* nobody will look into an idle owner's inbox */
    slabmalloc_trim();
    MUST(stats_now().used_bytes == used);
    MUST_BE_SOUND();
}

static sem_t freed_some, may_exit;

static void *wait_to_exit(void *arg) {
    (void)arg;
    allocate(600, 64);
    sem_post(&freed_some);
    sem_wait(&may_exit);
    return NULL;
}

Test(remote, inbox_of_an_exiting_thread_is_emptied) {
    pthread_t thread;
    sem_init(&freed_some, 0, 0);
    sem_init(&may_exit, 0, 0);
    size_t used = stats_now().used_bytes;
    pthread_create(&thread, NULL, wait_to_exit, NULL);
    sem_wait(&freed_some);
    release_from(0, 600);
    remote_flush(owner_get()); /* fewer than its inbox may hold, and it does not allocate again */
    sem_post(&may_exit);
    pthread_join(thread, NULL);
    MUST(stats_now().used_bytes == used);
    MUST_BE_SOUND();
}

/* The owner drains magazines into the slabs that senders return objects to. */
static pthread_barrier_t start_line;
static _Atomic bool returning;

static void *return_odd_ones(void *arg) {
    (void)arg;
    for (;;) {
        pthread_barrier_wait(&start_line);
        if (!returning) {
            return NULL;
        }
        for (size_t i = 1; i < MANY; i += 2) {
            slabmalloc_free(object[i]);
        }
        remote_flush(owner_get());
        pthread_barrier_wait(&start_line);
    }
}

Test(remote, owner_and_senders_return_to_one_slab_at_once) {
    pthread_t thread;
    pthread_barrier_init(&start_line, NULL, 2);
    returning = true;
    size_t used = stats_now().used_bytes;
    pthread_create(&thread, NULL, return_odd_ones, NULL);
    for (unsigned round = 0; round < rounds(60); round++) {
        allocate(MANY, 16 << round % 3);
        pthread_barrier_wait(&start_line);
        for (size_t i = 0; i < MANY; i += 2) {
            slabmalloc_free(object[i]); /* no allocation: senders find the inbox full */
        }
        pthread_barrier_wait(&start_line);
        slabmalloc_trim();
        MUST(stats_now().used_bytes == used);
        MUST_BE_SOUND();
    }
    returning = false;
    pthread_barrier_wait(&start_line);
    pthread_join(thread, NULL);
}

/* As when the slab was stolen while its object was on the way, and the owner adopted again since. */
Test(remote, received_objects_of_a_slab_that_changed_owner_are_forwarded) {
    struct owner *self = owner_get(), *other = owner_borrow();
    magazine_flush(self, false);
    void *p = magazine_take_one(other, sizeclass_of(64));
    struct remote_magazine *m = meta_alloc(sizeof *m);
    MUST(p && m);
    m->owner = owner_tag(self) >> TAG_CLASS_BITS;
    m->object[m->count++] = p;
    self->inbox = m;
    self->inbox_count = 1;
    MUST(slabmalloc_malloc(64) != p && !self->inbox);
    MUST(slab_is_free(slab_of(p), (size_t)slab_index(slab_of(p), p)));
    owner_return(other);
    MUST_BE_SOUND();
}

/* Three threads: A allocates and exits; F gathers frees of A's objects from before to after; T takes over a part of A's
 * slabs meanwhile. F's remote magazine then goes to A, though some of its objects are T's now. */
static sem_t a_may_exit, f_may_flush, f_gathered;

static void a_body(unsigned index) {
    (void)index;
    allocate(600, 64);
    sem_post(&f_may_flush);
    sem_wait(&a_may_exit);
}

static void *a_thread(void *arg) {
    (void)arg;
    a_body(0);
    return NULL;
}

static void *f_thread(void *arg) {
    (void)arg;
    /* From all over A's slabs, one way only, not enough to be sent. */
    for (size_t i = 0; i < 600; i += 12) {
        slabmalloc_free(object[i]);
        object[i] = NULL;
    }
    sem_post(&f_gathered);
    sem_wait(&f_may_flush);
    return NULL;
}

Test(remote, objects_of_a_slab_that_changed_owner_are_forwarded) {
    size_t used = stats_now().used_bytes;
    sem_init(&a_may_exit, 0, 0);
    sem_init(&f_may_flush, 0, 0);
    sem_init(&f_gathered, 0, 0);
    pthread_t a, f;
    pthread_create(&a, NULL, a_thread, NULL);
    sem_wait(&f_may_flush);
    pthread_create(&f, NULL, f_thread, NULL);
    sem_wait(&f_gathered);
    uint32_t of_a = pagemap_tag(object[1]) >> TAG_CLASS_BITS;
    /* Something free in each slab, so that they can be taken over. */
    for (size_t i = 1; i < 600; i += 12) {
        slabmalloc_free(object[i]);
        object[i] = NULL;
    }
    remote_flush(owner_have());
    sem_post(&a_may_exit);
    pthread_join(a, NULL);
    /* Take A's slabs until about half of the objects F holds have moved. */
    void *mine[400];
    size_t nmine = 0, moved = 0;
    while (nmine < COUNT_OF(mine) && !moved) {
        mine[nmine++] = slabmalloc_malloc(64);
        for (size_t i = 2; i < 600; i += 12) {
            moved += pagemap_tag(object[i]) >> TAG_CLASS_BITS != of_a;
        }
    }
    MUST(moved > 0);
    sem_post(&f_may_flush);
    pthread_join(f, NULL); /* its exit sends what it gathered */
    for (size_t i = 0; i < 600; i++) {
        slabmalloc_free(object[i]);
    }
    for (size_t i = 0; i < nmine; i++) {
        slabmalloc_free(mine[i]);
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == used);
    MUST_BE_SOUND();
}

static void *free_first_directly(void *arg) {
    (void)arg;
    remote_free(NULL, pagemap_tag(object[0]), object[0]);
    return NULL;
}

/* A thread without owner waits for the lock of the slab's owner; when it gets it, the slab is another's. */
Test(remote, direct_free_follows_a_slab_that_is_stolen_meanwhile) {
    magazine_flush(owner_get(), true);
    options.magazine_max = 0; /* so that a slab is full when all its objects are live */
    allocate(1, 2000);
    struct slab *slab = slab_of(object[0]);
    allocate(slab->nobjects, 2000);
    MUST(slab_of(object[0]) == slab && slab->bin == SLAB_FULL && !slab->next && slab->prev == slab);
    struct owner *from = owner_have(), *to = owner_borrow();
    pthread_t thread;
    owner_lock(from);
    uint32_t held = from->lock->word;
    pthread_create(&thread, NULL, free_first_directly, NULL);
    while (from->lock->word == held) { /* until it says that somebody waits */
        sched_yield();
    }
    /* As a thief does it. */
    from->cache[slab->class].list[SLAB_FULL] = NULL;
    from->cache[slab->class].count[SLAB_FULL] = 0;
    from->cache[slab->class].nslabs--;
    slab->bin = SLAB_UNFILED;
    slab_retag(slab, to, owner_tag(to));
    owner_lock(to); /* nobody else knows it yet */
    owner_add_slab(to, slab);
    owner_unlock(to);
    owner_unlock(from);
    pthread_join(thread, NULL);
    MUST(slab->nfree == 1 && slab->bin != SLAB_FULL && slab->owner == to);
    MUST_BE_SOUND();
    owner_return(to);
    MUST_BE_SOUND();
}

static sem_t y_is_there, y_may_exit;

static void *x_thread(void *arg) {
    (void)arg;
    allocate(60, 64); /* one slab */
    sem_post(&f_may_flush);
    sem_wait(&a_may_exit);
    return NULL;
}

static void *gather_half(void *arg) {
    (void)arg;
    release_from(0, 30);
    sem_post(&f_gathered);
    sem_wait(&f_may_flush);
    return NULL;
}

static void *adopt_only(void *arg) {
    (void)arg;
    slabmalloc_free(slabmalloc_malloc(200 * KIB));
    sem_post(&y_is_there);
    sem_wait(&y_may_exit);
    return NULL;
}

/* The last objects of a slab wait in the inbox of an owner that comes after the slab's: trim must see it become empty.
 */
Test(remote, trim_gives_back_slabs_whose_last_objects_were_on_their_way) {
    slabmalloc_free(slabmalloc_malloc(200 * KIB)); /* the first owner is this thread's */
    sem_t *const all[] = {&a_may_exit, &f_may_flush, &f_gathered, &y_is_there, &y_may_exit};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        sem_init(all[i], 0, 0);
    }
    pthread_t x, f, y;
    pthread_create(&x, NULL, x_thread, NULL);
    sem_wait(&f_may_flush);
    pthread_create(&f, NULL, gather_half, NULL);
    sem_wait(&f_gathered);
    uint32_t of_x = pagemap_tag(object[0]) >> TAG_CLASS_BITS;
    release_from(30, 30);
    remote_flush(owner_have());
    sem_post(&a_may_exit);
    pthread_join(x, NULL);
    slabmalloc_free(slabmalloc_malloc(64));
    slabmalloc_trim();
    MUST(pagemap_tag(object[0]) >> TAG_CLASS_BITS == owner_tag(owner_have()) >> TAG_CLASS_BITS);
    pthread_create(&y, NULL, adopt_only, NULL);
    sem_wait(&y_is_there);
    sem_post(&f_may_flush);
    pthread_join(f, NULL);
    MUST(owner_by_id(of_x)->inbox != NULL);
    slabmalloc_trim();
    MUST(stats_now().slab_bytes == 0);
    sem_post(&y_may_exit);
    pthread_join(y, NULL);
    MUST_BE_SOUND();
}

/* The same at random: threads that exit with objects out, whose slabs others adopt and steal while frees are under way.
 */
#define GENERATIONS 60
#define SLOTS 4096

static _Atomic(uint64_t *) shared[SLOTS];

static void live_shortly(unsigned index) {
    struct rng rng = {index + (uint64_t)(uintptr_t)&rng};
    static const size_t sizes[] = {64, 64, 64, 400};
    for (unsigned step = 0; step < 4000 / SUPPORT_SLOWDOWN; step++) {
        size_t bytes = sizes[rng_below(&rng, COUNT_OF(sizes))];
        uint64_t *p = slabmalloc_malloc(bytes);
        p[0] = bytes;
        words_fill(p + 1, bytes - 8, (uintptr_t)p);
        p = atomic_exchange(&shared[rng_below(&rng, SLOTS)], p);
        if (p) {
            MUST(words_hold(p + 1, p[0] - 8, (uintptr_t)p));
            slabmalloc_free(p);
        }
    }
}

Test(remote, frees_find_slabs_however_often_these_change_owner) {
    size_t used = stats_now().used_bytes;
    for (unsigned generation = 0; generation < GENERATIONS; generation++) {
        threads_run(1 + generation % 5, live_shortly);
        MUST_BE_SOUND();
    }
    for (size_t i = 0; i < SLOTS; i++) {
        slabmalloc_free(shared[i]);
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == used);
    MUST_BE_SOUND();
}

/* --- More owners than ways --- */

#define OWNERS 40
#define EACH 100

static pthread_barrier_t allocated, freed;

static void allocate_a_share(unsigned index) {
    for (size_t i = 0; i < EACH; i++) {
        object[i * OWNERS + index] = slabmalloc_malloc(96);
        words_fill(object[i * OWNERS + index], 96, i);
    }
    pthread_barrier_wait(&allocated);
    if (index == 0) {
        for (size_t i = 0; i < OWNERS * EACH; i++) { /* another owner each time */
            MUST(words_hold(object[i], 96, i / OWNERS));
            slabmalloc_free(object[i]);
        }
        remote_flush(owner_have());
    }
    pthread_barrier_wait(&freed);
    /* Each gets back what it gave: nothing new is needed. */
    for (size_t i = 0; i < EACH; i++) {
        object[i * OWNERS + index] = slabmalloc_malloc(96);
        slabmalloc_free(object[i * OWNERS + index]);
    }
}

Test(remote, more_owners_than_ways_lose_nothing) {
    size_t used = stats_now().used_bytes;
    pthread_barrier_init(&allocated, NULL, OWNERS);
    pthread_barrier_init(&freed, NULL, OWNERS);
    threads_run(OWNERS, allocate_a_share);
    slabmalloc_trim();
    MUST(stats_now().used_bytes == used);
    MUST_BE_SOUND();
}

Test(remote, works_when_there_is_no_memory_for_a_remote_magazine) {
    size_t used = stats_now().used_bytes;
    threads_run(1, allocate_all);
    slabmalloc_free(slabmalloc_malloc(1));
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    release_from(0, MANY);
    fault_disarm();
    slabmalloc_trim();
    MUST(stats_now().used_bytes == used);
    MUST_BE_SOUND();
}

Test(remote, works_when_there_is_no_piece_of_metadata_at_all) {
    size_t used = stats_now().used_bytes;
    threads_run(1, allocate_all);
    struct owner *self = owner_get();
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    for (size_t bytes = 1 * MIB; bytes >= META_MIN; bytes /= 2) {
        while (meta_alloc_dirty(bytes)) {
        }
    }
    slabmalloc_free(object[0]);
    for (unsigned way = 0; way < REMOTE_WAYS; way++) {
        MUST(!self->open[way]);
    }
    release_from(1, MANY - 1);
    fault_disarm();
    slabmalloc_trim();
    MUST(stats_now().used_bytes == used);
    MUST_BE_SOUND();
}

/* --- Misuse --- */

static void free_one_twice(unsigned index) {
    (void)index;
    slabmalloc_free(object[0]);
    slabmalloc_free(object[0]);
}

static void remote_double_free(void *arg) {
    allocate(1, *(size_t *)arg);
    threads_run(1, free_one_twice);
}

Test(remote, immediate_double_free_by_another_thread_aborts) {
    size_t sizes[] = {16, 1000, 16 * KIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        must_die_of("double free", remote_double_free, &sizes[i]);
    }
}

static void free_one(unsigned index) {
    slabmalloc_free((char *)object[0] + index);
}

static void free_one_inside(unsigned index) {
    free_one(index + 8);
}

static void remote_free_inside(void *arg) {
    allocate(1, *(size_t *)arg);
    threads_run(1, free_one_inside);
}

Test(remote, free_inside_an_object_by_another_thread_aborts) {
    size_t sizes[] = {16, 48, 1000, 32 * KIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        must_die_of("free of a pointer inside an object", remote_free_inside, &sizes[i]);
    }
}

static void free_in_two_threads(void *arg) {
    (void)arg;
    allocate(1, 64);
    threads_run(1, free_one);
    threads_run(1, free_one);
    slabmalloc_trim();
}

Test(remote, double_free_by_two_threads_aborts_when_both_came_back) {
    must_die_of("double free", free_in_two_threads, NULL);
}
