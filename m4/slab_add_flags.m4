# SLAB_ADD_FLAGS(VARIABLE, FLAGS)
# Appends to VARIABLE (and substitutes it) each of FLAGS that the compiler of
# the current language takes. -Werror makes clang refuse unknown warnings.
AC_DEFUN([SLAB_ADD_FLAGS], [
AC_SUBST([$1])
for slab_flag in m4_normalize([$2]); do
  AC_MSG_CHECKING([whether $[]_AC_CC takes $slab_flag])
  slab_saved="$[]_AC_LANG_PREFIX[]FLAGS"
  _AC_LANG_PREFIX[]FLAGS="$slab_saved -Werror $slab_flag"
  AC_COMPILE_IFELSE([AC_LANG_SOURCE([int slab_flag_check;])],
    [AC_MSG_RESULT([yes]); $1="$$1 $slab_flag"],
    [AC_MSG_RESULT([no])])
  _AC_LANG_PREFIX[]FLAGS="$slab_saved"
done
])
