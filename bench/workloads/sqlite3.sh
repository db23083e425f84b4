# sqlite3: bulk insert, index, update and query of an in-memory database, from a generated script.
. "$(dirname "$0")/driver.sh"

case $verb in
prepare)
    driver_require sqlite3 awk
    awk 'BEGIN {
        seed = 12345
        print "PRAGMA page_size=4096;\nCREATE TABLE item(id INTEGER PRIMARY KEY, owner INTEGER, name TEXT, price REAL, note TEXT);\nBEGIN;"
        for (i = 1; i <= 200000; i++) {
            seed = (seed * 16807) % 2147483647
            printf "INSERT INTO item VALUES(%d,%d,%cname-%d%c,%d.%02d,%cnote %d of %d, %.*s%c);\n", i, seed % 2000, 39, seed, 39,
                seed % 1000, i % 100, 39, i, seed, seed % 40, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", 39
        }
        print "COMMIT;\nCREATE INDEX item_owner ON item(owner);\nCREATE INDEX item_name ON item(name);"
        for (i = 0; i < 300; i++)
            printf "SELECT count(*), round(sum(price), 2), max(length(note)) FROM item WHERE owner BETWEEN %d AND %d;\n", i * 6, i * 6 + 9
        print "UPDATE item SET note = note || name WHERE id % 3 = 0;"
        print "SELECT sum(n), max(p) FROM (SELECT owner, count(*) AS n, group_concat(name) AS p FROM item GROUP BY owner);"
        print "SELECT count(*) FROM item a JOIN item b ON a.owner = b.owner AND a.id < b.id WHERE a.id % 50 = 0;"
        print "DELETE FROM item WHERE id % 2 = 0;\nSELECT count(*), sum(length(note)) FROM item;"
    }' > "$dir/input.sql"
    ;;
run)
    driver_measure sqlite3 -batch :memory: < "$dir/input.sql" | cksum
    ;;
*) driver_unknown ;;
esac
