# python3: object churn in the interpreter (churn.py). PYTHONMALLOC=malloc makes every object a malloc, where by default
# python serves blocks up to 512 bytes from its own pools.
. "$(dirname "$0")/driver.sh"

# A version manager's python3 may be a shell script, which must not be what is measured: ask for the real file.
python_find() {
    PATH=/usr/bin:$PATH python3 -c 'import sys; print(sys.executable)'
}

case $verb in
prepare) driver_require python3 ;;
run)
    export PYTHONMALLOC=malloc PYTHONHASHSEED=0
    driver_measure "$(python_find)" -S "$here/churn.py"
    ;;
*) driver_unknown ;;
esac
