#!/bin/sh
# Models with weights that are no numbers, in every mode: status 1, one line that says where, and no
# answer.
set -u
cd "$(dirname "$0")/.." || exit 1
. test/lib.sh
model=test/data/nan-weight.gguf # random, F32, 300 tokens; a weight of blk.1.ffn_down is NaN

# put FILE OFFSET BYTES: over what is there.
put() {
    printf %b "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
nan='\0000\0000\0300\0177'
infinity='\0000\0000\0200\0177'
million='\0000\0044\0164\0111'

sound=$tmp/sound.gguf
cp $model "$sound" && put "$sound" 142068 '\0000\0000\0000\0000'
printf 'ab cd\n' >"$tmp/message"
head -c 400 LICENSE >"$tmp/text"

# chat FILE OPTIONS...: a message through a pipe
chat() {
    limit "$RUN" "$@" --chat --template chatml -q -n 3 <"$tmp/message" >"$tmp/out" 2>"$tmp/err"
}

# broken FILE TEXT OPTIONS...: every mode ends with one line that has the text.
broken() {
    file=$1
    where=$2
    shift 2
    refused 1 "$where" "$file" -p "ab cd" -n 6 -q "$@"
    refused 1 "$where" "$file" -p "ab cd" -n 6 -q --temp 0.8 -s 1 "$@"
    refused 1 "$where" "$file" -p "ab cd" -n 0 -q --json "$@"
    refused 1 "$where" "$file" -p "ab cd" -n 6 -q --isa portable -b 2 -t 1 "$@"
    refused 1 "$where" "$file" -p "ab cd" -n 6 -q --reference "$@"
    refused 1 "$where" "$file" -p "ab cd" -n 6 -q --verify "$@"
    refused 1 "$where" "$file" -p "ab cd" -n 6 -q --logits "$tmp/logits" "$@"
    is "$file: --logits: bytes" 0 "$(bytes "$tmp/logits")"
    refused 1 "$where" "$file" --bench -p 5 -n 3 -r 1 "$@"
    refused 1 "$where" "$file" --bench -p 0 -n 3 -r 1 "$@"
    refused 1 "run: chunk 1: " "$file" --perplexity "$tmp/text" -c 32 "$@"
    says "$file: perplexity" "$where"
    chat "$file" "$@"
    is "$file: chat: status" 1 $?
    says "$file: chat" "$where"
    is "$file: chat: lines of messages" 1 "$(lines "$tmp/err")"
    is "$file: chat: bytes of output" 0 "$(bytes "$tmp/out")"
}

run 0 "$sound" -p "ab cd" -n 6 --verify
says "without the NaN" "all logits equal the reference's, bit for bit"
chat "$sound"
is "without the NaN: chat: status" 0 $?

broken $model "are no finite numbers (NaN or infinite: 300 of 300)"
run 1 $model -p "ab cd" -n 6
says "the last token of the prompt is named" "run: the logits after token 5 (id 263) are no"
is "the prompt and no more" "ab cd" "$(cat "$tmp/out")"

cp "$sound" "$tmp/logit.gguf" && put "$tmp/logit.gguf" 47264 "$nan" # output.weight
broken "$tmp/logit.gguf" "are no finite numbers (NaN or infinite: 1 of 300)"

cp "$sound" "$tmp/key.gguf" && put "$tmp/key.gguf" 120864 "$nan" # blk.1.attn_k.weight
broken "$tmp/key.gguf" "layer 1: a key is not finite (token "
broken "$tmp/key.gguf" "layer 1: a key is not finite (token " --kv f32

cp "$sound" "$tmp/value.gguf" && put "$tmp/value.gguf" 91936 "$infinity" # blk.0.attn_v.weight
broken "$tmp/value.gguf" "layer 0: a value is not finite (token "

cp "$sound" "$tmp/large.gguf" && put "$tmp/large.gguf" 89888 "$million" # blk.0.attn_k.weight
broken "$tmp/large.gguf" "layer 0: a key is too large for an f16 cache, --kv f32 has room for it"
run 0 "$tmp/large.gguf" -p "ab cd" -n 6 --kv f32 --verify
says "--kv f32 has room" "all logits equal the reference's, bit for bit"

cp "$sound" "$tmp/token.gguf" && put "$tmp/token.gguf" 45216 "$nan" # token_embd.weight of "z", id 285
run 0 "$tmp/token.gguf" -p "ab cd" -n 6
refused 1 "layer 0: a key is not finite (token 4, id 285)" "$tmp/token.gguf" -p "abzcd" -n 6 -q

finish
