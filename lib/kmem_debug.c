#include "kmem_debug.h"

#include <string.h>

#include "fault.h"
#include "meta.h"
#include "sys.h"

#define RED_FREE 0xbb
#define RED_LIVE 0xcc
#define POISON_FREE 0x6b
#define POISON_END 0xa5
#define POISON_LIVE 0x5a

/* A red zone as long as the alignment costs too much beyond this. */
#define LEAD_MAX ((size_t)1 << 10)

size_t kmem_debug_lead(unsigned flags, size_t align) {
    bool lead = flags & SLABMALLOC_CACHE_RED_ZONE && align <= LEAD_MAX;
    return lead ? max_size(align, 2 * KMEM_RED_ZONE_MIN) : 0;
}

/* --- Lines --- */

/* The track of the object that starts at P; NULL: none. */
static struct kmem_track *track_of(const void *p) {
    const struct slab *slab = slab_of(p);
    long index = slab_index(slab, p);
    struct kmem_track *track = index >= 0 && slab_constructed(slab) ? ((struct slab_more *)slab)->track : NULL;
    return track ? &track[index] : NULL;
}

static void add_call(struct message *m, const char *what, uintptr_t by, int32_t thread) {
    if (by) {
        message_string(m, what);
        message_number(m, by, 16);
        message_string(m, " by thread ");
        message_number(m, (uintptr_t)thread, 10);
    }
}

static void add_object(struct message *m, const void *p, const char *name) {
    message_number(m, (uintptr_t)p, 16);
    message_string(m, " of cache '");
    message_string(m, name);
    message_string(m, "'");
}

static void add_track(struct message *m, const void *p) {
    const struct kmem_track *track = track_of(p);
    if (track) {
        add_call(m, ", allocated from ", track->alloc_by, track->alloc_thread);
        add_call(m, ", freed from ", track->free_by, track->free_thread);
    }
}

static void fatal(const struct kmem_class *kmem, const char *what, const void *p) {
    struct message m = {.length = 0};
    message_string(&m, "slabmalloc: fatal: ");
    message_string(&m, what);
    message_string(&m, ": ");
    add_object(&m, p, kmem_name(kmem));
    add_track(&m, p);
    message_fatal(&m);
}

void kmem_debug_wrong_cache(const void *p, const char *name, const struct kmem_class *is_of) {
    struct message m = {.length = 0};
    message_string(&m, "slabmalloc: fatal: free to the wrong cache: ");
    if (is_of) {
        add_object(&m, p, kmem_name(is_of));
    } else {
        message_number(&m, (uintptr_t)p, 16);
        message_string(&m, " of no cache");
    }
    message_string(&m, ", freed to '");
    message_string(&m, name);
    message_string(&m, "'");
    if (is_of) {
        add_track(&m, p);
    }
    message_fatal(&m);
}

/* --- Bytes --- */

static bool all_bytes(const unsigned char *at, size_t n, unsigned char value) {
    for (size_t i = 0; i < n; i++) {
        if (at[i] != value) {
            return false;
        }
    }
    return true;
}

static size_t tail_bytes(const struct kmem_class *kmem) {
    return kmem->slot_bytes - kmem->lead - kmem->object_bytes;
}

static bool red_zones_are(const struct kmem_class *kmem, const void *p, unsigned char value) {
    const unsigned char *object = p;
    return !(kmem->flags & SLABMALLOC_CACHE_RED_ZONE) ||
           (all_bytes(object - kmem->lead, kmem->lead, value) &&
            all_bytes(object + kmem->object_bytes, tail_bytes(kmem), value));
}

static void set_red_zones(const struct kmem_class *kmem, void *p, unsigned char value) {
    unsigned char *object = p;
    if (kmem->flags & SLABMALLOC_CACHE_RED_ZONE) {
        memset(object - kmem->lead, value, kmem->lead);
        memset(object + kmem->object_bytes, value, tail_bytes(kmem));
    }
}

/* Free objects of caches with a constructor are constructed. */
static bool poisons(const struct kmem_class *kmem) {
    return kmem->flags & SLABMALLOC_CACHE_POISON && !kmem->args.ctor;
}

static void set_poison(const struct kmem_class *kmem, void *p) {
    unsigned char *object = p;
    if (poisons(kmem)) {
        memset(object, POISON_FREE, kmem->object_bytes - 1);
        object[kmem->object_bytes - 1] = POISON_END;
    }
}

/* P is free and prepared: nobody may have written to it. */
static void check_free(const struct kmem_class *kmem, const void *p) {
    const unsigned char *object = p;
    if (!red_zones_are(kmem, p, RED_FREE)) {
        fatal(kmem, "write beside a free object", p);
    }
    size_t last = kmem->object_bytes - 1;
    if (poisons(kmem) && (!all_bytes(object, last, POISON_FREE) || object[last] != POISON_END)) {
        fatal(kmem, "write to a free object", p);
    }
}

/* --- Calls --- */

void kmem_debug_prepare(const struct kmem_class *kmem, void *p) {
    set_red_zones(kmem, p, RED_FREE);
    set_poison(kmem, p);
}

/* The slab's tracks, made at its first allocation. */
static struct kmem_track *make_track(struct slab *slab, const void *p) {
    struct slab_more *more = (struct slab_more *)slab;
    struct kmem_track *track = track_of(p);
    size_t bytes = slab->nobjects * sizeof *track;
    struct kmem_track *made = track ? NULL : meta_alloc(bytes);
    if (!made) {
        return track;
    }
    struct owner *owner = slab_owner(slab);
    owner_lock(owner);
    if (!more->track) {
        more->track = made;
        made = NULL;
    }
    owner_unlock(owner);
    if (made) {
        meta_free(made, bytes);
    }
    return track_of(p);
}

void kmem_debug_alloc(const struct kmem_class *kmem, void *p, const void *caller) {
    check_free(kmem, p);
    set_red_zones(kmem, p, RED_LIVE);
    if (poisons(kmem)) {
        memset(p, POISON_LIVE, kmem->object_bytes);
    }
    struct kmem_track *track = kmem->flags & SLABMALLOC_CACHE_STORE_USER ? make_track(slab_of(p), p) : NULL;
    if (track) {
        *track = (struct kmem_track){.alloc_by = (uintptr_t)caller, .alloc_thread = sys_thread_id()};
    }
}

/* With CONSISTENCY_CHECKS: the slab's own records. */
static void check_slab(const struct kmem_class *kmem, struct slab *slab, const void *p) {
    struct owner *owner = slab_owner(slab);
    owner_lock(owner);
    const char *broken = slab_owner(slab) == owner ? slab_check(slab) : NULL;
    owner_unlock(owner);
    if (broken) {
        fatal(kmem, broken, p);
    }
}

void kmem_debug_free(const struct kmem_class *kmem, void *p, const void *caller) {
    struct slab *slab = slab_of(p);
    long index = slab_index(slab, p);
    if (index < 0) {
        fatal(kmem, "free of a pointer inside an object", p);
    }
    if (slab_is_free(slab, (size_t)index)) {
        fatal(kmem, "double free", p);
    }
    if (!red_zones_are(kmem, p, RED_LIVE)) {
        fatal(kmem, "write beside an object", p);
    }
    if (kmem->flags & SLABMALLOC_CACHE_CONSISTENCY_CHECKS) {
        check_slab(kmem, slab, p);
    }
    set_red_zones(kmem, p, RED_FREE);
    set_poison(kmem, p);
    struct kmem_track *track = track_of(p);
    if (track) {
        track->free_by = (uintptr_t)caller;
        track->free_thread = sys_thread_id();
    }
}

/* --- All objects --- */

struct walk {
    const struct kmem_class *kmem;
    const void *live[KMEM_REPORT_MAX];
    size_t nlive;
};

static void look_at(struct walk *walk, const struct slab *slab) {
    const uint64_t *prepared = slab_constructed(slab);
    for (size_t i = 0; i < slab->nobjects; i++) {
        const void *p = (const void *)(slab->base + i * slab->bytes);
        if (!slab_is_free(slab, i)) {
            walk->live[min_size(walk->nlive, KMEM_REPORT_MAX - 1)] = p;
            walk->nlive++;
        } else if (prepared[i / 64] >> i % 64 & 1) {
            check_free(walk->kmem, p);
        }
    }
}

static void look_at_all(struct walk *walk) {
    for (uint32_t id = 1; id <= owner_count(); id++) {
        struct owner *owner = owner_by_id(id);
        owner_lock(owner);
        const struct class_entry *entry = owner_entry(owner, walk->kmem->class);
        for (unsigned bin = 0; entry && bin < SLAB_BINS; bin++) {
            for (const struct slab *slab = entry->cache.list[bin]; slab; slab = slab->next) {
                look_at(walk, slab);
            }
        }
        owner_unlock(owner);
    }
}

void kmem_debug_verify(const struct kmem_class *kmem) {
    struct walk walk = {.kmem = kmem};
    look_at_all(&walk);
}

void kmem_debug_report_live(const struct kmem_class *kmem, const char *name) {
    struct walk walk = {.kmem = kmem};
    look_at_all(&walk);
    for (size_t i = 0; i < min_size(walk.nlive, KMEM_REPORT_MAX); i++) {
        struct message m = {.length = 0};
        message_string(&m, "slabmalloc: still live: ");
        add_object(&m, walk.live[i], name);
        add_track(&m, walk.live[i]);
        message_write(&m);
    }
    if (walk.nlive > KMEM_REPORT_MAX) {
        struct message m = {.length = 0};
        message_string(&m, "slabmalloc: still live: ");
        message_number(&m, walk.nlive, 10);
        message_string(&m, " objects in all of cache '");
        message_string(&m, name);
        message_string(&m, "'");
        message_write(&m);
    }
}
