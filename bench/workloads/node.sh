# node: buffers, JSON and compression in node.js (churn.js). V8's own heap comes from mmap; malloc serves buffers,
# zlib, the compiler's zones and the runtime's C++ objects, from several threads.
. "$(dirname "$0")/driver.sh"

case $verb in
prepare) driver_require node ;;
run) driver_measure node "$here/churn.js" ;;
*) driver_unknown ;;
esac
