#!/bin/bash
# Hundreds of forks from a busy parent, thousands of threads alive at once, children that fork did not make.
. "$(dirname "$0")/lib.sh"

forks=200 threads=2000 nested=300
quick && forks=50 threads=300 nested=100
long && forks=1000 threads=2000 nested=3000
tap_both crowd storm "$forks"
tap_both crowd alive "$threads"
tap_both crowd clone
tap_both crowd handlers "$nested"
tap_both crowd frees
done_testing
