/* coalesce.c: 512 -> 256 -> 128 -> 64, and all the way back. */
#include "tutorial.h"

int main(void) {
    leave_one_free(9);
    show_buddyinfo("one free block, of 512 pages:");

    char *p = take_pages(6);
    show_buddyinfo("64 taken: 512 -> 256 + 256, 256 -> 128 + 128, 128 -> 64 + 64:");

    char *buddy = take_pages(6);
    show_buddyinfo("its buddy taken too:");
    printf("the buddy is %td pages away\n", (buddy - p) / (ptrdiff_t)slabmalloc_page_bytes());

    struct slabmalloc_zone_info before = zone_now();
    slabmalloc_free_pages(p, 6);
    show_buddyinfo("the first given back: its buddy is out, nothing coalesces:");
    printf("%llu merges\n", (unsigned long long)(zone_now().merges - before.merges));

    slabmalloc_free_pages(buddy, 6);
    show_buddyinfo("the buddy given back: 64 + 64 -> 128, + 128 -> 256, + 256 -> 512:");
    printf("%llu merges\n", (unsigned long long)(zone_now().merges - before.merges));
}
