/*
 * cuda_copy [MIB]: bandwidth of copies of MIB [256] between the host and the first CUDA device, from and to
 *
 *   malloc              pageable: the driver copies through buffers of its own
 *   cudaHostAlloc       the driver's own pinned memory
 *   slabmalloc_dma_alloc  registered with cudaHostRegister by an observer, as the regions come
 *
 * What comes back is compared. Without a device it says so and ends with status 77.
 */
#include <cuda_runtime_api.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slabmalloc/dma.h"

enum { ROUNDS = 10, NO_DEVICE = 77 };

static size_t bytes;
static void *device_memory;

static void check(const char *what, cudaError_t error) {
    if (error != cudaSuccess) {
        fprintf(stderr, "cuda_copy: %s: %s\n", what, cudaGetErrorString(error));
        exit(1);
    }
}

/* Milliseconds of the fastest of ROUNDS copies. */
static float fastest(void *to, const void *from, enum cudaMemcpyKind kind) {
    cudaEvent_t start, end;
    float best = 1e9f, took;
    check("event", cudaEventCreate(&start));
    check("event", cudaEventCreate(&end));
    for (int i = 0; i < ROUNDS; i++) {
        check("record", cudaEventRecord(start, 0));
        check("copy", cudaMemcpyAsync(to, from, bytes, kind, 0));
        check("record", cudaEventRecord(end, 0));
        check("wait", cudaEventSynchronize(end));
        check("time", cudaEventElapsedTime(&took, start, end));
        best = took < best ? took : best;
    }
    cudaEventDestroy(start);
    cudaEventDestroy(end);
    return best;
}

static void measure(const char *name, char *host) {
    for (size_t i = 0; i < bytes; i++) {
        host[i] = (char)(i * 31 + (i >> 12));
    }
    float to_device = fastest(device_memory, host, cudaMemcpyHostToDevice);
    memset(host, 0, bytes);
    float to_host = fastest(host, device_memory, cudaMemcpyDeviceToHost);
    for (size_t i = 0; i < bytes; i++) {
        if (host[i] != (char)(i * 31 + (i >> 12))) {
            fprintf(stderr, "cuda_copy: %s: byte %zu came back wrong\n", name, i);
            exit(1);
        }
    }
    double gib = (double)bytes / (1 << 30);
    printf("%-34s to device %6.1f GiB/s   to host %6.1f GiB/s   every byte checked\n", name, gib / to_device * 1e3,
           gib / to_host * 1e3);
}

static int region_added(const struct slabmalloc_dma_info *region, void *context) {
    (void)context;
    return cudaHostRegister(region->base, region->bytes, cudaHostRegisterPortable) == cudaSuccess ? 0 : EIO;
}

static int region_removed(const struct slabmalloc_dma_info *region, void *context) {
    (void)context;
    return cudaHostUnregister(region->base) == cudaSuccess ? 0 : EBUSY;
}

static void with_dma(const char *name, enum slabmalloc_dma_level level) {
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.level = level;
    void *host = slabmalloc_dma_alloc(bytes, &spec, NULL);
    if (!host) {
        printf("%-34s skipped: %s\n", name, strerror(errno));
        return;
    }
    measure(name, host);
    if (slabmalloc_dma_free(host)) {
        fprintf(stderr, "cuda_copy: %s: %s\n", name, strerror(errno));
    }
}

int main(int argc, char **argv) {
    int devices = 0;
    bytes = (argc > 1 ? strtoul(argv[1], NULL, 10) : 256) << 20;
    cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || !devices) {
        printf("cuda_copy: skipped: %s\n", error == cudaSuccess ? "no CUDA device" : cudaGetErrorString(error));
        return NO_DEVICE;
    }
    check("device memory", cudaMalloc(&device_memory, bytes));

    void *host = malloc(bytes);
    if (!host) {
        perror("malloc");
        return 1;
    }
    measure("malloc (pageable)", host);
    free(host);
    check("cudaHostAlloc", cudaHostAlloc(&host, bytes, cudaHostAllocPortable));
    measure("cudaHostAlloc", host);
    check("cudaFreeHost", cudaFreeHost(host));

    struct slabmalloc_dma_observer observer = {region_added, region_removed, NULL};
    int number = slabmalloc_dma_observe(&observer);
    with_dma("RESIDENT and cudaHostRegister", SLABMALLOC_DMA_RESIDENT);
    with_dma("HUGETLB and cudaHostRegister", SLABMALLOC_DMA_HUGETLB);
    with_dma("LONGTERM and cudaHostRegister", SLABMALLOC_DMA_LONGTERM);
    slabmalloc_dma_unobserve(number);
    cudaFree(device_memory);
    return 0;
}
