#!/bin/sh
# usage: test/hashes.sh [--quick | --record] [MODEL...]
# The bits of every golden model and of the demo models: all rows of logits of 40 ids and 8 generated
# tokens, whose hash must be the one in test/hashes.txt (NAME, hash with --kv f16, with --kv f32,
# with --act 16, with --act 8) with 1 to 3 threads, batches of 1, 7 and 256, every instruction set
# and --reference.
#   --quick    one setting for each instruction set
#   --record   checks that all settings agree, writes the file and names the models that changed. A
#              commit that changes it says which value was wrong.
#   MODEL...   these alone, by the names in the file; a path to any other model, which then has
#              no record: its settings must agree with each other
# RUN is the program (./run), words before it are an emulator; ISAS the instruction sets, by default
# all that this processor has.
set -u
cd "$(dirname "$0")/.." || exit 1
LC_ALL=C
export LC_ALL
: "${RUN:=./run}"
record_file=test/hashes.txt
failed=0
runs=0
changed=0
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

fail() {
    failed=$((failed + 1))
    echo "FAIL $*"
}

mode=check
case ${1-} in
--quick | --record)
    mode=${1#--}
    shift
    ;;
-*)
    echo "usage: test/hashes.sh [--quick | --record] [MODEL...]" >&2
    exit 2
    ;;
esac

# path_of NAME: the file of the model of that name, or which it names itself.
path_of() {
    case $1 in
    */*) set -- "$1" ;;
    *) set -- "test/data/models/$1.gguf" "demo/$1.gguf" ;;
    esac
    for path; do
        [ -e "$path" ] && echo "$path" && return
    done
    return 1
}

# set_prompt NAME PATH: ids and n_gen, few where a model may be large.
set_prompt() {
    n_gen=8
    case $1 in
    */*) n_gen=2 ids=$(seq 40 49) ;;
    *) [ -e "${2%.gguf}.ids" ] && ids=$(cat "${2%.gguf}.ids") || ids=$(seq 40 79) ;;
    esac
}

if command -v sha256sum >/dev/null; then
    sum() { sha256sum; }
else
    sum() { shasum -a 256; }
fi

# hash_of PATH OPTIONS...: sets hash, that of all rows of logits.
hash_of() {
    model=$1
    shift
    runs=$((runs + 1))
    hash=failed
    rm -f "$dir/logits"
    # shellcheck disable=SC2086 # RUN may be several words
    if $RUN "$model" --ids "$ids" -n $n_gen -c 256 -q --logits "$dir/logits" "$@" \
        >"$dir/out" 2>&1 </dev/null; then
        hash=$(sum <"$dir/logits" | cut -c 1-16)
    else
        fail "$model $*: $(tail -n 1 "$dir/out")"
    fi
}

# expect HASH PATH OPTIONS...
expect() {
    expected=$1
    shift
    hash_of "$@"
    [ "$hash" = "$expected" ] || [ "$hash" = failed ] && return
    shift
    fail "$name $*: $hash, expected $expected"
}

# every_way HASH PATH OPTIONS...: each instruction set meets each number of threads and each
# batch; three of them meet each pair.
every_way() {
    turn=0
    for isa in $isas; do
        case $isa in avx512vnni | neon-dotprod | neon-i8mm) continue ;; esac # have float products of others
        if [ "$mode" = quick ]; then
            expect "$@" --isa "$isa" -t 2 -b 7
            continue
        fi
        for threads in 1 2 3; do
            case $(((turn + threads) % 3)) in
            0) batch=1 ;;
            1) batch=7 ;;
            2) batch=256 ;;
            esac
            expect "$@" --isa "$isa" -t $threads -b "$batch"
        done
        case $((turn % 3)) in
        0) expect "$@" --isa "$isa" -t 1 -b 256 --reference ;;
        1) expect "$@" --isa "$isa" -t 2 -b 7 --reference ;;
        2) expect "$@" --isa "$isa" -t 3 -b 1 --reference ;;
        esac
        turn=$((turn + 1))
    done
}

# with_integers HASH PATH OPTIONS...: each instruction set in one setting, not the same for all; a
# model without a record with each number of threads and each batch.
with_integers() {
    turn=0
    for isa in $isas; do
        [ "$isa" != avx512 ] || continue # has the integer products of avx2
        if [ "$mode" != quick ] && [ $recorded = no ]; then
            expect "$@" --isa "$isa" -t 1 -b 256
            expect "$@" --isa "$isa" -t 2 -b 1
            expect "$@" --isa "$isa" -t 3 -b 7
            continue
        fi
        turn=$((turn + 1))
        case $turn in
        1) expect "$@" --isa "$isa" -t 2 -b 7 ;;
        2) expect "$@" --isa "$isa" -t 3 -b 256 ;;
        *) expect "$@" --isa "$isa" -t 1 -b 3 ;;
        esac
    done
}

# try NAME: checks the model with both caches; its line of the file goes to $dir/new.
try() {
    name=$1
    if ! path=$(path_of "$name"); then
        fail "$name: no such model"
        return
    fi
    set_prompt "$name" "$path"
    case $name in
    */*) recorded=no ;;
    *) recorded=yes ;;
    esac
    line=
    [ $recorded = no ] || line=$(sed -n "s/^$name //p" $record_file)
    found=
    for setting in "--kv f16" "--kv f32" "--act 16" "--act 8"; do
        expected=${line%% *}
        line=${line#* }
        # shellcheck disable=SC2086 # two words
        if [ "$mode" = record ] || [ $recorded = no ]; then
            hash_of "$path" $setting -t 1 -b 1
            expected=$hash
        elif [ -z "$expected" ]; then
            fail "$name: not in $record_file"
            return
        fi
        # shellcheck disable=SC2086
        case $setting in
        --kv*) every_way "$expected" "$path" $setting ;;
        *) with_integers "$expected" "$path" $setting ;;
        esac
        found="$found $expected"
    done
    [ $recorded = no ] || echo "$name$found" >>"$dir/new"
}

# The lines of all models that were not tried stay.
write_record() {
    { [ -e $record_file ] && cat $record_file; } | while read -r name rest; do
        grep -q "^$name " "$dir/new" || ! path_of "$name" >/dev/null || echo "$name $rest"
    done >"$dir/old"
    sort "$dir/old" "$dir/new" >"$dir/all"
    { [ -e $record_file ] && cat $record_file; } | sort | comm -3 - "$dir/all" |
        sed 's/^[[:space:]]*//' | cut -d ' ' -f 1 | sort -u >"$dir/changed"
    while read -r name; do
        changed=$((changed + 1))
        echo "$name: $(sed -n "s/^$name //p" $record_file) -> $(sed -n "s/^$name //p" "$dir/all")"
    done <"$dir/changed"
    cp "$dir/all" $record_file
    echo "$changed changed"
}

isas=${ISAS-$(sh test/isas.sh)}
: >"$dir/new"
[ -e $record_file ] || : >$record_file
if [ $# -eq 0 ]; then
    for path in test/data/models/*.gguf demo/*.gguf; do
        [ -e "$path" ] || continue
        set -- "$@" "$(basename "$path" .gguf)"
    done
    [ $# -gt 0 ] || fail "no models"
    # A line without a model hides that the model went.
    [ "$mode" = record ] || while read -r name rest; do
        path_of "$name" >/dev/null || echo "$name: no such model, but in $record_file"
    done <$record_file >"$dir/orphans"
    [ ! -s "$dir/orphans" ] || fail "$(cat "$dir/orphans")"
fi
models=$#
for name; do try "$name"; done
if [ "$mode" = record ] && [ $failed -eq 0 ]; then write_record; fi
# shellcheck disable=SC2086 # words
echo "hashes: $models models," $isas: "$runs runs, $failed failed"
[ $failed -eq 0 ] && [ "$models" -gt 0 ]
