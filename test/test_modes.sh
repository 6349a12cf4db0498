#!/bin/sh
# --info, --bench and --perplexity from the outside.
set -u
cd "$(dirname "$0")/.." || exit 1
. test/lib.sh
models=test/data/models

# ---- info -----------------------------------------------------------------------------------------

# A GGUF file from parts; every number is below 65536.
u32() { printf %b "\\0$(printf %03o $(($1 % 256)))\\0$(printf %03o $(($1 / 256)))\\0\\0"; }
u64() { u32 "$1" && u32 0; }
string() { u64 ${#1} && printf %s "$1"; }
string_kv() { string "$1" && u32 8 && string "$2"; }
u32_kv() { string "$1" && u32 4 && u32 "$2"; }
tensor() { string "$1" && u32 1 && u64 "$2" && u32 "$3" && u64 "$4"; } # NAME LENGTH TYPE OFFSET

run 0 $models/llama.gguf --info
says "info" "quantized as Q5_K_M" out
says "info" "4 heads, 2 of keys and values, of 64 dimensions" out
is "info: the last line" "runs: yes" "$(tail -n 1 "$tmp/out")"
run 0 $models/llama.gguf --info -c 1000 --kv f32
says "info: -c" "f32 cache at -c 1000" out
run 0 $models/llama-odd-dims.gguf --info
says "info: fall-backs" \
    "14 of 16 matrices are Q5_1 or Q8_0: rows of 192 are no multiple of 256" out
says "info: fall-backs" \
    "2 of 16 matrices are Q5_1 or Q8_0: rows of 448 are no multiple of 256" out
run 0 $models/qwen35moe.gguf --info
says "info: layers" "  0-1          convolve, l2 norm, delta rule, glu, experts" out
says "info: what is remembered" \
    "remembers      states of 38.9 kB (2 layers), 256 B of each position (1 layer)" out
says "info: what a token reads" "162 kB of weights, 71 % of the file" out
run 0 $models/gemma2.gguf --info
says "info: layers" "  0, 2         rope, attend, glu (8 positions back)" out
says "info: what is remembered" "of each of the last 8 positions (2 layers), " out
says "info: windows" "8 positions in 2 of 4 layers" out

# As JSON, whole: a line for each key and tensor.
run 0 $models/llama.gguf --info --json
says "info as JSON" '"architecture": "llama", "gguf_version": 3, "mapped_bytes": ' out
says "info as JSON" '"runs": true, "verdict": "yes"' out
says "info as JSON: a number" '"llama.attention.head_count": 4,' out
says "info as JSON: a truth" '"tokenizer.ggml.add_bos_token": true' out
says "info as JSON: an array" '"tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "<0x00>", ' out
says "info as JSON: a tensor" '{"name": "output_norm.weight", "type": "F32", "shape": [256], "bytes": 1024}' out
is "info as JSON: nothing is said" 0 "$(bytes "$tmp/err")"

# The line of steps, as it was when somebody last looked at it: ./run MODEL --plan >test/data/plans/NAME
for plan in test/data/plans/*; do
    run 0 "$models/${plan##*/}.gguf" --plan
    same "plan: ${plan##*/} is as recorded" "$tmp/out" "$plan"
done
run 1 test/data/vocab.gguf --plan

# A key that nobody knows: 16 bytes of another one's name.
sed 's/llama\.vocab_size/llama.nonsensity/' $models/llama.gguf >"$tmp/unknown.gguf"
run 1 "$tmp/unknown.gguf" --ids 1 -n 1
says "unknown key: named" "key llama.nonsensity (512): this engine does not know"
run 0 "$tmp/unknown.gguf" --ids 1 -n 1 --ignore-key llama.nonsensity
says "ignored key: said" "ignored    key llama.nonsensity"
run 0 $models/llama.gguf --ids 1 -n 1 --ignore-key x
says "ignored key that is not there: said" "x: the file has no such key"

# Everything that is wrong is said at once.
sed 's/llama\.vocab_size/llama.nonsensity/; s/blk\.1\.ffn_norm/blk.9.ffn_norm/
    s/blk\.0\.attn_q/blk.7.attn_q/' $models/llama.gguf >"$tmp/wrong.gguf"
run 0 "$tmp/wrong.gguf" --info
says "info: a missing tensor" "runs: no: tensor blk.0.attn_q.weight is missing" out
sed 's/llama\.vocab_size/llama.nonsensity/; s/rope\.freq_base/rope.freq_besa/
    s/output\.weight/outpux.weight/' $models/llama.gguf >"$tmp/wrong.gguf"
run 0 "$tmp/wrong.gguf" --info
says "info: a tensor too much" "runs: no: tensor outpux.weight is not part of" out
says "info: keys too much" "; key llama.rope.freq_besa (10000): this engine does not know" out
says "info: keys too much" "; likewise llama.nonsensity (512)" out
LC_ALL=C sed 's/architecture\(............\)llama/architecture\1llamb/' $models/llama.gguf >"$tmp/wrong.gguf"
run 0 "$tmp/wrong.gguf" --info
says "info: the nearest architecture" 'is "llamb", which this engine does not run; the nearest name is llama (' out

# What a vocabulary's keys say that is not followed. LC_ALL=C: sed takes the file byte by byte.
sed 's/tokenizer\.ggml\.add_eos_token/tokenizer.ggml.add_new_token/' $models/llama.gguf >"$tmp/new.gguf"
run 0 "$tmp/new.gguf" --ids 1 -n 1 -q
is "unknown key of the tokenizer: said" \
    "run: tokenizer.ggml.add_new_token is not known to this engine: token ids may be other ones" \
    "$(cat "$tmp/err")"
run 0 "$tmp/new.gguf" --info
says "info: unknown key of the tokenizer" "note           tokenizer.ggml.add_new_token is not" out
run 0 "$tmp/new.gguf" --ids 1 -n 1 -q --ignore-key tokenizer.ggml.add_new_token
is "unknown key of the tokenizer, ignored: nothing is said" 0 "$(bytes "$tmp/err")"
run 0 "$tmp/new.gguf" --ids 1 -n 1 -q --ignore-key tokenizer.ggml.add_new_toke
is "unknown key of the tokenizer, another ignored: lines of messages" 2 "$(lines "$tmp/err")"
for mode in "--tokens -p a" "-p a -n 1 -q" "--perplexity demo/heldout.txt -c 200 -q"; do
    # shellcheck disable=SC2086 # several words
    run 0 "$tmp/new.gguf" $mode
    is "unknown key of the tokenizer, $mode: lines of messages" 1 "$(lines "$tmp/err")"
done

# A byte-level vocabulary without tokenizer.ggml.pre; the ids are llama.cpp's.
run 0 test/data/no-pre.gguf --tokens -p "In 1234 5"
is "no pre-tokenizer: ids" "73 110 32 257 52 32 53" "$(cat "$tmp/out")"
is "no pre-tokenizer: said" "run: tokenizer.ggml.pre is missing: the file names no pre-tokenizer, so that \"default\" is used; answers may be worse for it" "$(cat "$tmp/err")"
run 0 test/data/no-pre.gguf --info
says "info: no pre-tokenizer" 'so that "default" is used; answers may be worse for it' out

# Without a token for the newline.
sed "s/$(printf '\304\212')/$(printf '\304\277')/" test/data/no-pre.gguf >"$tmp/lost.gguf"
printf 'a\nb\n\n' >"$tmp/text"
run 0 "$tmp/lost.gguf" --tokens -f "$tmp/text"
is "text without tokens: ids" "97 98" "$(cat "$tmp/out")"
says "text without tokens" "run: 3 bytes of the text without a token in this vocabulary left out"

# A vocabulary of a kind that is not built: ids alone.
sed 's/tokenizer\.ggml\.model\(............\)llama/tokenizer.ggml.model\1other/' $models/llama.gguf \
    >"$tmp/other.gguf"
run 0 "$tmp/other.gguf" --ids "1 5 7" -n 2
is "another kind of vocabulary: no text" "" "$(cat "$tmp/out")"
says "another kind of vocabulary" "run: tokenizer.ggml.model: 'other' is not known, only llama, gpt2, gemma4 and plamo2 are: no text is printed"
run 1 "$tmp/other.gguf" -p a -n 2
says "another kind of vocabulary, a text" "'other' is not known"
run 0 "$tmp/other.gguf" --info
matches "info: another kind of vocabulary" "^runs: yes, with --ids: tokenizer.ggml.model: 'other' is not known" "$tmp/out"

# suppress ID...: the model llama and five ids that are never to be generated, in 64 bytes.
suppress() {
    n_kv=$(od -An -tu1 -j16 -N1 $models/llama.gguf)
    head -c 16 $models/llama.gguf && u64 $((n_kv + 1))
    string tokenizer.ggml.suppress_tokens && u32 9 && u32 2 && u64 5
    for id in "$@"; do u32 "$id" | head -c 2; done
    tail -c +25 $models/llama.gguf
}
# After 1, 5, 7 the tokens 494, 460, 281, 233, 136 and 243 are the likeliest, in this order.
suppress 494 460 281 136 136 >"$tmp/suppress.gguf"
run 0 "$tmp/suppress.gguf" --ids "1 5 7" -n 1 -q
cp "$tmp/out" "$tmp/suppressed"
run 0 $models/llama.gguf --ids "1 5 7" -n 1 -q
differ "ids never to be generated" "$tmp/suppressed" "$tmp/out"
run 0 $models/llama.gguf --ids 233 -n 0
same "ids never to be generated: the next one" "$tmp/suppressed" "$tmp/out"

# with_template TEXT: the model llama with this as its chat template, 21 bytes, which makes the new
# entry 64 bytes long and keeps the tensors aligned.
with_template() {
    n_kv=$(od -An -tu1 -j16 -N1 $models/llama.gguf)
    head -c 16 $models/llama.gguf && u64 $((n_kv + 1))
    string_kv tokenizer.chat_template "$(printf %-21s "$1")" && tail -c +25 $models/llama.gguf
}
with_template "{{ '<|im_start|>' }}" >"$tmp/chatml.gguf"
with_template "{{ message }}" >"$tmp/unknown.gguf"
run 0 "$tmp/chatml.gguf" --info
says "info: template" "chat template  its own, 21 bytes, resembles chatml" out
run 0 "$tmp/unknown.gguf" --info
says "info: template" "chat template  its own, 21 bytes" out
with_template "{{ % }}" >"$tmp/broken.gguf"
run 0 "$tmp/broken.gguf" --info
says "info: template" "chat template  its own, 21 bytes, cannot be read: template, line 1, column 4" out

escape=$(printf '\033')
control=$(printf '\302\233') # U+009B, a terminal's other escape
{
    printf GGUF && u32 3 && u64 3 && u64 3
    string_kv general.architecture "rwkv${escape}[31m${control}"
    string_kv "general.name" "${control}2Jsmile: $(printf '\342\230\272') $(printf '\377')"
    u32_kv "a${escape}key" 7
    tensor one 256 29 0 && tensor "t${escape}wo" 256 99 0 && tensor three 1 0 160
    printf '%300s' ""
} >"$tmp/odd.gguf"
run 0 "$tmp/odd.gguf" --info
says "info: unknown" 'rwkv\x1b[31m\xc2\x9b' out
says "info: unknown" "\\xc2\\x9b2Jsmile: $(printf '\342\230\272') \\xff" out
says "info: unknown" 'IQ1_M             1        256 weights       56 B   1.75 bits each   not' out
says "info: unknown" '1 tensor of type IQ1_M; 1 tensor of type unknown' out
says "info: unknown" 'runs: no: general.architecture is "rwkv?[31m??"' out
tr -d "$escape$control" <"$tmp/out" >"$tmp/clean"
same "info: unknown: no control bytes" "$tmp/out" "$tmp/clean"
run 0 "$tmp/odd.gguf" --info --json
says "info as JSON: unknown" "2Jsmile: $(printf '\342\230\272') \\ufffd\"" out
says "info as JSON: unknown" '"a\u001bkey": 7' out
says "info as JSON: unknown" '"runs": false, "verdict": "no: general.architecture is ' out
says "info as JSON: unknown" '"name": "t\u001bwo", "type": 99, ' out
{ printf GGUF && u32 3 && u64 0 && u64 0; } >"$tmp/empty.gguf"
run 0 "$tmp/empty.gguf" --info
says "info: empty" "runs: no: a vocabulary alone" out
head -c 1000 $models/llama.gguf >"$tmp/cut.gguf"
run 1 "$tmp/cut.gguf" --info
run 1 "$tmp/none.gguf" --info

# ---- bench ----------------------------------------------------------------------------------------

tiny=$models/llama-q2k.gguf
run 0 $tiny --bench -p 9 -n 3 -r 2 -b 4 -t 2 --json
says "--bench: the prompt's row" "pp9 " out
says "--bench: the generation's row" "tg3 " out
says "--bench: JSON" '{"pp": 9, "pp_tok_s": '
says "--bench: the processor" ", 2 threads" out
# Of a prompt the last token's logits alone are made: 256 numbers times a vocabulary of 512.
number() { tr ',{}' '\n' <"$tmp/err" | sed -n "s/ *\"$1\": //p"; }
nine=$(number pp_macs) three=$(number tg_macs)
is "--bench: multiply-adds of a prompt" "$((9 * three / 3 - 8 * 256 * 512))" "$nine"
is "--bench: no integers" 0.00 "$(number peak_integer_gmac_s)"
run 0 $tiny --bench -p 2 -n 1 -r 1 --act 8 --json
says "--bench: integers" "of integers, " out
run 2 $tiny --bench -p x
run 2 $tiny --bench -p 9 -n 3 -c 4
run 2 $models/gpt2.gguf --bench
says "--bench: learned positions" "512 tokens exceed the 64 positions of" err

# ---- perplexity -----------------------------------------------------------------------------------

# The mean of -log p over the second half of every chunk of $2 tokens of the file $3, computed from
# the logits that the model $1 with $4 tokens writes for each chunk by itself.
perplexity() {
    "$RUN" "$1" --tokens -f "$3" | tr ' ' '\n' >"$tmp/ids"
    bos=$(head -n 1 "$tmp/ids")
    n_chunks=$(($(wc -l <"$tmp/ids") / $2))
    : >"$tmp/nll"
    chunk=0
    while [ $chunk -lt $n_chunks ]; do
        ids="$bos $(tail -n +$((chunk * $2 + 2)) "$tmp/ids" | head -n $(($2 - 1)) | tr '\n' ' ')"
        "$RUN" "$1" -c "$2" -n 0 -q --ids "$ids" --logits "$tmp/logits" >"$tmp/ignored"
        od -An -v -tf4 "$tmp/logits" | awk -v ids="$ids" -v n_ctx="$2" -v n_vocab="$4" '
            BEGIN { split(ids, id, " ") }
            {
                for (i = 1; i <= NF; i++) {
                    sum += exp($i)
                    if (column == id[row + 2]) logit = $i
                    if (++column < n_vocab) continue
                    if (row >= int(n_ctx / 2) && row < n_ctx - 1) print log(sum) - logit
                    column = sum = 0
                    row++
                }
            }' >>"$tmp/nll"
        chunk=$((chunk + 1))
    done
    awk -v n_chunks=$n_chunks '
        { sum += $1; squares += $1 * $1 }
        END {
            mean = sum / NR
            error = sqrt((squares / NR - mean * mean) / (NR - 1)) * exp(mean)
            print "perplexity", exp(mean), "+/-", error, "over", NR, "tokens in", n_chunks, "chunks"
        }' "$tmp/nll"
}

# near FILE FILE: two lines of ten words, the second and the fourth equal to 1e-4, the others word
# for word.
near() {
    awk '
        NR == 1 { for (i = 1; i <= NF; i++) expected[i] = $i }
        NR == 2 {
            for (i = 1; i <= NF; i++) {
                far = $i - expected[i] > 1e-4 * expected[i] || expected[i] - $i > 1e-4 * expected[i]
                if (i == 2 || i == 4 ? far : $i != expected[i]) exit 1
            }
            n_fields = NF
        }
        END { if (n_fields != 10) exit 1 }' "$1" "$2" && return
    cat "$1" "$2"
    return 1
}

# same_perplexity MODEL N_CTX FILE N_VOCAB
same_perplexity() {
    perplexity "$1" "$2" "$3" "$4" >"$tmp/expected"
    run 0 "$1" --perplexity "$3" -c "$2" -b 24
    check "perplexity of $1" near "$tmp/expected" "$tmp/out"
}

head -c 400 LICENSE >"$tmp/text"
same_perplexity $models/llama.gguf 33 "$tmp/text" 512
same_perplexity $models/gemma2.gguf 64 "$tmp/text" 512
run 1 $models/llama.gguf -c 256 --perplexity /dev/null
says "perplexity: too short" "at least one chunk of 256 tokens"
run 2 $models/llama.gguf -c 2 --perplexity "$tmp/text"
run 1 $models/llama.gguf --perplexity "$tmp/none"
run 0 $models/llama.gguf --perplexity "$tmp/text" -c 64 --json -q
says "perplexity: --json" '{"perplexity": '
head -c 2000 demo/heldout.txt >"$tmp/text"
same_perplexity demo/tales-Q5_K_M.gguf 128 "$tmp/text" 4096

finish
