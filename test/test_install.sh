#!/bin/sh
# make install and make uninstall, into a folder of their own: what is there, that programs know their
# names, that man pages and completions have every option; and that make sees changed flags.
set -u
cd "$(dirname "$0")/.." || exit 1
. test/lib.sh
: "${MAKE:=make}"
case $RUN in
*/release/* | ./run) ;;
*)
    echo "test_install: 0 passed, 0 failed: only a release is installed"
    exit 0
    ;;
esac

# has WHAT TEXT FILE
has() {
    if grep -qF -e "$2" "$3"; then ok; else fail "$1: no $2" "$3"; fi
}

# -o: the programs as they are. Others may be running them.
make_install() { "$MAKE" -o build/release/run -o build/release/quantize install "$@"; }
check "install" make_install DESTDIR="$tmp/stage" PREFIX=/usr
root=$tmp/stage/usr
for file in bin/kq-run bin/kq-quantize share/man/man1/kq-run.1 share/man/man1/kq-quantize.1 \
    share/bash-completion/completions/kq-run share/bash-completion/completions/kq-quantize \
    share/zsh/site-functions/_kq-run share/zsh/site-functions/_kq-quantize; do
    check "$file is not empty" test -s "$root/$file"
done

# ---- names ----------------------------------------------------------------------------------------

PATH=$root/bin:$PATH
RUN=kq-run
run 0 --help all
cp "$tmp/out" "$tmp/kq-run"
is "its name in the help" "usage: kq-run MODEL.gguf [options]" "$(head -n 1 "$tmp/kq-run")"
run 1 "$tmp/none" -p a
says "its name in a message" "kq-run: cannot open"
RUN=kq-quantize
run 0 --help
cp "$tmp/out" "$tmp/kq-quantize"
matches "its name in the help" '^usage: kq-quantize ' "$tmp/kq-quantize"
run 2 a
says "its name in a message" "kq-quantize: expected IN.gguf"

# ---- texts ----------------------------------------------------------------------------------------

# names PROGRAM: all names of its options, as its help gives them: one or, with commas, several before
# a value, others behind "; also".
names() {
    awk '
        /^                      / { sub(/^ +/, " "); row = row $0; next }
        { print row; row = $0 }
        END { print row }' "$tmp/$1" | awk '
        /^  -/ {
            for (i = 1; i <= NF && $i ~ /^-/; i++) { sub(",", "", $i); print $i }
            if (sub(/.*; also /, "")) { n = split($0, also, " "); for (i = 1; i <= n; i++) print also[i] }
        }'
}

for program in kq-run kq-quantize; do
    sed 's/\\-/-/g' "$root/share/man/man1/$program.1" >"$tmp/man"
    bash_file=$root/share/bash-completion/completions/$program
    zsh_file=$root/share/zsh/site-functions/_$program
    n=0
    for name in $(names $program); do
        n=$((n + 1))
        has "$program.1" "\\fB$name\\fR" "$tmp/man"
        matches "$program for bash" "^ *options='.* ${name}[ ']" "$bash_file"
        matches "$program for zsh" "^  '[^[]*[{),' ]${name}[]=},' )[]" "$zsh_file"
    done
    case $program in
    kq-run) check "$n options of $program" test "$n" -gt 60 ;;
    *) check "$n options of $program" test "$n" -gt 3 ;;
    esac
    if command -v groff >/dev/null; then
        groff -man -Tascii -ww -z "$root/share/man/man1/$program.1" 2>"$tmp/err"
        is "$program.1 in groff" "" "$(cat "$tmp/err")"
    else
        echo "SKIP $program.1 in groff (not installed)"
    fi
    if command -v mandoc >/dev/null; then
        mandoc -T lint -W warning "$root/share/man/man1/$program.1" >"$tmp/err" 2>&1
        is "$program.1 in mandoc" "" "$(cat "$tmp/err")"
    fi
    if command -v zsh >/dev/null; then
        check "$program for zsh" zsh -n "$zsh_file"
    else
        echo "SKIP $program for zsh (not installed)"
    fi
done
isas=$(sed -n 's/^.*\.name = "\([a-z0-9-]*\)",.*/\1/p' simd/*.c)
check "instruction sets were found" test -n "$isas"
for isa in $isas; do
    has "--isa for bash" "$isa" "$root/share/bash-completion/completions/kq-run"
done

# completed PROGRAM WORD...: what bash offers for the last word, in order.
completed() {
    # shellcheck disable=SC2016 # the variables are bash's
    bash -c '
        . "$1/share/bash-completion/completions/$3" && cd "$2" || exit 1
        shift 2
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "_${1//-/_}"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$root" "$tmp/files" "$@" 2>&1 |
        sort | tr '\n' ' ' | sed 's/ $//'
}

mkdir "$tmp/files" "$tmp/files/folder"
touch "$tmp/files/a model.gguf" "$tmp/files/text"
if command -v bash >/dev/null; then
    is "options" "--verify --version" "$(completed kq-run --ver)"
    is "a value" "f16 f32" "$(completed kq-run --kv '')"
    is "a value behind =" "f32" "$(completed kq-run --kv = f3)"
    is "nothing for a text" "" "$(completed kq-run -p '')"
    is "a file" "a model.gguf folder text" "$(completed kq-run -f '')"
    is "a model" "a model.gguf folder" "$(completed kq-run '')"
    is "an option after one without a value" "--json" "$(completed kq-run -q --js)"
    is "the third word of quantize" "Q5_K_M Q5_K_S" "$(completed kq-quantize -t 2 a.gguf b.gguf Q5)"
    is "quantize's options" "--allow-requantize" "$(completed kq-quantize --al)"
else
    echo "SKIP completions (there is no bash)"
fi

# ---- uninstall ------------------------------------------------------------------------------------

check "uninstall" "$MAKE" uninstall DESTDIR="$tmp/stage" PREFIX=/usr
is "left after uninstall" "" "$(find "$tmp/stage" -mindepth 1)"
check "install without DESTDIR" make_install PREFIX="$tmp/own"
touch "$tmp/own/bin/other"
check "uninstall without DESTDIR" "$MAKE" uninstall PREFIX="$tmp/own"
is "only what others put there stays" "$tmp/own $tmp/own/bin $tmp/own/bin/other" \
    "$(find "$tmp/own" | sort | tr '\n' ' ' | sed 's/ $//')"

# ---- flags ----------------------------------------------------------------------------------------

object=build/release/error.o
"$MAKE" -n V=1 $object >"$tmp/out" 2>&1
is "nothing is built again with the same flags" "" "$(grep -e ' -c ' "$tmp/out")"
"$MAKE" -n V=1 ARCH=native $object >"$tmp/out" 2>&1
says "another ARCH" "-march=native" out
"$MAKE" -n V=1 CFLAGS=-O1 $object >"$tmp/out" 2>&1
says "other CFLAGS" "-c error.c" out
"$MAKE" -n V=1 LDFLAGS=-static build/release/run >"$tmp/out" 2>&1
matches "other LDFLAGS" ' -static .*-o build/release/run' "$tmp/out"
finish
