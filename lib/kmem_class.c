#include "kmem_class.h"

#include "expose.h"
#include "meta.h"
#include "options.h"
#include "slab.h"
#include "sys.h"
#include "zone.h"

/* Made with the first cache, so that programs without caches have no page of it. */
struct kmem_tables {
    _Atomic(struct kmem_class *) by_class[KMEM_CLASSES]; /* first: reports from outside find it there */
    _Atomic uint32_t partial[NODE_SETS][KMEM_CLASSES / 32];
};

static struct {
    struct lock lock;
    _Atomic uint32_t count;
    struct kmem_class *free;
    _Atomic(struct kmem_tables *) tables;
} classes;

EXPOSE(KMEM_TABLES, classes.tables);
EXPOSE(KMEM_COUNT, classes.count);

static struct kmem_tables *get_tables(void) {
    return atomic_load_explicit(&classes.tables, memory_order_acquire);
}

size_t kmem_tables_bytes(void) {
    return get_tables() ? sizeof(struct kmem_tables) : 0;
}

bool kmem_make_tables(void) {
    struct kmem_tables *made = get_tables() ? NULL : meta_alloc(sizeof *made);
    lock_take(&classes.lock);
    if (made && !get_tables()) {
        atomic_store_explicit(&classes.tables, made, memory_order_release);
        made = NULL;
    }
    lock_drop(&classes.lock);
    if (made) {
        meta_free(made, sizeof *made);
    }
    return get_tables();
}

struct kmem_class *kmem_class_of(unsigned class) {
    return atomic_load_explicit(&get_tables()->by_class[class - KMEM_CLASS_FIRST], memory_order_acquire);
}

_Atomic uint32_t *kmem_partial_word(unsigned node, unsigned class) {
    return &get_tables()->partial[node][(class - KMEM_CLASS_FIRST) / 32];
}

unsigned kmem_class_count(void) {
    return atomic_load_explicit(&classes.count, memory_order_acquire);
}

struct lock *kmem_lock(void) {
    return &classes.lock;
}

static void fill(struct kmem_class *kmem, const struct kmem_class *wanted) {
    kmem->slot_bytes = wanted->slot_bytes;
    kmem->object_bytes = wanted->object_bytes;
    kmem->align = wanted->align;
    kmem->lead = wanted->lead;
    kmem->first_npages = wanted->first_npages;
    kmem->flags = wanted->flags;
    kmem->args = wanted->args;
}

struct kmem_class *kmem_class_take(const struct kmem_class *wanted, struct kmem_class **spare) {
    ASSERT(lock_held(&classes.lock));
    struct kmem_class *kmem = classes.free;
    if (kmem) {
        classes.free = kmem->next_free;
        fill(kmem, wanted);
        return kmem;
    }
    uint32_t n = atomic_load_explicit(&classes.count, memory_order_relaxed);
    if (n == KMEM_CLASSES) {
        return NULL;
    }
    kmem = *spare;
    *spare = NULL;
    kmem->class = (uint16_t)(KMEM_CLASS_FIRST + n);
    fill(kmem, wanted); /* before reports from outside can see it */
    atomic_store_explicit(&get_tables()->by_class[n], kmem, memory_order_release);
    atomic_store_explicit(&classes.count, n + 1, memory_order_release);
    return kmem;
}

void kmem_class_return(struct kmem_class *kmem) {
    ASSERT(lock_held(&classes.lock) && !kmem->caches && !kmem->parked);
    kmem->next_free = classes.free;
    classes.free = kmem;
}

void kmem_park(struct slab *slab) {
    struct kmem_class *kmem = kmem_class_of(slab->class);
    uint64_t now = sys_now_ms();
    lock_take(&classes.lock);
    kmem->parked_at = kmem->parked ? kmem->parked_at : now;
    slab->next = kmem->parked;
    kmem->parked = slab;
    atomic_store_explicit(&kmem->has_parked, true, memory_order_relaxed);
    lock_drop(&classes.lock);
}

struct slab *kmem_unpark(struct kmem_class *kmem) {
    if (likely(!kmem_has_parked(kmem))) {
        return NULL;
    }
    lock_take(&classes.lock);
    struct slab *slab = kmem->parked;
    if (slab) {
        kmem->parked = slab->next;
    }
    atomic_store_explicit(&kmem->has_parked, kmem->parked != NULL, memory_order_relaxed);
    lock_drop(&classes.lock);
    return slab;
}

bool kmem_parked_too_long(struct kmem_class *kmem) {
    if (likely(!kmem_has_parked(kmem)) || options.decay_ms < 0) {
        return false;
    }
    uint64_t now = sys_now_ms();
    lock_take(&classes.lock);
    bool due = kmem->parked && now >= kmem->parked_at + (uint64_t)options.decay_ms;
    lock_drop(&classes.lock);
    return due;
}
