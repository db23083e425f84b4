/* empty.c: an empty shared library. Preloading it costs what preloading anything costs; bench/startup subtracts that.
 */
extern const int slabmalloc_bench_empty;
const int slabmalloc_bench_empty = 1;
