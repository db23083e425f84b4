/*
 * rbtree: versions of a red-black tree that share structure, with a list of strings at each node.
 *
 * Stands for in-memory indexes and functional programs. Insertion is C. Okasaki's ("Red-Black Trees in a Functional
 * Setting", 1999): it copies the path to the new node and shares the rest by reference counts. A ring of old versions
 * is kept and each step forks a random one, so nodes die in an order far from the one they were made in, and dropping
 * a version frees a scattered set. Balance and order are checked.
 */
#include "workload.h"

enum { VERSIONS = 64, INSERTIONS = 1100000, KEYS = 50000, LIST_MAX = 4, TEXT_MAX = 60 };

enum colour { RED, BLACK };

struct text {
    struct text *next;
    unsigned char length;
    char bytes[];
};

struct tree {
    struct tree *left, *right;
    struct text_list *texts;
    uint32_t key, references;
    enum colour colour;
};

/* Shared by the copies of a node. */
struct text_list {
    struct text *first;
    uint32_t references;
};

static struct text_list *texts_make(uint64_t *random, uint32_t key) {
    struct text_list *list = workload_alloc(sizeof(*list));
    *list = (struct text_list){NULL, 1};
    for (uint64_t n = workload_between(random, 1, LIST_MAX); n > 0; n--) {
        unsigned char length = (unsigned char)workload_between(random, 4, TEXT_MAX);
        struct text *text = workload_alloc(sizeof(*text) + length);
        memset(text->bytes, (int)(key % 251), length);
        text->length = length;
        text->next = list->first;
        list->first = text;
    }
    return list;
}

static void texts_drop(struct text_list *list, uint32_t key) {
    if (--list->references > 0)
        return;
    while (list->first != NULL) {
        struct text *text = list->first;
        list->first = text->next;
        if ((unsigned char)text->bytes[text->length - 1] != key % 251)
            workload_fail("a string lost its contents");
        free(text);
    }
    free(list);
}

static struct tree *tree_hold(struct tree *tree) {
    if (tree != NULL)
        tree->references++;
    return tree;
}

static void tree_drop(struct tree *tree) {
    while (tree != NULL && --tree->references == 0) {
        struct tree *right = tree->right;
        tree_drop(tree->left);
        texts_drop(tree->texts, tree->key);
        free(tree);
        tree = right;
    }
}

/* Takes over the references left, right and texts it is given. */
static struct tree *tree_make(enum colour colour, struct tree *left, uint32_t key, struct text_list *texts,
                              struct tree *right) {
    struct tree *tree = workload_alloc(sizeof(*tree));
    *tree = (struct tree){left, right, texts, key, 1, colour};
    return tree;
}

static struct text_list *texts_hold(struct text_list *texts) {
    texts->references++;
    return texts;
}

static bool tree_is_red(const struct tree *tree) {
    return tree != NULL && tree->colour == RED;
}

/* A red node over two black ones, from three nodes in key order and their four subtrees. */
static struct tree *tree_join(struct tree *a, const struct tree *x, struct tree *b, const struct tree *y,
                              struct tree *c, const struct tree *z, struct tree *d) {
    struct tree *left = tree_make(BLACK, tree_hold(a), x->key, texts_hold(x->texts), tree_hold(b));
    struct tree *right = tree_make(BLACK, tree_hold(c), z->key, texts_hold(z->texts), tree_hold(d));
    return tree_make(RED, left, y->key, texts_hold(y->texts), right);
}

/* Removes a red child with a red child below a black node, the four cases of the paper. Consumes node. */
static struct tree *tree_balance(struct tree *node) {
    struct tree *l = node->left, *r = node->right, *joined = NULL;
    if (node->colour == RED)
        return node;
    if (tree_is_red(l) && tree_is_red(l->left))
        joined = tree_join(l->left->left, l->left, l->left->right, l, l->right, node, r);
    else if (tree_is_red(l) && tree_is_red(l->right))
        joined = tree_join(l->left, l, l->right->left, l->right, l->right->right, node, r);
    else if (tree_is_red(r) && tree_is_red(r->left))
        joined = tree_join(l, node, r->left->left, r->left, r->left->right, r, r->right);
    else if (tree_is_red(r) && tree_is_red(r->right))
        joined = tree_join(l, node, r->left, r, r->right->left, r->right, r->right->right);
    if (joined == NULL)
        return node;
    tree_drop(node);
    return joined;
}

static struct tree *tree_insert_below(struct tree *tree, uint32_t key, uint64_t *random) {
    if (tree == NULL)
        return tree_make(RED, NULL, key, texts_make(random, key), NULL);
    if (key == tree->key)
        return tree_make(tree->colour, tree_hold(tree->left), key, texts_make(random, key), tree_hold(tree->right));
    bool less = key < tree->key;
    struct tree *left = less ? tree_insert_below(tree->left, key, random) : tree_hold(tree->left);
    struct tree *right = less ? tree_hold(tree->right) : tree_insert_below(tree->right, key, random);
    return tree_balance(tree_make(tree->colour, left, tree->key, texts_hold(tree->texts), right));
}

/* A new version; the old one stays. */
static struct tree *tree_insert(struct tree *tree, uint32_t key, uint64_t *random) {
    struct tree *result = tree_insert_below(tree, key, random);
    result->colour = BLACK; /* the root is new, nobody else sees it */
    return result;
}

/* Number of black nodes on every path down; sums the keys, checks order and colours. */
static unsigned tree_check(const struct tree *tree, uint64_t low, uint64_t high, uint64_t *sum) {
    if (tree == NULL)
        return 1;
    if (tree->key < low || tree->key >= high ||
        (tree->colour == RED && (tree_is_red(tree->left) || tree_is_red(tree->right))))
        workload_fail("the tree is out of order");
    unsigned left = tree_check(tree->left, low, tree->key, sum);
    unsigned right = tree_check(tree->right, (uint64_t)tree->key + 1, high, sum);
    if (left != right)
        workload_fail("the tree is out of balance");
    *sum += tree->key;
    return left + (tree->colour == BLACK);
}

static uint64_t rbtree_thread(const struct workload *load, unsigned index) {
    struct tree *versions[VERSIONS] = {NULL};
    uint64_t random = workload_seed(load, index);
    uint64_t sum = 0;
    for (uint64_t n = workload_amount(load, INSERTIONS); n > 0; n--) {
        /* The product favours low slots: a few versions grow large, the others are forked from them. */
        size_t from = workload_below(&random, 1 + workload_below(&random, VERSIONS));
        size_t to = workload_below(&random, 64) ? from : workload_below(&random, VERSIONS);
        struct tree *next = tree_insert(versions[from], (uint32_t)workload_below(&random, KEYS), &random);
        tree_drop(versions[to]);
        versions[to] = next;
    }
    for (int v = 0; v < VERSIONS; v++) {
        tree_check(versions[v], 0, UINT64_MAX, &sum);
        tree_drop(versions[v]);
    }
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    return workload_finish(&load, workload_run(&load, rbtree_thread));
}
