# lua: table, closure and string churn in the interpreter (churn.lua), which allocates everything by realloc and free.
. "$(dirname "$0")/driver.sh"

lua_find() {
    command -v lua5.4 || command -v lua
}

case $verb in
prepare) lua_find > /dev/null || driver_require lua ;;
run) driver_measure "$(lua_find)" "$here/churn.lua" ;;
*) driver_unknown ;;
esac
