# redis: redis-server under redis-benchmark, over a socket in the work directory. Only the server gets the library; its
# processor time and peak RSS are reported, with the client's wall time. A server linked with jemalloc needs the libc
# itself preloaded to run on glibc's malloc, so an empty BENCH_PRELOAD becomes libc.so.6.
. "$(dirname "$0")/driver.sh"

socket=$dir/redis.socket

redis_ask() {
    redis-cli -s "$socket" "$@" < /dev/null
}

redis_wait() {
    tries=0
    until [ "$(redis_ask ping 2> /dev/null)" = PONG ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || { echo "redis-server does not answer" >&2; cat "$dir/log" >&2; return 1; }
        sleep 0.05
    done
}

# Fill, overwrite with longer values (which moves every value to another size class), read, lists, hashes, expiry.
redis_load() {
    bench="redis-benchmark -s $socket -q -c 20 -P 16"
    $bench -n 300000 -r 150000 -d 60 -t set
    $bench -n 300000 -r 150000 -d 250 -t set
    $bench -n 200000 -r 150000 -t get
    $bench -n 200000 -r 5000 -d 40 rpush list:__rand_int__ element:__rand_int__
    $bench -n 200000 -r 3000 -d 40 hset hash:__rand_int__ field:__rand_int__ value:__rand_int__
    $bench -n 100000 -r 150000 del key:__rand_int__
}

redis_complain() {
    grep -m 1 'crashed by signal' "$dir/log" >&2 || tail -n 3 "$dir/log" >&2
    return 1
}

case $verb in
prepare) driver_require redis-server redis-benchmark redis-cli ;;
load) redis_load > /dev/null ;;
run)
    [ -n "$BENCH_PRELOAD" ] || BENCH_PRELOAD=libc.so.6
    driver_measure redis-server --port 0 --unixsocket "$socket" --save "" --appendonly no --loglevel warning \
        --dir "$dir" > "$dir/log" 2>&1 &
    server=$!
    trap 'redis_ask shutdown nosave > /dev/null 2>&1 || true; wait "$server"' EXIT
    redis_wait
    "$BENCH_MEASURE" -o "$BENCH_RESULT.client" -- sh "$0" load "$dir" || redis_complain
    ;;
*) driver_unknown ;;
esac
