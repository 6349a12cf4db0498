#!/bin/sh
# usage: test/long_runs.sh [4000]
# What takes a minute or two, so not part of make test: a full context compared with the reference
# token by token, a thousand starts and stops, every number of threads under TSan, and more threads
# than processors with others at work. Builds what it needs.
set -u
cd "$(dirname "$0")/.." || exit 1
n_ctx=${1:-4000}
run=build/release/run
models=test/data/models
tmp=$(mktemp -d) || exit 1
busy=
trap 'kill $busy 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
failed=0

fail() {
    failed=$((failed + 1))
    echo "FAIL $*"
}

make -s build/release/run && make -s CONFIG=tsan OPT=-O1 build/tsan/run || exit 1

# One with a window, one without; these two do not end their texts before that.
for model in gemma2 qwen3; do
    if $run $models/$model.gguf --ids "1 5 7" -n -1 -c "$n_ctx" --verify -q --json 2>"$tmp/err" \
        >/dev/null && grep -qF "the context of $n_ctx tokens is full" "$tmp/err"; then
        echo "ok   $model: $(sed -n 's/.*"gen_tokens": \([0-9]*\).*/\1/p' "$tmp/err") tokens," \
            "the reference's logits at each"
    else
        fail "$model: $(cat "$tmp/err")"
    fi
done

# hash OPTIONS...: the logits of a prompt and 30 tokens
hash() {
    "$@" $models/gemma2.gguf --ids "1 5 7 9 11 13 15 17 19 21 23" -n 30 -q --json 2>&1 >/dev/null |
        sed -n 's/.*"logits_hash": "\(.*\)".*/\1/p'
}
expected=$(hash $run -t 1)

n=0
while [ $n -lt 1000 ]; do
    n=$((n + 1))
    $run $models/llama-q2k.gguf --ids "1 5" -n 1 -t $((n % 8 + 1)) -q >/dev/null 2>"$tmp/err" ||
        fail "start $n: $(cat "$tmp/err")"
done
echo "ok   $n starts and stops"

for threads in 1 2 3 4 5 6 7 8; do
    found=$(TSAN_OPTIONS=halt_on_error=1 hash build/tsan/run -t $threads)
    [ "$found" = "$expected" ] || fail "TSan, $threads threads: $found, expected $expected"
done
echo "ok   TSan: 1 to 8 threads"

for n in 1 2 3; do
    while :; do :; done &
    busy="$busy $!"
done
n=0
while [ $n -lt 100 ]; do
    n=$((n + 1))
    found=$(hash $run -t 8)
    [ "$found" = "$expected" ] || fail "a busy machine, run $n: $found, expected $expected"
done
echo "ok   a busy machine, 8 threads: $n runs with the same logits"
[ $failed -eq 0 ]
