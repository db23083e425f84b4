/*
 * edu.h: QEMU's edu device (its docs/specs/edu), driven from user space through VFIO: it copies less than 4 KiB at a
 * time between a buffer of its own and what its IOMMU shows it.
 */
#ifndef SLABMALLOC_TEST_EDU_H
#define SLABMALLOC_TEST_EDU_H

#include <dirent.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include "machine.h"

#define EDU_ID "0x1234", "0x11e8"
#define EDU_BUFFER 0x40000
#define EDU_BYTES_MAX 2048 /* with all of its 4096 QEMU 7.2 ends */
#define EDU_FROM 0x80
#define EDU_TO 0x88
#define EDU_BYTES 0x90
#define EDU_COMMAND 0x98
#define EDU_START 1
#define EDU_TO_MEMORY 2

#define PCI_COMMAND 4
#define PCI_MEMORY_AND_MASTER 6

struct edu {
    int container, group, device;
    char name[64];
    volatile char *registers;
};

/* What a file of the device's folder in sysfs begins with. */
static inline bool edu_file_is(const char *device, const char *file, const char *text) {
    char path[300];
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/%s", device, file);
    return !strncmp(read_text(path), text, strlen(text));
}

/* Finds the device and has the kernel give it to vfio-pci. */
static inline bool edu_bind(struct edu *edu) {
    DIR *folder = opendir("/sys/bus/pci/devices");
    struct dirent *entry = NULL;
    const char *id[] = {EDU_ID};
    while (folder && (entry = readdir(folder)) &&
           !(edu_file_is(entry->d_name, "vendor", id[0]) && edu_file_is(entry->d_name, "device", id[1]))) {
    }
    if (entry) {
        char path[300];
        snprintf(edu->name, sizeof edu->name, "%.60s", entry->d_name);
        snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/driver_override", edu->name);
        write_text(path, "vfio-pci");
        write_text("/sys/bus/pci/drivers_probe", edu->name);
    }
    if (folder) {
        closedir(folder);
    }
    return entry != NULL;
}

static inline int edu_open_group(const struct edu *edu) {
    char link[300], target[300] = "", path[340];
    snprintf(link, sizeof link, "/sys/bus/pci/devices/%s/iommu_group", edu->name);
    const char *number = readlink(link, target, sizeof target - 1) > 0 ? strrchr(target, '/') : NULL;
    snprintf(path, sizeof path, "/dev/vfio%s", number ? number : "/none");
    return open(path, O_RDWR | O_CLOEXEC);
}

/* A container without an IOMMU. */
static inline bool edu_open(struct edu *edu) {
    *edu = (struct edu){-1, -1, -1, "", NULL};
    if (!edu_bind(edu)) {
        return false;
    }
    edu->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
    edu->group = edu_open_group(edu);
    return edu->container >= 0 && edu->group >= 0;
}

/* The container gets its IOMMU, and the device is ready to be told what to do. */
static inline bool edu_start(struct edu *edu) {
    struct vfio_region_info bar = {.argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX};
    struct vfio_region_info config = {.argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX};
    uint16_t command = PCI_MEMORY_AND_MASTER;
    if (ioctl(edu->group, VFIO_GROUP_SET_CONTAINER, &edu->container) ||
        ioctl(edu->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) ||
        (edu->device = ioctl(edu->group, VFIO_GROUP_GET_DEVICE_FD, edu->name)) < 0 ||
        ioctl(edu->device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
        ioctl(edu->device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
        pwrite(edu->device, &command, sizeof command, (off_t)config.offset + PCI_COMMAND) != sizeof command) {
        return false;
    }
    edu->registers = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, edu->device, (off_t)bar.offset);
    return edu->registers != MAP_FAILED;
}

static inline void edu_close(const struct edu *edu) {
    close(edu->device);
    close(edu->group);
    close(edu->container);
}

static inline void edu_write(const struct edu *edu, unsigned offset, uint64_t value) {
    *(volatile uint64_t *)(edu->registers + offset) = value;
}

static inline void edu_copy(const struct edu *edu, uint64_t from, uint64_t to, size_t bytes, uint64_t command) {
    edu_write(edu, EDU_FROM, from);
    edu_write(edu, EDU_TO, to);
    edu_write(edu, EDU_BYTES, bytes);
    edu_write(edu, EDU_COMMAND, EDU_START | command);
    while (*(volatile uint64_t *)(edu->registers + EDU_COMMAND) & EDU_START) {
        usleep(1000);
    }
}

static inline void edu_read_memory(const struct edu *edu, uint64_t iova, size_t bytes) {
    edu_copy(edu, iova, EDU_BUFFER, bytes, 0);
}

static inline void edu_write_memory(const struct edu *edu, uint64_t iova, size_t bytes) {
    edu_copy(edu, EDU_BUFFER, iova, bytes, EDU_TO_MEMORY);
}

#endif
