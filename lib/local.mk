# libslabcore: everything but the malloc names. Unit tests and benches link it
# statically, beside the C library's own malloc.

noinst_LTLIBRARIES += libslabcore.la
libslabcore_la_CFLAGS = $(AM_CFLAGS) $(LIBRARY_FLAGS)
# What every program runs from its start comes first: its data lie close together (its code does by lib/startup.ld). zone_purge.c
# before zone.c: its few bytes then share a page with others', in front of the zones, most of whose pages a small program
# never touches; fork.c before those whose thread-local data are single bytes.
libslabcore_la_SOURCES = \
	lib/base.h \
	lib/fork.c lib/fork.h \
	lib/heap.c lib/heap.h \
	lib/magazine.c lib/magazine.h \
	lib/slab.c lib/slab.h \
	lib/owner.c lib/owner.h lib/owner_entry.c \
	lib/sizeclass.c lib/sizeclass.h \
	lib/pagemap.c lib/pagemap.h \
	lib/lock.c lib/lock.h \
	lib/meta.c lib/meta.h \
	lib/remote.c lib/remote.h \
	lib/run.c lib/run.h \
	lib/zone_purge.c \
	lib/zone.c lib/zone.h \
	lib/zonelist.c lib/zonelist.h \
	lib/buddy.c lib/buddy.h \
	lib/pageblock.c lib/pageblock.h \
	lib/region.c lib/region.h \
	lib/sys.c lib/sys.h \
	lib/sys_dma.c \
	lib/numa.c lib/numa.h \
	lib/options.c lib/options.h \
	lib/hugetlb.c lib/hugetlb.h \
	lib/report_exit.c lib/report_exit.h \
	lib/mapping.c lib/mapping.h \
	lib/mapping_cache.c lib/mapping_cache.h \
	lib/fault.c lib/fault.h \
	lib/background.c lib/background.h
libslabcore_la_SOURCES += \
	lib/api.c \
	lib/api_pages.c \
	lib/check.c lib/check.h \
	lib/contig.c lib/contig.h \
	lib/dma.c lib/dma.h \
	lib/dma_api.c \
	lib/dma_map.c \
	lib/dma_observe.c \
	lib/dma_pool.c \
	lib/dma_region.c \
	lib/dma_vfio.c \
	lib/expose.h \
	lib/gather.c lib/gather.h \
	lib/hugetlb_fork.c \
	lib/kmem_cache.c lib/kmem_cache.h \
	lib/kmem_class.c lib/kmem_class.h \
	lib/kmem_create.c \
	lib/kmem_debug.c lib/kmem_debug.h \
	lib/kmalloc.c \
	lib/kmem_api.c lib/kmem_api.h \
	lib/kmem_reserve.c lib/kmem_reserve.h \
	lib/page.c lib/page.h \
	lib/place.c lib/place.h \
	lib/program.c lib/program.h \
	lib/reclaim.c lib/reclaim.h \
	lib/report.c lib/report.h \
	lib/report_api.c \
	lib/report_json.c \
	lib/report_kind.h \
	lib/report_root.c lib/report_root.h \
	lib/slob.c lib/slob.h \
	lib/slob_api.c \
	lib/slob_boot.c lib/slob_boot.h \
	lib/slob_check.c \
	lib/slob_large.c lib/slob_large.h \
	lib/slob_page.c lib/slob_page.h \
	lib/snapshot.c lib/snapshot.h \
	lib/stats.c lib/stats.h \
	lib/text.c lib/text.h \
	lib/thread.c lib/thread.h \
	lib/version.h

pkginclude_HEADERS = \
	lib/slabmalloc/dma.h \
	lib/slabmalloc/kmalloc.h \
	lib/slabmalloc/kmem.h \
	lib/slabmalloc/kmem_cache.h \
	lib/slabmalloc/pages.h \
	lib/slabmalloc/report.h \
	lib/slabmalloc/slabmalloc.h \
	lib/slabmalloc/slob.h

dist_man_MANS = \
	doc/man/slabmalloc.1 \
	doc/man/slabmalloc.3 \
	doc/man/slabmalloc_alloc_pages.3 \
	doc/man/slabmalloc_cache_create.3 \
	doc/man/slabmalloc_dma.3 \
	doc/man/slabmalloc_kmalloc.3 \
	doc/man/slabmalloc_report.3 \
	doc/man/slabmalloc_slob_create.3 \
	doc/man/slabmalloc_stats.3

if COVERAGE
libslabcore_la_SOURCES += test/coverage/dump.c
libslabcore_la_LIBADD = $(COVERAGE_LIBS)
endif
