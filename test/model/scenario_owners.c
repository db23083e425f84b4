/* Owners, their inboxes and slabs: release and adopt, remote frees, stealing. */
#include "owners.h"
#include "scenarios.h"

/* Operations: who does what with which object is in the scenarios' setups. */

static void release_0(void) {
    owner_release(0);
}

static void send_0_from_outside(void) {
    heap_free(NONE, 0, 1);
}

static void send_1_from_outside(void) {
    heap_free(NONE, 1, 2);
}

static void send_2_from_outside(void) {
    heap_free(NONE, 2, 3);
}

static void send_1_by_3(void) {
    heap_free(NONE, 1, 3);
}

static void give_0(void) {
    heap_free(NONE, 0, 0);
}

static void give_1(void) {
    heap_free(NONE, 1, 0);
}

static void give_2(void) {
    heap_free(NONE, 2, 0);
}

/* The adopted owner's thread: one malloc, one free, exit. */
static void adopt(void) {
    unsigned owner = owner_adopt();
    var[0] = (uint8_t)owner;
}

static void adopted_malloc(void) {
    var[1] = var[0] == NONE ? NONE : (uint8_t)heap_malloc(var[0]);
}

static void adopted_free(void) {
    if (var[1] != NONE) {
        heap_free(var[0], var[1], 3);
    }
}

static void adopted_release(void) {
    if (var[0] != NONE) {
        owner_release(var[0]);
    }
}

static void malloc_0(void) {
    var[1] = (uint8_t)heap_malloc(0);
}

static void malloc_1(void) {
    var[1] = (uint8_t)heap_malloc(1);
}

static void free_by_0(void) {
    if (var[1] != NONE) {
        heap_free(0, var[1], 3);
    }
}

static void free_by_1(void) {
    if (var[1] != NONE) {
        heap_free(1, var[1], 4);
    }
}

static void free_0_by_0(void) {
    heap_free(0, 0, 3);
}

/* A thread exits while two others send its owner objects. */
static void idle_setup(void) {
    heap_setup(1, 1);
    setup_active(0);
    setup_out(0, 0);
    setup_out(1, 0);
    THREAD("owner 0", release_0);
    THREAD("sender", send_0_from_outside);
    THREAD("sender", send_1_from_outside);
}

const struct scenario scenario_idle = {"idle", "an owner goes idle while two threads send it objects", idle_setup,
                                       heap_check};

/* The same, with an object in its magazine, one sender, one that gives directly, and a thread that adopts it. */
static void readopt_setup(void) {
    heap_setup(1, 2);
    setup_active(0);
    setup_out(0, 0);
    setup_out(1, 0);
    setup_out(2, 0);
    THREAD("owner 0", free_0_by_0, release_0);
    THREAD("sender", send_1_from_outside);
    THREAD("giver", give_2);
    if (bounds_long) {
        THREAD("adopter", adopt, adopted_malloc, adopted_free, adopted_release);
    } else {
        THREAD("adopter", adopt, adopted_malloc);
    }
}

const struct scenario scenario_readopt = {"readopt", "an owner goes idle and is adopted while a thread sends to it",
                                          readopt_setup, heap_check};

/* More in the inbox than its limit: senders empty it, beside its owner. */
static void limit_setup(void) {
    heap_setup(1, 2);
    heap.magazine_slots = 0;
    setup_active(0);
    for (unsigned object = 0; object < 3; object++) {
        setup_out(object, 0);
    }
    setup_out(3, 0);
    THREAD("owner 0", malloc_0, free_by_0);
    THREAD("sender", send_0_from_outside, send_2_from_outside);
    THREAD("sender", send_1_from_outside);
    heap.inbox_limit = bounds_long ? 1 : 0;
}

const struct scenario scenario_limit = {"limit", "senders empty an inbox that is over its limit", limit_setup,
                                        heap_check};

/* Two remote magazines are there already: one is poured, the other waits in the owner when its thread ends. */
static void received_setup(void) {
    heap_setup(1, 2);
    heap.inbox_limit = 3;
    setup_active(0);
    setup_sent(0, 0, 1);
    setup_sent(2, 0, 2);
    setup_out(1, 1);
    THREAD("owner 0", malloc_0, release_0);
    THREAD("sender", send_1_by_3);
    THREAD("adopter", adopt, adopted_malloc);
}

const struct scenario scenario_received = {"received", "what was received and not poured comes home at exit",
                                           received_setup, heap_check};

/* A slab of an idle owner is stolen while its objects come home and its owner is adopted. */
static void steal_setup(void) {
    heap_setup(2, 1);
    setup_active(1);
    setup_in_depot(0, true);
    setup_out(1, 0);
    THREAD("thief", malloc_1);
    THREAD("giver", give_1);
    if (bounds_long) {
        THREAD("adopter", adopt, adopted_malloc, adopted_free);
    } else {
        THREAD("adopter", adopt, adopted_malloc);
    }
}

const struct scenario scenario_steal = {"steal", "a slab is stolen while its owner is adopted", steal_setup,
                                        heap_check};

/* The same with an object in the inbox: who adopts the owner must not take it for its own. */
static void receive_setup(void) {
    heap_setup(2, 1);
    setup_active(1);
    setup_in_depot(0, true);
    setup_out(1, 0);
    THREAD("thief", malloc_1);
    THREAD("sender", send_1_from_outside);
    THREAD("adopter", adopt, adopted_malloc);
}

const struct scenario scenario_receive = {"receive", "a slab is stolen with an object of it in the inbox",
                                          receive_setup, heap_check};

/* Frees follow the slab: one direct, one by inbox, one of them before the theft is seen. */
static void follow_setup(void) {
    heap_setup(2, 1);
    setup_active(1);
    setup_in_depot(0, false);
    setup_out(0, 0);
    setup_out(1, 0);
    THREAD("thief", malloc_1, malloc_1);
    THREAD("giver", give_0);
    THREAD("sender", send_1_from_outside);
}

const struct scenario scenario_follow = {"follow", "frees follow a slab that is stolen", follow_setup, heap_check};

/* Free objects of idle owners are announced, whatever thieves do meanwhile. */
static void announce_setup(void) {
    heap_setup(2, 1);
    setup_active(0);
    setup_active(1);
    setup_out(0, 0);
    setup_out(1, 0);
    THREAD("owner 0", release_0);
    THREAD("giver", give_0);
    if (bounds_long) {
        THREAD("thief", malloc_1, malloc_1);
    } else {
        THREAD("thief", malloc_1);
    }
    THREAD("sender", send_1_from_outside);
}

const struct scenario scenario_announce = {"announce", "an idle owner's free objects are found", announce_setup,
                                           heap_check};

/* Two slabs with room: stealing one does not hide the other; nor does a lock that was not to be had. */
static void rest_setup(void) {
    heap_setup(2, 2);
    setup_active(1);
    setup_in_depot(0, true);
    setup_out(0, 0);
    setup_out(1, 0);
    setup_out(2, 0);
    THREAD("thief", malloc_1, free_by_1);
    THREAD("giver", give_0);
    THREAD("sender", send_1_from_outside);
}

const struct scenario scenario_rest = {"rest", "a theft leaves the rest announced", rest_setup, heap_check};

/* Empty slabs are destroyed at once here, and their pages become slabs again. */
static void allfree_setup(void) {
    heap_setup(2, 1);
    heap.keeps_empty = false;
    heap.magazine_slots = 0;
    setup_active(0);
    setup_active(1);
    setup_out(0, 0);
    setup_out(1, 0);
    THREAD("owner 0", free_0_by_0, malloc_0);
    THREAD("giver", give_1);
    if (bounds_long) {
        THREAD("owner 1", malloc_1, free_by_1);
    } else {
        THREAD("owner 1", malloc_1);
    }
}

const struct scenario scenario_allfree = {"allfree", "a slab is destroyed when its last object comes home, not before",
                                          allfree_setup, heap_check};
