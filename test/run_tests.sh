#!/bin/sh
# usage: test/run_tests.sh BUILD_DIR
# Runs every test program in BUILD_DIR/test, every fuzz target over its corpus, every shell test and
# a part of hashes.sh, one line each; all that a failed one printed; at the end "N passed, M failed".
set -u
cd "$(dirname "$0")/.." || exit 1
if [ $# -ne 1 ] || ! build=$(cd "$1" && pwd); then
    echo "usage: test/run_tests.sh BUILD_DIR" >&2
    exit 2
fi
RUN=$build/run
QUANTIZE=$build/quantize
export RUN QUANTIZE
log=$build/test/log
passed=0
failed=0

# run NAME COMMAND...: the last line of its output and every skipped part, or everything if it failed.
run() {
    name=$1
    shift
    "$@" >"$log" 2>&1 </dev/null
    status=$?
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
        sed -n "s/^SKIP/SKIP $name:/p" "$log"
        echo "ok   $name: $(tail -n 1 "$log" | sed "s/^$name: //")"
        return
    fi
    failed=$((failed + 1))
    cat "$log"
    if [ $status -gt 128 ] && signal=$(kill -l $status 2>/dev/null); then
        echo "FAIL $name: killed by SIG$signal"
    else
        echo "FAIL $name: exit status $status"
    fi
}

for source in test/test_*.c test/fuzz_*.c test/test_*.sh; do
    name=$(basename "$source")
    name=${name%.*}
    case $source in
    test/fuzz_main.c) ;;
    test/fuzz_*) run "$name" "$build/test/$name" "test/corpus/${name#fuzz_}" ;;
    *.sh) run "$name" sh "$source" ;;
    *) run "$name" "$build/test/$name" ;;
    esac
done
run hashes sh test/hashes.sh --quick
rm -f "$log"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
