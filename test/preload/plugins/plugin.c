/* A plugin that allocates when it is loaded, keeps memory while it is, and frees some of it when it goes. */
#include <stdlib.h>
#include <string.h>

static void *kept[1000];
static __thread char *of_thread;

__attribute__((constructor)) static void load(void) {
    for (size_t i = 0; i < 1000; i++)
        memset(kept[i] = malloc(i), 'k', i);
}

__attribute__((destructor)) static void unload(void) {
    for (size_t i = 0; i < 1000; i++)
        free(kept[i]);
}

/* The caller frees it, perhaps after this library is gone. */
char *plugin_text(size_t length) {
    char *text = malloc(length + 1);
    memset(text, 't', length);
    text[length] = '\0';
    free(of_thread);
    of_thread = strdup(text);
    return text;
}

void plugin_forget_thread(void) {
    free(of_thread);
    of_thread = NULL;
}
