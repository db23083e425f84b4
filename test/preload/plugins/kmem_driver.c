/*
 * kmem_driver.c: a driver-like program in the kernel's style, with kmem.h for the kernel's headers and nothing of
 * slabmalloc's own names: request objects with a constructor, a DMA-style ring of pages, lists, a mempool.
 * Prints what it found, which the test compares.
 */
#include <slabmalloc/kmem.h>
#include <stdio.h>

/* --- What linux/list.h would give --- */

struct list_head {
    struct list_head *next, *prev;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - __builtin_offsetof(type, member)))
#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_for_each_entry_safe(pos, n, head, member)                                                                 \
    for (pos = list_entry((head)->next, __typeof__(*pos), member),                                                     \
        n = list_entry(pos->member.next, __typeof__(*pos), member);                                                    \
         &pos->member != (head); pos = n, n = list_entry(n->member.next, __typeof__(*n), member))

static void INIT_LIST_HEAD(struct list_head *list) {
    list->next = list->prev = list;
}

static int list_empty(const struct list_head *head) {
    return head->next == head;
}

static void list_add_tail(struct list_head *entry, struct list_head *head) {
    entry->prev = head->prev;
    entry->next = head;
    head->prev->next = entry;
    head->prev = entry;
}

static void list_del_init(struct list_head *entry) {
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    INIT_LIST_HEAD(entry);
}

/* --- The driver --- */

#define RING_ORDER 3
#define NREQUESTS 500

struct ring {
    struct page *pages;
    unsigned long *slots;
    size_t nslots, head;
};

struct request {
    struct list_head entry;
    unsigned long sector;
    void *buffer;
    int flags;
};

struct device {
    char *name;
    struct kmem_cache *requests;
    mempool_t *reserve;
    struct list_head queue;
    struct ring ring;
    size_t queued, done;
};

static int constructed;

static void request_init(void *object) {
    struct request *request = object;
    INIT_LIST_HEAD(&request->entry);
    request->buffer = NULL;
    constructed++;
}

static int ring_init(struct ring *ring) {
    ring->pages = alloc_pages(GFP_KERNEL | __GFP_ZERO, RING_ORDER);
    if (!ring->pages)
        return -ENOMEM;
    ring->slots = page_address(ring->pages);
    ring->nslots = (PAGE_SIZE << RING_ORDER) / sizeof(*ring->slots);
    for (size_t i = 0; i < ring->nslots; i++)
        if (ring->slots[i])
            return -EINVAL;
    return virt_to_page((char *)ring->slots + 100) == ring->pages ? 0 : -EINVAL;
}

static void device_free(struct device *device) {
    if (!device)
        return;
    if (device->ring.pages)
        __free_pages(device->ring.pages, RING_ORDER);
    if (device->reserve)
        mempool_destroy(device->reserve);
    kmem_cache_destroy(device->requests);
    kfree(device->name);
    kfree(device);
}

static struct device *device_create(const char *name) {
    struct device *device = kzalloc(sizeof(*device), GFP_KERNEL);
    if (!device)
        return NULL;
    INIT_LIST_HEAD(&device->queue);
    device->name = kstrdup(name, GFP_KERNEL);
    device->requests = kmem_cache_create("driver_request", sizeof(struct request), 0,
                                         SLAB_HWCACHE_ALIGN | SLAB_RECLAIM_ACCOUNT, request_init);
    if (device->requests)
        device->reserve = mempool_create_slab_pool(8, device->requests);
    if (!device->name || !device->reserve || ring_init(&device->ring)) {
        device_free(device);
        return NULL;
    }
    return device;
}

static int submit(struct device *device, unsigned long sector, size_t bytes) {
    struct request *request = mempool_alloc(device->reserve, GFP_NOIO);
    if (!request || !list_empty(&request->entry) || request->buffer)
        return -EIO; /* not as the constructor and the last completion left it */
    request->sector = sector;
    request->buffer = kmalloc(bytes, sector % 2 ? GFP_ATOMIC : GFP_KERNEL);
    if (!request->buffer || ksize(request->buffer) < bytes) {
        mempool_free(request, device->reserve);
        return -ENOMEM;
    }
    memset(request->buffer, (int)sector, bytes);
    list_add_tail(&request->entry, &device->queue);
    device->ring.slots[device->ring.head++ % device->ring.nslots] = sector;
    device->queued++;
    return 0;
}

static void complete_all(struct device *device) {
    struct request *request, *next;
    list_for_each_entry_safe(request, next, &device->queue, entry) {
        if (*(unsigned char *)request->buffer != (unsigned char)request->sector)
            printf("request %lu has another's buffer\n", request->sector);
        list_del_init(&request->entry);
        kfree_sensitive(request->buffer);
        request->buffer = NULL;
        mempool_free(request, device->reserve);
        device->done++;
    }
}

static void bulk(void) {
    struct kmem_cache *cache = KMEM_CACHE(request, SLAB_NO_MERGE);
    void *objects[64];
    printf("bulk %d of size %u\n", kmem_cache_alloc_bulk(cache, GFP_KERNEL, 64, objects), kmem_cache_size(cache));
    kmem_cache_free_bulk(cache, 64, objects);
    struct request *one = kmem_cache_zalloc(cache, GFP_KERNEL);
    printf("zeroed %d\n", one && !one->sector && !one->buffer && !one->flags);
    kmem_cache_free(cache, one);
    memset(objects, 0, sizeof(objects));
    int n = kmem_cache_alloc_bulk(cache, __GFP_ZERO, 64, objects);
    one = objects[63];
    printf("zeroed in bulk %d %d\n", n, one && !one->sector && !one->buffer);
    kmem_cache_free_bulk(cache, n, objects);
    printf("shrink %d\n", kmem_cache_shrink(cache));
    kmem_cache_destroy(cache);
}

/* Zeroes would undo the constructor's work. */
static void bulk_constructed(void) {
    struct kmem_cache *cache = kmem_cache_create("constructed", sizeof(struct request), 0, SLAB_NO_MERGE, request_init);
    void *objects[8];
    int zeroed = kmem_cache_alloc_bulk(cache, __GFP_ZERO, 8, objects);
    int n = kmem_cache_alloc_bulk(cache, GFP_KERNEL, 8, objects), bad = 0;
    for (int i = 0; i < n; i++) {
        struct request *request = objects[i];
        bad += !list_empty(&request->entry);
    }
    printf("constructed: zeroed %d, bulk %d, bad %d\n", zeroed, n, bad);
    kmem_cache_free_bulk(cache, n, objects);
    kmem_cache_destroy(cache);
}

static void virtual_pages(void) {
    char *small = vmalloc(100), *again = vmalloc(100), *zero = vzalloc(3 << 20);
    int aligned = !(((unsigned long)small | (unsigned long)again | (unsigned long)zero) & ~PAGE_MASK);
    printf("vmalloc aligned %d, zeroed %d, of nothing %d\n", small && again && aligned, zero && !zero[(3 << 20) - 1],
           vmalloc(0) || vzalloc(0));
    vfree(small);
    vfree(zero);
    kvfree(again);
    vfree(NULL);
}

static void pages(void) {
    unsigned long page = get_zeroed_page(GFP_KERNEL), run = __get_free_pages(GFP_HIGHUSER, get_order(3 * PAGE_SIZE));
    char *exact = alloc_pages_exact(5 * PAGE_SIZE - 100, GFP_KERNEL | __GFP_ZERO);
    printf("pages %d %d %d order %d\n", page && !(page & ~PAGE_MASK), run != 0, exact && !exact[5 * PAGE_SIZE - 101],
           get_order(3 * PAGE_SIZE));
    free_page(page);
    free_pages(run, get_order(3 * PAGE_SIZE));
    free_pages_exact(exact, 5 * PAGE_SIZE - 100);
}

static void arrays(void) {
    int *table = kcalloc(100, sizeof(*table), GFP_KERNEL);
    for (int i = 0; i < 100; i++)
        table[i] += i;
    table = krealloc_array(table, 10000, sizeof(*table), GFP_KERNEL);
    printf("krealloc keeps %d, overflow gives %d\n", table[99], kmalloc_array(SIZE_MAX / 2, 3, GFP_KERNEL) != NULL);
    kfree(table);
    char *text = kstrdup("text", GFP_KERNEL), *empty = krealloc(text, 0, GFP_KERNEL);
    if (!empty) /* an error: TEXT is still there */
        kfree(text);
    kfree(empty);
    empty = krealloc_array(kmalloc(10, GFP_KERNEL), 0, 8, GFP_KERNEL);
    printf("krealloc to nothing gives %d %d\n", text != NULL, empty != NULL);
    kfree(empty);
    char *big = kvzalloc(3 << 20, GFP_KERNEL), *copy = kmemdup("copied", 7, GFP_KERNEL);
    printf("kvzalloc %d %s\n", big && !big[(3 << 20) - 1], copy);
    kvfree(big);
    kfree(copy);
    kfree(NULL);
}

int main(void) {
    struct device *device = device_create("disk0");
    int error = device ? 0 : -ENOMEM;
    for (int round = 0; round < 3 && !error; round++) {
        for (unsigned long i = 0; i < NREQUESTS && !error; i++)
            error = submit(device, i, 1 + i * 37 % 9000);
        complete_all(device);
    }
    if (error) {
        printf("error %d\n", error);
        return 1;
    }
    printf("%s: queued %zu, done %zu, constructed once each: %d\n", device->name, device->queued, device->done,
           constructed >= NREQUESTS && constructed < 3 * NREQUESTS);
    device_free(device);
    bulk();
    bulk_constructed();
    virtual_pages();
    pages();
    arrays();
    return 0;
}
