#include "remote.h"

#include "fault.h"
#include "magazine.h"
#include "meta.h"

/* Puts P back under its owner's lock, following the slab if it is stolen meanwhile. */
static void give_directly(void *p) {
    struct slab *slab = slab_of(p);
    for (;;) {
        struct owner *owner = slab_owner(slab);
        owner_lock(owner);
        if (likely(slab_owner(slab) == owner)) {
            unsigned class = slab->class;
            slab_give(slab, &p, 1);
            bool partial = owner_file_slab(owner, slab);
            owner_unlock(owner);
            if (partial) {
                owner_announce(owner, class);
            }
            return;
        }
        owner_unlock(owner);
    }
}

static struct remote_magazine *take_all(struct owner *owner) {
    struct remote_magazine *all = atomic_exchange_explicit(&owner->inbox, NULL, memory_order_seq_cst);
    uint32_t n = 0;
    for (struct remote_magazine *m = all; m; m = m->next) {
        n++;
    }
    atomic_fetch_sub_explicit(&owner->inbox_count, n, memory_order_relaxed);
    return all;
}

/* With OWNER's lock; its own thread looks at it without. Returns what was there. */
static struct remote_magazine *received_set(struct owner *owner, struct remote_magazine *list) {
    struct remote_magazine *before = atomic_load_explicit(&owner->received, memory_order_relaxed);
    atomic_store_explicit(&owner->received, list, memory_order_relaxed);
    return before;
}

static void discard(struct owner *self, struct remote_magazine *m) {
    if (self && !self->spare) {
        self->spare = m;
    } else {
        meta_free(m, sizeof *m);
    }
}

/* With OWNER's lock: M's objects that are still OWNER's go into their slabs, the others stay in M. */
static void give_all(struct owner *owner, struct remote_magazine *m) {
    uint16_t kept = 0;
    for (size_t i = 0; i < m->count;) {
        struct slab *slab = slab_of(m->object[i]);
        if (unlikely(slab_owner(slab) != owner)) {
            m->object[kept++] = m->object[i++];
            continue;
        }
        unsigned class = slab->class;
        i += slab_give(slab, &m->object[i], m->count - i);
        if (owner_file_slab(owner, slab)) {
            owner_announce(owner, class);
        }
    }
    m->count = kept;
}

static void forward(struct remote_magazine *m) {
    for (uint32_t i = 0; i < m->count; i++) {
        give_directly(m->object[i]);
    }
    meta_free(m, sizeof *m);
}

/* With OWNER's lock, which is dropped here. */
static void return_locked(struct owner *owner) {
    struct remote_magazine *lists[] = {received_set(owner, NULL), take_all(owner)};
    for (size_t i = 0; i < 2; i++) {
        for (struct remote_magazine *m = lists[i]; m; m = m->next) {
            give_all(owner, m);
        }
    }
    owner_unlock(owner);
    for (size_t i = 0; i < 2; i++) {
        for (struct remote_magazine *m = lists[i], *next; m; m = next) {
            next = m->next;
            forward(m);
        }
    }
}

void remote_return_inbox(struct owner *owner) {
    owner_lock(owner);
    return_locked(owner);
}

static void send(struct owner *target, struct remote_magazine *m) {
    struct remote_magazine *head = atomic_load_explicit(&target->inbox, memory_order_relaxed);
    do {
        m->next = head;
    } while (
        !atomic_compare_exchange_weak_explicit(&target->inbox, &head, m, memory_order_seq_cst, memory_order_relaxed));
    uint32_t waiting = atomic_fetch_add_explicit(&target->inbox_count, 1, memory_order_relaxed) + 1;
    bool idle = atomic_load_explicit(&target->state, memory_order_seq_cst) == OWNER_IDLE;
    if (idle) {
        remote_return_inbox(target);
    } else if (waiting > INBOX_LIMIT && owner_try_lock(target)) {
        return_locked(target);
    }
}

static struct remote_magazine *fresh_magazine(struct owner *self) {
    struct remote_magazine *m = self->spare;
    self->spare = NULL;
    if (!m) {
        m = meta_alloc_dirty(sizeof *m);
    }
    if (m) {
        m->count = m->granules = 0;
    }
    return m;
}

static void send_way(struct owner *self, unsigned way) {
    struct remote_magazine *m = self->open[way];
    self->open[way] = NULL;
    send(owner_by_id(m->owner), m);
}

void remote_flush(struct owner *self) {
    for (unsigned way = 0; way < REMOTE_WAYS; way++) {
        if (self->open[way]) {
            send_way(self, way);
        }
    }
}

/* The remote magazine SELF fills for owner ID; NULL: no memory. */
static struct remote_magazine *open_magazine(struct owner *self, uint32_t id) {
    unsigned way = id & (REMOTE_WAYS - 1);
    struct remote_magazine *m = self->open[way];
    if (likely(m && m->owner == id)) {
        return m;
    }
    if (m) {
        send_way(self, way);
    }
    m = fresh_magazine(self);
    if (m) {
        m->owner = id;
        self->open[way] = m;
    }
    return m;
}

void remote_free(struct owner *self, uint32_t tag, void *p) {
    if (likely(self && open_magazine(self, tag >> TAG_CLASS_BITS) && remote_gather(self, tag, p))) {
        return;
    }
    unsigned class = tag & TAG_CLASS_MASK;
    if (unlikely(!slab_may_start(p, class))) {
        fault_pointer("free of a pointer inside an object", p);
    }
    unsigned way = tag >> TAG_CLASS_BITS & (REMOTE_WAYS - 1);
    struct remote_magazine *m = self ? self->open[way] : NULL;
    if (unlikely(!m)) {
        give_directly(p);
        return;
    }
    if (unlikely(m->count && m->object[m->count - 1] == p)) {
        fault_pointer("double free", p);
    }
    m->object[m->count++] = p; /* the last that fits */
    send_way(self, way);
}

/* The next remote magazine to pour; NULL: none. The inbox is emptied at once, but poured as needed: no call has to pour
 * more than one. */
static struct remote_magazine *next_received(struct owner *self) {
    owner_lock(self);
    struct remote_magazine *m = received_set(self, NULL);
    if (!m) {
        m = take_all(self);
    }
    received_set(self, m ? m->next : NULL);
    owner_unlock(self);
    return m;
}

bool remote_receive(struct owner *self, unsigned class) {
    struct remote_magazine *m = next_received(self);
    if (!m) {
        return false;
    }
    uint16_t left = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        bool wanted = pagemap_tag(m->object[i]) == (owner_tag(self) | class);
        if (!wanted || !magazine_put(self, class, m->object[i])) {
            m->object[left++] = m->object[i];
        }
    }
    m->count = left;
    if (left) {
        owner_lock(self);
        give_all(self, m);
        owner_unlock(self);
    }
    if (m->count) {
        forward(m);
    } else {
        discard(self, m);
    }
    return true;
}

static const char *check_magazine(const struct remote_magazine *m, unsigned way) {
    if (m->owner % REMOTE_WAYS != way || m->owner > owner_count() || !m->count || m->count > REMOTE_OBJECTS) {
        return "a remote magazine's owner or count is wrong";
    }
    for (unsigned i = 0; i < m->count; i++) {
        const void *p = m->object[i];
        if (!(pagemap_tag(p) >> TAG_CLASS_BITS)) {
            return "what is in a remote magazine is no slab object";
        }
        long index = slab_index(slab_of(p), p);
        if (index < 0 || slab_is_free(slab_of(p), (size_t)index)) {
            return "an object in a remote magazine is in its slab too";
        }
    }
    return NULL;
}

const char *remote_check(const struct owner *self) {
    const char *broken = NULL;
    for (unsigned way = 0; way < REMOTE_WAYS && !broken; way++) {
        broken = self->open[way] ? check_magazine(self->open[way], way) : NULL;
    }
    return broken;
}
