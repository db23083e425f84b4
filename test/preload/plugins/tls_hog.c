/* Takes most of what is left for initial-exec thread-local storage when libraries are loaded late. */
#include <string.h>

static __thread char hog[HOG_BYTES] __attribute__((tls_model("initial-exec")));

void hog_touch(void);
void hog_touch(void) {
    memset(hog, 1, sizeof hog);
}
