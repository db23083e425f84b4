/* slab.h promises: equal objects in address order, exact states, pages untouched until carved, bad frees noticed. */
#include "slab.h"

#include <signal.h>
#include <sys/wait.h>

#include "faults.h"
#include "meta.h"
#include "options.h"
#include "sizeclass.h"
#include "util.h"
#include "zone.h"

#define GENERATIONS 8

/* A slab only remembers its owner. */
static char someone, someone_else;
#define OWNER ((struct owner *)&someone)
#define OTHER ((struct owner *)&someone_else)
#define TAG ((uint32_t)7 << TAG_CLASS_BITS)
#define OTHER_TAG ((uint32_t)9 << TAG_CLASS_BITS)

static void setup(void) {
    zone_init();
    options.decay_ms = -1;
    options.hugepages = false;
}

TestSuite(slab, .init = setup);

static struct slab *new_slab(unsigned class, unsigned generation) {
    struct slab *slab = slab_create(OWNER, TAG, 0, class, generation);
    require(slab && !slab_check(slab));
    return slab;
}

/* A class of several objects a page, none of them aligned to one: 12 in 4096 bytes, 16 left over. */
static struct slab *slab_of_340(void) {
    return new_slab(sizeclass_of(340), 0);
}

static void *object(const struct slab *slab, size_t index) {
    return (void *)(slab->base + index * slab->bytes);
}

static void take_all(struct slab *slab) {
    void *out[SLAB_OBJECTS_MAX];
    require(slab_take(slab, out, SLAB_OBJECTS_MAX) == slab->nobjects);
}

/* Shape. */

Test(slab, every_class_and_generation_has_a_sound_shape) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        size_t bytes = sizeclass_bytes(class), before = 0;
        for (unsigned generation = 0; generation < GENERATIONS; generation++) {
            size_t npages = slab_npages(class, generation), room = npages << PAGE_SHIFT;
            require(npages >= 1 && npages <= 255 && npages <= BLOCK_PAGES, "class %u", class);
            require(npages >= before, "class %u: generation %u is smaller than the one before", class, generation);
            require(room >= bytes, "class %u", class);
            /* A page is the least there is, even if more objects would fit. */
            size_t used = min_size(room / bytes, SLAB_OBJECTS_MAX) * bytes;
            require(npages == 1 || room - used <= room / 8, "class %u wastes %zu of %zu", class, room - used, room);
            before = npages;
        }
    }
}

Test(slab, the_first_slab_of_a_class_is_the_smallest_that_wastes_at_most_an_eighth) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        size_t bytes = sizeclass_bytes(class), first = slab_npages(class, 0);
        for (size_t npages = pages_of(bytes); npages <= first; npages++) {
            bool good = (npages << PAGE_SHIFT) % bytes * 8 <= npages << PAGE_SHIFT;
            require(good == (npages == first), "class %u: %zu pages, first slab %zu", class, npages, first);
        }
    }
}

/* How much of NPAGES objects of BYTES leave, in 1/1000; 1000: they do not fit, or more than a slab may have. */
static size_t waste_permille(size_t npages, size_t bytes) {
    size_t room = npages << PAGE_SHIFT, nobjects = room / bytes;
    return nobjects >= 1 && nobjects <= SLAB_OBJECTS_MAX ? (room - nobjects * bytes) * 1000 / room : 1000;
}

/* They double in size up to 64 KiB or 8 objects; each is the whole block of the buddy around that size if it wastes
 * 1/32 or less, else the least wasteful one of more than half the size. */
Test(slab, later_slabs_of_a_class_double_and_are_whole_blocks_or_waste_least) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        size_t bytes = sizeclass_bytes(class), about = slab_npages(class, 0);
        size_t most = min_size(max_size(64 << 10, 8 * bytes), SLAB_OBJECTS_MAX * bytes) >> PAGE_SHIFT;
        for (unsigned generation = 1; generation < GENERATIONS; generation++) {
            about = 2 * about <= most ? 2 * about : about;
            size_t block = 1, npages = slab_npages(class, generation);
            while (block < about) {
                block *= 2;
            }
            require(2 * npages > about && npages <= block, "class %u, generation %u", class, generation);
            if (waste_permille(block, bytes) <= 1000 / 32) {
                require(npages == block, "class %u, generation %u", class, generation);
                continue;
            }
            for (size_t n = about / 2 + 1; n <= block; n++) {
                require(waste_permille(npages, bytes) <= waste_permille(n, bytes), "class %u: %zu pages, not %zu",
                        class, n, npages);
            }
        }
    }
}

Test(slab, a_new_slab_has_all_its_objects_in_it) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        for (unsigned generation = 0; generation < GENERATIONS; generation++) {
            const struct slab *slab = new_slab(class, generation);
            require(slab->bytes == sizeclass_bytes(class) && slab->class == class && slab->owner == OWNER);
            require(slab->nobjects >= 1 && slab->nobjects <= SLAB_OBJECTS_MAX);
            require((size_t)slab->nobjects * slab->bytes <= (size_t)slab->npages << PAGE_SHIFT);
            require(slab->nfree == slab->nobjects && slab->touched == 0 && slab->bin == SLAB_UNFILED);
            for (size_t i = 0; i < SLAB_OBJECTS_MAX; i++) {
                require((i < slab->nobjects) == slab_is_free(slab, i), "class %u, object %zu", class, i);
            }
        }
    }
}

Test(slab, every_page_leads_to_the_slab_and_has_its_tag) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct slab *slab = new_slab(class, class % GENERATIONS);
        for (size_t at = 0; at < (size_t)slab->npages << PAGE_SHIFT; at += PAGE_BYTES / 2) {
            const void *p = (const char *)object(slab, 0) + at;
            require(pagemap_tag(p) == (TAG | class), "class %u", class);
            require(slab_of(p) == slab, "class %u", class);
        }
    }
}

Test(slab, objects_are_aligned_to_what_divides_their_size) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct slab *slab = new_slab(class, 2);
        void *out[SLAB_OBJECTS_MAX];
        size_t align = min_size(slab->bytes & -slab->bytes, PAGE_BYTES);
        size_t n = slab_take(slab, out, SLAB_OBJECTS_MAX);
        for (size_t i = SLAB_OBJECTS_MAX - n; i < SLAB_OBJECTS_MAX; i++) {
            require((uintptr_t)out[i] % align == 0, "class %u, alignment %zu", class, align);
        }
    }
}

Test(slab, an_index_is_found_for_every_object_and_for_no_other_byte) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct slab *slab = new_slab(class, GENERATIONS - 1);
        size_t room = (size_t)slab->npages << PAGE_SHIFT;
        for (size_t offset = 0; offset < room; offset++) {
            long index = slab_index(slab, (const char *)object(slab, 0) + offset);
            bool start = offset % slab->bytes == 0 && offset / slab->bytes < slab->nobjects;
            require(index == (start ? (long)(offset / slab->bytes) : -1), "class %u, byte %zu", class, offset);
        }
    }
}

/* Read by freeing threads in place of the descriptor; only behind the last object may it be wrong. */
Test(slab, the_page_map_alone_says_where_objects_may_start) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct slab *slab = new_slab(class, GENERATIONS - 1);
        size_t objects = (size_t)slab->nobjects * slab->bytes;
        for (size_t offset = 0; offset < objects; offset++) {
            bool may = slab_may_start((const char *)object(slab, 0) + offset, class);
            require(may == (offset % slab->bytes == 0), "class %u, byte %zu", class, offset);
        }
    }
}

/* Taking and giving. */

Test(slab, objects_are_taken_from_the_lowest_up_and_the_lowest_comes_last_in_the_array) {
    struct slab *slab = new_slab(0, 0);
    void *out[10];
    for (size_t next = 0; next + 10 <= slab->nobjects; next += 10) {
        require(slab_take(slab, out, 10) == 10);
        for (size_t i = 0; i < 10; i++) {
            require(out[9 - i] == object(slab, next + i));
        }
        require(!slab_check(slab));
    }
}

Test(slab, a_short_slab_fills_the_end_of_the_array) {
    struct slab *slab = slab_of_340();
    size_t n = slab->nobjects + 5;
    void *out[SLAB_OBJECTS_MAX + 5] = {0};
    require(slab_take(slab, out, n) == slab->nobjects);
    for (size_t i = 0; i < 5; i++) {
        require(out[i] == NULL);
    }
    require(out[5] == object(slab, slab->nobjects - 1) && out[n - 1] == object(slab, 0));
}

Test(slab, holes_are_filled_in_address_order_before_new_objects_are_carved) {
    struct slab *slab = new_slab(0, 0);
    void *out[200];
    require(slab_take(slab, out, 150) == 150);
    static const size_t holes[] = {3, 64, 70, 127, 128, 149};
    for (size_t i = 6; i--;) {
        slab_give(slab, (void *[]){object(slab, holes[i])}, 1);
    }
    require(slab_take(slab, out, 7) == 7);
    for (size_t i = 0; i < 6; i++) {
        require(out[6 - i] == object(slab, holes[i]), "hole %zu", i);
    }
    require(out[0] == object(slab, 150));
}

Test(slab, it_is_full_partial_or_empty_exactly_by_its_free_objects) {
    struct slab *slab = slab_of_340();
    void *out[1];
    for (size_t left = slab->nobjects; left; left--) {
        require(slab->nfree == left);
        require(slab_take(slab, out, 1) == 1);
        require(!slab_check(slab));
    }
    require(slab->nfree == 0);
    require(slab_take(slab, out, 1) == 0);
    for (size_t i = slab->nobjects; i--;) {
        slab_give(slab, (void *[]){object(slab, i)}, 1);
        require(slab->nfree == slab->nobjects - i && !slab_check(slab));
    }
}

/* Some in rows of one word of the bitmap, some not, up to the first that is another slab's. */
Test(slab, one_call_gives_back_objects_of_all_words_in_any_order) {
    struct slab *slab = new_slab(0, GENERATIONS), *other = new_slab(0, GENERATIONS);
    struct rng rng = {17};
    void *objects[SLAB_OBJECTS_MAX + 1];
    require(slab->nobjects > 64);
    for (unsigned step = 0; step < 200; step++) {
        take_all(slab);
        size_t n = slab->nobjects;
        for (size_t i = 0; i < n; i++) {
            objects[i] = object(slab, i);
        }
        for (unsigned swaps = 0; swaps < step; swaps++) {
            size_t i = rng_below(&rng, n), j = rng_below(&rng, n);
            void *p = objects[i];
            objects[i] = objects[j];
            objects[j] = p;
        }
        objects[n] = object(other, 0);
        require(slab_give(slab, objects, n + 1) == n);
        require(slab->nfree == n && !slab_check(slab));
    }
}

Test(slab, nothing_is_ever_written_into_an_object) {
    struct slab *slab = new_slab(5, 1);
    size_t room = (size_t)slab->npages << PAGE_SHIFT;
    take_all(slab);
    pattern_fill(object(slab, 0), room, 3);
    struct rng rng = {5};
    for (size_t i = 0; i < slab->nobjects; i++) {
        slab_give(slab, (void *[]){object(slab, i)}, 1);
    }
    for (int i = 0; i < 100; i++) {
        void *out[SLAB_OBJECTS_MAX];
        size_t n = rng_between(&rng, 1, slab->nobjects);
        require(slab_take(slab, out, n) == n);
        for (size_t k = 0; k < n; k++) {
            slab_give(slab, &out[k], 1);
        }
    }
    require(pattern_holds(object(slab, 0), room, 3));
}

Test(slab, agrees_with_a_model_through_a_long_history) {
    struct slab *slab = new_slab(0, GENERATIONS);
    static bool out_there[SLAB_OBJECTS_MAX];
    size_t nout = 0;
    uint64_t touched = 0;
    struct rng rng = {11};
    for (unsigned long step = rounds(20000); step; step--) {
        if (rng_below(&rng, 2)) {
            void *out[32];
            size_t wanted = rng_between(&rng, 1, 32), got = slab_take(slab, out, wanted), at = 0;
            require(got == min_size(wanted, slab->nobjects - nout));
            for (size_t i = wanted; i > wanted - got; i--, at++) {
                while (out_there[at]) {
                    at++;
                }
                require(out[i - 1] == object(slab, at), "object %zu is the lowest", at);
                out_there[at] = true;
                touched |= (uint64_t)1 << (at * slab->bytes >> PAGE_SHIFT);
            }
            nout += got;
        } else {
            for (size_t i = rng_below(&rng, 40); i; i--) {
                size_t index = rng_below(&rng, slab->nobjects);
                if (out_there[index]) {
                    slab_give(slab, (void *[]){object(slab, index)}, 1);
                    out_there[index] = false;
                    nout--;
                }
            }
        }
        require(slab->nfree == slab->nobjects - nout && slab->touched == touched);
        const char *broken = slab_check(slab);
        require(!broken, "%s", broken);
    }
}

/* Holes. */

/* The pages of SLAB on which no object lies that OUT_THERE says is out. */
static uint64_t holes_by_model(const struct slab *slab, const bool *out_there) {
    uint64_t used = 0;
    for (size_t i = 0; i < slab->nobjects; i++) {
        size_t first = i * slab->bytes >> PAGE_SHIFT, last = ((i + 1) * slab->bytes - 1) >> PAGE_SHIFT;
        for (size_t page = first; out_there[i] && page <= last; page++) {
            used |= (uint64_t)1 << page;
        }
    }
    return slab->touched & ~used;
}

Test(slab, holes_are_the_touched_pages_without_an_object_that_is_out) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        zone_trim(); /* what the class before left dirty */
        struct slab *slab = new_slab(class, GENERATIONS);
        bool out_there[SLAB_OBJECTS_MAX] = {false};
        void *out[SLAB_OBJECTS_MAX];
        struct rng rng = {class + 1};
        require(slab_holes(slab) == 0, "class %u: nothing was touched", class);
        size_t ntaken = rng_between(&rng, 1, slab->nobjects);
        require(slab_take(slab, out, ntaken) == ntaken);
        for (size_t i = 0; i < ntaken; i++) {
            out_there[i] = true;
        }
        for (size_t left = ntaken; left; left--) {
            require(slab_holes(slab) == holes_by_model(slab, out_there), "class %u, %zu out", class, left);
            size_t index = rng_below(&rng, ntaken);
            while (!out_there[index]) {
                index = (index + 1) % ntaken;
            }
            slab_give(slab, (void *[]){object(slab, index)}, 1);
            out_there[index] = false;
        }
        require(slab_holes(slab) == slab->touched, "class %u: all of it", class);
        slab_destroy(slab);
    }
}

/* Bad frees. */

Test(slab, giving_an_object_twice_aborts, .signal = SIGABRT) {
    struct slab *slab = slab_of_340();
    take_all(slab);
    slab_give(slab, (void *[]){object(slab, 3)}, 1);
    slab_give(slab, (void *[]){object(slab, 3)}, 1);
}

Test(slab, giving_an_object_that_was_never_out_aborts, .signal = SIGABRT) {
    struct slab *slab = slab_of_340();
    slab_give(slab, (void *[]){object(slab, 0)}, 1);
}

Test(slab, giving_a_pointer_inside_an_object_aborts, .signal = SIGABRT) {
    struct slab *slab = slab_of_340();
    take_all(slab);
    slab_give(slab, (void *[]){(char *)object(slab, 3) + 16}, 1);
}

Test(slab, giving_a_pointer_one_byte_off_aborts, .signal = SIGABRT) {
    struct slab *slab = slab_of_340();
    take_all(slab);
    slab_give(slab, (void *[]){(char *)object(slab, 3) - 1}, 1);
}

Test(slab, giving_a_pointer_behind_the_last_object_aborts, .signal = SIGABRT) {
    struct slab *slab = slab_of_340();
    take_all(slab);
    slab_give(slab, (void *[]){object(slab, slab->nobjects)}, 1);
}

Test(slab, the_message_names_the_pointer) {
    struct slab *slab = slab_of_340();
    char expected[32], output[512] = "";
    int ends[2], status;
    snprintf(expected, sizeof expected, "%p", object(slab, 2));
    require(pipe(ends) == 0);
    pid_t child = fork();
    if (!child) {
        dup2(ends[1], 2);
        slab_give(slab, (void *[]){object(slab, 2)}, 1);
        _exit(0);
    }
    close(ends[1]);
    require(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    require(read(ends[0], output, sizeof output - 1) > 0);
    require(strstr(output, expected) && strstr(output, "slabmalloc: "), "%s", output);
    require(strchr(output, '\n') == output + strlen(output) - 1, "not one line: %s", output);
}

/* Pages. */

Test(slab, pages_no_object_was_taken_from_stay_untouched_and_fresh) {
    unsigned class = sizeclass_of(PAGE_BYTES * 5 / 16); /* objects that lie across page borders */
    size_t kernel_page = (size_t)sysconf(_SC_PAGESIZE), step = 1;
    for (size_t ntaken = 0, most = SLAB_OBJECTS_MAX; ntaken <= most; ntaken += step) {
        struct slab *slab = new_slab(class, GENERATIONS);
        uintptr_t pfn = slab->base >> PAGE_SHIFT;
        size_t npages = slab->npages, bytes = slab->bytes, ntouched = pages_of(ntaken * bytes);
        void *out[SLAB_OBJECTS_MAX];
        most = slab->nobjects;
        step = most / 8;
        slab_destroy(slab);
        zone_trim(); /* what the round before left dirty */
        slab = new_slab(class, GENERATIONS);
        require(slab->base >> PAGE_SHIFT == pfn && slab->npages == npages);
        require(slab_take(slab, out, ntaken) == ntaken);
        require(slab->touched == (ntouched ? ~(uint64_t)0 >> (64 - ntouched) : 0));
        for (size_t i = 0; i < ntaken; i++) {
            memset(out[i], 1, bytes);
            slab_give(slab, &out[i], 1);
        }
        require(slab->touched == (ntouched ? ~(uint64_t)0 >> (64 - ntouched) : 0));
        size_t resident = resident_pages(pfn_pointer(pfn), npages << PAGE_SHIFT) * kernel_page;
        require(resident <= round_up(ntouched << PAGE_SHIFT, kernel_page));
        slab_destroy(slab);
        for (size_t i = 0; i < npages; i++) {
            require(buddy_is_fresh(pfn + i) == (i >= ntouched), "page %zu of %zu, %zu objects", i, npages, ntaken);
        }
    }
}

Test(slab, destroying_clears_tags_and_gives_every_page_back) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct slab *slab = new_slab(class, 3);
        uintptr_t pfn = slab->base >> PAGE_SHIFT;
        const struct zone *zone = zone_of(pfn);
        size_t npages = slab->npages, free_before = zone->buddy.free_pages;
        slab_destroy(slab);
        require(zone->buddy.free_pages == free_before + npages);
        for (size_t i = 0; i < npages; i++) {
            require(pagemap_tag(pfn_pointer(pfn + i)) == TAG_FOREIGN, "class %u, page %zu", class, i);
            require(pagemap_page(pfn + i)->state != PAGE_SLAB, "class %u, page %zu", class, i);
        }
        const char *broken = buddy_check(&zone->buddy);
        require(!broken, "%s", broken);
    }
}

Test(slab, a_thousand_lives_of_a_slab_cost_the_memory_of_one) {
    slab_destroy(new_slab(20, 3));
    size_t metadata = meta_mapped();
    const struct zone *zone = zone_next(NULL);
    size_t mapped = zone->mapped_pages, free_pages = zone->buddy.free_pages;
    for (int i = 0; i < 1000; i++) {
        slab_destroy(new_slab(20, 3));
    }
    require(meta_mapped() == metadata && zone->mapped_pages == mapped && zone->buddy.free_pages == free_pages);
}

Test(slab, no_memory_is_NULL_and_loses_nothing) {
    struct slab *spare = slab_of_340();
    slab_destroy(spare); /* a descriptor, so that it is pages that are missing */
    const struct zone *zone = zone_next(NULL);
    refuse(SYS_MAP, 0, UINT_MAX);
    while (zone_alloc(0, ZONE_NORMAL, GROUP_SLAB, 1, 0)) {
    }
    for (int i = 0; i < 3000; i++) { /* more than a chunk of metadata holds: a lost descriptor would show */
        require(!slab_create(OWNER, TAG, 0, 0, 0));
    }
    sys_fault_hook = NULL;
    struct slab *slab = slab_create(OWNER, TAG, 0, 0, 0);
    require(slab == spare && !slab_check(slab));
    require(!buddy_check(&zone->buddy));
}

/* Moving to another owner. */

Test(slab, retagging_moves_all_pages_and_objects_to_the_new_owner) {
    for (unsigned class = 0; class < CLASS_COUNT; class += 7) {
        struct slab *slab = new_slab(class, 4), *neighbour = new_slab(class, 4);
        void *out[1];
        slab_take(slab, out, 1);
        slab_retag(slab, OTHER, OTHER_TAG);
        require(slab->owner == OTHER && slab->nfree == slab->nobjects - 1);
        for (size_t i = 0; i < slab->npages; i++) {
            require(pagemap_tag((char *)object(slab, 0) + (i << PAGE_SHIFT)) == (OTHER_TAG | class));
        }
        for (size_t i = 0; i < neighbour->npages; i++) {
            require(pagemap_tag((char *)object(neighbour, 0) + (i << PAGE_SHIFT)) == (TAG | class));
        }
        slab_give(slab, &out[0], 1);
        require(!slab_check(slab));
    }
}

/* The checker. */

Test(slab, check_notices_every_broken_rule) {
    struct slab *slab = new_slab(0, 3);
    void *out[10];
    slab_take(slab, out, 10);
    slab->nfree++;
    require(slab_check(slab));
    slab->nfree--;
    slab->free[0] ^= 1;
    require(slab_check(slab));
    slab->free[0] ^= 1;
    slab->touched = 0;
    require(slab_check(slab));
    slab->touched = 1;
    require(!slab_check(slab));
    require(slab->npages > 1);
    for (size_t i = 0; i < slab->npages; i++) {
        struct page *page = pagemap_page((slab->base >> PAGE_SHIFT) + i), saved = *page;
        page->link = 0x1000;
        require(slab_check(slab), "page %zu", i);
        *page = saved;
        require(!slab_check(slab));
    }
}

#ifdef SLABMALLOC_DEBUG
Test(slab, destroying_it_with_objects_out_is_a_broken_invariant, .signal = SIGABRT) {
    struct slab *slab = slab_of_340();
    void *out[1];
    slab_take(slab, out, 1);
    slab_destroy(slab);
}
#endif
