#!/bin/sh
# usage: test/test_readme.sh [--write]
# README.md's table of models is what `run --families` prints: compares them, or puts it there. The first
# example prints the text and the hash that it shows.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${RUN:=./run}"
begin='<!-- run --families -->'
end='<!-- end -->'
table=$(mktemp) || exit 1
trap 'rm -f "$table" "$table.new"' EXIT

"$RUN" --families >"$table" || exit 1
awk -v table="$table" -v begin="$begin" -v end="$end" '
    $0 == end { inside = 0 }
    !inside { print }
    $0 == begin {
        inside = 1
        n++
        while ((getline line <table) > 0) print line
    }
    END { exit n != 1 || inside }' README.md >"$table.new" || {
    echo "FAIL README.md has not one place for the table, from $begin to $end"
    exit 1
}
if [ "${1-}" = --write ]; then
    cp "$table.new" README.md
    exit 0
fi
if ! diff "$table.new" README.md; then
    echo "FAIL the table of models in README.md is not that of run --families (make atlas)"
    exit 1
fi

# example AWK: what the awk program prints of the first example's lines, four blanks left out.
example() {
    awk '/^<!-- test_readme.sh runs it/ { inside = 1; next } inside && !/^    / { exit } inside' README.md |
        sed 's/^    //' | awk "$1"
}
command=$(example '/^\$ / { sub(/^\$ \.\/run/, ""); print }')
expected=$(example '/^\$ / { next } /^prompt / { exit } { print }' | tr '\n' ' ' | sed 's/ $//')
hash=$(example '/; logits / { sub(/.*; logits /, ""); print }')
found=$(eval "\"\$RUN\" $command" 2>"$table")
if [ -z "$expected" ] || [ "$found" != "$expected" ] || ! grep -q "; logits $hash\$" "$table"; then
    echo "FAIL README.md shows another text or hash than \$RUN$command:"
    echo "$found"
    cat "$table"
    exit 1
fi
"$RUN" --families >"$table" || exit 1
echo "test_readme: an example, $(($(wc -l <"$table") - 2)) architectures passed, 0 failed"
