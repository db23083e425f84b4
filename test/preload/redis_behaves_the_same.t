#!/bin/bash
# redis-server, preloaded, serves redis-benchmark over a private unix socket: all commands are answered, the data
# survives a background save (fork) and a restart, memory comes back, and it ends in order.
. "$(dirname "$0")/lib.sh"

need redis-server redis-benchmark redis-cli

server=
at_exit 'if [ -n "$server" ]; then kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; fi'

# unix socket paths are short: not below a long TMPDIR
socket=$tmp/redis.sock
cli() { timeout 60 redis-cli -s "$socket" "$@"; }

# start KIND [ARGS...]: the server in the foreground of a background job, so that its id is ours.
start() {
	local kind=$1 i
	shift
	mkdir -p "$tmp/data"
	# No save points: the test says when; no port: the socket is all.
	if [ "$kind" = preloaded ]; then
		LD_PRELOAD=$SLABMALLOC_LIB redis-server --port 0 --unixsocket "$socket" --dir "$tmp/data" --save '' --daemonize no --io-threads 2 "$@" >"$tmp/server.log" 2>&1 &
	else
		redis-server --port 0 --unixsocket "$socket" --dir "$tmp/data" --save '' --daemonize no --io-threads 2 "$@" >"$tmp/server.log" 2>&1 &
	fi
	server=$!
	for i in $(seq 100); do
		[ "$(cli ping 2>/dev/null)" = PONG ] && return 0
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	return 1
}
# stop HOW: shuts down and passes the server's status on.
stop() {
	cli shutdown "$1" >/dev/null 2>&1
	wait "$server"
	local status=$?
	server=
	return "$status"
}

# The same keys and values in whichever server.
fill() {
	awk 'BEGIN { srand(7); for (i = 0; i < 3000; i++) {
		print "SET key:" i " " substr("abcdefghijklmnopqrstuvwxyz", 1 + i % 20) i
		print "HSET hash:" i % 500 " f" i " " i
		print "ZADD sorted:" i % 50 " " i % 997 " m" i
		print "RPUSH list:" i % 100 " " i
		if (i % 3 == 0) print "DEL key:" int(i / 2)
		if (i % 5 == 0) print "APPEND key:" i " more-and-more-text" } }' | cli >"$tmp/answers" 2>&1
	cli DBSIZE
	cli DEBUG DIGEST
}

requests=20000
quick && requests=4000
for kind in plain preloaded; do
	start "$kind" --enable-debug-command yes || { ok 1 "$kind: the server starts"; note_file "$tmp/server.log"; continue; }
	ok 0 "$kind: the server starts"
	[ "$kind" = plain ] || check "it has the library" grep -qF "${SLABMALLOC_LIB##*/}" "/proc/$server/maps"
	fill >"$tmp/$kind.state"
	cli BGSAVE >/dev/null
	timeout "$limit" redis-benchmark -s "$socket" -q -t set,get,incr,lpush,lpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset -n "$requests" -c 20 -P 8 -r 10000 -d 300 >"$tmp/bench" 2>&1
	ok $? "$kind: redis-benchmark ends in order while the server saves in the background" || note_file "$tmp/bench"
	check "$kind: no benchmark has an error" test -z "$(grep -iE 'error|wrong' "$tmp/bench")"
	cli FLUSHALL >/dev/null
	fill >"$tmp/$kind.again"
	check "$kind: the same state after a flush" cmp -s "$tmp/$kind.state" "$tmp/$kind.again"
	stop save
	ok $? "$kind: the server ends in order"
	start "$kind" --enable-debug-command yes
	cli DEBUG DIGEST | cmp -s - <(tail -n 1 "$tmp/$kind.state")
	ok $? "$kind: the data survive save and restart"
	cli MEMORY PURGE >/dev/null
	stop nosave
	ok $? "$kind: and it ends again"
	rm -rf "$tmp/data"
done
check "the answers are the same with and without the library" cmp -s "$tmp/plain.state" "$tmp/preloaded.state" || note_file "$tmp/preloaded.state"
done_testing
