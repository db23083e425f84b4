#!/bin/bash
# Explores the model: every scenario holds with all rules and fails without any one of them. A scenario that fails shows
# the shortest run that does. SLABMALLOC_CHECK=long explores more.
: "${top_builddir:?}"
more=()
[ "${SLABMALLOC_CHECK:-}" != long ] || more=(--long)
exec "$top_builddir/test/model/model" "${more[@]}"
