/*
 * owner.h: a thread's cache: its magazines, the slabs they carve, an inbox, one lock.
 *
 *      thread --TLS--> magazines  (fast path: no lock, only this thread)
 *                      lock       (slow path: the thread itself, senders of remote magazines, thieves)
 *                      cache[]    per class: its slabs that have free objects, by how free they are
 *                      inbox      remote magazines other threads pushed
 *                      open[]     remote magazines this thread is filling for others
 *
 * Life: active (one thread) -> release -> idle (in its node's depot) -> adopt -> active. Owners are never
 * destroyed and keep their id, so a tag's owner id always finds one. A thread exits, migrates to another node,
 * or vanishes in a fork child: all three are release and adopt.
 *
 * An idle owner has empty magazines, no open remote magazines, no cached runs or pages. Its slabs wait for the next
 * thread, or are stolen one at a time by an owner that needs a slab of that class.
 *
 * Locks: one per owner, one per depot (its list), one for the table of owners.
 */
#ifndef SLABMALLOC_OWNER_H
#define SLABMALLOC_OWNER_H

#include "base.h"
#include "kmem_class.h"
#include "lock.h"
#include "pagemap.h"
#include "sizeclass.h"
#include "slab.h"

/*
 * A magazine is a stack of object pointers between a NULL and a guard:
 *
 *      [ NULL | oldest | ...  | newest |      ...      | guard ]
 *        slots                  top                      slots[capacity + 1]
 *
 * Empty is *top == NULL and full is top[1] == guard, so neither popping nor pushing needs a second pointer. Above top
 * there may be anything, even what looks like a guard: the fast path then leaves it to the slow one, which counts.
 * Only its thread writes to it; statistics read the pointers from other threads, so they are written with
 * magazine_set_top and the like.
 */
struct magazine {
    void **top;
};

#define MAGAZINE_GUARD ((void *)UINTPTR_MAX)

struct magazines {
    struct magazine of[CLASS_COUNT]; /* first: addressed by the class alone */
    uint32_t tag;                    /* owner id << TAG_CLASS_BITS; OWNER_NONE_TAG: no owner */
    struct class_table *table;       /* of the classes of object caches */
};

/* A valid shape for ids that are never issued: no page's tag matches. */
#define OWNER_NONE_TAG (UINT32_MAX & ~TAG_CLASS_MASK)

struct owner_cache {
    struct slab *list[SLAB_BINS]; /* head->prev is the tail */
    uint32_t count[SLAB_BINS];    /* slabs in each list */
    uint32_t nslabs;              /* in all of them */
    uint16_t capacity;            /* objects the magazine has slots for, 0 or a power of two minus 2 */
    uint8_t batch;                /* objects the last refill asked for */
    uint16_t before;              /* slots to begin with: half of what the thread before had */
    uint16_t drained;             /* objects below this one were put back by the last drains, newer ones are there */
    bool missed;                  /* the magazine was refilled since it was last full */
    void **slots;                 /* the magazine's, if it has a capacity */
};

/*
 * What an owner has of the class of an object cache: a magazine, and an entry. Both are made at the first use, for 32
 * classes at a time. The magazine and the remote objects are the thread's own while it is in a call of the cache; a
 * thread that is not writes them with the owner's lock (exit, trim), and so does who destroys the cache, which no
 * thread may be using then.
 */
struct class_entry {
    struct owner_cache cache;
    struct kmem_remote *remote; /* objects of other owners, freed here and not given back yet */
};

#define CLASS_CHUNK 32u

struct class_chunk {
    struct class_entry of[CLASS_CHUNK];
};

struct class_table {
    struct magazine magazine[KMEM_CLASSES]; /* top is NULL where there is no chunk */
    struct class_chunk *chunk[KMEM_CLASSES / CLASS_CHUNK];
};

#define REMOTE_WAYS 8
struct remote_magazine;
struct page_cache;

#define RUN_CACHE_SLOTS 8

enum owner_state { OWNER_IDLE, OWNER_ACTIVE };

struct owner {
    struct magazines magazines; /* must be first: TLS points at it */
    struct lock *lock;          /* not in here: fork writes to all locks, and each page it writes to is copied, twice */
    _Atomic uint32_t state;
    unsigned node;       /* its thread's home: see numa.h */
    uint32_t slow_calls; /* of this owner's thread; paces decay and the node check */
    uint32_t away;       /* consecutive node checks that found the thread on another node */
    struct owner *next_idle;
    _Atomic(struct remote_magazine *) received; /* taken from the inbox, not poured yet; written with the lock */
    struct slab *emptied;                       /* slabs in no list any more, which owner_unlock gives back */
    size_t fresh_pages;                         /* in slabs made since its magazines were swept: see magazine.c */
    size_t sparse_pages;                        /* in slabs that are more than half free, empty ones included */
    uintptr_t run_cache[RUN_CACHE_SLOTS];       /* pfn, 0: free slot; with the lock */
    size_t run_cache_pages;
    bool run_cache_idle;           /* nothing was taken from it since reclaim looked */
    struct page_cache *page_cache; /* made at its first use; written with the lock */
    struct remote_magazine *open[REMOTE_WAYS], *spare;
    uint64_t decayed_at, nodes_at; /* ms; when the nodes were last asked for */
    struct owner_cache cache[CLASS_COUNT];
    /* Written by other threads. */
    _Atomic(struct remote_magazine *) inbox __attribute__((aligned(CACHE_LINE)));
    _Atomic uint32_t inbox_count;
};

#define OWNERS_MAX 65536

/* The magazines of a thread without owner: nothing is ever written to them. */
extern const struct magazines magazines_none;
extern const struct magazine magazine_empty;
/* Where a thread has no class of a cache: zeroes that are never written, those of the page map. */
#define CLASS_TABLE_NONE ((struct class_table *)pagemap.foreign)

#define MAGAZINES_NONE ((struct magazines *)&magazines_none)

/* What the fast path uses: this thread's magazines, or those of no owner (always empty, no tag matches). */
extern __thread struct magazines *magazines_self __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* This thread's owner, adopting or creating one at its first call. NULL: no memory, or no exit handler to release it
 * (the thread is past them, or the C library refuses one); then calls are served under a lock with owner_borrow. */
struct owner *owner_get(void);

static inline struct class_chunk *owner_chunk(const struct owner *owner, unsigned class) {
    return owner->magazines.table->chunk[(class - KMEM_CLASS_FIRST) / CLASS_CHUNK];
}

/* Of a class whose chunk is there. */
static inline struct class_entry *owner_have_entry(const struct owner *owner, unsigned class) {
    return &owner_chunk(owner, class)->of[(class - KMEM_CLASS_FIRST) % CLASS_CHUNK];
}

/* What OWNER has of a cache's class; NULL: nothing yet. */
static inline struct class_entry *owner_entry(const struct owner *owner, unsigned class) {
    return owner_chunk(owner, class) ? owner_have_entry(owner, class) : NULL;
}

/* As owner_entry, making it. By its own thread, without the lock. NULL: no memory. */
struct class_entry *owner_make_entry(struct owner *owner, unsigned class);

/* Of a class that is malloc's or has an entry. */
static inline struct magazine *owner_magazine(const struct owner *owner, unsigned class) {
    return class < CLASS_COUNT ? (struct magazine *)&owner->magazines.of[class]
                               : &owner->magazines.table->magazine[class - KMEM_CLASS_FIRST];
}

static inline struct owner_cache *owner_cache(const struct owner *owner, unsigned class) {
    return class < CLASS_COUNT ? (struct owner_cache *)&owner->cache[class] : &owner_have_entry(owner, class)->cache;
}

/* The class after CLASS that is malloc's or has an entry; TAG_CLASSES: none. From 0 on, all that OWNER has. By its own
 * thread, or with the lock. */
unsigned owner_next_class(const struct owner *owner, unsigned class);

static inline bool owner_active(const struct owner *owner) {
    return atomic_load_explicit(&owner->state, memory_order_relaxed) == OWNER_ACTIVE;
}

/* This thread's owner if it has one already. */
struct owner *owner_have(void);

/* An idle owner for one operation of a thread without its own; NULL: no memory. Give it back at once. */
struct owner *owner_borrow(void);
void owner_return(struct owner *owner);

struct owner *owner_of_tag(uint32_t tag);

static inline uint32_t owner_tag(const struct owner *owner) {
    return owner->magazines.tag;
}

/* A slab with free objects of CLASS from an idle owner of OWNER's node, now OWNER's but in none of its lists. */
struct slab *owner_steal_slab(struct owner *owner, unsigned class);

/* A slab of an idle owner has free objects of CLASS: steal_slab may look. */
void owner_announce(const struct owner *owner, unsigned class);

/* Moves OWNER's thread to an owner of the node it runs on now. */
void owner_migrate(struct owner *owner, unsigned node);

/*
 * The owner's lock. No thread waits for a second lock while it holds this one: slabs that became empty go back to the
 * zone only after owner_unlock dropped it. So fork may take locks in any state of the forking thread.
 */
static inline void owner_lock(struct owner *owner) {
    lock_take(owner->lock);
}

static inline bool owner_try_lock(struct owner *owner) {
    return lock_try(owner->lock);
}

void owner_unlock(struct owner *owner);

/* A slab that is in no list, new or stolen, becomes one of OWNER's. With the owner's lock. */
void owner_add_slab(struct owner *owner, struct slab *slab);

/* Puts SLAB into the list its free count calls for, or out of all if the class has an empty one already. A slab that
 * was not added yet stays as it is. With the owner's lock. True: the slab has free objects now and had none before. */
bool owner_file_slab(struct owner *owner, struct slab *slab);

/* Takes an empty slab out, every one of CLASS, and every one. With the owner's lock. */
void owner_drop_slab(struct owner *owner, struct slab *slab);
void owner_drop_empty_slabs_of(struct owner *owner, unsigned class);
void owner_drop_empty_slabs(struct owner *owner);

/* The first slab of a list becomes its last. With the owner's lock. */
void owner_rotate(struct owner *owner, unsigned class, enum slab_bin bin);

/* SLAB, which has free objects, goes from its list to those held, and back to the end of the list its free count calls
 * for by then. With the owner's lock. */
void owner_hold_slab(struct owner *owner, struct slab *slab);
void owner_unhold_slab(struct owner *owner, struct slab *slab);

/* Every owner ever made: ids 1..owner_count(). */
uint32_t owner_count(void);
struct owner *owner_by_id(uint32_t id);

/* Owners in the depots are idle and hold nothing but slabs? Names the first broken rule, else NULL. */
const char *owner_check_idle(void);

/*
 * fork: all locks, and what a child does with the owners of threads it does not have. INSIDE: the thread is inside the
 * library, and goes on there. If it is not, the child only notes that this is to be done: one that soon ends or calls
 * exec then copies no page for it. owner_settle does it, before the first slow call in the child goes on, so whoever is
 * past owner_get never meets such an owner; then it calls SETTLED. The one lock under which others are taken: nobody
 * else is inside the library then.
 */
void owner_each_lock(void (*visit)(struct lock *lock));
void owner_fork_child(bool inside, void (*settled)(void));
void owner_settle(void);

#endif
