#!/bin/sh
# --profile from the outside: the lines are there, and they make up all of the time.
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=test/lib.sh
. test/lib.sh
models=test/data/models

# whole WHAT: the table that the last program wrote makes up all of its time: shares are rounded to a
# tenth, seconds to a thousandth, some forty lines.
whole() {
    sum=$(awk '/^where the time went/ { on = 1; next }
               on && /^all / { print (shares > 98 && shares < 102 && $3 == "100.0" && \
                                      seconds < $2 * 1.02 + 0.02 && seconds > $2 * 0.98 - 0.02)
                               exit }
               on { split(substr($0, 29), f, " "); seconds += f[1]; shares += f[2] }' "$tmp/err")
    is "$1: the lines make up all" 1 "$sum"
    is "$1: columns" "" "$(sed -n '/^where the time went/,$p' "$tmp/err" | grep -E '.{80}')"
}

# has WHAT LINE...: the table has these lines.
has() {
    what=$1
    shift
    for line; do
        if grep -q "^$line  *[0-9]*\.[0-9]* " "$tmp/err"; then ok; else fail "$what: no line $line"; fi
    done
}

prompt='one two three four'
for threads in 1 3; do
    run 0 $models/llama.gguf -p "$prompt" -n 6 -t $threads --profile
    whole "text, $threads threads"
    has "text, $threads threads" "opening the model" "opening the vocabulary" tokenizing \
        "inputs of products" "product Q5_K, one token" "product Q5_K, batch" attend norm rope glu add \
        remember sampling "hashing logits" "printing text" other
    says "text" "GB/s read, " err
done
hash=$(sed -n 's/.*logits \([0-9a-f]*\).*/\1/p' "$tmp/err")
run 0 $models/llama.gguf -p "$prompt" -n 6 -t 2
is "the bits with a profile" "$hash" "$(sed -n 's/.*logits \([0-9a-f]*\).*/\1/p' "$tmp/err")"
is "no profile unless it is asked for" "" "$(grep 'where the time went' "$tmp/err")"

run 0 $models/llama.gguf -p "$prompt" -n 2 -t 2 --reference --profile
whole "--reference"
has "--reference" "dequantizing (--reference)" "product F32, one token"
run 0 $models/llama.gguf -p "$prompt" -n 2 -t 2 --act 8 --verify --profile
whole "--verify"
has "--verify" "the reference (--verify)" "checking products (--verify)"
says "--act" " of integers" err
run 0 $models/qwen35moe.gguf --ids "1 2 3 4 5" -n 3 -t 2 --profile -q
whole "experts"
has "experts" experts "experts end" choose convolve "delta rule"
run 0 $models/llama.gguf -p "$prompt" --tokens --profile
whole "--tokens"
has "--tokens" tokenizing
head -c 3000 README.md >"$tmp/text"
run 0 $models/llama.gguf --perplexity "$tmp/text" -c 256 -t 2 --profile
whole "--perplexity"
has "--perplexity" scoring attend
printf 'hello\nagain\n' | limit "$RUN" $models/llama.gguf --chat --template chatml -n 3 -t 2 --profile \
    >"$tmp/out" 2>"$tmp/err"
is "--chat: exit status" 0 $?
whole "--chat"
has "--chat" "chat template" "waiting for input" tokenizing sampling

# numbers FIRST SECOND: what they name in the last program's JSON, and of the profile's lines all
# seconds, and the multiply-adds of products with one token.
numbers() {
    tr '{}' '\n' <"$tmp/err" | awk -v first="$1" -v second="$2" '
        function number(name) {
            if (!match($0, "\"" name "\": [0-9.]+")) return 0
            return substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 4) + 0
        }
        number(first) { a = number(first) }
        number(second) { b = number(second) }
        /"step"/ { seconds += number("seconds") }
        /one token"/ { macs += number("seconds") * number("gmac_s") * 1e9 }
        END { printf "%.6f %.6f %.6f %.6f\n", a, b, seconds, macs }'
}

# As JSON: seconds make up the wall time, and the products of single tokens are those of the test.
run 0 $models/llama-q2k.gguf -p "$prompt" -n 60 -t 2 --json --profile -q
is "JSON: no table" "" "$(grep 'where the time went' "$tmp/err")"
is "JSON: one object" 1 "$(lines "$tmp/err")"
is "JSON: the lines make up all" 1 \
    "$(numbers wall_s wall_s | awk '{ print ($1 > 0 && $3 > $1 * 0.98 && $3 < $1 * 1.02) }')"
run 0 $models/llama-q2k.gguf --bench -p 0 -n 40 -r 1 -t 2 --json --profile
is "JSON: multiply-adds of products" 1 \
    "$(numbers tg_macs wall_s | awk '{ print ($1 > 0 && $4 > $1 * 0.9 && $4 < $1 * 1.1) }')"

finish
