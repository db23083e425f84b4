#!/bin/bash
# RLIMIT_AS reached: NULL with ENOMEM from every call, and memory again after free.
. "$(dirname "$0")/lib.sh"

tap_both address_space

# The limit is there before the library's first call.
for mib in 64 32 24; do
	plain bash -c "ulimit -v $((mib * 1024)); exec \"\$0\"" "$(prog conf_probe)" >"$tmp/out" 2>"$tmp/err" || continue
	preloaded bash -c "ulimit -v $((mib * 1024)); exec \"\$0\"" "$(prog conf_probe)" >"$tmp/out" 2>"$tmp/err"
	check "a program with blocks to 4 MiB works when started under ulimit -v of $mib MiB" grep -qx works "$tmp/out" || note_file "$tmp/err"
done

if command -v python3 >/dev/null; then
	same "python3 under ulimit -v raises MemoryError and goes on" <<'SCRIPT'
ulimit -v 400000
exec python3 -c '
held = []
try:
    while True:
        held.append(bytearray(1 << 20))
except MemoryError:
    print("MemoryError", len(held) > 100)
held.clear()
print(len(bytearray(50 << 20)))
small = []
try:
    while True:
        small.append([None] * 50)
except MemoryError:
    n = len(small); small.clear()
    print("MemoryError", n > 100000)
print(sum(range(1000)))
'
SCRIPT
fi
done_testing
