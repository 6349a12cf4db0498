#!/bin/sh
# The command line of ./run: exit status and messages, what goes where, and the same text every way.
set -u
cd "$(dirname "$0")/.." || exit 1
. test/lib.sh
demo=demo/tales-Q5_K_M.gguf
model=test/data/models/llama-q2k.gguf # 512 tokens, context 256
vocab=test/data/vocab.gguf

# Sanitizers make everything ten times slower.
case $RUN in
*/release/*) n_gen=100 ;;
*) n_gen=10 ;;
esac

# ---- usage ----------------------------------------------------------------------------------------

run 2
says "no arguments" "run MODEL.gguf [options]"
run 0 --help
is "--help goes to standard output" 0 "$(bytes "$tmp/err")"
says "--help" "--perplexity FILE" out
run 0 -h
check "--help: a screen" [ "$(lines "$tmp/out")" -lt 24 ]
cp "$tmp/out" "$tmp/help"
run 0 --help all
cat "$tmp/out" "$tmp/help" >"$tmp/both"
check "--help: lines of 79 columns" awk 'length > 79 || / $/ { exit 1 }' "$tmp/both"
says "--help all" "--ignore-key NAME" out
run 0 --version
matches "--version" '^kq.c [0-9.]*$' "$tmp/out"
matches "--version: the commit" '^commit     ([0-9a-f]{12}( and changes)?|unknown)$' "$tmp/out"
matches "--version: the compiler" '^compiler   (gcc|clang) [0-9]+\.' "$tmp/out"
matches "--version: the flags" '^flags      .*-ffp-contract=off' "$tmp/out"
matches "--version: the instruction sets" '^isa        .*(used here).*portable' "$tmp/out"
check "--version: lines of 79 columns" awk 'length > 79 { exit 1 }' "$tmp/out"
limit "${RUN%run}quantize" --version >"$tmp/quantize" 2>"$tmp/err"
same "quantize --version" "$tmp/out" "$tmp/quantize"

refused 2 "--frobnicate is not an option" $model --frobnicate
refused 2 "-x is not an option" -x $model
refused 2 "-- is not an option" $model --
refused 2 "one model at a time" $model $model -p a
refused 2 "-p, -f and --ids exclude each other" $model -p a -f "$0"
refused 2 "-p, -f and --ids exclude each other" $model -p a --ids 1
refused 2 "--verify runs --reference by itself" $model -p a --verify --reference
for option in -p -f --ids -n -c -t -b --temp --top-k --top-p --min-p --repeat-penalty -s --kv --isa \
    --logits --perplexity; do
    refused 2 "$option needs a value" $model $option
done
for option in -n -c -t -b --temp --top-k --top-p --min-p --repeat-penalty -s; do
    for value in "" x 1x "1 " 0x1g nan 99999999999999999999 -2; do
        refused 2 "$option: expected " $model -p a $option "$value"
    done
done
for option in -t -b; do refused 2 "$option: expected " $model -p a $option 0; done
refused 2 "-t: expected 1 to 1024, found \"1025\"" $model -p a -t 1025
refused 2 "--top-p: expected a number from 0 to 1, found \"1.1\"" $model -p a --top-p 1.1
refused 2 "--kv: expected f16 or f32, found \"f64\"" $model -p a --kv f64
refused 2 "--isa: expected an instruction set" $model -p a --isa sse9
refused 2 "--act: expected " $model -p a --act 7

# ---- what would be ignored --------------------------------------------------------------------------

refused 2 "-p was given twice" $model -p a -p b
refused 2 "--info and --bench exclude each other" $model --info --bench
refused 2 "--perplexity and --tokens exclude each other" $model --tokens --perplexity "$0"
refused 2 "--ids and --logits have no place in --chat" $model --chat --logits "$tmp/logits" -p a
# unused WHAT ARGUMENTS...: it is said, once, and the run goes on.
unused() {
    what=$1
    shift
    run 0 "$@"
    is "run $*: notes" "$what" "$(sed -n 's/^run: \(.* is not used w.*\)/\1/p' "$tmp/err")"
}
likeliest="without --temp: the likeliest token is taken"
unused "" $model -p a -n 1 --temp 1 -s 4 --top-k 3 --top-p 0.5 --min-p 0.1
unused "-s is not used $likeliest" $model -p a -n 1 -s 4
unused "--top-k is not used $likeliest" $model -p a -n 1 --top-k 3
unused "--system is not used without --chat" $model -p a -n 1 --system s
unused "--template is not used without --render or --chat" $model -p a -n 1 --template chatml
unused "-r is not used without --bench" $model -p a -n 1 -r 2
unused "--json is not used with --tokens" $model --tokens -p a --json
unused "--logits is not used with --perplexity" $demo --perplexity LICENSE -c 64 --logits "$tmp/logits"
is "--logits with --perplexity: bytes" 0 "$(bytes "$tmp/logits")"
unused "--verify is not used with --bench" $model --bench -p 2 -n 2 -r 1 --verify
run 0 $model --tokens --ids "1 5 7" # ids of a vocabulary
is "--tokens --ids" "1 5 7" "$(cat "$tmp/out")"
run 0 $model -p a -n 1 -n 0
says "the last one counts" "-n was given more than once: the last one counts"

# --verify in every mode that computes.
for mode in "-p a -n 2" "--chat --template chatml -p a -n 2" "--perplexity LICENSE -c 64"; do
    for act in 32 8; do
        # shellcheck disable=SC2086 # several words
        run 0 $model $mode --verify --act $act
        matches "--verify --act $act, $mode" "^verified  .*(bit for bit|within their bounds)" "$tmp/err"
    done
done
echo a >"$tmp/message"
limit "$RUN" $model --chat --template chatml -n 2 --verify <"$tmp/message" >"$tmp/out" 2>"$tmp/err"
says "--verify in a conversation" "verified   all logits equal"

# More positions than the model has learned anything about.
run 0 $model -p a -n 1 -c 300
says "-c beyond the trained context" "-c 300: the model was trained on 256 positions"
is "-c beyond the trained context: lines" 1 "$(grep -c "trained on" "$tmp/err")"
run 0 $model -p a -n 1 -c 256 -q
is "-c of the trained context: nothing is said" 0 "$(bytes "$tmp/err")"
run 0 test/data/models/gpt2.gguf --ids "3 4" -n 1 -c 100
says "-c beyond learned positions" "-c 100: the model has learned 64 positions, and that is the context"
run 0 $model --perplexity LICENSE -c 300
says "-c beyond the trained context, --perplexity" "trained on 256 positions"

# ---- files ----------------------------------------------------------------------------------------

: >"$tmp/empty"
cp test/test_cli.sh "$tmp/text"
mkdir "$tmp/directory"
refused 1 "No such file or directory" "$tmp/none" -p a
refused 1 "is empty, expected a GGUF file" "$tmp/empty" -p a
refused 1 "not a GGUF file: it begins with" "$tmp/text" -p a
refused 1 "is a directory, expected a file" "$tmp/directory" -p a
# kind NAME BYTES...: a wrong file is called by its name, and none of its bytes is shown.
kind() {
    name=$1
    shift
    printf %b "$@" >"$tmp/wrong"
    refused 1 "wrong: not a GGUF file but $name" "$tmp/wrong" -p a
    is "$name: bytes that are no text" 0 "$(tr -d '\n -~' <"$tmp/err" | wc -c | tr -d ' ')"
}
kind "a gzip file" '\037\213\010\000'
kind "a zip archive" 'PK\003\004\024'
kind "a Python pickle" '\200\002}q'
kind "a safetensors file" '\100\001\000\000\000\000\000\000{"__metadata__"'
kind "a git-lfs pointer" 'version https://git-lfs.github.com/spec/v1\n'
kind "an HTML page" '\357\273\277\n <!DOCTYPE html>'
kind "an HTML page" '<HTML lang=en>'
kind "JSON" '{"error": "not found"}'
kind "a tar archive" "$(printf '%257s' a)ustar"
printf '\377\376\233\302\233' >"$tmp/wrong"
refused 1 'begins with "????", expected "GGUF"' "$tmp/wrong" -p a
refused 1 'begins with "????", expected "GGUF"' "$tmp/wrong" --info
"${QUANTIZE:-./quantize}" "$tmp/wrong" "$tmp/new" Q8_0 >"$tmp/out" 2>"$tmp/err"
says "quantize: a wrong file" 'begins with "????", expected "GGUF"'
run 1 $model --render "$tmp/wrong" --template chatml
is "--render of a wrong file: bytes that are no text" 0 "$(tr -d '\n -~' <"$tmp/err" | wc -c | tr -d ' ')"
run 1 $model --chat --template-file "$tmp/wrong" -p a
is "a wrong template: bytes that are no text" 0 "$(tr -d '\n -~' <"$tmp/err" | wc -c | tr -d ' ')"
run 1 $model --ids-file "$tmp/wrong" -n 1
is "wrong ids: bytes that are no text" 0 "$(tr -d '\n -~' <"$tmp/err" | wc -c | tr -d ' ')"
refused 1 "is a device or a pipe, expected a file" /dev/null -p a
mkfifo "$tmp/fifo" && refused 1 "is a device or a pipe, expected a file" "$tmp/fifo" -p a
cp $vocab "$tmp/unreadable" && chmod 000 "$tmp/unreadable"
if [ -r "$tmp/unreadable" ]; then
    echo "SKIP an unreadable file (this user reads everything)"
else
    refused 1 "Permission denied" "$tmp/unreadable" -p a
fi
size=$(bytes $demo)
for bytes in 1 3 4 20 24 100 5000 100000 $((size / 2)) $((size - 1)); do
    head -c $bytes $demo >"$tmp/cut"
    refused 1 "$tmp/cut" "$tmp/cut" -p a
done
says "a model cut by a byte" "truncated?"
refused 1 "No such file or directory" $model -f "$tmp/none"
refused 1 "Is a directory" $model -f "$tmp/directory"
refused 1 "No such file or directory" $model -p a --logits "$tmp/none/logits"
refused 1 "llama.embedding_length is missing" $vocab -p a
if [ -c /dev/zero ]; then # text without an end
    refused 1 "/dev/zero: longer than" $vocab --tokens -f /dev/zero
    limit "$RUN" $model --chat --template chatml </dev/zero >"$tmp/out" 2>"$tmp/err"
    is "a chat with /dev/zero: status" 1 $?
    says "a chat with /dev/zero" "a message longer than"
    yes "\\" | limit "$RUN" $model --chat --template chatml >"$tmp/out" 2>"$tmp/err"
    says "a message of lines without an end" "a message longer than"
else
    echo "SKIP texts without an end (there is no /dev/zero)"
fi

# ---- prompts and lengths --------------------------------------------------------------------------

run 0 $vocab --tokens -p "hello a b"
is "--tokens of a vocabulary" "1 293 427 271 274 286 287" "$(cat "$tmp/out")"
run 0 $vocab --tokens -p ""
is "--tokens of nothing" "1" "$(cat "$tmp/out")"
run 0 $vocab --tokens -f $vocab
is "--tokens: lines for any bytes" 1 "$(lines "$tmp/out")"
printf 'hello a b' | limit "$RUN" $vocab --tokens >"$tmp/out" 2>"$tmp/err"
is "--tokens of standard input" "1 293 427 271 274 286 287" "$(cat "$tmp/out")"

# Threads: as many as there are physical cores that the process may use, and not one more unsaid.
many=$(($(getconf _NPROCESSORS_ONLN) + 1))
run 0 $model --ids "1 5 7" -n 2 -t $many
says "-t $many" "run: -t $many: more than the "
says "-t $many" "$many threads"
run 0 $model --ids "1 5 7" -n 2 -t 1
# shellcheck disable=SC2016 # the inner shell's argument
check "-t 1: nothing is said" sh -c '! grep -q physical "$1"' sh "$tmp/err"
if command -v taskset >/dev/null 2>&1 && taskset -c 0 true 2>/dev/null; then
    taskset -c 0 "$RUN" $model --ids "1 5 7" -n 2 >"$tmp/out" 2>"$tmp/err"
    says "one processor" ", 1 threads"
    taskset -c 0 "$RUN" $model --ids "1 5 7" -n 2 -t 2 >"$tmp/out" 2>"$tmp/err"
    says "two threads on a processor" "run: -t 2: more than the 1 physical core that this process"
else
    echo "SKIP one processor (there is no taskset)"
fi

refused 2 "--ids: 512 is not a token, expected 0 to 511" $model --ids "1 512"
refused 2 "--ids: -1 is not a token" $model --ids "1 -1"
refused 2 "--ids: 99999999999999999999 is not a token" $model --ids 99999999999999999999
refused 2 "--ids: expected numbers, found \"x 2\"" $model --ids "1 x 2"
refused 1 "the prompt is empty" $model --ids ""
refused 1 "the prompt has 5 tokens, the context holds 4: -c N makes room for more" $model --ids "1 5 6 7 8" -c 4
refused 1 "the context holds 64: the model has learned no more positions" \
    test/data/models/gpt2.gguf --ids "$(seq 3 80)" -c 100
run 0 $model --ids "1,5,7" -n 2
cp "$tmp/out" "$tmp/commas"
run 0 $model --ids "1 5 7" -n 2
same "--ids with commas" "$tmp/commas" "$tmp/out"

printf '1, 5\r\n7\n' >"$tmp/ids"
for from in "$tmp/ids" -; do
    limit "$RUN" $model --ids-file "$from" -n 2 <"$tmp/ids" >"$tmp/out" 2>"$tmp/err"
    same "--ids-file $from" "$tmp/commas" "$tmp/out"
done
printf '1 512' >"$tmp/ids"
refused 1 "$tmp/ids: 512 is not a token" $model --ids-file "$tmp/ids"
refused 1 "No such file or directory" $model --ids-file "$tmp/none"
refused 2 "-p, -f and --ids exclude each other" $model --ids 1 --ids-file "$tmp/ids"

# What llama.cpp's command lines have.
run 0 -m $model --ids=1,5,7 --n-predict 2 -ngl 99 --log-disable -no-cnv -fa on
same "llama.cpp's options" "$tmp/commas" "$tmp/out"
run 0 -m $model --ids=1,5,7 -n 2 --no-mmap
same "--no-mmap" "$tmp/commas" "$tmp/out"
says "--no-mmap" " MB read file, "
run 0 -m $model --ids=1,5,7 --n-predict 2 -ngl 99 --log-disable -no-cnv -fa on
says "-ngl" "run: -ngl is ignored: everything runs on the processor"
says "--log-disable" "run: --log-disable is ignored: "
says "-no-cnv" "run: -no-cnv is ignored: "
run 0 $model --ids 1 -n 0 -c 0 --json
says "-c 0" '"kv_bytes"'
run 0 $vocab --tokens -p "hello a b"
cp "$tmp/out" "$tmp/ids"
for prompt in "-" "-f -" "--file=-"; do
    # shellcheck disable=SC2086 # two words
    printf 'hello a b\n' | limit "$RUN" $vocab --tokens $prompt >"$tmp/out" 2>"$tmp/err"
    is "prompt $prompt: ids" "1 293 427 271 274 286 287 13" "$(cat "$tmp/out")"
done
run 0 $vocab --tokens -p 'hello a b\n' -e
is "-e" "1 293 427 271 274 286 287 13" "$(cat "$tmp/out")"
run 0 $vocab --tokens -p 'a\n'
differ "without -e" "$tmp/ids" "$tmp/out"
run 0 $vocab --tokens -p "hello a b" --no-bos
is "--no-bos" "293 427 271 274 286 287" "$(cat "$tmp/out")"
run 0 $vocab --tokens -p "<s>a"
ids=$(wc -w <"$tmp/out")
run 0 $vocab --tokens -p "<s>a" --no-special
check "--no-special" [ "$(wc -w <"$tmp/out")" -gt "$ids" ]

run 0 $demo -p "Once upon a time" -n 0
is "-n 0: the prompt alone" "Once upon a time" "$(cat "$tmp/out")"
run 0 $demo -p "Once upon a time" -n 0 -q
is "-n 0 -q: nothing" "" "$(cat "$tmp/out")"
is "-q: no statistics" 0 "$(bytes "$tmp/err")"
run 0 $demo -p "Once upon a time" -n 8
says "statistics" "generated       8 tokens"
says "statistics: why it ended" "ended by   -n"
run 0 $demo -p "Once upon a time" -n -1 -c 20
says "statistics: a full context" "ended by   a full context"
run 0 $demo -p "Once upon a time" -n -1 -c 20 --json
says "--json: a full context" '"stop": "context"'
says "-n -1" "the context of 20 tokens is full"
run 0 $demo -p "Once upon a time" -n 5 -q
cp "$tmp/out" "$tmp/from_p"
printf 'Once upon a time' >"$tmp/prompt"
run 0 $demo -f "$tmp/prompt" -n 5 -q
same "-f" "$tmp/from_p" "$tmp/out"
limit "$RUN" $demo -n 5 -q <"$tmp/prompt" >"$tmp/out" 2>"$tmp/err"
same "standard input" "$tmp/from_p" "$tmp/out"

# The demo model goes on with ", there was a king who had a son".
text=$(cat "$tmp/from_p")
run 0 $demo -p "Once upon a time" -n 9 -q
text=$(cat "$tmp/out")
word=${text##* }
run 0 $demo -p "Once upon a time" -n 40 -q --json --stop "$word"
is "--stop: the text before it" "${text% *} " "$(cat "$tmp/out")"
says "--stop: why it ended" '"stop": "stop"'
run 0 $demo -p "Once upon a time" -n 9 -q --stop "$word and nothing that comes then"
is "--stop: its beginning alone" "$text" "$(cat "$tmp/out")"
run 0 $demo -p "Once upon a time" -n 9 --stop Once
is "--stop: of the prompt nothing" "Once upon a time$text" "$(cat "$tmp/out")"
printf 'hello\n/save %s\n' "$tmp/saved" >"$tmp/prompt"
limit "$RUN" $demo --chat --template chatml --temp 0 -n 30 -q --stop Palace <"$tmp/prompt" \
    >"$tmp/out" 2>"$tmp/err"
is "--stop in a chat: the answer" "And the " "$(cat "$tmp/out")"
matches "--stop in a chat: what is remembered" '"content": "And the "' "$tmp/saved"
run 0 $model --ids "1 5 7" -n -1 --temp 5 -s 2 --json
says "a text that the model ends" '"stop": "eos"'
run 0 $model --ids "1 5 7" -n -1 --temp 5 -s 2
says "a text that the model ends" "ended by   the model"
run 0 $model --ids "1 5 7" -n -1 --temp 5 -s 2 --json --ignore-eos
says "--ignore-eos" '"stop": "context"'
run 0 $demo -p "Once upon a time" -n 40 --presence-penalty 3 -q
cp "$tmp/out" "$tmp/presence"
run 0 $demo -p "Once upon a time" -n 40 -q
differ "--presence-penalty" "$tmp/presence" "$tmp/out"
run 0 $demo -p "Once upon a time" -n 40 --frequency-penalty 3 -q --repeat-last-n 0
differ "--repeat-last-n 0" "$tmp/presence" "$tmp/out"

# What editors put around a text, and a program that pipes one: nothing but the last newline goes.
bom='\357\273\277'
hash_of() { sed 's/.*"logits_hash"/"logits_hash"/' "$tmp/err"; }
# file_is TEXT TYPED [OPTION]: the file's text gives the logits that -p TYPED gives.
file_is() {
    run 0 $demo -p "$2" -n 1 -q --json
    hash=$(hash_of)
    printf %b "$1" >"$tmp/prompt"
    # shellcheck disable=SC2086 # one word or none
    run 0 $demo -f "$tmp/prompt" -n 1 -q --json ${3-}
    is "the prompt in a file $1 ${3-}" "$hash" "$(hash_of | tail -n 1)"
    # shellcheck disable=SC2086
    limit "$RUN" $demo -n 1 -q --json ${3-} <"$tmp/prompt" >"$tmp/out" 2>"$tmp/err"
    is "the prompt piped in $1 ${3-}" "$hash" "$(hash_of | tail -n 1)"
}
newline='
'
file_is 'Once upon\n' "Once upon"
file_is 'Once upon\r\n' "Once upon"
file_is 'Once upon\n\n' "Once upon$newline"
file_is ' Once upon \n' " Once upon "
file_is '\n' ""
file_is 'Once upon\n' "Once upon$newline" --keep-newline
is "no byte order mark: nothing is said" 1 "$(lines "$tmp/err")"
file_is "${bom}Once upon\\n" "Once upon"
says "a byte order mark" "the byte order mark in front of the prompt is left out"
file_is "${bom}Once upon\\n" "Once upon$newline" --keep-newline
file_is "Once${bom} upon" "Once$(printf %b "$bom") upon"
printf %b "${bom}hello a b\\n" >"$tmp/prompt"
run 0 $vocab --tokens -f "$tmp/prompt"
is "--tokens takes the bytes as they are" "1 259 242 190 194 267 427 271 274 286 287 13" "$(cat "$tmp/out")"

# <0xE2> <0x82> without their <0xAC>
run 0 $model --ids "1 97 229 133" -n 0
is "output never ends inside a character" " 5e 0a" "$(od -An -tx1 <"$tmp/out")"
says "output that would end inside a character" "ends within a character, of which the first 2 bytes"
run 0 $model --ids "1 97 229 133 175" -n 0
is "a whole character" " 5e e2 82 ac 0a" "$(od -An -tx1 <"$tmp/out")"
run 0 $model --ids "1 97 258" -n 0
is "a byte that begins no character is printed" " 5e ff 0a" "$(od -An -tx1 <"$tmp/out")"

run 0 $model -p "<s>a" -n 1
says "BOS twice" "the prompt begins with BOS (token 1) twice"
run 0 $model --ids "1 1 5" -n 1
says "BOS twice" "the prompt begins with BOS (token 1) twice"
run 0 $model -p "a<s><s>" -n 1 -q
is "BOS twice, elsewhere: nothing is said" 0 "$(bytes "$tmp/err")"

# ---- outputs --------------------------------------------------------------------------------------

run 0 $model --ids "1 5 7 9" -n 0 --logits "$tmp/logits" -q
is "--logits of a prompt of 4: bytes" $((4 * 512 * 4)) "$(bytes "$tmp/logits")"
run 0 $model --ids "1 5 7 9" -n 3 --logits "$tmp/more" -q -b 1
is "--logits and 3 generated: bytes" $((7 * 512 * 4)) "$(bytes "$tmp/more")"
head -c 8192 "$tmp/more" >"$tmp/first"
same "--logits of the prompt" "$tmp/logits" "$tmp/first"

# The hash is FNV-1a over the rows that tokens were picked from: those after tokens 4 to 6 of 4 + 3.
run 0 $model --ids "1 5 7 9" -n 3 --json
tail -c +$((3 * 512 * 4 + 1)) "$tmp/more" | head -c $((3 * 512 * 4)) | od -An -v -tu1 >"$tmp/bytes"
hash=$((0xcbf29ce4 << 32 | 0x84222325))
while read -r row; do
    for byte in $row; do hash=$(((hash ^ byte) * 0x100000001b3)); done
done <"$tmp/bytes"
says "the hash" "\"logits_hash\": \"$(printf %016x $hash)\""

cp $model "$tmp/own"
ln -s own "$tmp/link"
refused 1 "is the model itself" "$tmp/own" --ids "1 5" --logits "$tmp/link"
same "--logits onto the model" $model "$tmp/own"

run 0 $model --ids "1 5 7" -n 3 --json
tail -n 1 "$tmp/err" >"$tmp/json"
pair='"[a-z0-9_]+": ("[^"]*"|[0-9]+(\.[0-9]+)?|\[[0-9, ]*\])'
matches "--json" "^\{$pair(, $pair)*\}\$" "$tmp/json"
for key in prompt_tokens prompt_tok_s gen_tokens gen_tok_s load_s mapped_bytes kv_bytes \
    scratch_bytes peak_anon_bytes isa threads logits_hash n_ctx model ids text stop; do
    matches "--json: $key" "\"$key\": " "$tmp/json"
done
is "--json: nothing but the object" 1 "$(lines "$tmp/err")"
matches "--json" "\"ids\": \\[[0-9]+, [0-9]+, [0-9]+\\], .*\"stop\": \"length\"" "$tmp/json"
matches "--json" "\"n_ctx\": 256, .*\"model\": \"$model\"" "$tmp/json"
matches "--json" '"prompt_tokens": 3, .*"gen_tokens": 3, .*"logits_hash": "[0-9a-f]{16}"' "$tmp/json"

# The text is what is on standard output behind the prompt; what JSON cannot hold is escaped.
run 0 $demo -p "Once upon a time" -n 30 --json
said=$(sed -n 's/.*"text": "\(.*\)", "stop".*/\1/p' "$tmp/err")
is "--json: the text" "Once upon a time$said" "$(cat "$tmp/out")"
run 0 $model --ids "1 97 258 13" -n 4 --json -q # <0xFF>, a newline
check "--json: a text of any bytes" test "$(grep -c '^{.*}$' "$tmp/err")" -eq 1
cp $model "$tmp/a\"b"
run 0 "$tmp/a\"b" --ids "1 5" -n 1 --json -q
says "--json: the model's name" 'a\"b"}'
run 0 $model --chat --template chatml -p "Once" -n 3 --json -s 1
is "--json of a chat: nothing but the object" 1 "$(lines "$tmp/err")"
check "--json of a chat: some text" test "$(sed -n 's/.*"text": "\(.*\)", "stop".*/\1/p' "$tmp/err")"
run 0 $demo --perplexity LICENSE -c 64 --json
is "--json of --perplexity: nothing but the object" 1 "$(lines "$tmp/err")"
matches "--json of --perplexity" "\"model\": \"$demo\"\}\$" "$tmp/err"

# The first token comes with the prompt's logits, so one token has no speed of its own.
run 0 $demo -p "Once upon a time" -n 1
matches "speed of one token" "^generated +1 tokens\$" "$tmp/err"
run 0 $demo -p "Once upon a time" -n 1 --json
matches "speed of one token" '"gen_tokens": 1, "gen_tok_s": 0.00' "$tmp/err"
run 0 $demo -p "Once upon a time" -n 5
matches "speed of five tokens" "^generated +5 tokens +[0-9.]+ tok/s  \\([0-9.]+ ms each\\)" "$tmp/err"

# Nothing that people read is wider than a terminal.
narrow() {
    is "$1: lines of more than 79 columns" "" "$(awk 'length > 79' "$tmp/out" "$tmp/err")"
}
run 0 $demo -p "Once upon a time" -n 5 --temp 1.2345 --top-k 12345 --top-p 0.123 --min-p 0.0123 \
    --repeat-penalty 1.234 --presence-penalty 1.234 --frequency-penalty 1.234 -s 1234567890123456789 --act 16
narrow "statistics"
run 0 $demo -p "Once" -n 5 --verify --act 8
narrow "--verify"
run 0 $demo --bench -p 9 -n 9 -r 1
narrow "--bench"
run 0 --help
narrow "--help"
run 0 --help all
narrow "--help all"
run 0 $demo --perplexity LICENSE -c 64
narrow "--perplexity"

# What a run reads from the disk is said, where it can be had.
cp $demo "$tmp/cold.gguf" && sync "$tmp/cold.gguf" 2>"$tmp/why"
if dd if="$tmp/cold.gguf" iflag=nocache count=0 2>"$tmp/why"; then
    run 0 "$tmp/cold.gguf" -p "Once upon a time" -n 3
    if grep -q '^disk' "$tmp/err"; then
        matches "a cold file" "^disk +[1-9][.0-9]* MB read, [1-9][.0-9]* of them up to the prompt's end" "$tmp/err"
    else
        echo "SKIP a cold file (the system keeps it in memory, or does not count)"
    fi
    run 0 "$tmp/cold.gguf" -p "Once upon a time" -n 3
    is "a file in memory" 0 "$(grep -c '^disk' "$tmp/err")"
else
    echo "SKIP a cold file (dd cannot drop it from memory)"
fi
run 0 $demo --ids "1 5 7" -n 3 --json
matches "--json: the file is mapped" '"mapped_bytes": [1-9][0-9]*, "read_bytes": 0, ' "$tmp/err"

# ---- the file in memory ---------------------------------------------------------------------------

size=$(bytes $demo)
run 0 $demo --ids "1 5 7" -n 3 --no-mmap
says "--no-mmap" ": --no-mmap: $(awk "BEGIN { printf \"%.1f MB\", $size / 1e6 }") of memory"
says "--no-mmap" "MB read file, "
narrow "--no-mmap"
run 0 $demo --ids "1 5 7" -n 3 --no-mmap --json
is "--no-mmap --json: nothing but the object" 1 "$(lines "$tmp/err")"
cp "$tmp/err" "$tmp/json"
matches "--no-mmap --json" "^\{$pair(, $pair)*\}\$" "$tmp/json"
matches "--no-mmap --json" "\"mapped_bytes\": 0, \"read_bytes\": $size, " "$tmp/json"
if [ -e /proc/self/smaps ]; then
    matches "--no-mmap --json: all of it is there" \
        "\"resident_bytes\": $(((size + 4095) / 4096 * 4096)), \"huge_page_bytes\": [0-9]*, " "$tmp/json"
    run 0 $demo --ids "1 5 7" -n 3
    matches "the pages of a map" "^pages  *[0-9.]* MB of the file are in memory, " "$tmp/err"
fi
run 0 $demo --ids "1 5 7" -n 3 --no-mmap -q
is "--no-mmap -q: nothing is said" 0 "$(bytes "$tmp/err")"
mkfifo "$tmp/nobody"
refused 1 "is a device or a pipe, expected a file" "$tmp/nobody" --no-mmap -p a
cp $demo "$tmp/holes" # its own length is more than any memory
if dd if=/dev/null of="$tmp/holes" bs=1048576 seek=8388608 2>/dev/null; then
    refused 1 "; without --no-mmap it is mapped and needs none" "$tmp/holes" --no-mmap -p a
else
    echo "SKIP a file of 8 TB"
fi
rm -f "$tmp/holes"

# ---- failing output -------------------------------------------------------------------------------

if [ -c /dev/full ]; then
    run 1 $model --ids "1 5" -n 2 -q --logits /dev/full
    says "--logits to a full device" "/dev/full: No space left on device"
    for mode in "-n 5" "--tokens" "--info"; do
        # shellcheck disable=SC2086 # two words
        limit "$RUN" $demo -p "Once upon a time" $mode >/dev/full 2>"$tmp/err"
        is "$mode to a full device: status" 1 $?
        says "$mode to a full device" "No space left on device"
    done
    limit "$RUN" --help >/dev/full 2>"$tmp/err"
    is "--help to a full device: status" 1 $?
else
    echo "SKIP a full device (there is no /dev/full)"
fi
{
    limit "$RUN" $demo -p "Once upon a time" -n 400 2>"$tmp/err"
    echo $? >"$tmp/status"
} | head -c 10 >"$tmp/out"
is "a closed pipe: status" 1 "$(cat "$tmp/status")"
is "a closed pipe: nothing is said" 0 "$(bytes "$tmp/err")"

# ---- the same text every way ----------------------------------------------------------------------

limit "$RUN" $demo --tokens -f demo/heldout.txt 2>"$tmp/err" | cut -d ' ' -f 1-150 >"$tmp/ids"
ids=$(cat "$tmp/ids")
is "a prompt of 150 tokens" 150 $(($(wc -w <"$tmp/ids")))

# text OPTIONS...: the text and the hash of all logits that led to it
text() {
    run 0 $demo --ids "$ids" -n $n_gen -q --json "$@"
    sed 's/.*"logits_hash"/"logits_hash"/' "$tmp/err" >>"$tmp/out"
}
text -t 1
cp "$tmp/out" "$tmp/text"
for options in "-t 2" "-t 3" "-b 1" "-b 7 -t 3" "-b 256" --reference "--reference -b 7 -t 1" \
    "--isa portable" "--isa avx2" "--isa avx512" "--isa neon" "-c 400" "-n $n_gen" --no-mmap \
    "--no-mmap -t 3"; do
    # shellcheck disable=SC2086 # several words
    set -- $options
    if [ "$1" = --isa ] && ! "$RUN" $vocab --tokens -p a "$@" >"$tmp/out" 2>"$tmp/err"; then
        says "$options" "--isa: expected an instruction set"
        [ "$2" = neon ] || [ "$2" = portable ] || echo "SKIP $2 (cpu)"
        continue
    fi
    text "$@"
    same "text with $options" "$tmp/text" "$tmp/out"
done
text --kv f32
differ "--kv f32: not the logits of f16" "$tmp/text" "$tmp/out"
run 0 $demo -p "Once upon a time" -n 8 --verify
says "--verify" "all logits equal the reference's, bit for bit"
for act in 16 8; do
    run 0 $demo -p "Once upon a time" -n 4 --verify --act $act
    says "--verify --act $act" "products within their bounds"
    says "--verify --act $act" "9 of 9 tokens the same"
    says "--verify --act $act" "--act $act; logits"
done
run 0 $demo -p "Once upon a time" -n 8 -q
cp "$tmp/out" "$tmp/text"
run 0 $demo -p "Once upon a time" -n 8 -q --act 16 --logits "$tmp/sixteen"
same "--act 16: the text" "$tmp/text" "$tmp/out"
run 0 $demo -p "Once upon a time" -n 8 -q --act 8 --logits "$tmp/eight"
differ "--act 8: not the logits of --act 16" "$tmp/sixteen" "$tmp/eight"

# ---- seeds ----------------------------------------------------------------------------------------

run 0 $demo -p "Once upon a time" -n 30 --temp 1 -s 7 -q
cp "$tmp/out" "$tmp/seven"
run 0 $demo -p "Once upon a time" -n 30 --temp 1 -s 7 -q -t 1
same "the same seed" "$tmp/seven" "$tmp/out"
run 0 $demo -p "Once upon a time" -n 30 --temp 1 -s 8 -q
differ "another seed" "$tmp/seven" "$tmp/out"
run 0 $demo -p "Once upon a time" -n 30 --temp 1
cp "$tmp/out" "$tmp/random"
seed=$(sed -n 's/.*seed \([0-9][0-9]*\).*/\1/p' "$tmp/err")
run 0 $demo -p "Once upon a time" -n 30 --temp 1 -s "$seed"
same "the seed from the statistics" "$tmp/random" "$tmp/out"

# ---- Ctrl-C ---------------------------------------------------------------------------------------

# stops OPTIONS...: Ctrl-C after the first output ends it within two seconds, with statistics.
stops() {
    : >"$tmp/out" # or the loop may see what the run before left, and the signal come too early
    "$RUN" $demo --isa portable "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
    pid=$!
    while [ "$(bytes "$tmp/out")" -lt 30 ] && kill -0 $pid 2>/dev/null; do sleep 1; done
    before=$(date +%s)
    kill -INT $pid
    wait $pid
    status=$?
    pid=
    is "Ctrl-C, $*: status" 130 $status
    after=$(date +%s)
    if [ $((after - before)) -le 2 ]; then ok; else fail "Ctrl-C, $*: $((after - before)) seconds"; fi
    says "Ctrl-C, $*" "generated"
    says "Ctrl-C, $*" "ended by   a signal"
}
stops -p "Once upon a time" -n -1 -c 4000
stops -f demo/heldout.txt -n 1 -c 30000 -b 30000 # in the middle of its only batch
matches "Ctrl-C before anything was read" "^prompt +0 tokens  \(of [0-9]+\)" "$tmp/err"
is "Ctrl-C before a token was picked: no hash" 0 "$(grep -c "logits" "$tmp/err")"
stops --chat --template chatml -p "Once upon a time" -n -1 -c 4000 --ignore-eos
says "Ctrl-C, --chat -p" "sampling   temp"
"$RUN" $demo --isa portable -f demo/heldout.txt -n 1 -c 30000 -b 1 --json >"$tmp/out" 2>"$tmp/err" </dev/null &
pid=$!
while [ "$(bytes "$tmp/out")" -lt 30 ] && kill -0 $pid 2>/dev/null; do sleep 1; done
sleep 2
kill -TERM $pid
wait $pid
is "SIGTERM while reading: status" 143 $?
pid=
matches "SIGTERM while reading" '"prompt_tokens": [1-9][0-9]*, "prompt_tok_s": [1-9].*"ids": \[\], "text": "", "stop": "interrupted", "logits_hash": null' "$tmp/err"
for mode in "--perplexity demo/heldout.txt -c 512" "--bench -p 2000 -n 0"; do
    # shellcheck disable=SC2086 # several words
    "$RUN" $demo --isa portable $mode >"$tmp/out" 2>"$tmp/err" </dev/null &
    pid=$!
    sleep 1
    kill -INT $pid
    wait $pid
    is "Ctrl-C, $mode: status" 130 $?
    pid=
done

finish
