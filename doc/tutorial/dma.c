/* dma.c: the DMA zone, and the physical addresses that user space cannot promise. */
#include <errno.h>
#include <stdio.h>

#include <slabmalloc/dma.h>
#include <slabmalloc/pages.h>

static const char *zone_of(const void *p) {
    static const char *const names[] = {"DMA", "NORMAL", "HIGHMEM", "none"};
    struct slabmalloc_page_info info;
    slabmalloc_page_info(p, &info, sizeof info);
    return names[info.kind];
}

int main(void) {
    void *any = slabmalloc_alloc_pages(0, 0), *dma = slabmalloc_alloc_pages(SLABMALLOC_PAGE_DMA, 0);
    printf("without flags: zone %s\n", zone_of(any));
    printf("PAGE_DMA: zone %s\n", zone_of(dma));
    slabmalloc_free_pages(any, 0);
    slabmalloc_free_pages(dma, 0);

    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.max_addr = (16u << 20) - 1;
    errno = 0;
    void *p = slabmalloc_dma_alloc(4096, &spec, NULL);
    printf("below 16 MiB: %s\n", p ? "a buffer" : errno == ERANGE ? "ERANGE" : "another error");
}
