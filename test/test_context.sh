#!/bin/sh
# The context that a run gets which does not say: the model's own, as far as memory allows; and what it
# must not change.
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=test/lib.sh
. test/lib.sh
models=test/data/models

# with_context MODEL KEY NUMBER: the model with this trained context, below 2^31.
with_context() {
    at=$(grep -abo "$2" "$1" | head -n 1 | cut -d : -f 1)
    at=$((at + ${#2} + 4))
    head -c $at "$1"
    printf %b "\\0$(printf %03o $(($3 % 256)))\\0$(printf %03o $(($3 / 256 % 256)))"
    printf %b "\\0$(printf %03o $(($3 / 65536 % 256)))\\0$(printf %03o $(($3 / 16777216)))"
    tail -c +$((at + 5)) "$1"
}

# within KB ARGUMENTS...: the program with so little address space.
within() {
    kb=$1
    shift
    # shellcheck disable=SC3045 # the systems at hand have it
    (ulimit -v "$kb" && exec "$RUN" "$@") >"$tmp/out" 2>"$tmp/err" </dev/null
}

# context OPTIONS...: the one that --info tells of.
context() {
    run 0 "$@" --info
    context=$(sed -n 's/.*cache at -c \([0-9]*\),.*/\1/p' "$tmp/out")
}

with_context $models/llama.gguf llama.context_length 6000 >"$tmp/6000.gguf"
context "$tmp/6000.gguf"
is "the model's own" 6000 "$context"
context "$tmp/6000.gguf" -c 7000
is "-c" 7000 "$context"
run 0 "$tmp/6000.gguf" --perplexity LICENSE --json
says "perplexity: 512" '"n_ctx": 512,'

# 1 KB for each of a million positions, and 100 MB of address space.
with_context $models/llama.gguf llama.context_length 1048576 >"$tmp/million.gguf"
if within 100000 --version; then
    within 100000 "$tmp/million.gguf" --ids 1 -n 1 -t 1
    is "little memory: status" 0 $?
    n=$(sed -n "s/^run: the context is \([0-9]*\) tokens, .* not the model's 1048576: -c N .*/\1/p" \
        "$tmp/err")
    check "little memory: less context (${n:-none})" test "${n:-0}" -ge 15000 -a "${n:-0}" -le 25000
    within 100000 "$tmp/million.gguf" --ids 1 -n 1 -t 1 -q
    is "little memory, -q: nothing is said" 0 "$(bytes "$tmp/err")"
else
    echo "SKIP little memory (the program needs more)"
fi
with_context $models/llama.gguf llama.context_length 268435456 >"$tmp/most.gguf"
run 0 "$tmp/most.gguf" --ids "1 2 3" -n 1
says "the largest number" "not the model's 268435456: -c N"

# Longrope's factors follow the model's context and not what memory leaves of it.
key=phi3.context_length
with_context $models/phi3-partial-longrope.gguf $key 268435456 >"$tmp/long.gguf"
logits() {
    run 0 "$@" --ids "1 2 3 4 5 6 7 8 9" -n 0 -q --logits "$tmp/logits"
    mv "$tmp/logits" "$tmp/$(basename "$1").logits"
}
logits "$tmp/long.gguf"
logits $models/phi3-partial-longrope.gguf
same "longrope: the long factors without -c" "$tmp/long.gguf.logits" "$tmp/phi3-partial-longrope.gguf.logits"
logits $models/phi3-partial-longrope.gguf -c 64
differ "longrope: -c 64" "$tmp/long.gguf.logits" "$tmp/phi3-partial-longrope.gguf.logits"
logits "$tmp/long.gguf" -c 64
same "longrope: -c 64 of both" "$tmp/long.gguf.logits" "$tmp/phi3-partial-longrope.gguf.logits"
if within 60000 --version; then
    # Memory for fewer positions than the original context: the factors are the long ones all the same.
    key=phi3.rope.scaling.original_context_length
    with_context "$tmp/long.gguf" $key 100000 >"$tmp/longer.gguf"
    within 60000 "$tmp/longer.gguf" --ids "1 2 3 4 5 6 7 8 9" -n 0 -q -t 1 --logits "$tmp/few.logits"
    is "longrope, little memory: status" 0 $?
    logits "$tmp/longer.gguf" -c 100001
    same "longrope, little memory" "$tmp/few.logits" "$tmp/longer.gguf.logits"
fi

finish
