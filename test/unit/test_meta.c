/* meta.h promises: zeroed, aligned, disjoint pieces of powers of two, reused, from a static chunk first. */
#include "meta.h"

#include <pthread.h>

#include "faults.h"
#include "lock.h"
#include "util.h"

#define BIGGEST ((size_t)1 << 20)

static size_t rounded(size_t bytes) {
    size_t size = META_MIN;
    while (size < bytes) {
        size *= 2;
    }
    return size;
}

TestSuite(meta);

Test(meta, pieces_are_aligned_to_their_rounded_size_up_to_256) {
    for (size_t bytes = 1; bytes <= BIGGEST; bytes += bytes / 3 + 1) {
        size_t align = min_size(rounded(bytes), 256);
        require(meta_alloc(META_MIN)); /* or every piece would follow another of its size */
        require((uintptr_t)meta_alloc(bytes) % align == 0, "%zu bytes", bytes);
        require((uintptr_t)meta_alloc_dirty(bytes) % align == 0, "%zu bytes", bytes);
    }
}

Test(meta, pieces_read_zero) {
    for (size_t bytes = 1; bytes <= BIGGEST; bytes += bytes / 3 + 1) {
        const void *piece = meta_alloc(bytes);
        require(piece && all_bytes_are(piece, bytes, 0), "%zu bytes", bytes);
    }
}

Test(meta, used_pieces_read_zero_again) {
    for (size_t bytes = 1; bytes <= BIGGEST; bytes += bytes / 3 + 1) {
        void *piece = meta_alloc(bytes);
        memset(piece, 0xff, bytes);
        meta_free(piece, bytes);
        void *again = meta_alloc(bytes);
        require(all_bytes_are(again, bytes, 0), "%zu bytes", bytes);
        memset(again, 0xff, bytes);
        meta_free(again, bytes);
        require(all_bytes_are(meta_alloc(rounded(bytes)), rounded(bytes), 0), "%zu bytes", bytes);
    }
}

Test(meta, a_freed_piece_serves_the_next_request_of_its_rounded_size) {
    for (size_t bytes = META_MIN; bytes <= BIGGEST; bytes *= 2) {
        void *piece = meta_alloc(bytes);
        meta_free(piece, bytes);
        size_t before = meta_mapped();
        for (int i = 0; i < 100; i++) {
            void *again = i % 2 ? meta_alloc(bytes - bytes / 4) : meta_alloc_dirty(bytes);
            require(again == piece, "%zu bytes", bytes);
            meta_free(again, i % 2 ? bytes - bytes / 4 : bytes);
        }
        require(meta_mapped() == before);
    }
}

Test(meta, all_freed_pieces_serve_again) {
    static void *piece[1000];
    for (int i = 0; i < 1000; i++) {
        piece[i] = meta_alloc(500);
    }
    size_t before = meta_mapped();
    for (int life = 0; life < 5; life++) {
        for (int i = 0; i < 1000; i++) {
            meta_free(piece[i], 500);
        }
        for (int i = 0; i < 1000; i++) {
            require((piece[i] = meta_alloc(500)));
        }
    }
    require(meta_mapped() == before);
}

Test(meta, a_small_program_needs_no_mapping) {
    refuse(SYS_MAP, 0, UINT_MAX);
    require(meta_alloc(META_MIN));
    require(meta_alloc(1024));
}

Test(meta, a_big_first_piece_is_no_problem) {
    char *big = meta_alloc(BIGGEST), *small = meta_alloc(1);
    require(big && small);
    memset(big, 1, BIGGEST);
    require(all_bytes_are(small, META_MIN, 0));
    require(meta_mapped() >= BIGGEST);
}

Test(meta, no_memory_is_NULL_and_later_requests_work) {
    refuse(SYS_MAP, 0, UINT_MAX);
    size_t pieces = 0;
    while (meta_alloc(META_MIN)) {
        require(++pieces < BIGGEST, "memory without end, though the kernel refuses");
    }
    require(!meta_alloc(BIGGEST) && !meta_alloc_dirty(META_MIN));
    size_t before = meta_mapped();
    sys_fault_hook = NULL;
    char *piece = meta_alloc(META_MIN);
    require(piece && all_bytes_are(piece, META_MIN, 0));
    require(meta_mapped() > before);
}

Test(meta, freed_pieces_serve_even_when_the_kernel_refuses) {
    void *piece = meta_alloc(4096);
    meta_free(piece, 4096);
    refuse(SYS_MAP, 0, UINT_MAX);
    require(meta_alloc(4096) == piece);
}

/* Address space may be too scarce for a whole chunk but not for what is needed. */
Test(meta, a_refused_chunk_is_not_the_last_word) {
    refuse(SYS_MAP, 0, UINT_MAX);
    while (meta_alloc(META_MIN)) {
    }
    refuse(SYS_MAP, 0, 1);
    unsigned char *piece = meta_alloc(5000);
    require(piece && all_bytes_are(piece, 5000, 0));
    memset(piece, 1, 8192);
}

Test(meta, a_refused_advice_changes_nothing) {
    refuse(SYS_ADVISE, 0, UINT_MAX);
    for (size_t i = 0; i < 100; i++) {
        require(all_bytes_are(meta_alloc(16384), 16384, 0));
    }
}

Test(meta, mapped_counts_at_least_what_is_in_use) {
    size_t in_use = 0;
    for (size_t i = 0; i < 500; i++) {
        size_t bytes = META_MIN << i % 8;
        require(meta_alloc_dirty(bytes));
        in_use += bytes;
        require(meta_mapped() >= in_use);
    }
}

struct piece {
    void *at;
    size_t bytes;
    uint64_t seed;
};

/* Fills pieces with patterns, frees them in any order; returns errors: a pattern changed, or zeroes were not zero. */
static size_t churn(uint64_t seed, unsigned long steps) {
    static __thread struct piece pieces[256];
    struct rng rng = {seed};
    size_t errors = 0;
    for (unsigned long step = 0; step < steps; step++) {
        struct piece *piece = &pieces[rng_below(&rng, 256)];
        if (piece->at) {
            errors += !pattern_holds(piece->at, piece->bytes, piece->seed);
            meta_free(piece->at, piece->bytes);
            piece->at = NULL;
            continue;
        }
        size_t bytes = rng_between(&rng, 1, (size_t)1 << rng_between(&rng, 0, 14));
        bool zero = rng_below(&rng, 2);
        *piece = (struct piece){zero ? meta_alloc(bytes) : meta_alloc_dirty(bytes), rounded(bytes), rng_next(&rng)};
        if (!piece->at) {
            errors++;
            continue;
        }
        errors += zero && !all_bytes_are(piece->at, bytes, 0);
        pattern_fill(piece->at, piece->bytes, piece->seed);
    }
    return errors;
}

Test(meta, pieces_never_overlap) {
    require(churn(1, rounds(50000)) == 0);
}

static void *churn_thread(void *seed) {
    return (void *)churn((uintptr_t)seed, rounds(20000));
}

Test(meta, threads_share_it) {
    pthread_t thread[4];
    for (uintptr_t i = 0; i < 4; i++) {
        pthread_create(&thread[i], NULL, churn_thread, (void *)(i + 1));
    }
    for (int i = 0; i < 4; i++) {
        void *errors;
        pthread_join(thread[i], &errors);
        require(!errors);
    }
    require(!lock_held(meta_lock()) && lock_try(meta_lock()));
}
