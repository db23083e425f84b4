# perl: hash, array and string churn in the interpreter (churn.pl).
. "$(dirname "$0")/driver.sh"

case $verb in
prepare) driver_require perl ;;
run)
    export PERL_HASH_SEED=0
    driver_measure perl "$here/churn.pl"
    ;;
*) driver_unknown ;;
esac
