# libslabmalloc: libslabcore plus the malloc family, and the launcher.

pkgconfig_DATA = preload/slabmalloc.pc
EXTRA_DIST += preload/libslabmalloc.map lib/startup.ld

if !INSTRUMENTED
lib_LTLIBRARIES += libslabmalloc.la
bin_PROGRAMS += slabmalloc
endif

libslabmalloc_la_SOURCES = \
	preload/family.h \
	preload/glibc.c \
	preload/malloc.c \
	preload/operators.cc
libslabmalloc_la_CFLAGS = $(AM_CFLAGS) $(LIBRARY_FLAGS)
libslabmalloc_la_CXXFLAGS = $(AM_CXXFLAGS) $(LIBRARY_FLAGS) \
	-fno-exceptions -fno-rtti
libslabmalloc_la_LIBADD = libslabcore.la
# Bound at load and read-only after: lazy binding inside a malloc runs the
# loader's own malloc calls at the worst moment. Never unloaded: its memory
# outlives any dlclose.
libslabmalloc_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -no-undefined \
	-Wl,--version-script=$(srcdir)/preload/libslabmalloc.map \
	-Wl,-Bsymbolic-functions -Wl,-z,defs -Wl,-z,now -Wl,-z,relro \
	-Wl,-z,nodelete -Wl,-z,noexecstack $(ORDER_LDFLAGS) $(COVERAGE_WRAP)
# Linked by the C compiler in spite of operators.cc: the C++ one would make
# every preloaded program load libstdc++.
libslabmalloc_la_LINK = $(LINK) $(libslabmalloc_la_LDFLAGS)
EXTRA_libslabmalloc_la_DEPENDENCIES = preload/libslabmalloc.map lib/startup.ld

# The launcher: its verbs, and of the library what writes reports.
slabmalloc_SOURCES = \
	lib/report.c lib/report_json.c lib/sizeclass.c lib/snapshot.c lib/sys.c lib/text.c \
	preload/observe.c preload/observe.h \
	preload/observe_caches.c preload/observer.h \
	preload/slabmalloc.c \
	preload/target.c preload/target.h \
	preload/verb_report.c \
	preload/verb_run.c \
	preload/verbs.h
slabmalloc_CFLAGS = $(AM_CFLAGS) $(COVERAGE_FLAGS)
slabmalloc_LDADD = $(COVERAGE_LIBS)
slabmalloc_CPPFLAGS = $(AM_CPPFLAGS) -DSLABMALLOC_LIBDIR='"$(libdir)"'
