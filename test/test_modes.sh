#!/bin/sh
# --info, --bench, --perplexity and --chat from the outside. RUN is the program.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${RUN:=./run}"
LC_ALL=C
export LC_ALL
models=test/data/models
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

# check WHAT COMMAND...: the command must succeed.
check() {
    what=$1
    shift
    if "$@" >"$dir/why" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$what: failed: $*"
        cat "$dir/why"
    fi
}

# exits STATUS COMMAND...: with this status; the output is left in $dir/out and $dir/err.
exits() {
    want=$1
    shift
    "$@" >"$dir/out" 2>"$dir/err" </dev/null
    got=$?
    [ $got -eq "$want" ] && return
    echo "expected exit status $want, found $got"
    cat "$dir/err"
    return 1
}

# says FILE TEXT: the text is in the file.
says() {
    grep -qF -- "$2" "$dir/$1" && return
    echo "expected \"$2\" in $1, found:"
    cat -v "$dir/$1"
    return 1
}

last_line() {
    [ "$(tail -n 1 "$dir/out")" = "$1" ] && return
    echo "expected the last line \"$1\", found \"$(tail -n 1 "$dir/out")\""
    return 1
}

# ------------------------------------------------------------------------------------------ info

# A GGUF file from parts; every number is below 65536.
u32() { printf %b "\\0$(printf %03o $(($1 % 256)))\\0$(printf %03o $(($1 / 256)))\\0\\0"; }
u64() { u32 "$1" && u32 0; }
string() { u64 ${#1} && printf %s "$1"; }
string_kv() { string "$1" && u32 8 && string "$2"; }
u32_kv() { string "$1" && u32 4 && u32 "$2"; }
tensor() { string "$1" && u32 1 && u64 "$2" && u32 "$3" && u64 "$4"; } # NAME LENGTH TYPE OFFSET

check "info" exits 0 "$RUN" $models/llama.gguf --info
check "info" says out "quantized as Q5_K_M"
check "info" says out "4 heads, 2 of keys and values, of 64 dimensions"
check "info" last_line "runs: yes"
check "info: -c" exits 0 "$RUN" $models/llama.gguf --info -c 1000 --kv f32
check "info: -c" says out "f32 cache at -c 1000"
check "info: fall-backs" exits 0 "$RUN" $models/llama-odd-dims.gguf --info
check "info: fall-backs" says out \
    "14 of 16 matrices are Q5_1 or Q8_0: rows of 192 are no multiple of 256"
check "info: fall-backs" says out \
    "2 of 16 matrices are Q5_1 or Q8_0: rows of 448 are no multiple of 256"
check "info: windows" exits 0 "$RUN" $models/gemma2.gguf --info
check "info: windows" says out "8 positions in 2 of 4 layers"

# The line of steps, as it was when somebody last looked at it: ./run MODEL --plan >test/data/plans/NAME
for plan in test/data/plans/*; do
    check "plan: ${plan##*/}" exits 0 "$RUN" "$models/${plan##*/}.gguf" --plan
    check "plan: ${plan##*/} is as recorded" cmp "$dir/out" "$plan"
done
check "plan: of a file that does not run" exits 1 "$RUN" test/data/vocab.gguf --plan

# A key that nobody knows: 16 bytes of another one's name.
sed 's/llama\.vocab_size/llama.nonsensity/' $models/llama.gguf >"$dir/unknown.gguf"
check "unknown key" exits 1 "$RUN" "$dir/unknown.gguf" --ids 1 -n 1
check "unknown key: named" says err "key llama.nonsensity (512): this engine does not know"
check "ignored key" exits 0 "$RUN" "$dir/unknown.gguf" --ids 1 -n 1 --ignore-key llama.nonsensity
check "ignored key: said" says err "ignored    key llama.nonsensity"
check "ignored key that is not there" exits 0 "$RUN" $models/llama.gguf --ids 1 -n 1 --ignore-key x
check "ignored key that is not there: said" says err "x: the file has no such key"

# with_template TEXT: the model llama with this as its chat template, 21 bytes, which makes the new
# entry 64 bytes long and keeps the tensors aligned.
with_template() {
    n_kv=$(od -An -tu1 -j16 -N1 $models/llama.gguf)
    head -c 16 $models/llama.gguf && u64 $((n_kv + 1))
    string_kv tokenizer.chat_template "$(printf %-21s "$1")" && tail -c +25 $models/llama.gguf
}
with_template "{{ '<|im_start|>' }}" >"$dir/chatml.gguf"
with_template "{{ message }}" >"$dir/unknown.gguf"
check "info: template" exits 0 "$RUN" "$dir/chatml.gguf" --info
check "info: template" says out "chat template  chatml"
check "info: template" exits 0 "$RUN" "$dir/unknown.gguf" --info
check "info: template" says out "chat template  21 bytes, not recognised"

escape=$(printf '\033')
control=$(printf '\302\233') # U+009B, a terminal's other escape
{
    printf GGUF && u32 3 && u64 3 && u64 3
    string_kv general.architecture "rwkv${escape}[31m${control}"
    string_kv "general.name" "${control}2Jsmile: $(printf '\342\230\272') $(printf '\377')"
    u32_kv "a${escape}key" 7
    tensor one 256 23 0 && tensor "t${escape}wo" 256 99 0 && tensor three 1 0 160
    printf '%300s' ""
} >"$dir/odd.gguf"
check "info: unknown" exits 0 "$RUN" "$dir/odd.gguf" --info
check "info: unknown" says out 'rwkv\x1b[31m\xc2\x9b'
check "info: unknown" says out "\\xc2\\x9b2Jsmile: $(printf '\342\230\272') \\xff"
check "info: unknown" says out 'IQ4_XS            1        256 weights      136 B   4.25 bits each   not'
check "info: unknown" says out '1 tensor of type IQ4_XS; 1 tensor of type unknown'
check "info: unknown" says out 'runs: no: general.architecture is "rwkv?[31m??"'
tr -d "$escape$control" <"$dir/out" >"$dir/clean"
check "info: unknown: no control bytes" cmp "$dir/out" "$dir/clean"
{ printf GGUF && u32 3 && u64 0 && u64 0; } >"$dir/empty.gguf"
check "info: empty" exits 0 "$RUN" "$dir/empty.gguf" --info
check "info: empty" says out "runs: no: a vocabulary alone"
head -c 1000 $models/llama.gguf >"$dir/cut.gguf"
check "info: truncated" exits 1 "$RUN" "$dir/cut.gguf" --info
check "info: no file" exits 1 "$RUN" "$dir/none.gguf" --info

# ----------------------------------------------------------------------------------------- bench

tiny=$models/llama-q2k.gguf
check "--bench" exits 0 "$RUN" $tiny --bench -p 9 -n 3 -r 2 -b 4 --json
check "--bench: the prompt's row" says out "pp9 "
check "--bench: the generation's row" says out "tg3 "
check "--bench: JSON" says err '{"pp": 9, "pp_tok_s": '
check "--bench of no number" exits 2 "$RUN" $tiny --bench -p x
check "--bench beyond the context" exits 2 "$RUN" $tiny --bench -p 9 -n 3 -c 4

# ------------------------------------------------------------------------------------ perplexity

# The mean of -log p over the second half of every chunk of $2 tokens of the file $3, computed from
# the logits that the model $1 with $4 tokens writes for each chunk by itself.
perplexity() {
    "$RUN" "$1" --tokens -f "$3" | tr ' ' '\n' >"$dir/ids"
    bos=$(head -n 1 "$dir/ids")
    n_chunks=$(($(wc -l <"$dir/ids") / $2))
    : >"$dir/nll"
    chunk=0
    while [ $chunk -lt $n_chunks ]; do
        ids="$bos $(tail -n +$((chunk * $2 + 2)) "$dir/ids" | head -n $(($2 - 1)) | tr '\n' ' ')"
        "$RUN" "$1" -c "$2" -n 0 -q --ids "$ids" --logits "$dir/logits" >"$dir/ignored"
        od -An -v -tf4 "$dir/logits" | awk -v ids="$ids" -v n_ctx="$2" -v n_vocab="$4" '
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
            }' >>"$dir/nll"
        chunk=$((chunk + 1))
    done
    awk -v n_chunks=$n_chunks '
        { sum += $1; squares += $1 * $1 }
        END {
            mean = sum / NR
            error = sqrt((squares / NR - mean * mean) / (NR - 1)) * exp(mean)
            print "perplexity", exp(mean), "+/-", error, "over", NR, "tokens in", n_chunks, "chunks"
        }' "$dir/nll"
}

# same_perplexity MODEL N_CTX FILE N_VOCAB: both numbers to 1e-4, what is left word for word.
same_perplexity() {
    perplexity "$1" "$2" "$3" "$4" >"$dir/expected"
    exits 0 "$RUN" "$1" --perplexity "$3" -c "$2" -b 24 || return 1
    cat "$dir/expected" "$dir/out"
    awk '
        NR == 1 { for (i = 1; i <= NF; i++) expected[i] = $i }
        NR == 2 {
            for (i = 1; i <= NF; i++) {
                far = $i - expected[i] > 1e-4 * expected[i] || expected[i] - $i > 1e-4 * expected[i]
                if (i == 2 || i == 4 ? far : $i != expected[i]) exit 1
            }
            n_fields = NF
        }
        END { if (n_fields != 10) exit 1 }' "$dir/expected" "$dir/out"
}

head -c 400 LICENSE >"$dir/text"
check "perplexity: 33" same_perplexity $models/llama.gguf 33 "$dir/text" 512
check "perplexity: 64" same_perplexity $models/gemma2.gguf 64 "$dir/text" 512
check "perplexity: too short" exits 1 "$RUN" $models/llama.gguf -c 256 --perplexity /dev/null
check "perplexity: too short" says err "at least one chunk of 256 tokens"
check "perplexity: -c 2" exits 2 "$RUN" $models/llama.gguf -c 2 --perplexity "$dir/text"
check "perplexity: no file" exits 1 "$RUN" $models/llama.gguf --perplexity "$dir/none"
check "perplexity: --json" exits 0 "$RUN" $models/llama.gguf --perplexity "$dir/text" -c 64 --json -q
check "perplexity: --json" says err '{"perplexity": '
head -c 2000 demo/heldout.txt >"$dir/text"
check "perplexity: demo" same_perplexity demo/tales-Q5_K_M.gguf 128 "$dir/text" 4096

# ------------------------------------------------------------------------------------------ chat

# chat MODEL FORMAT INPUT OPTIONS...: the answers in $dir/out
chat() {
    chat_model=$1
    chat_format=$2
    printf '%b' "$3" >"$dir/in"
    shift 3
    "$RUN" "$chat_model" --chat --template "$chat_format" -q --json "$@" \
        <"$dir/in" >"$dir/out" 2>"$dir/err"
}

# one_shot MODEL N: what follows $dir/prompt is added to it, and to $dir/answers with a newline.
one_shot() {
    "$RUN" "$1" -q --json -f "$dir/prompt" -n "$2" >"$dir/answer" 2>"$dir/one_shot" || return 1
    cat "$dir/answer" >>"$dir/answers"
    head -c $(($(wc -c <"$dir/answer") - 1)) "$dir/answer" >>"$dir/prompt"
}

hash() {
    sed -n 's/.*logits_hash": //p' "$dir/$1"
}

# The chat's last answer had the logits of the last one-shot run, bit for bit, and so on.
as_one_shot() {
    cmp "$dir/answers" "$dir/out" && [ "$(hash err)" ] && [ "$(hash err)" = "$(hash one_shot)" ] &&
        return
    echo "logits: $(hash err), expected $(hash one_shot)"
    return 1
}

chatml_user() { printf '<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n' "$1"; }

for model in $models/qwen3.gguf $models/gemma2.gguf demo/tales-Q5_K_M.gguf; do
    : >"$dir/answers"
    printf '<|im_start|>system\nBe brief.<|im_end|>\n' >"$dir/prompt"
    chatml_user "Who?" >>"$dir/prompt"
    check "chat: one-shot" one_shot "$model" 20
    printf '<|im_end|>\n' >>"$dir/prompt"
    chatml_user "two
lines" >>"$dir/prompt"
    check "chat: one-shot" one_shot "$model" 20
    for batch in 3 32 256; do
        check "chat: $model" chat "$model" chatml 'Who?\ntwo\\\nlines\n' --system "Be brief." -n 20 \
            -b $batch
        check "chat: $model -b $batch" as_one_shot
    done
    # The second answer after /reset and under another system message is the first one's again.
    chat "$model" chatml 'Me.\n/reset\n/system Be brief.\n\nWho?\n/reset\n/system\n/system Be brief.
Who?\n/quit\nWho?\n' -n 20
    cp "$dir/out" "$dir/both"
    chat "$model" chatml 'Me.\n' -n 20
    cp "$dir/out" "$dir/answers"
    chat "$model" chatml 'Who?\n' -n 20 --system "Be brief."
    cat "$dir/out" "$dir/out" >>"$dir/answers"
    check "chat: $model: commands" cmp "$dir/answers" "$dir/both"
done

# Gemma's format cuts the white space around answers, so that the cache must go back: with windows
# of 8, further than a batch of 4, not further than one of 32.
: >"$dir/answers"
printf '<start_of_turn>user\nWho<end_of_turn>\n<start_of_turn>model\n' >"$dir/prompt"
one_shot $models/gemma2.gguf 30
check "chat: white space" [ -z "$(tr -d '\n' <"$dir/answer")" ]
printf '<start_of_turn>user\nWho<end_of_turn>\n<start_of_turn>model\n<end_of_turn>
<start_of_turn>user\nWhat?<end_of_turn>\n<start_of_turn>model\n' >"$dir/prompt"
one_shot $models/gemma2.gguf 30
for batch in 4 32; do
    chat $models/gemma2.gguf gemma 'Who\nWhat?\n' -n 30 -b $batch
    check "chat: going back, -b $batch" as_one_shot
done

# What the cache holds of the conversation is not read again.
chat $models/llama.gguf chatml 'a\n/stats\na\n/stats\na\n/stats\n' -n 1
check "chat: the cache is kept" [ "$(grep -c 'were in the cache' "$dir/err")" = 2 ]

# A format that begins with the text of BOS does not double it.
: >"$dir/answers"
printf 'user<|role_sep|>Who<|message_sep|>available functions<|role_sep|>[]<|message_sep|>%s' \
    'assistant<|role_sep|>' >"$dir/prompt"
check "chat: BOS" one_shot $models/llama.gguf 10
check "chat: BOS" chat $models/llama.gguf gigachat 'Who\n' -n 10
check "chat: BOS" as_one_shot

chat $models/llama.gguf chatml '/stats\n/help\n/nothing\nHi\n/stats\n' -n 5
check "chat: /stats" says err "(no answer yet)"
check "chat: /stats" says err "generated       5 tokens"
check "chat: /help" says err "/system TEXT"
check "chat: unknown command" says err "/nothing is not a command"
chat $models/llama.gguf chatml 'Hi\n' -c 64
check "chat: full context" says err "the context of 64 tokens is full: /reset"

printf 'a long message\n/quit\n' >"$dir/in"
if "$RUN" $models/llama.gguf --chat --template chatml -c 16 <"$dir/in" 2>"$dir/err" >"$dir/out"; then
    echo "chat: too long: expected exit status 1" && failed=$((failed + 1))
fi
check "chat: too long" says err "tokens, the context holds 16: /reset"
check "chat: no template" exits 1 "$RUN" $models/llama.gguf --chat
check "chat: no template" says err "has no chat template"
check "chat: unknown template" exits 1 "$RUN" "$dir/unknown.gguf" --chat
check "chat: unknown template" says err "is not recognised"
chat $models/llama.gguf chatml 'Hi\n' -n 10
cp "$dir/out" "$dir/answers"
printf 'Hi\n' >"$dir/in"
"$RUN" "$dir/chatml.gguf" --chat -n 10 -q <"$dir/in" >"$dir/out"
check "chat: template of the file" cmp "$dir/answers" "$dir/out"
check "chat: wrong name" exits 2 "$RUN" $models/llama.gguf --chat --template nobody
check "chat: wrong name" says err '"nobody" is none of phi4, '
check "chat: -p" exits 2 "$RUN" $models/llama.gguf --chat --template chatml -p hi

echo "test_modes: $passed passed, $failed failed"
[ $failed -eq 0 ]
