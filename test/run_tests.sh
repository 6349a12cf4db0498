#!/bin/sh
# usage: test/run_tests.sh BUILD_DIR [NAME]
# Runs every test program in BUILD_DIR/test, every fuzz target over its corpus, every shell test and
# a part of hashes.sh, as many at a time as there are processors: one line each; all that a failed
# one printed; at the end "N passed, M failed". With NAME that one alone, and no summary.
set -u
cd "$(dirname "$0")/.." || exit 1
if [ $# -lt 1 ] || [ $# -gt 2 ] || ! build=$(cd "$1" && pwd); then
    echo "usage: test/run_tests.sh BUILD_DIR [NAME]" >&2
    exit 2
fi
RUN=$build/run
QUANTIZE=$build/quantize
export RUN QUANTIZE
results=$build/test/results # a line for each test that ended: its exit status

# The names of all tests, those first that take longest.
names() {
    echo hashes
    echo test_matmul
    for source in test/test_*.c test/fuzz_*.c test/test_*.sh; do
        name=$(basename "$source")
        case ${name%.*} in
        fuzz_main | test_matmul) ;;
        *) echo "${name%.*}" ;;
        esac
    done
}

start() {
    case $1 in
    hashes) sh test/hashes.sh --quick ;;
    fuzz_*) "$build/test/$1" "test/corpus/${1#fuzz_}" ;;
    *) if [ -e "test/$1.sh" ]; then sh "test/$1.sh"; else "$build/test/$1"; fi ;;
    esac
}

# run NAME: the last line of its output and every skipped part, or everything if it failed.
run() {
    log=$build/test/$1.log
    start "$1" >"$log" 2>&1 </dev/null
    status=$?
    echo $status >>"$results"
    if [ $status -eq 0 ]; then
        lines=$(sed -n "s/^SKIP/SKIP $1:/p" "$log")
        echo "${lines:+$lines
}ok   $1: $(tail -n 1 "$log" | sed "s/^$1: //")"
    elif [ $status -gt 128 ] && signal=$(kill -l $status 2>/dev/null); then
        echo "$(cat "$log")
FAIL $1: killed by SIG$signal"
    else
        echo "$(cat "$log")
FAIL $1: exit status $status"
    fi
    rm -f "$log"
}

if [ $# -eq 2 ]; then
    run "$2"
    exit
fi
rm -f "$results"
names | xargs -n 1 -P "$(getconf _NPROCESSORS_ONLN)" sh test/run_tests.sh "$build"
passed=$(grep -cx 0 "$results")
failed=$(($(names | wc -l) - passed)) # one that was lost has failed, too
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ "$passed" -gt 0 ]
