/* What owners keep in order: the lists of slabs, the announcements for thieves, the locks of table and depots. */
#include "lock_wait.h"
#include "magazine.h"
#include "meta.h"
#include "owner.h"
#include "remote.h"
#include "support.h"
#include "zone.h"

static void *left[12000];

/* --- Making and handing over owners --- */

static struct lock *locks[NODE_SETS + 2];
static unsigned nlocks;

static void note_lock(struct lock *lock) {
    if (nlocks < COUNT_OF(locks)) {
        locks[nlocks++] = lock;
    }
}

static void have_two_owners(void) {
    struct owner *one = owner_borrow(), *other = owner_borrow();
    MUST(one && other && one != other);
    owner_return(one);
    owner_return(other);
}

static void have_one_owner(void) {
    owner_return(owner_borrow());
}

Test(steal, making_and_adopting_one_waits_for_the_tables_and_the_depots_lock) {
    owner_each_lock(note_lock); /* the children's, the depots', the table's, then the owners' */
    MUST(waits_for(locks[NODE_SETS + 1], have_two_owners));
    MUST(!waits_for(locks[NODE_SETS + 1], have_one_owner));
    MUST(waits_for(locks[1], have_one_owner));
}

/* Free pieces of metadata are used again in turn. */
static bool is_free_metadata(const void *piece, size_t bytes) {
    for (unsigned i = 0; i < 1000; i++) {
        if (meta_alloc_dirty(bytes) == piece) {
            return true;
        }
    }
    return false;
}

static void free_some_of_left(unsigned index) {
    (void)index;
    for (size_t i = 0; i < 200; i++) {
        slabmalloc_free(left[i]);
    }
}

Test(steal, spare_remote_magazine_is_given_back_on_release) {
    struct owner *self = owner_get(), *other = owner_borrow();
    for (size_t i = 0; i < 200; i++) {
        left[i] = slabmalloc_malloc(64);
    }
    threads_run(1, free_some_of_left);
    remote_receive(self, sizeclass_of(64));
    const void *spare = self->spare;
    MUST(spare && self->open[0] == NULL);
    owner_migrate(self, 0);
    MUST(owner_have() != self && !self->spare);
    MUST(is_free_metadata(spare, sizeof(struct remote_magazine)));
    owner_return(other);
}

/* --- Slabs by what is free in them, and who may take them --- */

/* A thread that ended and left TWO objects of 2000 bytes in a slab that has no other. */
static void allocate_two(unsigned index) {
    (void)index;
    options.magazine_max = 0;
    left[0] = slabmalloc_malloc(2000);
    left[1] = slabmalloc_malloc(2000);
    MUST(slab_of(left[0])->bin == SLAB_FULL && slab_of(left[1]) == slab_of(left[0]));
}

static void give_to_self_and_check(struct slab *slab) {
    struct owner *self = owner_get();
    MUST(slab && slab->owner == self);
    owner_lock(self);
    owner_add_slab(self, slab);
    owner_unlock(self);
    MUST_BE_SOUND();
}

Test(steal, slab_that_was_full_can_be_stolen_after_a_direct_free) {
    threads_run(1, allocate_two);
    MUST(!owner_steal_slab(owner_get(), sizeclass_of(2000)));
    remote_free(NULL, pagemap_tag(left[0]), left[0]);
    give_to_self_and_check(owner_steal_slab(owner_get(), sizeclass_of(2000)));
}

Test(steal, slab_that_was_full_can_be_stolen_after_a_remote_magazine_came) {
    threads_run(1, allocate_two);
    MUST(!owner_steal_slab(owner_get(), sizeclass_of(2000)));
    slabmalloc_free(left[0]);
    remote_flush(owner_get());
    give_to_self_and_check(owner_steal_slab(owner_get(), sizeclass_of(2000)));
}

Test(steal, slab_is_filed_by_how_much_of_it_is_free) {
    unsigned class = sizeclass_of(100);
    magazine_flush(owner_get(), true);
    options.magazine_max = 0;
    left[0] = slabmalloc_malloc(100);
    struct slab *slab = slab_of(left[0]);
    for (size_t i = 1; i < slab->nobjects; i++) {
        left[i] = slabmalloc_malloc(100);
        MUST(slab_of(left[i]) == slab);
    }
    for (size_t nfree = 0; nfree <= slab->nobjects; nfree++) {
        enum slab_bin bin = !nfree                       ? SLAB_FULL
                            : nfree == slab->nobjects    ? SLAB_EMPTY
                            : 2 * nfree > slab->nobjects ? SLAB_SPARSE
                                                         : SLAB_BUSY;
        MUST(slab->bin == bin && owner_have()->cache[class].list[bin] == slab);
        MUST(owner_have()->cache[class].count[SLAB_EMPTY] == (bin == SLAB_EMPTY));
        if (nfree < slab->nobjects) {
            slabmalloc_free(left[nfree]);
        }
    }
    MUST_BE_SOUND();
}

Test(steal, one_empty_slab_of_a_class_stays_and_no_more) {
    unsigned class = sizeclass_of(100);
    magazine_flush(owner_get(), true);
    options.magazine_max = 0;
    for (size_t i = 0; i < COUNT_OF(left); i++) {
        left[i] = slabmalloc_malloc(100);
    }
    MUST(owner_have()->cache[class].nslabs > 10);
    for (size_t i = 0; i < COUNT_OF(left); i++) {
        slabmalloc_free(left[i]);
    }
    const struct owner_cache *cache = &owner_have()->cache[class];
    MUST(cache->nslabs == 1 && cache->count[SLAB_EMPTY] == 1 && cache->list[SLAB_EMPTY] &&
         !cache->list[SLAB_EMPTY]->next);
    MUST_BE_SOUND();
}

static struct owner *thief;
static struct slab *stolen;

static void steal(void) {
    stolen = owner_steal_slab(thief, sizeclass_of(2000));
}

/* Only a walk over the idle owners takes the depot's lock. */
Test(steal, thief_walks_only_when_something_was_announced) {
    owner_each_lock(note_lock);
    struct lock *depot = locks[1];
    struct owner *victim = owner_borrow();
    thief = owner_borrow();
    void *first = magazine_take_one(victim, sizeclass_of(2000)),
         *second = magazine_take_one(victim, sizeclass_of(2000));
    MUST(slab_of(first) == slab_of(second) && slab_of(first)->bin == SLAB_FULL);
    remote_free(NULL, pagemap_tag(first), first);
    MUST(slab_of(first)->bin == SLAB_BUSY);
    MUST(!waits_for(depot, steal)); /* the victim is active */
    owner_return(victim);
    MUST(waits_for(depot, steal) && stolen == slab_of(second));
    owner_lock(thief);
    owner_add_slab(thief, stolen);
    owner_unlock(thief);
    MUST(waits_for(depot, steal) && !stolen); /* there could be more */
    MUST(!waits_for(depot, steal));
    owner_return(thief);
    slabmalloc_free(second);
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
}
