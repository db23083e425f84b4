#!/bin/bash
# Real programs whose allocator is refused a system call (mmap, munmap, mremap, madvise), each in turn, once or from then
# on: they work, or end with the status they have for lack of memory; never by a signal, never with a word from the library.
. "$(dirname "$0")/lib.sh"

refuse=$(prog refuse)
plain "$refuse" 0 once true
[ $? -ne 77 ] || skip_all "the kernel has no seccomp user notification here"

# refused N once|always COMMAND...: with the library preloaded.
refused() {
	local nth=$1 extent=$2
	shift 2
	plain "$refuse" -o "$tmp/count" "$nth" "$extent" env LD_PRELOAD="$SLABMALLOC_LIB" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
}

# ends_well STATUS OUTPUT OWN: the expected output, or one of the program's own statuses for lack of memory.
ends_well() {
	! grep -q slabmalloc "$tmp/err" || return 1
	if [ "$1" -eq 0 ]; then
		cmp -s "$tmp/out" "$2"
	else
		[[ " $3 " == *" $1 "* ]]
	fi
}

# survives NAME OWN COMMAND...: OWN lists its exit statuses when there is no memory.
survives() {
	local name=$1 own=$2 calls extent nth step=1 status bad worked
	shift 2
	if ! refused 0 once "$@"; then
		ok 1 "$name works when nothing is refused"
		note_file "$tmp/err"
		return
	fi
	cp "$tmp/out" "$tmp/expected"
	calls=$(<"$tmp/count")
	if quick; then step=6; fi
	for extent in once always; do
		bad=0 worked=0
		for ((nth = 1; nth <= calls; nth += step)); do
			refused "$nth" "$extent" "$@"
			status=$?
			worked=$((worked + (status == 0)))
			ends_well "$status" "$tmp/expected" "$own" && continue
			bad=$((bad + 1))
			note "call $nth of $calls refused, $extent: status $status"
			note_file "$tmp/err" 5
		done
		check "$name: each of $calls calls refused, $extent: works ($worked times) or says that there is no memory" \
			test "$calls" -gt 5 -a "$bad" -eq 0
	done
}

if command -v perl >/dev/null; then
	survives perl 1 perl -e '
		my %seen; $seen{"word " . $_ * 7919 % 30011} .= "$_ " for 1 .. 60000;
		my $text = ""; $text .= "piece $_ " x 2000 for 1 .. 200;
		my @list = map { [$_, "x" x $_] } 1 .. 2000;
		print scalar(keys %seen), " ", length $text, " ", scalar @list, "\n";'
else
	skip perl "perl is not installed"
fi

# The program itself, not a script in front of it: what that does without memory is its own affair.
python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null)
if [ -x "$python" ]; then
	survives python 1 "$python" -c '
table = {i: ("name %d" % i) * (i % 7) for i in range(30000)}
text = bytearray()
for i in range(200):
    text += b"x%d" % i * 20000 if i % 50 == 49 else b"y%d" % i * 200
parts = [bytes(40000 + i) for i in range(60)]
del table
print(sum(text), len(parts))'
else
	skip python "python3 is not installed"
fi

if command -v sqlite3 >/dev/null; then
	survives sqlite '1 7' sqlite3 -bail :memory: "
		create table t(i integer primary key, s text, b blob);
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
			insert into t select i, 'name ' || (i * 7919 % 30011), zeroblob(i % 300) from n;
		create index s on t(s);
		select count(*), sum(length(b)), max(s) from t;
		select length(group_concat(s, '|')) from t;
		select sum(length(hex(zeroblob(3000000))));
		delete from t where i % 3 = 0; vacuum; pragma integrity_check;"
else
	skip sqlite "sqlite3 is not installed"
fi

# Two threads.
seq 200000 -1 1 >"$tmp/lines"
survives sort 2 sort -S 20M --parallel=2 "$tmp/lines"

done_testing
