/* malloc and free by way of magazines, remote magazines and inboxes. */
#include "owners.h"

/* lib/remote.c */

/* slab->owner under OWNER's lock: is the slab still OWNER's? */
static bool still_of(unsigned slab, unsigned owner) {
    return atom_load(heap.slab_owner[slab], with(CHECK_OWNER_ACQUIRE, ACQUIRE)) == owner;
}

void give_directly(unsigned object) {
    FN("remote.c:give_directly");
    unsigned slab = slab_of(object), begin = round_begin();
    for (;;) {
        unsigned owner = atom_load(heap.slab_owner[slab], RELAXED);
        if (rule(GIVE_LOCKS)) {
            owner_lock(owner);
        }
        if (!rule(GIVE_CHECKS_OWNER) || still_of(slab, owner)) {
            slab_give(object);
            bool partial = owner_file_slab(owner, slab);
            if (rule(GIVE_LOCKS)) {
                owner_unlock(owner);
            }
            if (!rule(GIVE_READS_CLASS_LOCKED)) {
                plain_read(heap.bin[slab]);
            }
            if (partial && rule(GIVE_ANNOUNCES)) {
                owner_announce(owner);
            }
            return;
        }
        owner_unlock(owner);
        round_again(begin);
    }
}

static unsigned take_all(unsigned owner) {
    FN("remote.c:take_all");
    unsigned all;
    if (rule(TAKE_EXCHANGES)) {
        all = atom_exchange(heap.inbox[owner], 0, with(TAKE_ACQUIRE, ACQUIRE) | with(TAKE_SC, SEQ));
    } else {
        all = atom_load(heap.inbox[owner], ACQUIRE);
        atom_store(heap.inbox[owner], 0, RELAXED);
    }
    uint8_t n = 0;
    for (unsigned m = all; m; m = plain_read(heap.remote_next[m])) {
        n++;
    }
    if (n) {
        atom_add(heap.inbox_count[owner], (uint8_t)-n, RELAXED);
    }
    return all;
}

/* With OWNER's lock: what is still OWNER's goes into its slabs, the rest stays in M. */
static void give_all(unsigned owner, unsigned m) {
    FN("remote.c:give_all");
    uint8_t objects = plain_read(heap.remote_objects[m]), kept = 0;
    for (unsigned object = 0; object < heap.nslabs * SLAB_OBJECTS; object++) {
        if (!(objects >> object & 1)) {
            continue;
        }
        if (rule(GIVE_ALL_CHECKS_OWNER) && !still_of(slab_of(object), owner)) {
            kept |= (uint8_t)(1u << object);
            continue;
        }
        slab_give(object);
        if (owner_file_slab(owner, slab_of(object)) && rule(GIVE_ALL_ANNOUNCES)) {
            owner_announce(owner);
        }
    }
    plain_write(heap.remote_objects[m], kept);
}

static void forward(unsigned m) {
    FN("remote.c:forward");
    uint8_t objects = plain_read(heap.remote_objects[m]);
    plain_write(heap.remote_objects[m], 0);
    for (unsigned object = 0; object < heap.nslabs * SLAB_OBJECTS; object++) {
        if (objects >> object & 1 && rule(RETURN_FORWARDS)) {
            give_directly(object);
        }
    }
}

/* With OWNER's lock; its own thread looks at it without. Returns what was there. */
static unsigned received_set(unsigned owner, unsigned list) {
    FN("remote.c:received_set");
    unsigned before = atom_load(heap.received[owner], RELAXED);
    atom_store(heap.received[owner], (uint8_t)list, RELAXED);
    return before;
}

/* With OWNER's lock, dropped here. */
static void return_locked(unsigned owner, bool locked) {
    FN("remote.c:return_locked");
    unsigned lists[2] = {0};
    if (rule(RETURN_TAKES_RECEIVED)) {
        lists[0] = received_set(owner, 0);
    }
    lists[1] = take_all(owner);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned m = lists[i]; m; m = plain_read(heap.remote_next[m])) {
            give_all(owner, m);
        }
    }
    if (locked) {
        owner_unlock(owner);
    }
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned m = lists[i], next; m; m = next) {
            next = plain_read(heap.remote_next[m]);
            forward(m);
        }
    }
}

void remote_return_inbox(unsigned owner) {
    FN("remote.c:remote_return_inbox");
    if (rule(RETURN_LOCKS)) {
        owner_lock(owner);
    }
    return_locked(owner, rule(RETURN_LOCKS));
}

static void push(unsigned target, unsigned m) {
    unsigned begin = round_begin();
    int order = with(SEND_PUSH_RELEASE, RELEASE) | with(SEND_PUSH_SC, SEQ);
    for (;;) {
        uint8_t head = atom_load(heap.inbox[target], RELAXED);
        plain_write(heap.remote_next[m], head);
        if (!rule(SEND_PUSH_CAS)) {
            atom_store(heap.inbox[target], (uint8_t)m, order);
            return;
        }
        if (atom_cas(heap.inbox[target], head, (uint8_t)m, order)) {
            return;
        }
        round_again(begin);
    }
}

static bool reads_idle(unsigned target) {
    return atom_load(heap.state[target], ACQUIRE | with(SEND_STATE_SC, SEQ)) == IDLE;
}

void send(unsigned target, unsigned m) {
    FN("remote.c:send");
    bool idle = !rule(SEND_PUSHES_FIRST) && reads_idle(target);
    push(target, m);
    uint8_t waiting;
    if (rule(SEND_COUNTS_ATOMICALLY)) {
        waiting = atom_add(heap.inbox_count[target], 1, RELAXED) + 1;
    } else {
        waiting = atom_load(heap.inbox_count[target], RELAXED) + 1;
        atom_store(heap.inbox_count[target], waiting, RELAXED);
    }
    if (rule(SEND_PUSHES_FIRST)) {
        idle = reads_idle(target);
    }
    if (idle) {
        if (rule(SEND_RETURNS_IDLE)) {
            remote_return_inbox(target);
        }
        return;
    }
    bool over = (int8_t)waiting > (int8_t)heap.inbox_limit;
    if (over && (!rule(LIMIT_LOCKS) || lock_try(heap.owner_lock[target]))) {
        return_locked(target, rule(LIMIT_LOCKS));
    }
}

static bool magazine_put(unsigned owner, unsigned object) {
    uint8_t magazine = plain_read(heap.magazine[owner]);
    if ((unsigned)__builtin_popcount(magazine) >= heap.magazine_slots) {
        return false;
    }
    if (magazine >> object & 1) {
        violation("object %u is in the magazine already", object);
    }
    if (atom_newest(heap.slab_owner[slab_of(object)]) != owner) {
        violation("object %u goes into the magazine of an owner that does not own its slab", object);
    }
    plain_write(heap.magazine[owner], magazine | (uint8_t)(1u << object));
    return true;
}

static bool of_mine(unsigned object, unsigned owner) {
    return atom_load(heap.tag[slab_of(object)], RELAXED) == TAG_OF(owner);
}

static unsigned next_received(unsigned owner) {
    FN("remote.c:next_received");
    if (rule(NEXT_RECEIVED_LOCKS)) {
        owner_lock(owner);
    }
    unsigned m = received_set(owner, 0);
    if (!m) {
        m = take_all(owner);
    }
    unsigned rest = m ? plain_read(heap.remote_next[m]) : 0;
    received_set(owner, rule(NEXT_RECEIVED_KEEPS_REST) ? rest : 0);
    if (rule(NEXT_RECEIVED_LOCKS)) {
        owner_unlock(owner);
    }
    return m;
}

bool remote_receive(unsigned owner) {
    FN("remote.c:remote_receive");
    unsigned m = next_received(owner);
    if (!m) {
        return false;
    }
    uint8_t objects = plain_read(heap.remote_objects[m]), left = 0;
    for (unsigned object = 0; object < heap.nslabs * SLAB_OBJECTS; object++) {
        if (objects >> object & 1) {
            bool mine = !rule(RECEIVE_CHECKS_TAG) || of_mine(object, owner);
            left |= (uint8_t)((!mine || !magazine_put(owner, object)) << object);
        }
    }
    plain_write(heap.remote_objects[m], left);
    if (left) {
        if (rule(RECEIVE_LOCKS)) {
            owner_lock(owner);
        }
        give_all(owner, m);
        if (rule(RECEIVE_LOCKS)) {
            owner_unlock(owner);
        }
        forward(m);
    }
    return true;
}

/* lib/magazine.c */

static unsigned magazine_pop(unsigned owner) {
    uint8_t magazine = plain_read(heap.magazine[owner]);
    if (!magazine) {
        return NONE;
    }
    plain_write(heap.magazine[owner], magazine & (uint8_t)(magazine - 1));
    return (unsigned)__builtin_ctz(magazine);
}

static unsigned take_from_slabs(unsigned owner) {
    FN("magazine.c:take_from_slabs");
    uint8_t lists = plain_read(heap.lists[owner]);
    for (unsigned slab = 0; slab < heap.nslabs; slab++) {
        if (lists >> slab & 1 && plain_read(heap.bin[slab]) != FULL) {
            unsigned object = slab_take(slab);
            owner_file_slab(owner, slab);
            return object;
        }
    }
    return NONE;
}

static unsigned take(unsigned owner) {
    FN("magazine.c:magazine_take");
    if (rule(REFILL_LOCKS)) {
        owner_lock(owner);
    }
    unsigned object = take_from_slabs(owner);
    if (rule(REFILL_LOCKS)) {
        owner_unlock(owner);
    }
    if (object != NONE) {
        return object;
    }
    unsigned slab = owner_steal_slab(owner);
    slab = slab != NONE ? slab : slab_create(owner);
    if (slab == NONE) {
        return NONE;
    }
    if (rule(ADD_SLAB_LOCKS)) {
        owner_lock(owner);
    }
    owner_add_slab(owner, slab);
    object = slab_take(slab);
    owner_file_slab(owner, slab);
    if (rule(ADD_SLAB_LOCKS)) {
        owner_unlock(owner);
    }
    return object;
}

static bool remote_waits(unsigned owner) {
    FN("remote.h:remote_waits");
    return atom_load(heap.inbox[owner], RELAXED) || atom_load(heap.received[owner], RELAXED);
}

static unsigned magazine_refill(unsigned owner) {
    FN("magazine.c:magazine_refill");
    if (remote_waits(owner) && remote_receive(owner)) {
        unsigned object = magazine_pop(owner);
        if (object != NONE) {
            return object;
        }
    }
    return take(owner);
}

unsigned heap_malloc(unsigned owner) {
    FN("heap.h:heap_malloc");
    unsigned object = magazine_pop(owner);
    if (object == NONE) {
        object = magazine_refill(owner);
    }
    if (object != NONE) {
        object_handed_out(object);
    }
    return object;
}

static void magazine_push(unsigned owner, unsigned object) {
    FN("magazine.c:magazine_push_slow");
    if (magazine_put(owner, object)) {
        return;
    }
    if (rule(PUSH_SLOW_LOCKS)) {
        owner_lock(owner);
    }
    slab_give(object);
    owner_file_slab(owner, slab_of(object));
    if (rule(PUSH_SLOW_LOCKS)) {
        owner_unlock(owner);
    }
}

/* REMOTE_MAGAZINE: one that nobody uses; 0: no memory for one. */
void heap_free(unsigned owner, unsigned object, unsigned m) {
    FN("heap.h:heap_free");
    object_taken_back(object);
    uint8_t tag = atom_load(heap.tag[slab_of(object)], RELAXED);
    if (tag == TAG_FOREIGN) {
        violation("a live object's page says it is nobody's");
    }
    if (owner != NONE && tag == TAG_OF(owner)) {
        magazine_push(owner, object);
        return;
    }
    if (!m) {
        give_directly(object);
        return;
    }
    plain_write(heap.remote_objects[m], (uint8_t)(1u << object));
    send(tag - 1u, m);
}

/* Checks. */

static unsigned times_in(unsigned list, unsigned object) {
    unsigned times = 0, hops = 0;
    for (unsigned m = list; m && hops <= REMOTES; m = final_plain(heap.remote_next[m])) {
        times += final_plain(heap.remote_objects[m]) >> object & 1;
        hops++;
    }
    return times;
}

const char *check_object(unsigned object) {
    unsigned slab = slab_of(object), places = 0;
    if (final_plain(heap.bin[slab]) == GONE) {
        return NULL;
    }
    places += (final_plain(heap.free[slab]) & object_bit(object)) != 0;
    places += final_object_out(object);
    for (unsigned i = 0; i < heap.nowners; i++) {
        bool cached = final_plain(heap.magazine[i]) >> object & 1;
        places += cached;
        if (cached && final_atom(heap.slab_owner[slab]) != i) {
            return "an object lies in the magazine of an owner that does not own its slab";
        }
        places += times_in(final_atom(heap.inbox[i]), object) + times_in(final_atom(heap.received[i]), object);
    }
    return places == 0 ? "an object is lost" : places > 1 ? "an object is in two places" : NULL;
}

static const char *check_slab(unsigned slab) {
    unsigned lists = 0;
    enum bin bin = final_plain(heap.bin[slab]);
    for (unsigned i = 0; i < heap.nowners; i++) {
        bool listed = final_plain(heap.lists[i]) >> slab & 1;
        lists += listed;
        if (listed && final_atom(heap.slab_owner[slab]) != i) {
            return "a slab is in another owner's list";
        }
    }
    if (bin == GONE) {
        return lists                                     ? "a slab that is gone is in a list"
               : final_plain(heap.zone_free) >> slab & 1 ? NULL
                                                         : "the pages of a slab are lost";
    }
    if (lists != 1) {
        return "a slab is in no list or in several";
    }
    unsigned free = final_plain(heap.free[slab]);
    if (bin != (!free ? FULL : free == ALL_FREE ? EMPTY : PARTIAL)) {
        return "a slab is in the wrong list";
    }
    return final_atom(heap.tag[slab]) == TAG_OF(final_atom(heap.slab_owner[slab])) ? NULL
                                                                                   : "a slab's tag is not its owner's";
}

const char *check_idle(unsigned owner) {
    unsigned hops = 0, times = 0;
    for (unsigned i = final_plain(heap.depot); i != NONE; i = final_plain(heap.next_idle[i])) {
        times += i == owner;
        if (++hops > heap.nowners) {
            return "the list of idle owners has no end";
        }
    }
    bool idle = final_atom(heap.state[owner]) == IDLE;
    if (times != idle) {
        return idle ? "an idle owner is not in the depot once" : "an active owner is in the depot";
    }
    if (!idle) {
        return NULL;
    }
    if (final_atom(heap.inbox[owner]) || final_atom(heap.received[owner]) || final_plain(heap.magazine[owner])) {
        return "objects are stranded in an idle owner";
    }
    for (unsigned slab = 0; slab < heap.nslabs; slab++) {
        bool room = final_plain(heap.lists[owner]) >> slab & 1 && final_plain(heap.free[slab]);
        if (room && !final_atom(heap.partial)) {
            return "an idle owner has free objects and nobody is told";
        }
    }
    return NULL;
}

static const char *check_count(unsigned owner) {
    unsigned n = 0;
    for (unsigned m = final_atom(heap.inbox[owner]); m && n <= REMOTES; m = final_plain(heap.remote_next[m])) {
        n++;
    }
    return n == final_atom(heap.inbox_count[owner]) ? NULL : "an inbox's count is wrong for good";
}

const char *heap_check(void) {
    const char *wrong = NULL;
    for (unsigned i = 0; i < heap.nslabs && !wrong; i++) {
        wrong = check_slab(i);
    }
    for (unsigned i = 0; i < heap.nslabs * SLAB_OBJECTS && !wrong; i++) {
        wrong = check_object(i);
    }
    for (unsigned i = 0; i < heap.nowners && !wrong; i++) {
        wrong = check_idle(i);
        if (!wrong) {
            wrong = check_count(i);
        }
    }
    return wrong;
}
