#!/bin/sh
# usage: test/test_docs.sh [--write]
# What the texts say of the sources: functions between "quote FILE NAME..." and "end" are the ones in
# the files (--write puts them there), links lead to something, `name()` is in some source, the plan
# that how-it-works.md shows is the one that RUN prints.
set -u
cd "$(dirname "$0")/.." || exit 1
. test/lib.sh

# quoted FILE: the text with its quotes as they have to be.
quoted() {
    awk -v text="$1" '
        function give_up(why) {
            print "FAIL " text ":" FNR ": " why >"/dev/stderr"
            exit failed = 1
        }
        # The function or struct `name` of a source, from its comment to the brace that ends it.
        function print_definition(source, name,  line, head, comment, n) {
            head = comment = ""
            while ((getline line <source) > 0) {
                n++
                if (head == "" && line ~ /^(\/\*| \*)/) {
                    comment = (line ~ /^\/\*/ ? "" : comment) line "\n"
                    continue
                }
                head = head line "\n"
                if (line !~ /^[A-Za-z_ ]/ || line ~ /;$/) {
                    head = comment = ""
                } else if (line ~ /\{$/ && head ~ ("^[A-Za-z_][A-Za-z_0-9 *]*[ *]" name "(\\(| \\{)")) {
                    printf "%s%s", comment, head
                    while ((getline line <source) > 0) {
                        print line
                        if (line ~ /^}/) break
                    }
                    close(source)
                    return
                }
            }
            close(source)
            give_up(n ? source " has no " name : "there is no " source)
        }
        $0 == "<!-- end -->" && inside { inside = 0 }
        !inside { print }
        /^<!-- quote .* -->$/ {
            if (inside) give_up("a quote in a quote")
            inside = FNR
            print "```c"
            for (i = 4; i < NF; i++) {
                if (i > 4) print ""
                print_definition($3, $i)
            }
            print "```"
        }
        END {
            if (!failed && inside) give_up("a quote without an end")
            exit failed
        }' "$1"
}

# links FILE: what it links to in the repository, as paths from the root, one a line.
links() {
    folder=$(dirname "$1")
    grep -oE '\]\([^)# ]+' "$1" | sed 's/^](//' | grep -v '^[a-z]*:' | sort -u | while read -r path; do
        echo "$folder/$path"
    done
}

for file in README.md SECURITY.md CHANGELOG.md docs/*.md; do
    quoted "$file" >"$tmp/quoted" || {
        failed=$((failed + 1))
        continue
    }
    if [ "${1-}" = --write ]; then
        cmp -s "$tmp/quoted" "$file" || cp "$tmp/quoted" "$file"
    fi
    if diff "$tmp/quoted" "$file" >"$tmp/err"; then
        ok
    else
        fail "$file quotes what is no longer so (make atlas)"
    fi
    for path in $(links "$file"); do
        check "$file links to nothing" test -e "$path"
    done
    # shellcheck disable=SC2016 # backquotes of the text
    for name in $(grep -oE '`[a-z_0-9]+\(\)`' "$file" | tr -d '`()' | sort -u); do
        check "$file tells of $name(), which no source has" \
            grep -qwE "$name" ./*.[ch] ./*/*.[ch] types.def
    done
done
"$RUN" demo/tales-Q5_K_M.gguf --plan | head -n 14 | sed 's/^/    /' >"$tmp/plan"
is "lines of --plan in docs/how-it-works.md" 14 "$(grep -cxFf "$tmp/plan" docs/how-it-works.md)"
finish
