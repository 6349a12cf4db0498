#!/bin/sh
# Descriptors that are closed when ./run or ./quantize starts, readers that go away, files that may
# not grow: what is meant for a stream is in no file, what could not be written is said, and nothing
# half-written looks whole.
set -u
cd "$(dirname "$0")/.." || exit 1
. test/lib.sh
QUANTIZE=${QUANTIZE:-./quantize}
model=test/data/models/llama.gguf
vocab=test/data/vocab.gguf
f32=$tmp/f32.gguf

# A model for quantize: one matrix of 60 rows of 256 zeros. Every number is below 65536.
u32() { printf %b "\\0$(printf %03o $(($1 % 256)))\\0$(printf %03o $(($1 / 256)))\\0\\0"; }
u64() { u32 "$1" && u32 0; }
string() { u64 ${#1} && printf %s "$1"; }
zeros() { printf "%0$1d" 0 | tr 0 '\000'; }
{
    printf GGUF && u32 3 && u64 1 && u64 2
    string general.architecture && u32 8 && string llama
    string llama.block_count && u32 4 && u32 1
    string blk.0.ffn_up.weight && u32 2 && u64 256 && u64 60 && u32 0 && u64 0
} >"$f32"
header=$(bytes "$f32")
zeros $((32 - header % 32)) >>"$f32"
zeros 61440 >>"$f32"

# absent WHAT FILE: neither the file nor one whose name begins like it.
absent() {
    for name in "$2"*; do
        if [ -e "$name" ]; then fail "$1: ${name##*/} is there"; else ok; fi
    done
}

# The programs as they are, to compare with.
logits() { limit "$RUN" $model --ids "1 5 7" -n 3 --logits "$@"; }
check "logits" logits "$tmp/logits" >"$tmp/out"
limit "$RUN" $model --ids "1 5 7" -n 3 >"$tmp/text" 2>"$tmp/err"
limit "$RUN" $vocab --tokens -p "hello a b" >"$tmp/tokens" 2>"$tmp/err"
check "quantize" limit "$QUANTIZE" "$f32" "$tmp/q8.gguf" Q8_0

# ---- standard input -------------------------------------------------------------------------------

logits "$tmp/new" <&- >"$tmp/out" 2>"$tmp/err"
is "input closed: status" 0 $?
same "input closed: logits" "$tmp/logits" "$tmp/new"
same "input closed: text" "$tmp/text" "$tmp/out"
limit "$RUN" $vocab --tokens <&- >"$tmp/out" 2>"$tmp/err"
is "input closed: it is empty" "0 1" "$? $(cat "$tmp/out")"
limit "$RUN" $model --chat --template chatml <&- >"$tmp/out" 2>"$tmp/err"
is "input closed: a chat without messages" "0 0" "$? $(bytes "$tmp/out")"
limit "$QUANTIZE" "$f32" "$tmp/new.gguf" Q8_0 <&- >"$tmp/out" 2>"$tmp/err"
is "input closed: status of quantize" 0 $?
same "input closed: quantize" "$tmp/q8.gguf" "$tmp/new.gguf"
rm -f "$tmp/new" "$tmp/new.gguf"

# ---- standard output ------------------------------------------------------------------------------

printf '{"messages": [{"role": "user", "content": "a"}]}' >"$tmp/request"
printf '{{ messages[0].content }}' >"$tmp/template"
echo a >"$tmp/message"
# every_mode DO: DO MODE PROGRAM ARGUMENTS... of each thing that the programs print.
every_mode() {
    "$1" text "$RUN" $model --ids "1 5 7" -n 3
    "$1" -q "$RUN" $model --ids "1 5 7" -n 3 -q
    "$1" --tokens "$RUN" $vocab --tokens -p "hello a b"
    "$1" --info "$RUN" $model --info
    "$1" --plan "$RUN" $model --plan
    "$1" --render "$RUN" $model --render "$tmp/request" --template-file "$tmp/template"
    "$1" --chat "$RUN" $model --chat --template chatml -n 2
    "$1" --perplexity "$RUN" $model --perplexity demo/heldout.txt -c 200
    "$1" --bench "$RUN" $model --bench -p 2 -n 2 -r 1
    "$1" --help "$RUN" --help
    "$1" --version "$RUN" --version
    "$1" --families "$RUN" --families
    "$1" "--template list" "$RUN" --chat --template list
    "$1" quantize "$QUANTIZE" "$f32" "$tmp/new.gguf" Q8_0
    "$1" "quantize --help" "$QUANTIZE" --help
}

output_closed() {
    what="output closed: $1"
    shift
    limit "$@" <"$tmp/message" >&- 2>"$tmp/err"
    is "$what: status" 1 $?
    says "$what" "standard output: Bad file descriptor"
}
every_mode output_closed
same "output closed: the model is whole" "$tmp/q8.gguf" "$tmp/new.gguf"
rm -f "$tmp/new.gguf"
for quiet in "" -q; do
    # shellcheck disable=SC2086 # one word or none
    logits "$tmp/new" $quiet >&- 2>"$tmp/err"
    is "output closed: status with --logits $quiet" 1 $?
    says "output closed, --logits $quiet" "standard output: Bad file descriptor"
    absent "output closed, --logits $quiet" "$tmp/new"
done

# ---- standard error -------------------------------------------------------------------------------

logits "$tmp/new" >"$tmp/out" 2>&-
is "messages closed: status" 0 $?
same "messages closed: logits" "$tmp/logits" "$tmp/new"
same "messages closed: text" "$tmp/text" "$tmp/out"
limit "$RUN" "$tmp/none" -p a >"$tmp/out" 2>&-
is "messages closed: status of a failure" "1 0" "$? $(bytes "$tmp/out")"
limit "$RUN" $model --frobnicate >"$tmp/out" 2>&-
is "messages closed: status of a wrong usage" "2 0" "$? $(bytes "$tmp/out")"
limit "$QUANTIZE" "$f32" "$tmp/new.gguf" Q8_0 >"$tmp/out" 2>&-
is "messages closed: status of quantize" 0 $?
same "messages closed: quantize" "$tmp/q8.gguf" "$tmp/new.gguf"
rm -f "$tmp/new" "$tmp/new.gguf"

logits "$tmp/new" <&- >&- 2>&-
is "all closed: status" 1 $?
absent "all closed" "$tmp/new"
limit "$QUANTIZE" "$f32" "$tmp/new.gguf" Q8_0 <&- >&- 2>&-
is "all closed: status of quantize" 1 $?
same "all closed: quantize" "$tmp/q8.gguf" "$tmp/new.gguf"

# ---- readers that go away -------------------------------------------------------------------------

# The pipe's other end is closed before anything is written.
reader_gone() {
    what=$1
    shift
    limit "$@" <"$tmp/message" 2>"$tmp/err"
    echo "$? $(bytes "$tmp/err") $what" >>"$tmp/gone"
}
: >"$tmp/gone"
{
    sleep 1
    every_mode reader_gone
} | true
while read -r status said what; do
    is "no reader: $what" 1 "$status"
    is "no reader: $what: bytes of messages" 0 "$said"
done <"$tmp/gone"
is "no reader: modes" 15 "$(lines "$tmp/gone")"
{
    sleep 1
    logits "$tmp/new" 2>"$tmp/err"
} | true
absent "no reader: logits" "$tmp/new "

# ---- files that may not grow ----------------------------------------------------------------------

# The limit is 4 or 8 KiB, as the shell counts.
(
    ulimit -f 8
    logits "$tmp/new" >/dev/null 2>"$tmp/err"
    echo $? >"$tmp/status"
)
is "a limit: status with --logits" 1 "$(cat "$tmp/status")"
says "a limit, --logits" "$tmp/new: File too large"
is "a limit, --logits: lines of messages" 1 "$(lines "$tmp/err")"
absent "a limit, --logits" "$tmp/new "
: >"$tmp/there"
ln -s there "$tmp/link"
(
    ulimit -f 8
    logits "$tmp/link" >/dev/null 2>"$tmp/err"
)
says "a limit, --logits through a link" "$tmp/link: File too large"
is "a limit, --logits through a link: bytes of the file" 0 "$(bytes "$tmp/there")"
(
    ulimit -f 8
    limit "$QUANTIZE" "$f32" "$tmp/limited.gguf" Q8_0 >"$tmp/out" 2>"$tmp/err"
    echo $? >"$tmp/status"
)
is "a limit: status of quantize" 1 "$(cat "$tmp/status")"
says "a limit, quantize" "limited.gguf: "
absent "a limit, quantize" "$tmp/limited.gguf"
(
    ulimit -f 0
    limit "$RUN" $model --info >"$tmp/out"
    echo $? >&2
) 2>&1 | cat >"$tmp/err"
is "a limit: --info" "run: standard output: File too large1" "$(tr -d '\n' <"$tmp/err")"

# ---- one file for two things ----------------------------------------------------------------------

both=$tmp/both
logits "$tmp/both" >"$both" 2>"$tmp/err"
is "--logits onto the text: status" "1 0" "$? $(bytes "$tmp/both")"
says "--logits onto the text" "both is where the text or the messages go"
logits "$tmp/both" 2>"$both" >"$tmp/out"
is "--logits onto the messages: status" "1 1" "$? $(lines "$tmp/both")"

finish
