/* Threads come and go; owners stay, few, and strand nothing. Calls before the first and after the last handler. */
#include <limits.h>

#include "magazine.h"
#include "owner.h"
#include "remote.h"
#include "support.h"

/* --- Hand-over at thread exit --- */

static void use_a_little(unsigned index) {
    struct rng rng = {index};
    void *p[100];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = slabmalloc_malloc(random_size(&rng, 64 * KIB));
        MUST(p[i] != NULL);
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        slabmalloc_free(p[i]);
    }
}

Test(owner, there_are_no_more_than_threads_alive_at_once) {
    for (unsigned i = 0; i < 250; i++) {
        threads_run(4, use_a_little);
        MUST(owner_count() <= 5);
    }
    MUST(stats_now().owners_active == 1);
    MUST_BE_SOUND();
}

Test(owner, thousand_threads_leave_nothing_behind) {
    slabmalloc_free(slabmalloc_malloc(1));
    for (unsigned i = 0; i < 25; i++) {
        threads_run(4, use_a_little);
    }
    slabmalloc_trim();
    struct slabmalloc_stats before = stats_now();
    for (unsigned i = 0; i < 225; i++) {
        threads_run(4, use_a_little);
    }
    slabmalloc_trim();
    struct slabmalloc_stats after = stats_now();
    MUST(after.used_bytes == before.used_bytes);
    MUST(after.magazine_bytes == 0 && after.run_cached_bytes == 0);
    MUST(after.slabs <= before.slabs);
    MUST(after.metadata_bytes <= before.metadata_bytes + 256 * KIB);
    MUST(after.zone_bytes <= before.zone_bytes + 4 * MIB);
}

#define ALIVE 48
#define EACH 300

static void *left[ALIVE * EACH];
static pthread_barrier_t all_there;

static void leave_every_third(unsigned index) {
    for (size_t i = 0; i < EACH; i++) {
        left[index * EACH + i] = slabmalloc_malloc(128);
        words_fill(left[index * EACH + i], 128, index * EACH + i);
    }
    for (size_t i = 0; i < EACH; i++) {
        if (i % 3) {
            slabmalloc_free(left[index * EACH + i]);
            left[index * EACH + i] = NULL;
        }
    }
    pthread_barrier_wait(&all_there); /* so each thread has an owner of its own */
}

Test(owner, free_objects_of_exited_threads_are_used_before_new_memory) {
    static void *mine[ALIVE * EACH * 2 / 3];
    pthread_barrier_init(&all_there, NULL, ALIVE);
    threads_run(ALIVE, leave_every_third);
    MUST(owner_count() >= ALIVE);
    struct slabmalloc_stats before = stats_now();
    for (size_t i = 0; i < COUNT_OF(mine); i++) {
        mine[i] = slabmalloc_malloc(128);
        words_fill(mine[i], 128, ~i);
    }
    struct slabmalloc_stats after = stats_now();
    MUST(after.slab_bytes <= before.slab_bytes + 128 * KIB);
    MUST(after.zone_bytes == before.zone_bytes);
    for (size_t i = 0; i < COUNT_OF(mine); i++) {
        MUST(words_hold(mine[i], 128, ~i));
        slabmalloc_free(mine[i]);
    }
    for (size_t i = 0; i < COUNT_OF(left); i++) {
        MUST(!left[i] || words_hold(left[i], 128, i));
        slabmalloc_free(left[i]);
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}

static void leave_all(unsigned index) {
    struct rng rng = {index};
    for (size_t i = 0; i < EACH; i++) {
        size_t bytes = 1 + rng_below(&rng, 40 * KIB);
        left[index * EACH + i] = slabmalloc_malloc(bytes);
        memset(left[index * EACH + i], 1, bytes);
    }
}

Test(owner, memory_of_exited_threads_is_enough_for_the_same_again) {
    size_t zone_bytes = 0;
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < ALIVE; i += 6) {
            for (unsigned j = 0; j < 6; j++) {
                leave_all(i + j); /* round 0: this thread; then exited ones are imitated by freeing from here */
            }
        }
        for (size_t i = 0; i < COUNT_OF(left); i++) {
            slabmalloc_free(left[i]);
        }
        threads_run(ALIVE, leave_all);
        for (size_t i = 0; i < COUNT_OF(left); i++) {
            slabmalloc_free(left[i]);
        }
        size_t now = stats_now().zone_bytes;
        MUST(!zone_bytes || now <= zone_bytes + zone_bytes / 4);
        zone_bytes = zone_bytes ? zone_bytes : now;
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}

/* Nobody would release what a thread without exit handler keeps. */
static void no_exit_handlers(void *arg) {
    slabmalloc_free(slabmalloc_malloc(1));
    fault_arm(1u << SYS_KEEP, *(long *)arg, FOREVER);
    for (unsigned i = 0; i < 10; i++) {
        threads_run(4, use_a_little);
        MUST(stats_now().owners_active == 1);
    }
    MUST(fault_disarm() > *(long *)arg);
    MUST_BE_SOUND();
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0 && stats_now().magazine_bytes == 0);
}

Test(owner, thread_without_an_exit_handler_strands_nothing) {
    long all = 0, all_but_the_first = 1;
    child_must_end_well(no_exit_handlers, &all);
    child_must_end_well(no_exit_handlers,
                        &all_but_the_first); /* the handler of the first cannot stay for a second round */
}

static struct owner *last_owner;

static void remember_owner(unsigned index) {
    (void)index;
    slabmalloc_free(slabmalloc_malloc(100));
    last_owner = owner_have();
}

Test(owner, next_thread_adopts_the_owner_of_an_exited_one) {
    slabmalloc_free(slabmalloc_malloc(100));
    threads_run(1, remember_owner);
    struct owner *first = last_owner;
    MUST(first && first != owner_have());
    for (unsigned i = 0; i < 10; i++) {
        threads_run(1, remember_owner);
        MUST(last_owner == first);
    }
}

Test(owner, idle_owner_holds_no_magazine_no_run_no_gathered_free) {
    void *p = slabmalloc_malloc(64);
    threads_run(1, use_a_little);
    slabmalloc_free(p);
    for (uint32_t id = 1; id <= owner_count(); id++) {
        struct owner *owner = owner_by_id(id);
        if (owner == owner_have()) {
            continue;
        }
        MUST(owner->state == OWNER_IDLE && !owner->inbox && !owner->run_cache_pages);
        for (unsigned class = 0; class < CLASS_COUNT; class ++) {
            MUST(magazine_count(owner, class) == 0 && owner->cache[class].capacity == 0);
            MUST(owner->cache[class].count[SLAB_EMPTY] == 0);
        }
        for (unsigned way = 0; way < REMOTE_WAYS; way++) {
            MUST(!owner->open[way]);
        }
    }
}

static void allocate_left(unsigned index) {
    for (size_t i = 0; i < EACH; i++) {
        left[index * EACH + i] = slabmalloc_malloc(64);
    }
}

Test(owner, tags_name_an_owner_for_ever) {
    threads_run(8, allocate_left);
    for (size_t i = 0; i < 8 * EACH; i++) {
        uint32_t tag = pagemap_tag(left[i]);
        MUST(owner_of_tag(tag) == slab_of(left[i])->owner);
        MUST((owner_tag(owner_of_tag(tag)) ^ tag) == sizeclass_of(64));
    }
    MUST_BE_SOUND();
}

/* --- Stealing --- */

Test(owner, slab_is_stolen_from_an_idle_owner_only) {
    threads_run(1, allocate_left);
    struct owner *self = owner_get();
    for (size_t i = 0; i < EACH; i += 2) {
        slabmalloc_free(left[i]);
    }
    remote_flush(self);
    struct owner *from = slab_of(left[1])->owner;
    MUST(from != self && from->state == OWNER_IDLE);
    struct slab *slab = owner_steal_slab(self, sizeclass_of(64));
    MUST(slab && slab->owner == self && slab->nfree);
    for (size_t i = 0; i < slab->npages; i++) {
        MUST(pagemap_tag((char *)slab->base + i * PAGE_BYTES) == (owner_tag(self) | slab->class));
    }
    /* Put it where it belongs, as the one who asked for it does. */
    owner_lock(self);
    owner_add_slab(self, slab);
    owner_unlock(self);
    MUST_BE_SOUND();
    MUST(owner_steal_slab(self, sizeclass_of(512)) == NULL);
}

Test(owner, slab_of_an_owner_that_is_busy_is_found_the_next_time) {
    threads_run(1, allocate_left);
    for (size_t i = 0; i < EACH; i += 2) {
        slabmalloc_free(left[i]);
    }
    remote_flush(owner_get());
    struct owner *from = slab_of(left[1])->owner;
    owner_lock(from); /* as if a sender were returning objects */
    MUST(owner_steal_slab(owner_get(), sizeclass_of(64)) == NULL);
    owner_unlock(from);
    struct slab *slab = owner_steal_slab(owner_get(), sizeclass_of(64));
    MUST(slab != NULL);
    owner_lock(owner_get());
    owner_add_slab(owner_get(), slab);
    owner_unlock(owner_get());
    MUST_BE_SOUND();
}

static void free_left_and_trim(unsigned index) {
    (void)index;
    for (size_t i = 0; i < EACH; i++) {
        slabmalloc_free(left[i]);
    }
    slabmalloc_trim(); /* returns every owner's inbox and drops every owner's empty slabs */
}

/* Between being stolen and being filed a slab is in no list, but its last objects may come back: it must survive that.
 */
Test(owner, stolen_slab_stays_while_others_free_into_it) {
    unsigned class = sizeclass_of(64);
    threads_run(1, allocate_left);
    struct owner *self = owner_get();
    slabmalloc_free(slabmalloc_malloc(64)); /* self has slabs of the class, one of them empty */
    magazine_flush(self, true);
    slabmalloc_free(left[0]);
    left[0] = NULL;
    remote_flush(self);
    struct slab *slab = owner_steal_slab(self, class);
    MUST(slab != NULL);
    uintptr_t base = slab->base;
    threads_run(1, free_left_and_trim);
    MUST(pagemap_tag((void *)base) == (owner_tag(self) | class));
    MUST(slab_of((void *)base) == slab && slab->owner == self);
    owner_lock(self);
    owner_add_slab(self, slab);
    owner_unlock(self);
    MUST_BE_SOUND();
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}

static pthread_barrier_t step;

static void stay_with_free_objects(unsigned index) {
    allocate_left(index);
    for (size_t i = 0; i < EACH; i += 2) {
        slabmalloc_free(left[index * EACH + i]);
    }
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
}

static void *stay_thread(void *arg) {
    (void)arg;
    stay_with_free_objects(0);
    return NULL;
}

Test(owner, active_owner_is_not_robbed) {
    pthread_t thread;
    pthread_barrier_init(&step, NULL, 2);
    pthread_create(&thread, NULL, stay_thread, NULL);
    pthread_barrier_wait(&step);
    MUST(owner_steal_slab(owner_get(), sizeclass_of(64)) == NULL);
    pthread_barrier_wait(&step);
    pthread_join(thread, NULL);
    MUST_BE_SOUND();
}

/* --- The first call of a thread --- */

static void *handed_over;

static void first_is_free(unsigned index) {
    (void)index;
    slabmalloc_free(handed_over);
}

static void first_is_realloc(unsigned index) {
    (void)index;
    handed_over = slabmalloc_realloc(handed_over, 5000);
    MUST(handed_over && words_hold(handed_over, 100, 1));
}

static void first_is_calloc(unsigned index) {
    (void)index;
    handed_over = slabmalloc_calloc(10, 10);
    MUST(handed_over && all_bytes_are(handed_over, 100, 0));
}

static void first_is_usable_size(unsigned index) {
    (void)index;
    MUST(slabmalloc_usable_size(handed_over) >= 100);
}

static void first_is_aligned(unsigned index) {
    (void)index;
    handed_over = slabmalloc_aligned_alloc(512, 10);
    MUST(handed_over && (uintptr_t)handed_over % 512 == 0);
}

static void first_is_trim(unsigned index) {
    (void)index;
    slabmalloc_trim();
}

static void first_is_stats(unsigned index) {
    (void)index;
    MUST(stats_now().used_bytes > 0);
    MUST_BE_SOUND();
}

Test(owner, any_call_can_be_the_first_of_a_thread) {
    handed_over = slabmalloc_malloc(100);
    words_fill(handed_over, 100, 1);
    threads_run(1, first_is_usable_size);
    threads_run(1, first_is_stats);
    threads_run(1, first_is_trim);
    threads_run(1, first_is_realloc);
    threads_run(1, first_is_free);
    threads_run(1, first_is_calloc);
    threads_run(1, first_is_free);
    threads_run(1, first_is_aligned);
    threads_run(1, first_is_free);
    static const size_t sizes[] = {1, 40 * KIB, 3 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        handed_over = slabmalloc_malloc(sizes[i]);
        threads_run(1, first_is_free);
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}

/* --- The last calls of a thread --- */

/* What C++ compiles a thread_local with a destructor to. */
int __cxa_thread_atexit_impl(void (*handler)(void *), void *arg, void *dso);
extern void *__dso_handle;

static pthread_key_t late_key;
static _Atomic unsigned late_rounds;

/* Everything a destructor could want. */
static void use_all_calls(void) {
    char *p = slabmalloc_malloc(100), *q = slabmalloc_calloc(50, 50), *r = slabmalloc_malloc(200 * KIB);
    char *s = slabmalloc_malloc(3 * MIB), *t = slabmalloc_aligned_alloc(4096, 100);
    MUST(p && q && r && s && t && all_bytes_are(q, 2500, 0));
    words_fill(p, 100, 1);
    p = slabmalloc_realloc(p, 3000);
    MUST(p && words_hold(p, 100, 1));
    void *other = slabmalloc_malloc(100);
    MUST(other != q && other != p);
    slabmalloc_free(p);
    slabmalloc_free(q);
    slabmalloc_free(r);
    slabmalloc_free(s);
    slabmalloc_free(t);
    slabmalloc_free(other);
}

static __thread struct owner *owner_at_exit;

static void free_late(void *arg) {
    static __thread unsigned times;
    slabmalloc_free(arg);
    /* The owner stays for the handlers of other keys; in the last round it may be another thread's already. */
    MUST(++times < PTHREAD_DESTRUCTOR_ITERATIONS || !owner_have());
    MUST(times > PTHREAD_DESTRUCTOR_ITERATIONS - 2 || owner_have() == owner_at_exit);
    use_all_calls();
    late_rounds++;
    /* Again in the next round, until the C library gives up. */
    pthread_setspecific(late_key, slabmalloc_malloc(48));
}

static void free_at_thread_local_destruction(void *arg) {
    slabmalloc_free(arg);
    use_all_calls();
    late_rounds++;
}

static void leave_with_destructors(unsigned index) {
    (void)index;
    MUST(!__cxa_thread_atexit_impl(free_at_thread_local_destruction, slabmalloc_malloc(32), &__dso_handle));
    pthread_setspecific(late_key, slabmalloc_malloc(48));
    use_all_calls();
    owner_at_exit = owner_have();
}

Test(owner, destructors_can_allocate_and_free_before_and_after_ours) {
    SKIP_UNDER_TSAN("its own state of a thread is gone before the last destructors");
    MUST(!pthread_key_create(&late_key, free_late));
    size_t used = stats_now().used_bytes;
    for (unsigned i = 0; i < 25; i++) {
        threads_run(4, leave_with_destructors);
    }
    MUST(late_rounds >= 100 * 5);
    slabmalloc_trim();
    /* One block a thread: what the last round allocated, nobody could free. */
    MUST(stats_now().used_bytes == used + 100 * 48);
    MUST(stats_now().owners_active == 1);
    MUST(owner_count() <= 10);
    MUST_BE_SOUND();
}

/* A thread whose first call is in a destructor. */
static void only_in_the_destructor(unsigned index) {
    (void)index;
    pthread_setspecific(late_key, (void *)&late_key);
}

static void use_late(void *arg) {
    (void)arg;
    use_all_calls();
    late_rounds++;
}

Test(owner, first_call_can_be_in_a_destructor) {
    SKIP_UNDER_TSAN("its own state of a thread is gone before the last destructors");
    MUST(!pthread_key_create(&late_key, use_late));
    for (unsigned i = 0; i < 20; i++) {
        threads_run(4, only_in_the_destructor);
    }
    MUST(late_rounds == 80);
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST(owner_count() <= 5);
    MUST_BE_SOUND();
}

/* --- Migration --- */

static void migrate_back_and_forth(unsigned index) {
    struct rng rng = {index};
    static const unsigned nodes[] = {1, 0, 63, 0};
    struct {
        void *p;
        size_t bytes;
    } live[500] = {{0}};
    for (unsigned round = 0; round < 24; round++) {
        for (size_t i = 0; i < COUNT_OF(live); i++) {
            if (live[i].p) {
                MUST(words_hold(live[i].p, live[i].bytes, i));
            }
            if (rng_below(&rng, 2)) {
                slabmalloc_free(live[i].p);
                live[i].bytes = random_size(&rng, 64 * KIB);
                live[i].p = slabmalloc_malloc(live[i].bytes);
                words_fill(live[i].p, live[i].bytes, i);
            }
        }
        struct owner *before = owner_have();
        owner_migrate(before, nodes[round % COUNT_OF(nodes)]);
        MUST(owner_have() != before);
        MUST(owner_have()->node == nodes[round % COUNT_OF(nodes)]);
        MUST(owner_active(owner_have()));
    }
    for (size_t i = 0; i < COUNT_OF(live); i++) {
        slabmalloc_free(live[i].p);
    }
}

Test(owner, migration_keeps_everything) {
    threads_run(1, migrate_back_and_forth);
    threads_run(4, migrate_back_and_forth);
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST(stats_now().owners_active <= 1); /* the migrated threads' owners were released, not only their first ones */
    MUST_BE_SOUND();
}

/* --- No memory for an owner --- */

static void free_without_owner(unsigned index) {
    (void)index;
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    slabmalloc_free(handed_over);
    errno = 0;
    void *p = slabmalloc_malloc(100);
    MUST(p || errno == ENOMEM);
    slabmalloc_free(p);
    fault_disarm();
    p = slabmalloc_malloc(100);
    MUST(p != NULL);
    slabmalloc_free(p);
}

Test(owner, thread_that_gets_no_owner_can_still_free) {
    void *keep[3000];
    for (size_t i = 0; i < COUNT_OF(keep); i++) {
        keep[i] = slabmalloc_malloc(64 << i % 4);
    }
    handed_over = keep[0];
    threads_run(1, free_without_owner);
    for (size_t i = 1; i < COUNT_OF(keep); i++) {
        slabmalloc_free(keep[i]);
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}
