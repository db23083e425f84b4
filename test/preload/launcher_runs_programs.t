#!/bin/bash
# slabmalloc run -- PROGRAM: with the library preloaded, arguments, status and environment handed through; in the build
# tree and installed.
. "$(dirname "$0")/lib.sh"

[ -n "${SLABMALLOC_CMD:-}" ] && [ -x "$SLABMALLOC_CMD" ] || skip_all "SLABMALLOC_CMD names no launcher"
name=libslabmalloc

launch() {
	timeout -k 5 "$limit" "$SLABMALLOC_CMD" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	code=$?
}
# is STATUS [OUTPUT]: the launcher's status and all of its output; nothing on stderr.
is() {
	[ "$code" -eq "$1" ] && { [ $# -lt 2 ] || [ "$(cat "$tmp/out")" = "$2" ]; } && [ ! -s "$tmp/err" ]
}
verdict() {
	local what=$1
	shift
	check "$what" "$@" || { note "status $code"; note_file "$tmp/out" 10; note_file "$tmp/err" 10; }
}
mapped() { [ "$code" -eq 0 ] && grep -q "/$name\.so" "$tmp/out"; }

launch run -- cat /proc/self/maps
verdict "run: the library is mapped into the program" mapped
launch run cat /proc/self/maps
verdict "run without --: the library is mapped into the program" mapped
launch run -- sh -c 'cat /proc/self/maps'
verdict "run: and into its children" mapped
launch run -- printf '%s|' one 'two words' '' '--help' '$x' '*'
verdict "run: arguments are handed through as they are" is 0 'one|two words||--help|$x|*|'
launch run -- sh -c 'exit 37'
verdict "run: the program's status is the launcher's" is 37
launch run -- sh -c 'kill -TERM $$'
verdict "run: death by a signal is seen" test "$code" -eq 143
printf 'input' | timeout "$limit" "$SLABMALLOC_CMD" run -- cat >"$tmp/out"
check "run: standard input is handed through" test "$(cat "$tmp/out")" = input
launch run -- sh -c 'echo $$ >&2; echo word'
verdict "run: standard error is handed through" grep -qE '^[0-9]+$' "$tmp/err"
timeout "$limit" sh -c 'echo $$; exec "$0" run -- sh -c "echo \$\$"' "$SLABMALLOC_CMD" >"$tmp/out"
check "run: the program takes the launcher's place (same process)" test "$(sort -u "$tmp/out" | wc -l)" -eq 1

libm=$(ldconfig -p 2>/dev/null | awk '/libm\.so\.6 .*x86-64/ {print $NF; exit}')
if [ -n "$libm" ]; then
	LD_PRELOAD=$libm launch run -- cat /proc/self/maps
	verdict "run: an LD_PRELOAD that is there is kept" grep -q /libm /dev/fd/3 3<"$tmp/out"
	verdict "run: beside the library" mapped
else
	skip "run: an LD_PRELOAD that is there is kept" "no libm to preload"
fi
SOMETHING='a b' launch run -- sh -c 'printf "%s" "$SOMETHING"'
verdict "run: the environment is handed through" is 0 'a b'

launch run -- "$tmp/nowhere/program"
verdict "run: a program that is not there: 127 and a message that names it" test "$code" -eq 127 -a -n "$(grep -F "$tmp/nowhere/program" "$tmp/err")"
launch run -- slabmalloc-no-such-command
verdict "run: a command that is not found: 127 and a message" test "$code" -eq 127 -a -n "$(grep slabmalloc-no-such-command "$tmp/err")"
touch "$tmp/plainfile"
launch run -- "$tmp/plainfile"
verdict "run: a file that is not executable: 126 and a message" test "$code" -eq 126 -a -n "$(grep plainfile "$tmp/err")"
launch run
verdict "run without a program: wrong usage, status 2" test "$code" -eq 2 -a -s "$tmp/err"
launch
verdict "no arguments: wrong usage, status 2" test "$code" -eq 2 -a -s "$tmp/err"
launch nonsense
verdict "an unknown verb: wrong usage, status 2" test "$code" -eq 2 -a -s "$tmp/err"
launch run --conf decay_ms:7 -- sh -c 'printf %s "$SLABMALLOC_CONF"'
verdict "run --conf: the program finds it in SLABMALLOC_CONF" is 0 decay_ms:7
launch run --conf
verdict "--conf without a value: wrong usage, status 2" test "$code" -eq 2 -a -s "$tmp/err"
launch run --
verdict "run -- without a program: wrong usage, status 2" test "$code" -eq 2 -a -s "$tmp/err"
LD_PRELOAD='' launch run -- cat /proc/self/maps
verdict "run: an empty LD_PRELOAD is no library" mapped
launch path
verdict "path prints where the library is" test "$code" -eq 0 -a -f "$(cat "$tmp/out")"
"$SLABMALLOC_CMD" path >/dev/full 2>"$tmp/err"
check "path on a full device fails" test $? -ne 0

# What LD_PRELOAD would take for two libraries, or for none.
mkdir "$tmp/odd place" "$tmp/alone"
cp "$SLABMALLOC_CMD" "$SLABMALLOC_LIB" "$tmp/odd place"
"$tmp/odd place/slabmalloc" run -- true >"$tmp/out" 2>"$tmp/err"
code=$?
verdict "run: a path that LD_PRELOAD cannot hold: 126 and a message that names it" test "$code" -eq 126 -a -n "$(grep -F "$tmp/odd place" "$tmp/err")"
cp "$SLABMALLOC_CMD" "$tmp/alone"
"$tmp/alone/slabmalloc" path >"$tmp/out" 2>"$tmp/err"
code=$?
if [ "$code" -eq 0 ] && [ -f "$(cat "$tmp/out")" ]; then
	skip "no library beside the launcher" "one is installed where it was configured to go"
else
	verdict "no library beside the launcher nor installed: 126 and a message" test "$code" -eq 126 -a -s "$tmp/err"
fi

launch --help
verdict "--help prints the usage and succeeds" test "$code" -eq 0 -a -n "$(grep 'slabmalloc run' "$tmp/out")" -a ! -s "$tmp/err"
launch --version
verdict "--version prints the name and a version" test "$code" -eq 0 -a -n "$(grep -E '^slabmalloc [0-9]+\.[0-9]+' "$tmp/out")"
"$SLABMALLOC_CMD" --help >/dev/full 2>"$tmp/err"
check "--help on a full device fails" test $? -ne 0

# The launcher finds the library wherever it is called from, by a link too.
ln -s "$SLABMALLOC_CMD" "$tmp/link"
(cd / && PATH=$(dirname "$SLABMALLOC_CMD"):$PATH timeout "$limit" "${SLABMALLOC_CMD##*/}" run -- cat /proc/self/maps >"$tmp/out" 2>"$tmp/err")
code=$?
verdict "found by PATH, from another directory" mapped
(cd / && "$tmp/link" run -- cat /proc/self/maps >"$tmp/out" 2>"$tmp/err")
code=$?
verdict "called by a symbolic link" mapped

# Installed below a DESTDIR, it must take the library from there, not from the build tree.
if quick; then
	skip "installed" "heavy: left out by SLABMALLOC_CHECK=quick"
elif [ ! -f "$builddir/Makefile" ]; then
	skip "installed" "no Makefile in the build directory"
elif ! "${MAKE:-make}" -C "$builddir" install DESTDIR="$tmp/root" prefix=/opt/slab >"$tmp/install" 2>&1; then
	ok 1 "make install"
	note_file "$tmp/install" 40
else
	installed=$tmp/root/opt/slab/bin/slabmalloc
	check "installed: it is in bin" test -x "$installed"
	"$installed" run -- cat /proc/self/maps >"$tmp/out" 2>"$tmp/err"
	code=$?
	verdict "installed: the library is mapped into the program" mapped
	verdict "installed: it is the installed library" grep -q "$tmp/root/.*/$name" "$tmp/out"
	verdict "installed: and only that" test -z "$(grep "/$name" "$tmp/out" | grep -v "$tmp/root/")"
	mv "$tmp/root/opt/slab" "$tmp/moved"
	"$tmp/moved/bin/slabmalloc" run -- cat /proc/self/maps >"$tmp/out" 2>"$tmp/err"
	code=$?
	verdict "moved as a whole, it still finds its library" grep -q "$tmp/moved/.*/$name" "$tmp/out"
fi
done_testing
