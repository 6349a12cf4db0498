#!/bin/sh
# A library that is loaded with the program has set another floating-point state: the same bits.
# test_fpstate.c looks at the engine, whose callers may set it at any time; this at the programs.
set -u
cd "$(dirname "$0")/.." || exit 1
. test/lib.sh
model=test/data/models/llama.gguf
odd=$(dirname "$RUN")/test/odd_state.so
QUANTIZE=${QUANTIZE:-./quantize}

oddly() {
    limit env LD_PRELOAD="$odd" "$@"
}

tenth() {
    "$@" awk 'BEGIN { x = 1; y = 10; printf "%.20g\n", x / y }' 2>&1
}
if [ ! -e "$odd" ] || [ "$(tenth env)" = "$(tenth env LD_PRELOAD="$odd")" ] ||
    ! oddly "$RUN" --version >"$tmp/out" 2>"$tmp/err"; then
    echo "SKIP another state (nothing can be preloaded here)"
    ok
    finish
    exit
fi

head -c 400 LICENSE >"$tmp/text"
for options in "--ids 1,5,7 -n 20 -t 1" "--ids 1,5,7 -n 20 -t 3" "--ids 1,5,7 -n 20 --reference" \
    "--ids 1,5,7 -n 20 --isa portable --kv f32" "--ids 1,5,7 -n 20 --temp 0.7 --top-p 0.9 -s 3" \
    "--ids 1,5,7,9 -n 9 --verify" "--perplexity $tmp/text -c 64" "--tokens -f $tmp/text"; do
    # shellcheck disable=SC2086 # several words
    set -- $model $options
    "$RUN" "$@" --json >"$tmp/expected" 2>"$tmp/err"
    sed -n 's/.*"logits_hash"\|.*"perplexity"\(.*\)"tok_s".*/\1/p' "$tmp/err" >>"$tmp/expected"
    oddly "$RUN" "$@" --json >"$tmp/out" 2>"$tmp/err"
    is "$options: status" 0 $?
    sed -n 's/.*"logits_hash"\|.*"perplexity"\(.*\)"tok_s".*/\1/p' "$tmp/err" >>"$tmp/out"
    same "$options" "$tmp/expected" "$tmp/out"
done

cp test/data/nan-weight.gguf "$tmp/model.gguf"
printf '\000\000\000\000' | dd of="$tmp/model.gguf" bs=1 seek=142068 conv=notrunc 2>/dev/null # no NaN
for type in Q8_0 Q4_K_M Q5_K_M Q6_K; do
    "$QUANTIZE" "$tmp/model.gguf" "$tmp/plain.gguf" $type >"$tmp/out" 2>"$tmp/err"
    oddly "$QUANTIZE" "$tmp/model.gguf" "$tmp/odd.gguf" $type >"$tmp/out" 2>"$tmp/err"
    is "quantize $type: status" 0 $?
    same "quantize $type" "$tmp/plain.gguf" "$tmp/odd.gguf"
done

finish
