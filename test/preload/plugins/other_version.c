/* What a library of another version has where the launcher looks for it. */
struct {
    char magic[16], version[32];
    unsigned layout[32];
} const slabmalloc_report_root = {"slabmalloc root", "9.8.7\033[31m\377", {0}};
