# jq: parses, regroups and prints a generated JSON document of 60,000 objects.
. "$(dirname "$0")/driver.sh"

case $verb in
prepare)
    driver_require jq awk
    awk 'BEGIN {
        seed = 5
        printf "["
        for (i = 0; i < 60000; i++) {
            seed = (seed * 16807) % 2147483647
            printf "%s{\"id\":%d,\"name\":\"name-%d-%.*s\",\"tags\":[", i ? ",\n" : "", i, seed, seed % 40,
                "abcdefghijklmnopqrstuvwxyzabcdefghijklmn"
            for (tag = 0; tag < seed % 12; tag++)
                printf "%s\"t%d\"", tag ? "," : "", (seed + tag * 37) % 1000
            printf "],\"value\":{\"part\":%d.5,\"list\":[1,2,3]}}", seed % 997
        }
        print "]"
    }' > "$dir/input.json"
    ;;
run)
    driver_measure jq -c 'map({k: .id, n: (.name | ascii_upcase), s: (.tags | length), v: .value.part})
        | group_by(.s) | map([length, (map(.v) | add), (map(.n) | max)])' "$dir/input.json" | cksum
    ;;
*) driver_unknown ;;
esac
