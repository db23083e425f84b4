/* What lock-free readers follow: page map leaves and chunks, the table of owners, the start of the heap. */
#include "scenarios.h"

/*
 * Page map: two regions in one span, the first for a slab whose object goes to another thread. Tables are numbered by
 * the thread that maps them; a table's zeroes are plain data that sys_map wrote.
 */
enum { TABLES = 3 };
static struct {
    int root, lock, mailbox;
    int leaf_zero[TABLES], chunk[TABLES], chunk_zero[TABLES];
    int tag[TABLES], page;
} map;

enum { SLAB_TAG = 7 };

static void map_table(int zero) {
    FN("pagemap.c:map_table");
    plain_write(zero, 1);
}

/* The leaf of the span, 0: none. */
static uint8_t root_read(void) {
    FN("pagemap.h:pagemap_tags");
    return atom_load(map.root, with(ROOT_ACQUIRE, ACQUIRE));
}

/* On the fast path relaxed: the leaf's zeroes are reached through the pointer. */
static uint8_t root_read_fast(void) {
    FN("pagemap.h:pagemap_tag");
    return atom_load_leading_to(map.root, plain_mask(map.leaf_zero[1]) | plain_mask(map.leaf_zero[2]), -1, RELAXED);
}

static uint8_t leaf_chunk(uint8_t leaf) {
    FN("pagemap.h:pagemap_chunk");
    plain_read(map.leaf_zero[leaf]);
    return atom_load(map.chunk[leaf], with(CHUNK_ACQUIRE, ACQUIRE));
}

static uint8_t add_leaf(uint8_t self) {
    FN("pagemap.c:add_leaf");
    uint8_t leaf = atom_load(map.root, RELAXED);
    if (leaf && rule(COVER_LOOKS_AGAIN)) {
        return leaf;
    }
    map_table(map.leaf_zero[self]);
    atom_store(map.root, self, with(LEAF_RELEASE, RELEASE));
    return self;
}

static void add_chunk(uint8_t self) {
    uint8_t leaf = add_leaf(self);
    FN("pagemap.c:add_chunk");
    if (!leaf_chunk(leaf)) {
        map_table(map.chunk_zero[self]);
        atom_store(map.chunk[leaf], self, with(CHUNK_RELEASE, RELEASE));
    }
}

/* Returns the chunk. */
static uint8_t pagemap_cover(uint8_t self) {
    FN("pagemap.c:pagemap_cover");
    uint8_t leaf = root_read(), chunk = leaf ? leaf_chunk(leaf) : 0;
    if (chunk) {
        return chunk;
    }
    if (rule(COVER_LOCKS)) {
        lock_take(map.lock);
    }
    add_chunk(self);
    if (rule(COVER_LOCKS)) {
        lock_drop(map.lock);
    }
    return leaf_chunk(root_read());
}

static void set_tags(void) {
    FN("pagemap.c:pagemap_set_tags");
    uint8_t leaf = root_read();
    plain_read(map.leaf_zero[leaf]);
    atom_store(map.tag[leaf], SLAB_TAG, RELEASE);
}

static void hand_over(void) {
    FN("program");
    atom_store(map.mailbox, 1, with(PROGRAM_HANDS_OVER, RELEASE));
}

static void make_object(void) {
    uint8_t chunk = pagemap_cover(1);
    FN("slab.c:slab_create");
    plain_read(map.chunk_zero[chunk]);
    plain_write(map.page, SLAB_TAG);
    if (rule(TAGS_BEFORE_HANDOFF)) {
        set_tags();
    }
    hand_over();
    if (!rule(TAGS_BEFORE_HANDOFF)) {
        set_tags();
    }
}

static void free_it(void) {
    FN("remote.c:remote_free");
    uint8_t leaf = root_read_fast();
    if (!leaf || atom_load(map.tag[leaf], RELAXED) != SLAB_TAG) {
        violation("a live object's page says it is nobody's");
    }
    leaf = root_read();
    plain_read(map.chunk_zero[leaf_chunk(leaf)]);
    if (plain_read(map.page) != SLAB_TAG) {
        violation("a live object's page has no slab");
    }
}

static void free_object(void) {
    FN("program");
    if (atom_load(map.mailbox, ACQUIRE)) {
        free_it();
    }
}

/* free of a wild pointer: any address may be asked for, at any time. */
static void ask_wild(void) {
    FN("pagemap.h:pagemap_tag");
    uint8_t leaf = root_read_fast();
    if (leaf) {
        plain_read(map.leaf_zero[leaf]);
    }
}

static void grow_beside(void) {
    uint8_t chunk = pagemap_cover(2);
    FN("zone.c:zone_grow");
    plain_read(map.chunk_zero[chunk]);
}

static void map_setup(void) {
    map.root = atom_new("pagemap.root", -1, 0);
    map.lock = lock_new("map_lock", -1);
    map.mailbox = atom_new("mailbox", -1, 0);
    for (int i = 1; i < TABLES; i++) {
        map.leaf_zero[i] = plain_new("leaf", i, 0);
        map.chunk[i] = atom_new("leaf.chunk", i, 0);
        map.tag[i] = atom_new("leaf.tag", i, 0);
        map.chunk_zero[i] = plain_new("chunk", i, 0);
    }
    map.page = plain_new("struct page", -1, 0);
    THREAD("maker", make_object);
    THREAD("user", ask_wild, free_object);
    THREAD("grower", grow_beside, ask_wild);
}

static const char *map_check(void) {
    return NULL;
}

const struct scenario scenario_pagemap = {"pagemap", "two regions in one span; an object crosses threads", map_setup,
                                          map_check};

/*
 * Table of owners: two threads create one each, the first also steals the slab whose object a third thread has, and
 * which reads the new owner's id from the tag without having met its maker.
 */
static struct { int count, by_id[3], owner[3], lock, tag; } table;

static uint8_t owner_create(uint8_t maker) {
    FN("owner.c:owner_create");
    plain_write(table.owner[maker], 1);
    if (rule(CREATE_LOCKS)) {
        lock_take(table.lock);
    }
    uint8_t id = atom_load(table.count, RELAXED) + 1;
    atom_store(table.by_id[id], maker, with(BY_ID_RELEASE, RELEASE));
    atom_store(table.count, id, with(OWNER_COUNT_RELEASE, RELEASE));
    if (rule(CREATE_LOCKS)) {
        lock_drop(table.lock);
    }
    return id;
}

static void use_owner(uint8_t id) {
    FN("owner.c:owner_by_id");
    uint8_t owner = atom_load(table.by_id[id], with(BY_ID_ACQUIRE, ACQUIRE));
    if (!owner) {
        violation("no owner has the id that was read");
    }
    plain_read(table.owner[owner]);
}

static void create_and_steal(void) {
    uint8_t id = owner_create(1);
    FN("slab.c:slab_retag");
    atom_store(table.tag, id, with(TAGS_RELEASE, RELEASE));
}

static void create(void) {
    owner_create(2);
}

static void walk(void) {
    FN("owner.c:owner_count");
    uint8_t n = atom_load(table.count, with(OWNER_COUNT_ACQUIRE, ACQUIRE));
    for (uint8_t id = 1; id <= n; id++) {
        use_owner(id);
    }
}

/* The id reaches the owner by way of an address that depends on it: by_id[tag >> 8]. */
static void free_stolen(void) {
    FN("remote.c:remote_free");
    uint8_t id = atom_load_leading_to(table.tag, 0, table.by_id[1], RELAXED);
    if (id == 1) {
        use_owner(1);
    }
}

static void table_setup(void) {
    table.count = atom_new("owners.count", -1, 0);
    for (int i = 1; i < 3; i++) {
        table.by_id[i] = atom_new("owners.by_id", i, 0);
        table.owner[i] = plain_new("owner", i, 0);
    }
    table.lock = lock_new("owners.lock", -1);
    table.tag = atom_new("tag", -1, 0);
    THREAD("first", create_and_steal);
    THREAD("second", create, walk);
    THREAD("third", free_stolen, walk);
}

static const char *table_check(void) {
    return final_atom(table.count) == 2 ? NULL : "two owners got one id";
}

const struct scenario scenario_table = {"owner_table", "owners are made while others look them up", table_setup,
                                        table_check};

/* Start of the heap. */
static int heap_state, heap_lock, zones;

static void heap_owner(void) {
    FN("heap.c:heap_owner");
    if (!atom_load(heap_state, with(START_ACQUIRE, ACQUIRE))) {
        if (rule(START_LOCKS)) {
            lock_take(heap_lock);
        }
        if (!rule(START_LOOKS_AGAIN) || !atom_load(heap_state, RELAXED)) {
            if (plain_read(zones)) {
                violation("the heap is started twice");
            }
            plain_write(zones, 1);
            atom_store(heap_state, 1, with(START_RELEASE, RELEASE));
        }
        if (rule(START_LOCKS)) {
            lock_drop(heap_lock);
        }
    }
    if (!plain_read(zones)) {
        violation("a heap is used before its start");
    }
}

static void start_setup(void) {
    heap_state = atom_new("heap_state", -1, 0);
    heap_lock = lock_new("heap_start_lock", -1);
    zones = plain_new("zones", -1, 0);
    THREAD("first", heap_owner, heap_owner);
    THREAD("second", heap_owner, heap_owner);
    THREAD("third", heap_owner);
}

const struct scenario scenario_start = {"start", "three threads make the first slow call", start_setup, map_check};
