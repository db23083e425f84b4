/*
 * bignum: continued fractions of square roots in arbitrary precision.
 *
 * Stands for cfrac, the factoring program used as an allocator benchmark since B. Zorn and D. Grunwald, "Empirical
 * Measurements of Six Allocation-intensive C Programs" (1992): every arithmetic result is a new small block, most live
 * for a few operations. The expansion follows M. Morrison and J. Brillhart, "A Method of Factoring and the
 * Factorization of F7" (1975), whose identity A(k-1)^2 = (-1)^k Q(k) modulo N checks every step.
 */
#include "workload.h"

enum { NUMBERS = 340, STEPS = 900, LIMBS_OF_N = 5 };

/* A natural number, least significant limb first, no leading zero limb; zero has none. Never changed once made. */
struct number {
    uint32_t length;
    uint32_t limbs[];
};

static struct number *number_new(uint32_t length) {
    struct number *n = workload_alloc(sizeof(*n) + length * sizeof(uint32_t));
    n->length = length;
    memset(n->limbs, 0, length * sizeof(uint32_t));
    return n;
}

static struct number *number_trim(struct number *n) {
    while (n->length > 0 && n->limbs[n->length - 1] == 0)
        n->length--;
    return n;
}

static struct number *number_small(uint32_t value) {
    struct number *n = number_new(1);
    n->limbs[0] = value;
    return number_trim(n);
}

static int number_compare(const struct number *a, const struct number *b) {
    if (a->length != b->length)
        return a->length < b->length ? -1 : 1;
    for (uint32_t i = a->length; i-- > 0;)
        if (a->limbs[i] != b->limbs[i])
            return a->limbs[i] < b->limbs[i] ? -1 : 1;
    return 0;
}

static struct number *number_add(const struct number *a, const struct number *b) {
    uint32_t length = (a->length > b->length ? a->length : b->length) + 1;
    struct number *sum = number_new(length);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < length; i++) {
        carry += (i < a->length ? a->limbs[i] : 0ull) + (i < b->length ? b->limbs[i] : 0ull);
        sum->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    return number_trim(sum);
}

/* a - b for a >= b. */
static struct number *number_subtract(const struct number *a, const struct number *b) {
    struct number *difference = number_new(a->length);
    int64_t borrow = 0;
    for (uint32_t i = 0; i < a->length; i++) {
        borrow += (int64_t)a->limbs[i] - (i < b->length ? b->limbs[i] : 0);
        difference->limbs[i] = (uint32_t)borrow;
        borrow >>= 32;
    }
    return number_trim(difference);
}

static struct number *number_multiply(const struct number *a, const struct number *b) {
    struct number *product = number_new(a->length + b->length);
    for (uint32_t i = 0; i < a->length; i++) {
        uint64_t carry = 0;
        for (uint32_t j = 0; j < b->length; j++) {
            carry += (uint64_t)a->limbs[i] * b->limbs[j] + product->limbs[i + j];
            product->limbs[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product->limbs[i + b->length] = (uint32_t)carry;
    }
    return number_trim(product);
}

static struct number *number_shift_in(const struct number *n, unsigned bit) {
    struct number *shifted = number_new(n->length + 1);
    uint32_t carry = bit;
    for (uint32_t i = 0; i < n->length; i++) {
        shifted->limbs[i] = n->limbs[i] << 1 | carry;
        carry = n->limbs[i] >> 31;
    }
    shifted->limbs[n->length] = carry;
    return number_trim(shifted);
}

static uint32_t number_bits(const struct number *n) {
    return n->length == 0 ? 0 : n->length * 32 - (uint32_t)__builtin_clz(n->limbs[n->length - 1]);
}

/* Restoring division a bit at a time: slow on purpose, one or two blocks for each bit. Frees nothing it was given. */
static struct number *number_divide(const struct number *a, const struct number *b, struct number **remainder) {
    struct number *quotient = number_new(a->length);
    struct number *rest = number_small(0);
    for (uint32_t bit = number_bits(a); bit-- > 0;) {
        struct number *shifted = number_shift_in(rest, a->limbs[bit / 32] >> bit % 32 & 1);
        free(rest);
        rest = shifted;
        if (number_compare(rest, b) >= 0) {
            rest = number_subtract(shifted, b);
            free(shifted);
            quotient->limbs[bit / 32] |= UINT32_C(1) << bit % 32;
        }
    }
    *remainder = rest;
    return number_trim(quotient);
}

/* Newton's method from above: x falls until it stops falling. */
static struct number *number_square_root(const struct number *n) {
    struct number *x = number_new(n->length / 2 + 2);
    x->limbs[x->length - 1] = 1;
    for (;;) {
        struct number *rest, *half_rest, *two = number_small(2);
        struct number *quotient = number_divide(n, x, &rest);
        struct number *sum = number_add(x, quotient);
        struct number *next = number_divide(sum, two, &half_rest);
        bool done = number_compare(next, x) >= 0;
        free(rest);
        free(half_rest);
        free(two);
        free(quotient);
        free(sum);
        if (done) {
            free(next);
            return x;
        }
        free(x);
        x = next;
    }
}

/* P and Q of the expansion of sqrt(N), its integer part g, and the last two numerators A modulo N. */
struct fraction {
    struct number *n, *g, *p, *q, *q_before, *a, *a_before;
};

static void number_replace(struct number **slot, struct number *value) {
    free(*slot);
    *slot = value;
}

static struct number *fraction_modulo(const struct fraction *f, struct number *value) {
    struct number *rest;
    free(number_divide(value, f->n, &rest));
    free(value);
    return rest;
}

/* P' = bQ - P, Q' = Q_before + b(P - P') where b = floor((g + P) / Q). All values stay below 2 sqrt(N). */
static void fraction_step(struct fraction *f) {
    struct number *rest;
    struct number *top = number_add(f->g, f->p);
    struct number *b = number_divide(top, f->q, &rest);
    struct number *p_next = number_subtract(f->g, rest);
    bool falls = number_compare(f->p, p_next) >= 0;
    struct number *change = falls ? number_subtract(f->p, p_next) : number_subtract(p_next, f->p);
    struct number *product = number_multiply(b, change);
    struct number *q_next = falls ? number_add(f->q_before, product) : number_subtract(f->q_before, product);
    struct number *scaled = number_multiply(b, f->a);
    struct number *a_next = fraction_modulo(f, number_add(scaled, f->a_before));
    number_replace(&f->p, p_next);
    number_replace(&f->q_before, f->q);
    f->q = q_next;
    number_replace(&f->a_before, f->a);
    f->a = a_next;
    free(rest);
    free(top);
    free(b);
    free(change);
    free(product);
    free(scaled);
}

/* Before step k, a is A(k-1): its square must be (-1)^k Q(k) modulo N. */
static void fraction_check(const struct fraction *f, unsigned k) {
    struct number *square = fraction_modulo(f, number_multiply(f->a, f->a));
    struct number *expected = k % 2 == 0 ? number_subtract(f->q, number_small(0)) : number_subtract(f->n, f->q);
    if (number_compare(square, expected) != 0)
        workload_fail("the continued fraction's identity does not hold");
    free(square);
    free(expected);
}

static uint64_t bignum_expand(uint64_t *random) {
    struct fraction f = {.n = number_new(LIMBS_OF_N)};
    uint64_t sum = 0;
    for (int i = 0; i < LIMBS_OF_N; i++)
        f.n->limbs[i] = (uint32_t)workload_random(random) | 1;
    f.g = number_square_root(f.n);
    f.p = number_small(0);
    f.q = number_small(1);
    f.a = number_small(1);
    f.a_before = number_small(0);
    f.q_before = number_add(f.n, f.p); /* Q(-1) = N, so that Q(1) comes out as N - g^2 */
    for (unsigned k = 0; k < STEPS && f.q->length > 0; k++) {
        if (k % 16 == 0)
            fraction_check(&f, k);
        fraction_step(&f);
        sum = sum * 31 + f.q->limbs[0];
    }
    struct number *all[] = {f.n, f.g, f.p, f.q, f.q_before, f.a, f.a_before};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
    return sum;
}

static uint64_t bignum_thread(const struct workload *load, unsigned index) {
    uint64_t random = workload_seed(load, index);
    uint64_t sum = 0;
    for (uint64_t n = workload_amount(load, NUMBERS); n > 0; n--)
        sum += bignum_expand(&random);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    return workload_finish(&load, workload_run(&load, bignum_thread));
}
