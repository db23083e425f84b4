/* split.c: "We want 8 contiguous pages. Is there a block of 8? No. Of 16? No. Of 32? Yes: split it." */
#include "tutorial.h"

int main(void) {
    leave_one_free(5);
    show_buddyinfo("one free block, of 32 pages:");
    struct slabmalloc_zone_info before = zone_now();

    char *p = take_pages(3);
    show_buddyinfo("8 pages taken; 16 and 8 are left:");
    printf("%llu splits\n", (unsigned long long)(zone_now().splits - before.splits));

    for (size_t i = 0; i < 32; i += 8) {
        struct slabmalloc_page_info info;
        slabmalloc_page_info(p + i * slabmalloc_page_bytes(), &info, sizeof info);
        printf("page %2zu: %s of %zu pages\n", i,
               info.state == SLABMALLOC_STATE_FREE ? "in a free block" : "in a block", info.pages);
    }
    slabmalloc_free_pages(p, 3);
    show_buddyinfo("8 pages given back:");
    printf("%llu merges\n", (unsigned long long)(zone_now().merges - before.merges));
}
