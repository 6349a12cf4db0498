#!/bin/sh
# --chat from the outside, through a pipe: what is read of a conversation, its commands, templates and
# files. test_terminal has what only a terminal shows.
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=test/lib.sh
. test/lib.sh
models=test/data/models
llama=$models/llama.gguf

# ---- helpers --------------------------------------------------------------------------------------

# chat STATUS INPUT ARGUMENTS...: a conversation of these lines, the likeliest tokens alone.
chat() {
    expected=$1
    printf '%b' "$2" >"$tmp/in"
    shift 2
    limit "$RUN" "$@" --chat --temp 0 -q --json <"$tmp/in" >"$tmp/out" 2>"$tmp/err"
    is "chat with $*: status" "$expected" $?
}

# turns N FILE: how many messages of assistants a saved conversation has.
is_turns() {
    is "$1" "$2" "$(grep -c '"role": "assistant"' "$3")"
}

# ask JSON: one more message of a user in the saved conversation $tmp/talk.
ask() {
    sed '$d' "$tmp/talk" | sed '$d' >"$tmp/begin"
    { cat "$tmp/begin" && printf ', {"role": "user", "content": %s}]}\n' "$1"; } >"$tmp/talk"
}

u32() { printf %b "\\0$(printf %03o $(($1 % 256)))\\0$(printf %03o $(($1 / 256)))\\0\\0"; }
u64() { u32 "$1" && u32 0; }
string() { u64 ${#1} && printf %s "$1"; }
string_kv() { string "$1" && u32 8 && string "$2"; }

# padded NAME TEXT: an entry of the metadata; a comment makes its length a multiple of 32, so that the
# tensors behind it stay aligned.
padded() {
    length=$((8 + ${#1} + 4 + 8 + ${#2} + 4))
    string_kv "$1" "$2{#$(printf "%$(((64 - length % 32) % 32))s" "")#}"
}

# with_templates MODEL NAME TEXT [NAME TEXT]...: the model with these chat templates ("": the main one).
with_templates() {
    from=$1
    shift
    n_kv=$(od -An -tu1 -j16 -N1 "$from")
    head -c 16 "$from" && u64 $((n_kv + $# / 2))
    while [ $# -gt 0 ]; do
        padded "tokenizer.chat_template${1:+.}$1" "$2"
        shift 2
    done
    tail -c +25 "$from"
}

# as_read WHAT MODEL N ARGUMENTS...: N tokens after the prompt that --render makes of $tmp/talk are the
# last answer in $tmp/out, and have its logits.
as_read() {
    what=$1
    model=$2
    n=$3
    shift 3
    cp "$tmp/out" "$tmp/answers"
    hash=$(sed -n 's/.*logits_hash": //p' "$tmp/err")
    run 0 "$model" --render "$tmp/talk" --tokens "$@"
    ids=$(cat "$tmp/out")
    run 0 "$model" --ids "$ids" -n "$n" -q --json
    size=$(bytes "$tmp/out")
    tail -c "$size" "$tmp/answers" >"$tmp/last"
    same "$what: the answer" "$tmp/out" "$tmp/last"
    is "$what: its logits" "$hash" "$(sed -n 's/.*logits_hash": //p' "$tmp/err")"
}

# ---- what is read ---------------------------------------------------------------------------------

# A second answer, with the cache of the first, is that of a run of its own: for caches that go back
# everywhere, windows, recurrent states.
for model in $models/qwen3.gguf $models/gemma2.gguf $models/qwen35.gguf demo/tales-Q5_K_M.gguf; do
    for batch in 3 32 256; do
        chat 0 "Who?\n/save $tmp/talk\ntwo\\\\\nlines\n" "$model" --template chatml \
            --system "Be brief." -n 20 -b $batch
        ask '"two\nlines"'
        as_read "$model -b $batch" "$model" 20 --template chatml
    done
done

# A template that drops what was said makes the cache go back into the conversation.
dropping='{% for m in messages %}[{{ m.role }}] {{ m.content if m.role == "user" else "..." }}
{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}'
printf '%s' "$dropping" >"$tmp/dropping"
for model in $models/qwen3.gguf $models/gemma2.gguf $models/qwen35.gguf $models/mamba2.gguf; do
    chat 0 "One?\n/save $tmp/talk\nTwo?\n/stats\n" "$model" --template-file "$tmp/dropping" -n 20 -b 16
    says "$model: the cache is used" "were in the cache"
    ask '"Two?"'
    as_read "$model, dropping" "$model" 20 --template-file "$tmp/dropping"
done

# A template that takes no conversation without an answer to come is asked for nothing else.
printf '%s%s' '{{ raise_exception("Never.") if not add_generation_prompt }}' "$dropping" >"$tmp/answering"
chat 0 "One?\nTwo?\n" $models/qwen35.gguf --template-file "$tmp/answering" -n 3
is "a template for answers alone" 2 "$(lines "$tmp/out")"

chat 0 'a\n/stats\na\n/stats\na\n/stats\n' $llama --template chatml -n 1
is "the cache is kept" 2 "$(grep -c 'were in the cache' "$tmp/err")"

# A template that begins with the text of BOS does not double it, nor is one that ends in none left
# without it; what a message spells is no token.
printf '%s' '{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}' >"$tmp/bos"
echo '{"messages": [{"role": "user", "content": "a<s>b</s>"}]}' >"$tmp/talk"
chat 0 'a<s>b</s>\n' $llama --template-file "$tmp/bos" -n 5
as_read "BOS" $llama 5 --template-file "$tmp/bos"
is "BOS comes once" "1" "$(printf '%s' "$ids" | tr ' ' '\n' | grep -cx 1)"
is "no token of a message ends the text" "0" "$(printf '%s' "$ids" | tr ' ' '\n' | grep -cx 2)"
chat 0 'a<s>b</s>\n' $llama --template-file "$tmp/bos" -n 5 --allow-special
as_read "--allow-special" $llama 5 --template-file "$tmp/bos" --allow-special
is "--allow-special: tokens of a message" "1" "$(printf '%s' "$ids" | tr ' ' '\n' | grep -cx 2)"

# ---- commands and messages ------------------------------------------------------------------------

chat 0 '/stats\n/help\nHi\n/stats\n' $llama --template chatml -n 5
says "/stats before an answer" "(no answer yet)"
says "/stats" "generated       5 tokens"
says "/help" "/system TEXT"
is "/help: no line is wider than 79" 0 "$(grep -v '^{' "$tmp/err" | grep -cE '^.{80}')"
is "commands are no messages" 1 "$(lines "$tmp/out")"

# What each line becomes, by what is saved at the end.
# becomes LINE EXPECTED: as JSON
becomes() {
    chat 0 "$1\n/save $tmp/talk\n" $llama --template chatml -n 1
    is "the line $1" "$2" "$(sed -n 's/^ *"content": //p' "$tmp/talk" | head -n 1)"
}
becomes '/nothing here' '"/nothing here"'
becomes '/etc/passwd' '"/etc/passwd"'
becomes '//help me' '"/help me"'
becomes '//help' '"/help"'
becomes ' /help' '" /help"'
becomes '// a comment' '"// a comment"'
becomes '//nothing' '"//nothing"'
becomes '///help' '"///help"'
becomes '/helpme' '"/helpme"'
becomes 'a\0b' '"a\u0000b"'
becomes '\0' '"\u0000"'
becomes '/\0help' '"/\u0000help"'
becomes 'a\r' '"a"'
becomes 'a\\\nb' '"a\nb"'
becomes '\0377\0303\0251' '"�é"'
says "what is not UTF-8 is said" "the message is not UTF-8: 1 byte is replaced by U+FFFD"
becomes '\0357\0273\0277a' '"a"'
says "a byte order mark is said" "the byte order mark in front of the first message is left out"
chat 0 "/help me\n" $llama --template chatml -n 1
says "what a command does not take" "/help takes nothing behind it (//help sends the line as a message)"

chat 0 "a\nb\n/save $tmp/two\n/undo\n/save $tmp/one\n/undo\n/undo\n/save $tmp/none\n" $llama \
    --template chatml -n 2 --system S
is_turns "two turns" 2 "$tmp/two"
is_turns "/undo" 1 "$tmp/one"
is "/undo: the system text stays" 1 "$(grep -c role "$tmp/none")"
says "/undo" "(taken back; 1 message left)"
says "/undo of nothing" "(nothing to take back)"
chat 0 "a\nb\n/regen\n/save $tmp/again\n/regen\n/quit\nc\n" $llama --template chatml -n 2 --system S
same "/regen at temp 0 changes nothing" "$tmp/two" "$tmp/again"
is "/regen: four answers, none after /quit" 4 "$(lines "$tmp/out")"
chat 0 "/regen\n/exit\na\n" $llama --template chatml -n 2
says "/regen of nothing" "(nothing to answer)"
is "/exit" 0 "$(bytes "$tmp/out")"

# The second answer after /reset and under another system message is the first one's again.
chat 0 'Who?\n' $llama --template chatml -n 20 --system "Be brief."
cp "$tmp/out" "$tmp/who"
chat 0 'Me.\n' $llama --template chatml -n 20
cat "$tmp/out" "$tmp/who" "$tmp/who" >"$tmp/expected"
chat 0 'Me.\n/reset\n/system Be brief.\n\nWho?\n/reset\n/system\n/system Be brief.\nWho?\n' $llama \
    --template chatml -n 20
same "/reset and /system" "$tmp/expected" "$tmp/out"

chat 0 "/system a\\0b\nx\n/save $tmp/talk\n/save $tmp/a\\0b\n" $llama --template chatml -n 1
is "/system: a zero byte" '"a\u0000b"' "$(sed -n 's/^ *"content": \(.*\)$/\1/p' "$tmp/talk" | head -n 1)"
says "/save: a zero byte" "/save needs the name of a file"

# ---- files ----------------------------------------------------------------------------------------

chat 0 "a\nb\n/save $tmp/file\n/load $tmp/file\n/save $tmp/again\n/load $tmp/nowhere\n/load $tmp/file\nc\n" \
    $llama --template chatml -n 3 --system S
same "what was loaded is what was saved" "$tmp/file" "$tmp/again"
says "/load: no file" "$tmp/nowhere: No such file"
tail -n 1 "$tmp/out" >"$tmp/third"
chat 0 'a\nb\nc\n' $llama --template chatml -n 3 --system S
tail -n 1 "$tmp/out" >"$tmp/expected"
same "a loaded conversation goes on" "$tmp/expected" "$tmp/third"
printf '{"messages": [{"role": "user", "content": "a"}], "tools": [{"x": 1}], "chat_template_kwargs": {"y": 2}}' \
    >"$tmp/file"
chat 0 "/load $tmp/file\n/regen\n/save $tmp/again\n" $llama --template chatml -n 3
matches "tools are kept" '"x": 1' "$tmp/again"
matches "arguments of the template are kept" '"y": 2' "$tmp/again"
for bad in '{"messages": [}' '[]' '{"messages": 3}' '{"messages": ["a"]}' '{"messages": [{"role": "\ud800"}]}' ''; do
    printf '%s' "$bad" >"$tmp/bad"
    chat 0 "a\n/load $tmp/bad\n/save $tmp/kept\n" $llama --template chatml -n 1
    says "/load $bad" "run: $tmp/bad: "
    is_turns "/load $bad: the conversation stays" 1 "$tmp/kept"
done
cp $llama "$tmp/copy.gguf"
chat 0 "a\n/save $tmp/copy.gguf\n/save\n/save $tmp/no/where\n" "$tmp/copy.gguf" --template chatml -n 1
says "/save: not over the model" "is the model itself"
says "/save: needs a name" "/save needs the name of a file"
says "/save: no folder" "$tmp/no/where: No such file"
same "/save: the model is as it was" $llama "$tmp/copy.gguf"
echo kept >"$tmp/kept"
chat 0 "a\n/save $tmp/kept\n" $llama --template chatml -n 1
is_turns "/save replaces a file" 1 "$tmp/kept"
check "/save leaves nothing beside it" test ! -e "$tmp/kept.part"
if [ -e /dev/full ]; then
    chat 0 "a\n/save /dev/full\n" $llama --template chatml -n 1
    says "/save: a full disk" "/dev/full: No space"
fi

# ---- templates ------------------------------------------------------------------------------------

simple='{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}[assistant]'
tools='{{ tools[0].x }}'"$simple"
with_templates $llama "" "$simple" >"$tmp/simple.gguf"
printf '%s' "$simple" >"$tmp/simple"
chat 0 'Hi\nYou\n' $llama --template-file "$tmp/simple" -n 10
cp "$tmp/out" "$tmp/expected"
chat 0 'Hi\nYou\n' "$tmp/simple.gguf" -n 10
same "the file's own template" "$tmp/expected" "$tmp/out"
chat 0 'Hi\nYou\n' "$tmp/simple.gguf" --template default -n 10
same "--template default" "$tmp/expected" "$tmp/out"
chat 0 'Hi\nYou\n' "$tmp/simple.gguf" --template chatml -n 10
differ "--template chatml" "$tmp/expected" "$tmp/out"

with_templates $llama "" "$simple" tool_use "$tools" rag "{{ 7 }}$simple" >"$tmp/several.gguf"
echo '{"messages": [{"role": "user", "content": "a"}], "tools": [{"x": "T"}]}' >"$tmp/talk"
run 0 "$tmp/several.gguf" --render "$tmp/talk"
is "several templates: with tools" "T[user] a[assistant]" "$(cat "$tmp/out")"
chat 0 "/load $tmp/talk\n/regen\n" "$tmp/several.gguf" -n 5
as_read "several templates: with tools" "$tmp/several.gguf" 5
with_templates $llama "" "$simple" tool_use "{% if %}" >"$tmp/broken.gguf"
chat 0 "Hi\n/load $tmp/talk\nYou\n" "$tmp/broken.gguf" -n 10
says "/load: a template for tools that cannot be read" "line 1, column 7: expected an expression"
same "/load: a template for tools that cannot be read: all stays" "$tmp/expected" "$tmp/out"
run 0 "$tmp/several.gguf" --render "$tmp/talk" --template rag
is "several templates: by name" "7[user] a[assistant]" "$(cat "$tmp/out")"
run 0 "$tmp/several.gguf" --render "$tmp/talk" --template default
is "several templates: default" "[user] a[assistant]" "$(cat "$tmp/out")"
run 0 "$tmp/several.gguf" --render "$tmp/talk" --template chatml
printf '<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n' >"$tmp/expected"
same "a format by name" "$tmp/expected" "$tmp/out"
for off in false null 0; do
    echo '{"messages": [{"role": "user", "content": 5}], "add_generation_prompt": '$off'}' >"$tmp/closed"
    run 0 $llama --render "$tmp/closed" --template chatml
    is "a format without an answer: $off" "<|im_start|>user 5<|im_end|>" "$(tr '\n' ' ' <"$tmp/out" | sed 's/ $//')"
done
run 0 "$tmp/several.gguf" --template list
is "--template list: the file's" "default rag tool_use" \
    "$(sed -n 's/ (of the file)$//p' "$tmp/out" | sort | tr '\n' ' ' | sed 's/ $//')"
run 0 --template list
matches "--template list" '^chatml$' "$tmp/out"
is "--template list: no other words" 0 "$(grep -c '[ ,]' "$tmp/out")"
with_templates $llama rag "$simple" >"$tmp/only.gguf"
run 0 "$tmp/only.gguf" --render "$tmp/talk"
with_templates $llama rag "$simple" other "$simple" >"$tmp/none.gguf"
run 1 "$tmp/none.gguf" --render "$tmp/talk"
says "several templates, none the default" "--template NAME (list: which there are)"
# A name in place of a template; the two entries have 96 bytes.
{
    n_kv=$(od -An -tu1 -j16 -N1 $llama)
    head -c 16 $llama && u64 $((n_kv + 2))
    string_kv tokenizer.chat_template mistral-v3-tekken && string_kv x 123456789012345
    tail -c +25 $llama
} >"$tmp/name.gguf"
run 0 "$tmp/name.gguf" --render "$tmp/talk"
is "a name in place of a template" "[INST]a[/INST]" "$(cat "$tmp/out")"

run 1 $llama --chat
says "no template" "has no chat template: choose the format"
run 2 $llama --chat --template nobody
says "a wrong name" '"nobody" is none of phi4, '
run 2 $llama --chat --template chatml --template-file "$tmp/simple"
says "two templates" "--template and --template-file exclude each other"
run 2 $llama --chat --template chatml --ids 1
with_templates $llama "" '{% if %}<|im_start|>' >"$tmp/broken.gguf"
run 1 "$tmp/broken.gguf" --chat
says "a template that cannot be read" "$tmp/broken.gguf: template, line 1, column 7: "
says "a template that cannot be read: what to do" "it resembles --template chatml"
with_templates $llama "" '{% if messages[0].content == "bad" %}{{ raise_exception("No.") }}{% endif %}'"$simple" \
    >"$tmp/raises.gguf"
chat 1 'bad\n' "$tmp/raises.gguf"
says "a template that refuses: its words" "run: No."
says "a template that refuses: what to do" "instead: --template NAME"
is "a template that refuses: no answer" 0 "$(bytes "$tmp/out")"

# What ends a turn is what the template writes behind an answer, if that is a control token: the first
# token of an answer is made one.
end='{% for m in messages %}[{{ m.role }}] {{ m.content }}{% if m.role == "assistant" %}END{% endif %}{% endfor %}'
printf '%s' "$end" | sed 's/END//' >"$tmp/template"
chat 0 'Hi\n' $llama --template-file "$tmp/template" -n 1
token=$(tr -d '\n' <"$tmp/out") # without a space in front: its text is the one in the vocabulary
run 0 $llama --tokens -p "~$token"
id=$(sed 's/.* //' "$tmp/out")
at=$(($(grep -abo tokenizer.ggml.token_type $llama | cut -d : -f 1) + 25 + 16 + 4 * id))
{ head -c "$at" $llama && printf '\003' && tail -c +$((at + 2)) $llama; } >"$tmp/end.gguf"
chat 0 'Hi\n' "$tmp/end.gguf" --template-file "$tmp/template" -n 3
says "a control token that ends no turn" '"gen_tokens": 3'
printf '%s' "$end" | sed "s/END/ $token /" >"$tmp/template"
chat 0 'Hi\n' "$tmp/end.gguf" --template-file "$tmp/template" -n 3
says "the template's end of a turn" '"gen_tokens": 0'

# ---- thinking -------------------------------------------------------------------------------------

thinks='{{ enable_thinking is defined and enable_thinking }}|{{ thinking is defined }}'
printf '%s' "$thinks" >"$tmp/thinks"
echo '{"messages": []}' >"$tmp/talk"
run 0 $llama --template-file "$tmp/thinks" --render "$tmp/talk" --think on
is "--think on" "True|True" "$(cat "$tmp/out")"
run 0 $llama --template-file "$tmp/thinks" --render "$tmp/talk" --think off
is "--think off" "False|True" "$(cat "$tmp/out")"
run 0 $llama --template-file "$tmp/thinks" --render "$tmp/talk"
is "no --think" "False|False" "$(cat "$tmp/out")"
echo '{"messages": [], "chat_template_kwargs": {"enable_thinking": true}}' >"$tmp/talk"
run 0 $llama --template-file "$tmp/thinks" --render "$tmp/talk" --think off
is "the conversation's own word counts" "True|True" "$(cat "$tmp/out")"
run 0 $llama --template-file "$tmp/simple" --render "$tmp/talk" --think off
says "--think without effect" "--think: the template does not ask whether to think"
run 2 $llama --chat --think maybe
says "--think maybe" '--think: expected on or off, found "maybe"'

# A prompt that leaves thoughts open: what is said then are thoughts until they end, here never.
open_thoughts='{% for m in messages %}[{{ m.role }}] {{ FIELD }}{{ m.content }}{% endfor %}[assistant]<think>
'
printf '%s' "$open_thoughts" | sed 's/FIELD/m.reasoning_content/' >"$tmp/thinks"
chat 0 "Hi\n/save $tmp/talk\n" $llama --template-file "$tmp/thinks" -n 4
matches "thoughts: in the field that the template reads" '"reasoning_content": ".*[a-z]' "$tmp/talk"
is "thoughts: no answer yet" '"content": "",' "$(sed -n 's/^ *\("content".*\)/\1/p' "$tmp/talk" | tail -n 1)"
printf '%s' "$open_thoughts" | sed 's/FIELD/1/' >"$tmp/thinks"
chat 0 "Hi\n/save $tmp/talk\n" $llama --template-file "$tmp/thinks" -n 4
matches "thoughts: in the text if the template reads no field" '"content": "<think>.n.*[a-z]' "$tmp/talk"

# ---- one question ---------------------------------------------------------------------------------

run 0 $llama --chat --template chatml -p "Hi" -n 10 --temp 0 -q --system S
cp "$tmp/out" "$tmp/answer"
chat 0 'Hi\n' $llama --template chatml -n 10 --system S
same "-p" "$tmp/answer" "$tmp/out"
printf 'Hi\n' >"$tmp/question"
run 0 $llama --chat --template chatml -f "$tmp/question" -n 10 --temp 0 --system S
same "-f" "$tmp/answer" "$tmp/out"
says "-f: statistics" "generated      10 tokens"
is "a question alone: no marks" 0 "$(grep -c '^>' "$tmp/err")"
run 0 $llama --chat --template chatml -p "/help" -n 1 -q
is "-p /help is a question" 0 "$(grep -c '/system' "$tmp/err")"

# ---- sampling -------------------------------------------------------------------------------------

run 0 $llama --chat --template chatml -p Hi -n 1
says "sampling: the defaults" "sampling   temp 0.7, top-p 0.9, min-p 0.05"
run 0 $llama --chat --template chatml -p Hi -n 1 --temp 0.2 --top-k 5 --min-p 0
says "sampling: what is given" "sampling   temp 0.2, top-k 5, top-p 0.9"
f32() { printf %b "$1"; }
# One more entry of 64 bytes: a float 0.5, then padding by a text.
with_sampling() {
    n_kv=$(od -An -tu1 -j16 -N1 $llama)
    head -c 16 $llama && u64 $((n_kv + 2))
    string general.sampling.temp && u32 6 && f32 "$1" # 8 + 21 + 4 + 4 = 37
    string_kv x "$(printf %38s "")"                  # 8 + 1 + 4 + 8 + 38 = 59
    tail -c +25 $llama
}
with_sampling '\0\0\0\0077' >"$tmp/sampling.gguf"
run 0 "$tmp/sampling.gguf" --chat --template chatml -p Hi -n 1
says "sampling: the file's" "sampling   temp 0.5, top-p 0.9, min-p 0.05"
run 0 "$tmp/sampling.gguf" --chat --template chatml -p Hi -n 1 --temp 0
says "sampling: not the file's" "sampling   temp 0: the likeliest token"
with_sampling '\0\0\0300\0177' >"$tmp/nan.gguf"
run 0 "$tmp/nan.gguf" --chat --template chatml -p Hi -n 1
says "sampling: not a number" "general.sampling.temp is no number from 0 to 1e+06: it is not used"
says "sampling: not a number" "sampling   temp 0.7"

# An entry of 32 + 32 bytes: a whole number, or one nobody knows.
with_whole() {
    n_kv=$(od -An -tu1 -j16 -N1 $llama)
    head -c 16 $llama && u64 $((n_kv + 2))
    string "general.sampling.$1" && u32 4 && u32 "$2"
    string_kv x "$(printf "%$(((64 - (8 + 17 + ${#1} + 8 + 8 + 1 + 4 + 8) % 32) % 32))s" "")"
    tail -c +25 $llama
}
with_whole top_k 7 >"$tmp/top_k.gguf"
run 0 "$tmp/top_k.gguf" --chat --template chatml -p Hi -n 1
says "sampling: a whole number" "sampling   temp 0.7, top-k 7, top-p 0.9"
run 0 "$tmp/top_k.gguf" --chat --template chatml -p Hi -n 1 --top-k 3
says "sampling: a whole number, not the file's" "sampling   temp 0.7, top-k 3, top-p 0.9"
with_whole mirostat 2 >"$tmp/mirostat.gguf"
run 0 "$tmp/mirostat.gguf" --chat --template chatml -p Hi -n 1
says "sampling: a key that nobody knows" "the file's key general.sampling.mirostat is not followed"

# ---- the date -------------------------------------------------------------------------------------

printf '%s' '{{ strftime_now("%d %b %Y") }}{{ messages[0].content }}' >"$tmp/dated"
run 0 $llama --chat --template-file "$tmp/dated" -p Hi -n 1 --date 2024-02-29
says "the date is told" "date       2024-02-29T00:00:00"
run 0 $llama --chat --template-file "$tmp/dated" -p Hi -n 1 --date 2024-02-29 --json
says "the date is told" '"date": "2024-02-29T00:00:00"'
run 0 $llama --chat --template-file "$tmp/simple" -p Hi -n 1 --date 2024-02-29
is "no date if the template does not ask" 0 "$(grep -c '^date' "$tmp/err")"

# ---- a full context -------------------------------------------------------------------------------

chat 0 'Hi\n' $llama --template chatml -c 64
says "one answer fills the context" "the context of 64 tokens is full: -c N makes room for more"
chat 1 'a long message\n/quit\n' $llama --template chatml -c 16
says "a message too long" "tokens, the context holds 16: -c N makes room for more"
long=$(printf 'a%.0s' 1 2 3 4 5 6 7 8 9 10)
chat 0 "$long\n$long\n$long\n$long\n/save $tmp/talk\n" $llama --template-file "$tmp/simple" -c 96 -n 12 --system S
says "old turns are left out" "the context of 96 tokens is full: the oldest"
says "old turns are left out" "not read any more, the system text is"
is_turns "what is left out is saved all the same" 4 "$tmp/talk"
# In the middle of an answer: as many tokens as were asked for, more than the context holds.
chat 0 "a\nb\n" $llama --template-file "$tmp/simple" -c 80 -n 60
is "an answer goes on when old turns are left out" 2 "$(lines "$tmp/out")"
says "an answer goes on when old turns are left out" "the oldest 1 turn is not read any more"
says "an answer goes on when old turns are left out" '"gen_tokens": 60'

finish
