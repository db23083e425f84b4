/*
 * rules.h: every ordering and every step of the protocol that the model can leave out, the scenario in which leaving it
 * out must be found, and what is left out.
 */
#ifndef MODEL_RULES_H
#define MODEL_RULES_H

/* clang-format off */
#define RULES(RULE)                                                                                                   \
    RULE(LOCK_ACQUIRE, lock, "lock.h:lock_word_change acquires")                                                      \
    RULE(LOCK_RELEASE, lock, "lock.h:lock_drop releases")                                                             \
    RULE(LOCK_CAS, lock, "lock.h:lock_word_change compares and exchanges in one step")                                \
    RULE(LOCK_DROP_EXCHANGES, lock, "lock.h:lock_drop reads and clears the word in one step")                         \
    RULE(LOCK_DROP_WAKES, lock, "lock.h:lock_drop wakes a sleeper")                                                   \
    RULE(LOCK_SLEEPER_MARKS, lock, "lock.c:lock_wait marks the word before it sleeps")                                \
    RULE(LOCK_SLEEPER_CONTENDS, lock, "lock.c:lock_wait takes the lock as contended after a sleep")                   \
    RULE(LOCK_SLEEPER_TRIES_AGAIN, lock, "lock.c:lock_wait tries again after a wakeup")                               \
    RULE(LOCK_FUTEX_COMPARES, lock, "sys.c:sys_futex_wait sleeps only while the word is as it was read")              \
    RULE(COVER_LOCKS, pagemap, "pagemap.c:pagemap_cover adds tables under the lock")                                  \
    RULE(COVER_LOOKS_AGAIN, pagemap, "pagemap.c:add_leaf looks again under the lock")                                 \
    RULE(LEAF_RELEASE, pagemap, "pagemap.c:add_leaf releases")                                                        \
    RULE(CHUNK_RELEASE, pagemap, "pagemap.c:add_chunk releases")                                                      \
    RULE(CHUNK_ACQUIRE, pagemap, "pagemap.h:pagemap_chunk acquires")                                                  \
    RULE(ROOT_ACQUIRE, pagemap, "pagemap.h:pagemap_tags acquires")                                                    \
    RULE(TAGS_BEFORE_HANDOFF, pagemap, "slab.c:slab_create writes tags before an object leaves")                      \
    RULE(PROGRAM_HANDS_OVER, pagemap, "the program orders a free after the malloc (its duty, not ours)")              \
    RULE(CREATE_LOCKS, owner_table, "owner.c:owner_create numbers owners under the lock")                             \
    RULE(BY_ID_RELEASE, owner_table, "owner.c:owner_create releases the table's entry")                               \
    RULE(BY_ID_ACQUIRE, owner_table, "owner.c:owner_by_id acquires")                                                  \
    RULE(OWNER_COUNT_RELEASE, owner_table, "owner.c:owner_create releases the count")                                 \
    RULE(OWNER_COUNT_ACQUIRE, owner_table, "owner.c:owner_count acquires")                                            \
    RULE(TAGS_RELEASE, owner_table, "pagemap.c:pagemap_set_tags releases")                                            \
    RULE(START_ACQUIRE, start, "heap.c:heap_ready acquires")                                                          \
    RULE(START_RELEASE, start, "heap.c:heap_init releases")                                                           \
    RULE(START_LOCKS, start, "heap.c:heap_init runs under the lock")                                                  \
    RULE(START_LOOKS_AGAIN, start, "heap.c:heap_init looks again under the lock")                                     \
    RULE(RELEASE_SAYS_IDLE_FIRST, idle, "owner.c:owner_release says idle before it empties the inbox")                \
    RULE(RELEASE_EMPTIES_INBOX, idle, "owner.c:owner_release empties the inbox")                                      \
    RULE(RELEASE_STATE_SC, idle, "owner.c:owner_release says idle sequentially consistent")                           \
    RULE(TAKE_SC, idle, "remote.c:take_all is sequentially consistent")                                               \
    RULE(TAKE_ACQUIRE, idle, "remote.c:take_all acquires")                                                            \
    RULE(TAKE_EXCHANGES, idle, "remote.c:take_all reads and clears the inbox in one step")                            \
    RULE(SEND_PUSH_SC, idle, "remote.c:send pushes sequentially consistent")                                          \
    RULE(SEND_PUSH_RELEASE, idle, "remote.c:send releases what it pushes")                                            \
    RULE(SEND_PUSH_CAS, idle, "remote.c:send compares and exchanges the inbox in one step")                           \
    RULE(SEND_STATE_SC, idle, "remote.c:send reads the state sequentially consistent")                                \
    RULE(SEND_PUSHES_FIRST, idle, "remote.c:send pushes before it reads the state")                                   \
    RULE(SEND_RETURNS_IDLE, idle, "remote.c:send empties an idle owner's inbox")                                      \
    RULE(SEND_COUNTS_ATOMICALLY, idle, "remote.c:send counts in one step")                                            \
    RULE(RETURN_LOCKS, idle, "remote.c:remote_return_inbox takes the owner's lock")                                   \
    RULE(RELEASE_LOCKS, idle, "owner.c:owner_release drops empty slabs under its lock")                               \
    RULE(RELEASE_FLUSHES_MAGAZINES, readopt, "owner.c:owner_release empties the magazines")                           \
    RULE(DRAIN_LOCKS, readopt, "magazine.c:magazine_drain takes the lock")                                            \
    RULE(DEPOT_ADD_LOCKS, readopt, "owner.c:depot_add takes the depot's lock")                                        \
    RULE(LIMIT_LOCKS, limit, "remote.c:send tries the owner's lock over the limit")                                   \
    RULE(RECEIVE_LOCKS, limit, "remote.c:remote_receive takes its lock for what does not fit")                        \
    RULE(NEXT_RECEIVED_LOCKS, limit, "remote.c:next_received takes the lock")                                         \
    RULE(NEXT_RECEIVED_KEEPS_REST, limit, "remote.c:next_received keeps what it does not pour yet")                   \
    RULE(RETURN_TAKES_RECEIVED, received, "remote.c:return_locked returns what was received too")                     \
    RULE(REFILL_LOCKS, limit, "magazine.c:magazine_take takes objects under the lock")                                         \
    RULE(ADOPT_LOCKS, steal, "owner.c:owner_adopt takes the depot's lock")                                            \
    RULE(STEAL_LOCKS_DEPOT, steal, "owner.c:owner_steal_slab takes the depot's lock")                                 \
    RULE(STEAL_LOCKS_OWNER, steal, "owner.c:owner_steal_slab takes the victim's lock")                                \
    RULE(STEAL_ONLY_TRIES, steal, "owner.c:owner_steal_slab waits for no owner's lock")                               \
    RULE(STEAL_LEAVES_LIST, steal, "owner.c:steal_from takes the slab out of its list")                               \
    RULE(RETAG_WRITES_TAG, steal, "slab.c:slab_retag writes the tags")                                                \
    RULE(GIVE_LOCKS, steal, "remote.c:give_directly takes the owner's lock")                                          \
    RULE(GIVE_CHECKS_OWNER, steal, "remote.c:give_directly looks at the owner again under the lock")                  \
    RULE(ADD_SLAB_LOCKS, steal, "magazine.c:magazine_take adds a slab under the lock")                                         \
    RULE(FILE_LEAVES_UNFILED, steal, "owner.c:owner_file_slab leaves a slab alone that is between owners")            \
    RULE(RETAG_OWNER_RELEASE, follow, "slab.c:slab_retag releases the owner")                                         \
    RULE(CHECK_OWNER_ACQUIRE, follow, "remote.c: the look at the owner under the lock acquires")                      \
    RULE(GIVE_ALL_CHECKS_OWNER, follow, "remote.c:give_all leaves objects alone whose slab was stolen")               \
    RULE(RETURN_FORWARDS, follow, "remote.c:return_locked forwards the others")                                       \
    RULE(RECEIVE_CHECKS_TAG, receive, "remote.c:remote_receive keeps only objects of own slabs")                      \
    RULE(ANNOUNCE_AFTER_DEPOT, announce, "owner.c:owner_release announces after it is in the depot")                  \
    RULE(ANNOUNCE_ALL_LOCKS, announce, "owner.c:owner_release announces under its lock")                              \
    RULE(STEAL_CLEARS_BEFORE_WALK, announce, "owner.c:owner_steal_slab clears the announcement before the walk")      \
    RULE(GIVE_ANNOUNCES, announce, "remote.c:give_directly announces")                                                \
    RULE(GIVE_ALL_ANNOUNCES, announce, "remote.c:give_all announces")                                                 \
    RULE(STEAL_ANNOUNCES_REST, rest, "owner.c:owner_steal_slab announces again when it stole")                        \
    RULE(STEAL_ANNOUNCES_MISSED, rest, "owner.c:owner_steal_slab announces again when a lock was taken")              \
    RULE(DESTROY_AFTER_UNLOCK, allfree, "owner.c:owner_unlock destroys slabs after it dropped the lock")              \
    RULE(EMPTIED_LEAVES_LIST, allfree, "owner.c:owner_drop_slab takes the slab out of its list")                      \
    RULE(DESTROY_CLEARS_TAGS_FIRST, allfree, "slab.c:slab_destroy clears tags before the pages are free")             \
    RULE(ZONE_FREE_LOCKS, allfree, "zone.c:zone_free takes the zone's lock")                                          \
    RULE(ZONE_ALLOC_LOCKS, allfree, "zone.c:zone_take takes the zone's lock")                                         \
    RULE(PUSH_SLOW_LOCKS, allfree, "magazine.c:magazine_push_slow takes the lock for what does not fit")              \
    RULE(EMPTIED_READ_LOCKED, allfree, "owner.c:owner_unlock takes the emptied slabs before it drops the lock")       \
    RULE(GIVE_READS_CLASS_LOCKED, allfree, "remote.c:give_directly reads the slab only under the lock")               \
    RULE(ISOLATE_LOCKS, purge, "zone_purge.c:isolate takes the zone's lock")                                                \
    RULE(ISOLATE_TAKES_OUT, purge, "zone_purge.c:isolate takes the block out of the lists")                                 \
    RULE(MADVISE_WITHOUT_LOCK, purge, "zone_purge.c:purge_down_to holds no lock in madvise")                                \
    RULE(ISOLATE_END_LOCKS, purge, "zone_purge.c:isolate_end takes the zone's lock")                                        \
    RULE(ISOLATE_END_PUTS_BACK, purge, "zone_purge.c:isolate_end puts the block back")                                      \
    RULE(FRESH_ONLY_IF_PURGED, purge, "zone_purge.c:isolate_end marks fresh only what madvise took")                        \
    RULE(FRESH_ENDS_WITH_USE, purge, "zone.c:zone_free takes used pages for dirty")                                   \
    RULE(HOLD_LOCKS, hole, "reclaim.c:hold_batch takes slabs out under the owner's lock")                             \
    RULE(HOLD_TAKES_OUT, hole, "owner.c:owner_hold_slab takes the slab out of its list")                              \
    RULE(FILE_LEAVES_HELD, hole, "owner.c:owner_file_slab leaves a held slab alone")                                  \
    RULE(HOLES_READ_LOCKED, hole, "reclaim.c:hold_batch reads which objects are free under the lock")                 \
    RULE(HOLES_WITHOUT_LOCK, hole, "reclaim.c:purge_holes holds no lock in madvise")                                  \
    RULE(UNHOLD_LOCKS, hole, "reclaim.c:unhold_batch files the slab again under the lock")                            \
    RULE(UNHOLD_PUTS_BACK, hole, "owner.c:owner_unhold_slab files the slab again")                                    \
    RULE(UNHOLD_COUNTS_AGAIN, hole, "owner.c:owner_unhold_slab files the slab by what is free then")                  \
    RULE(UNHOLD_ANNOUNCES, hole_idle, "reclaim.c:unhold_batch announces what it files for an idle owner")             \
    RULE(HOLES_CLEARED_IF_PURGED, hole, "reclaim.c:purge_holes takes for fresh only what madvise took")               \
    RULE(HELPER_CAS, helper, "background.c:start claims the helper in one step")                                      \
    RULE(HELPER_ACQUIRE, helper, "background.c:start acquires")                                                       \
    RULE(HELPER_RELEASE, helper, "background.c:start releases when it failed")                                        \
    RULE(FORK_TAKES_DEPOT_LOCK, fork, "fork.c:fork_prepare takes the depot's lock")                                   \
    RULE(FORK_TAKES_OWNER_LOCKS, fork, "fork.c:fork_prepare takes the owners' locks")                                 \
    RULE(FORK_TAKES_ZONE_LOCK, fork, "fork.c:fork_prepare takes the zones' locks")                                    \
    RULE(PARENT_DROPS, fork, "fork.c:fork_parent drops the locks")                                                    \
    RULE(CHILD_RESETS, fork, "fork.c:fork_child frees the locks")                                                     \
    RULE(CHILD_FORGETS_INBOXES, fork, "owner.c:owner_fork_child forgets inboxes")                                     \
    RULE(CHILD_FORGETS_MAGAZINES, fork, "owner.c:owner_orphan forgets magazines")                                     \
    RULE(CHILD_SAYS_IDLE, fork, "owner.c:owner_orphan says idle")                                                     \
    RULE(CHILD_ANNOUNCES, fork, "owner.c:owner_orphan announces free objects")                                        \
    RULE(CHILD_FILLS_DEPOT, fork, "owner.c:owner_fork_child puts owners without thread into the depot")               \
    RULE(CHILD_FILES_HELD, fork_hole, "reclaim.c:file_held_slabs files slabs that a purger held")                     \
    RULE(CHILD_RETURNS_RECEIVED, fork_received, "reclaim.c:reclaim_fork_child returns what was received")             \
    RULE(CHILD_LEAVES_OWN_HELD, signal_hole, "fork.c:fork_child leaves slabs alone that its thread holds")            \
    RULE(FORK_TAKES_IN_ORDER, two_forks, "fork.c:each_lock is one order for all")                                     \
    RULE(FORK_SKIPS_MINE, signal, "fork.c:fork_prepare skips locks its thread holds")                                 \
    RULE(FORK_KNOWS_TRANSIT, signal, "owner.c:owner_fork_child leaves owners alone that its thread adopts or releases")\
    RULE(CHILD_KEEPS_OWN_DEPOT, signal, "owner.c:owner_fork_child leaves a depot alone that its thread works on")
/* clang-format on */

#define RULE_ENUM(name, scenario, says) name,
enum rule { RULES(RULE_ENUM) RULE_COUNT };

#endif
