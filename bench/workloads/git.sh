# git: "pack" recomputes all deltas of a generated repository, "log" prints its history with patches.
. "$(dirname "$0")/driver.sh"

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat

git_history() {
    awk 'BEGIN {
        seed = 99
        for (commit = 1; commit <= 2500; commit++) {
            printf "commit refs/heads/main\ncommitter Bench <bench@example.org> %d +0000\ndata 9\ncommit %02d\n", 1700000000 + commit, commit % 100
            for (change = 0; change < 4; change++) {
                seed = (seed * 16807) % 2147483647
                file = seed % 250
                lines[file] += 6
                version[file, seed % (lines[file] + 1)] = seed
                body = ""
                for (i = 0; i < 60 + lines[file]; i++)
                    body = body "line " i " of file " file " holds " version[file, i] "\n"
                printf "M 100644 inline dir%d/file%d.txt\ndata %d\n%s\n", file % 12, file, length(body), body
            }
            print ""
        }
    }'
}

case $verb in
prepare)
    driver_require git awk
    [ ! -d "$dir/repository" ] || exit 0
    git init -q --bare -b main "$dir/repository"
    git_history | git -C "$dir/repository" fast-import --quiet
    ;;
run)
    case $3 in
    pack)
        : | driver_measure git -C "$dir/repository" -c pack.threads=1 pack-objects --all --no-reuse-delta --no-reuse-object \
            --window=40 --depth=40 --quiet --stdout | cksum
        ;;
    log) driver_measure git -C "$dir/repository" log -p -M --stat main | cksum ;;
    esac
    ;;
*) driver_unknown ;;
esac
