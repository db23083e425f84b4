#include "owners.h"

#include <string.h>

struct heap heap;

/* Setup. */

void heap_setup(unsigned nowners, unsigned nslabs) {
    memset(&heap, 0, sizeof heap);
    heap.nowners = nowners;
    heap.nslabs = nslabs;
    heap.inbox_limit = 16;
    heap.magazine_slots = SLABS * SLAB_OBJECTS;
    heap.keeps_empty = true;
    for (unsigned i = 0; i < nowners; i++) {
        heap.state[i] = atom_new("owner.state", (int)i, IDLE);
        heap.inbox[i] = atom_new("owner.inbox", (int)i, 0);
        heap.inbox_count[i] = atom_new("owner.inbox_count", (int)i, 0);
        heap.received[i] = atom_new("owner.received", (int)i, 0);
        heap.magazine[i] = plain_new("owner.magazine", (int)i, 0);
        heap.lists[i] = plain_new("owner.lists", (int)i, i ? 0 : (uint8_t)((1u << nslabs) - 1));
        heap.held[i] = plain_new("owner.held", (int)i, 0);
        heap.emptied[i] = plain_new("owner.emptied", (int)i, 0);
        heap.next_idle[i] = plain_new("owner.next_idle", (int)i, NONE);
        heap.owner_lock[i] = lock_new("owner.lock", (int)i);
    }
    for (unsigned i = 0; i < nslabs; i++) {
        heap.tag[i] = atom_new("tag", (int)i, TAG_OF(0));
        heap.slab_owner[i] = atom_new("slab.owner", (int)i, 0);
        heap.free[i] = plain_new("slab.free", (int)i, ALL_FREE);
        heap.bin[i] = plain_new("slab.bin", (int)i, EMPTY);
    }
    for (unsigned i = 1; i <= REMOTES; i++) {
        heap.remote_objects[i] = plain_new("remote.object", (int)i, 0);
        heap.remote_next[i] = plain_new("remote.next", (int)i, 0);
    }
    heap.depot = plain_new("depot.idle", -1, NONE);
    heap.depot_lock = lock_new("depot.lock", -1);
    heap.partial = atom_new("depot.partial", -1, 0);
    heap.zone_lock = lock_new("zone.lock", -1);
    heap.zone_free = plain_new("zone.free", -1, 0);
}

void setup_active(unsigned owner) {
    atom_start(heap.state[owner], ACTIVE);
}

void setup_in_depot(unsigned owner, bool announced) {
    plain_start(heap.next_idle[owner], final_plain(heap.depot));
    plain_start(heap.depot, (uint8_t)owner);
    atom_start(heap.partial, announced);
}

static enum bin bin_of(uint8_t free) {
    return !free ? FULL : free == ALL_FREE ? EMPTY : PARTIAL;
}

void setup_slab_of(unsigned slab, unsigned owner) {
    for (unsigned i = 0; i < heap.nowners; i++) {
        uint8_t others = final_plain(heap.lists[i]) & (uint8_t) ~(1u << slab);
        plain_start(heap.lists[i], others | (uint8_t)((i == owner) << slab));
    }
    atom_start(heap.tag[slab], TAG_OF(owner));
    atom_start(heap.slab_owner[slab], (uint8_t)owner);
}

void setup_out(unsigned object, unsigned thread) {
    unsigned slab = slab_of(object);
    plain_start(heap.free[slab], final_plain(heap.free[slab]) & (uint8_t)~object_bit(object));
    plain_start(heap.bin[slab], bin_of(final_plain(heap.free[slab])));
    object_start(object, thread);
}

/* OBJECT is in an inbox. */
void setup_sent(unsigned object, unsigned owner, unsigned m) {
    setup_out(object, 0);
    object_in_transit(object);
    plain_start(heap.remote_objects[m], (uint8_t)(1u << object));
    plain_start(heap.remote_next[m], final_atom(heap.inbox[owner]));
    atom_start(heap.inbox[owner], (uint8_t)m);
    atom_start(heap.inbox_count[owner], (uint8_t)(final_atom(heap.inbox_count[owner]) + 1));
}

void setup_pages(uint8_t content) {
    heap.has_pages = true;
    for (unsigned slab = 0; slab < heap.nslabs; slab++) {
        heap.touched[slab] = plain_new("slab.touched", (int)slab, ALL_FREE);
    }
    for (unsigned object = 0; object < heap.nslabs * SLAB_OBJECTS; object++) {
        heap.page[object] = plain_new("page", (int)object, content);
    }
}

void setup_forks(void) {
    heap.forks = true;
    for (int t = 0; t < THREADS; t++) {
        heap.self[t] = plain_new("magazines_self", t, NONE);
        heap.arriving[t] = plain_new("arriving", t, NONE);
        heap.leaving[t] = plain_new("leaving", t, NONE);
        heap.purging[t] = plain_new("region_purging", t, 0);
    }
}

void setup_no_slab(unsigned slab) {
    plain_start(heap.lists[0], final_plain(heap.lists[0]) & (uint8_t) ~(1u << slab));
    plain_start(heap.bin[slab], GONE);
    plain_start(heap.zone_free, final_plain(heap.zone_free) | (uint8_t)(1u << slab));
    atom_start(heap.tag[slab], TAG_FOREIGN);
}

/* Slabs. */

unsigned slab_of(unsigned object) {
    return object / SLAB_OBJECTS;
}

uint8_t object_bit(unsigned object) {
    return (uint8_t)(1u << object % SLAB_OBJECTS);
}

void slab_give(unsigned object) {
    FN("slab.c:slab_give");
    unsigned slab = slab_of(object);
    uint8_t free = plain_read(heap.free[slab]);
    if (free & object_bit(object)) {
        violation("object %u is in its slab already", object);
    }
    plain_write(heap.free[slab], free | object_bit(object));
}

/* One object, lowest first. */
unsigned slab_take(unsigned slab) {
    FN("slab.c:slab_take");
    uint8_t free = plain_read(heap.free[slab]);
    unsigned i = (unsigned)__builtin_ctz(free);
    plain_write(heap.free[slab], free & (uint8_t)(free - 1));
    if (heap.has_pages) {
        plain_write(heap.touched[slab], plain_read(heap.touched[slab]) | (uint8_t)(1u << i));
    }
    return slab * SLAB_OBJECTS + i;
}

static void slab_destroy(unsigned slab) {
    FN("slab.c:slab_destroy");
    for (unsigned i = 0; i < SLAB_OBJECTS; i++) {
        if (object_is_out(slab * SLAB_OBJECTS + i)) {
            violation("a slab is destroyed while an object of it is out");
        }
    }
    if (plain_read(heap.free[slab]) != ALL_FREE) {
        violation("a slab is destroyed that is not empty");
    }
    if (rule(DESTROY_CLEARS_TAGS_FIRST)) {
        atom_store(heap.tag[slab], TAG_FOREIGN, RELAXED);
    }
    plain_write(heap.bin[slab], GONE);
    if (rule(ZONE_FREE_LOCKS)) {
        lock_take(heap.zone_lock);
    }
    plain_write(heap.zone_free, plain_read(heap.zone_free) | (uint8_t)(1u << slab));
    if (rule(ZONE_FREE_LOCKS)) {
        lock_drop(heap.zone_lock);
    }
    if (!rule(DESTROY_CLEARS_TAGS_FIRST)) {
        atom_store(heap.tag[slab], TAG_FOREIGN, RELAXED);
    }
}

unsigned slab_create(unsigned owner) {
    FN("slab.c:slab_create");
    if (rule(ZONE_ALLOC_LOCKS)) {
        lock_take(heap.zone_lock);
    }
    uint8_t pages = plain_read(heap.zone_free);
    plain_write(heap.zone_free, pages & (uint8_t)(pages - 1));
    if (rule(ZONE_ALLOC_LOCKS)) {
        lock_drop(heap.zone_lock);
    }
    if (!pages) {
        return NONE;
    }
    unsigned slab = (unsigned)__builtin_ctz(pages);
    atom_store(heap.slab_owner[slab], (uint8_t)owner, RELAXED);
    plain_write(heap.free[slab], ALL_FREE);
    plain_write(heap.bin[slab], UNFILED);
    atom_store(heap.tag[slab], TAG_OF(owner), RELAXED);
    return slab;
}

static void slab_retag(unsigned slab, unsigned owner) {
    FN("slab.c:slab_retag");
    atom_store(heap.slab_owner[slab], (uint8_t)owner, with(RETAG_OWNER_RELEASE, RELEASE));
    if (rule(RETAG_WRITES_TAG)) {
        atom_store(heap.tag[slab], TAG_OF(owner), RELAXED);
    }
}

/* Owners. */

/* What fork in a signal handler must know. */
static void transit(const int *which, unsigned owner) {
    if (heap.forks && rule(FORK_KNOWS_TRANSIT)) {
        plain_write(which[self_thread()], (uint8_t)owner);
    }
}

void owner_lock(unsigned owner) {
    FN("owner.h:owner_lock");
    lock_take(heap.owner_lock[owner]);
}

void owner_unlock(unsigned owner) {
    FN("owner.c:owner_unlock");
    uint8_t emptied = 0;
    if (rule(EMPTIED_READ_LOCKED)) {
        emptied = plain_read(heap.emptied[owner]);
        plain_write(heap.emptied[owner], 0);
    }
    if (rule(DESTROY_AFTER_UNLOCK)) {
        lock_drop(heap.owner_lock[owner]);
    }
    if (!rule(EMPTIED_READ_LOCKED)) {
        emptied = plain_read(heap.emptied[owner]);
        plain_write(heap.emptied[owner], 0);
    }
    for (unsigned slab = 0; slab < heap.nslabs; slab++) {
        if (emptied >> slab & 1) {
            slab_destroy(slab);
        }
    }
    if (!rule(DESTROY_AFTER_UNLOCK)) {
        lock_drop(heap.owner_lock[owner]);
    }
}

static void list_remove(unsigned owner, unsigned slab) {
    uint8_t lists = plain_read(heap.lists[owner]);
    if (!(lists >> slab & 1)) {
        violation("a slab is taken out of a list that it is not in");
    }
    plain_write(heap.lists[owner], lists & (uint8_t) ~(1u << slab));
}

static void list_insert(unsigned owner, unsigned slab, enum bin bin) {
    plain_write(heap.bin[slab], bin);
    plain_write(heap.lists[owner], plain_read(heap.lists[owner]) | (uint8_t)(1u << slab));
}

static void owner_drop_slab(unsigned owner, unsigned slab) {
    FN("owner.c:owner_drop_slab");
    if (rule(EMPTIED_LEAVES_LIST)) {
        list_remove(owner, slab);
    }
    plain_write(heap.bin[slab], UNFILED);
    plain_write(heap.emptied[owner], plain_read(heap.emptied[owner]) | (uint8_t)(1u << slab));
}

void owner_add_slab(unsigned owner, unsigned slab) {
    FN("owner.c:owner_add_slab");
    list_insert(owner, slab, bin_of(plain_read(heap.free[slab])));
}

static bool has_empty(unsigned owner) {
    uint8_t lists = plain_read(heap.lists[owner]);
    bool any = !heap.keeps_empty;
    for (unsigned slab = 0; slab < heap.nslabs; slab++) {
        any |= lists >> slab & 1 && plain_read(heap.bin[slab]) == EMPTY;
    }
    return any;
}

bool owner_file_slab(unsigned owner, unsigned slab) {
    FN("owner.c:owner_file_slab");
    enum bin bin = bin_of(plain_read(heap.free[slab])), before = plain_read(heap.bin[slab]);
    bool in_transit = (before == UNFILED && rule(FILE_LEAVES_UNFILED)) || (before == HELD && rule(FILE_LEAVES_HELD));
    if (bin == before || in_transit) {
        return false;
    }
    if (bin == EMPTY && has_empty(owner)) {
        owner_drop_slab(owner, slab);
        return false;
    }
    if (before != HELD) {
        list_remove(owner, slab);
    }
    list_insert(owner, slab, bin);
    return before == FULL;
}

void owner_drop_empty_slabs(unsigned owner) {
    FN("owner.c:owner_drop_empty_slabs");
    uint8_t lists = plain_read(heap.lists[owner]);
    for (unsigned slab = 0; slab < heap.nslabs; slab++) {
        if (lists >> slab & 1 && plain_read(heap.bin[slab]) == EMPTY) {
            owner_drop_slab(owner, slab);
        }
    }
}

void owner_announce(unsigned owner) {
    FN("owner.c:owner_announce");
    if (atom_load(heap.state[owner], RELAXED) == IDLE) {
        atom_or(heap.partial, 1, RELAXED);
    }
}

bool owner_hold_slab(unsigned owner, unsigned slab) {
    FN("owner.c:owner_hold_slab");
    uint8_t lists = plain_read(heap.lists[owner]);
    if (!(lists >> slab & 1) || plain_read(heap.bin[slab]) != PARTIAL) {
        return false;
    }
    plain_write(heap.bin[slab], HELD);
    plain_write(heap.held[owner], plain_read(heap.held[owner]) | (uint8_t)(1u << slab));
    if (rule(HOLD_TAKES_OUT)) {
        list_remove(owner, slab);
    }
    return true;
}

void owner_unhold_slab(unsigned owner, unsigned slab) {
    FN("owner.c:owner_unhold_slab");
    if (plain_read(heap.bin[slab]) != HELD) {
        violation("a slab is filed again that nobody holds");
    }
    plain_write(heap.held[owner], plain_read(heap.held[owner]) & (uint8_t) ~(1u << slab));
    if (!rule(UNHOLD_PUTS_BACK)) {
        return;
    }
    enum bin bin = rule(UNHOLD_COUNTS_AGAIN) ? bin_of(plain_read(heap.free[slab])) : PARTIAL;
    bool superfluous = bin == EMPTY && has_empty(owner);
    list_insert(owner, slab, bin);
    if (superfluous) {
        owner_drop_slab(owner, slab);
    }
}

static bool has_room(unsigned owner) {
    uint8_t lists = plain_read(heap.lists[owner]);
    bool any = false;
    for (unsigned slab = 0; slab < heap.nslabs; slab++) {
        any |= lists >> slab & 1 && plain_read(heap.bin[slab]) != FULL;
    }
    return any;
}

void announce_all(unsigned owner) {
    FN("owner.c:announce_all");
    if (has_room(owner)) {
        owner_announce(owner);
    }
}

static void announce_locked(unsigned owner) {
    if (rule(ANNOUNCE_ALL_LOCKS)) {
        owner_lock(owner);
    }
    announce_all(owner);
    if (rule(ANNOUNCE_ALL_LOCKS)) {
        owner_unlock(owner);
    }
}

static void magazine_flush(unsigned owner) {
    FN("magazine.c:magazine_flush");
    uint8_t objects = plain_read(heap.magazine[owner]);
    if (!objects) {
        return;
    }
    if (rule(DRAIN_LOCKS)) {
        owner_lock(owner);
    }
    for (unsigned object = 0; object < heap.nslabs * SLAB_OBJECTS; object++) {
        if (objects >> object & 1) {
            slab_give(object);
            owner_file_slab(owner, slab_of(object));
        }
    }
    if (rule(DRAIN_LOCKS)) {
        owner_unlock(owner);
    }
    plain_write(heap.magazine[owner], 0);
}

static void depot_add(unsigned owner) {
    FN("owner.c:depot_add");
    if (rule(DEPOT_ADD_LOCKS)) {
        lock_take(heap.depot_lock);
    }
    plain_write(heap.next_idle[owner], plain_read(heap.depot));
    plain_write(heap.depot, (uint8_t)owner);
    transit(heap.leaving, NONE);
    if (rule(DEPOT_ADD_LOCKS)) {
        lock_drop(heap.depot_lock);
    }
}

static void say_idle(unsigned owner) {
    atom_store(heap.state[owner], IDLE, RELEASE | with(RELEASE_STATE_SC, SEQ));
}

void owner_release(unsigned owner) {
    FN("owner.c:owner_release");
    if (rule(RELEASE_FLUSHES_MAGAZINES)) {
        magazine_flush(owner);
    }
    if (rule(RELEASE_SAYS_IDLE_FIRST)) {
        say_idle(owner);
    }
    if (rule(RELEASE_EMPTIES_INBOX)) {
        remote_return_inbox(owner);
    }
    if (!rule(RELEASE_SAYS_IDLE_FIRST)) {
        say_idle(owner);
    }
    if (rule(RELEASE_LOCKS)) {
        owner_lock(owner);
    }
    owner_drop_empty_slabs(owner);
    if (rule(RELEASE_LOCKS)) {
        owner_unlock(owner);
    }
    if (!rule(ANNOUNCE_AFTER_DEPOT)) {
        announce_locked(owner);
    }
    depot_add(owner);
    if (rule(ANNOUNCE_AFTER_DEPOT)) {
        announce_locked(owner);
    }
}

unsigned owner_adopt(void) {
    FN("owner.c:owner_adopt");
    if (rule(ADOPT_LOCKS)) {
        lock_take(heap.depot_lock);
    }
    unsigned owner = plain_read(heap.depot);
    if (owner != NONE) {
        transit(heap.arriving, owner);
        plain_write(heap.depot, plain_read(heap.next_idle[owner]));
    }
    if (rule(ADOPT_LOCKS)) {
        lock_drop(heap.depot_lock);
    }
    if (owner != NONE) {
        atom_store(heap.state[owner], ACTIVE, RELAXED);
    }
    return owner;
}

unsigned owner_have(void) {
    return plain_read(heap.self[self_thread()]);
}

void owner_get(void) {
    FN("owner.c:owner_get");
    unsigned owner = owner_adopt();
    if (owner != NONE) {
        plain_write(heap.self[self_thread()], (uint8_t)owner);
        transit(heap.arriving, NONE);
    }
}

void thread_exit(void) {
    FN("owner.c:thread_exit");
    unsigned owner = owner_have();
    if (owner != NONE) {
        transit(heap.leaving, owner);
        plain_write(heap.self[self_thread()], NONE);
        owner_release(owner);
    }
}

static unsigned steal_from(unsigned from, unsigned owner) {
    FN("owner.c:steal_from");
    uint8_t lists = plain_read(heap.lists[from]);
    for (unsigned slab = 0; slab < heap.nslabs; slab++) {
        if (lists >> slab & 1 && plain_read(heap.bin[slab]) != FULL) {
            if (rule(STEAL_LEAVES_LIST)) {
                list_remove(from, slab);
            }
            plain_write(heap.bin[slab], UNFILED);
            slab_retag(slab, owner);
            return slab;
        }
    }
    return NONE;
}

static bool steal_lock(unsigned from) {
    if (!rule(STEAL_ONLY_TRIES)) {
        owner_lock(from);
        return true;
    }
    return !rule(STEAL_LOCKS_OWNER) || lock_try(heap.owner_lock[from]);
}

/* The walk over the depot. */
static unsigned steal_walk(unsigned owner, bool *missed) {
    unsigned slab = NONE;
    if (rule(STEAL_LOCKS_DEPOT)) {
        lock_take(heap.depot_lock);
    }
    unsigned hops = 0;
    for (unsigned from = plain_read(heap.depot); from != NONE && slab == NONE;
         from = plain_read(heap.next_idle[from])) {
        if (++hops > heap.nowners) {
            violation("the list of idle owners has no end");
        }
        if (!steal_lock(from)) {
            *missed = true;
            continue;
        }
        slab = steal_from(from, owner);
        if (rule(STEAL_LOCKS_OWNER)) {
            owner_unlock(from);
        }
    }
    if (rule(STEAL_LOCKS_DEPOT)) {
        lock_drop(heap.depot_lock);
    }
    return slab;
}

unsigned owner_steal_slab(unsigned owner) {
    FN("owner.c:owner_steal_slab");
    if (!atom_load(heap.partial, RELAXED)) {
        return NONE;
    }
    bool missed = false;
    if (rule(STEAL_CLEARS_BEFORE_WALK)) {
        atom_and(heap.partial, 0, RELAXED);
    }
    unsigned slab = steal_walk(owner, &missed);
    if (!rule(STEAL_CLEARS_BEFORE_WALK)) {
        atom_and(heap.partial, 0, RELAXED);
    }
    if ((slab != NONE && rule(STEAL_ANNOUNCES_REST)) || (missed && rule(STEAL_ANNOUNCES_MISSED))) {
        atom_or(heap.partial, 1, RELAXED);
    }
    return slab;
}
