#!/bin/sh
# --render and --render --tokens: a conversation in JSON becomes a prompt. Control tokens are the
# template's own only.
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=test/lib.sh
. test/lib.sh

vocab=test/data/vocab.gguf # <s> is 1, </s> is 2
printf '%s' '{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}' \
    '{% if add_generation_prompt %}[assistant]{% endif %}' >"$tmp/template"
echo '{"messages": [{"role": "user", "content": "a <s> b</s>"}]}' >"$tmp/talk"

# render STATUS OPTION...: with the template, of the conversation.
render() {
    status=$1
    shift
    run "$status" $vocab --template-file "$tmp/template" --render "$tmp/talk" "$@"
}

render 0
printf '%s' '<s>[user] a <s> b</s></s>[assistant]' >"$tmp/expected"
same "the prompt, and no byte more" "$tmp/expected" "$tmp/out"
limit "$RUN" $vocab --template-file "$tmp/template" --render - <"$tmp/talk" >"$tmp/out" 2>"$tmp/err"
same "from standard input" "$tmp/expected" "$tmp/out"

# Once <s> from the template (the file says that texts begin with it, too), once </s>.
count() { tr ' ' '\n' <"$tmp/out" | grep -cx "$1"; }
render 0 --tokens
is "<s> of the template alone" 1 "$(count 1)"
is "</s> of the template alone" 1 "$(count 2)"
render 0 --tokens --allow-special
is "--allow-special: <s>" 2 "$(count 1)"
is "--allow-special: </s>" 2 "$(count 2)"

echo '{"messages": [], "add_generation_prompt": false}' >"$tmp/talk"
render 0
printf '<s>' >"$tmp/expected"
same "no messages, no answer" "$tmp/expected" "$tmp/out"

printf '%s' '{{ strftime_now("%d %b %Y %H:%M:%S %A %j") }}' >"$tmp/template"
render 0 --date 2024-02-29
is "--date, a day" "29 Feb 2024 00:00:00 Thursday 060" "$(cat "$tmp/out")"
render 0 --date 2023-12-31T23:59:58
is "--date, a second" "31 Dec 2023 23:59:58 Sunday 365" "$(cat "$tmp/out")"
SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
render 0
is "SOURCE_DATE_EPOCH" "02 Jan 1970 00:00:00 Friday 002" "$(cat "$tmp/out")"
SOURCE_DATE_EPOCH=yesterday
render 2
says "SOURCE_DATE_EPOCH" 'SOURCE_DATE_EPOCH: expected seconds, found "yesterday"'
unset SOURCE_DATE_EPOCH
for date in 2024-2-29 2023-02-29 2024-13-01 2024-02-29T25:00:00 2024-02-29x today ""; do
    render 2 --date "$date"
    says "--date $date" "--date: expected YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, found \"$date\""
done

printf '%s' '{{ raise_exception("Only users may talk") }}' >"$tmp/template"
render 1
says "the template's own words" "run: Only users may talk"
is "nothing is written" 0 "$(bytes "$tmp/out")"
printf 'a\n{%% if %%}' >"$tmp/template"
render 1
says "a template that cannot be read" "$tmp/template: template, line 2, column 7: "
says "a template that cannot be read" "instead: --template NAME"
printf '{{ messages[0].x.y }}' >"$tmp/template"
echo '{"messages": [{}]}' >"$tmp/talk"
render 1
says "an error while rendering" "template, line 1, column 17: 'dict object' has no attribute 'x'"
echo '{"messages": [}' >"$tmp/talk"
render 1
says "a conversation that cannot be read" "$tmp/talk: JSON, line 1, column 15: expected a value"
run 1 $vocab --render "$tmp/talk"
run 1 $vocab --render "$tmp/nowhere"
says "no conversation" "$tmp/nowhere: No such file"
echo '{"messages": []}' >"$tmp/talk"
run 1 $vocab --render "$tmp/talk"
says "no template" "has no chat template: choose the format"

finish
