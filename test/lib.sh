# shellcheck shell=sh
# What the tests of the programs from the outside share; they read it with `.`, in the repository's
# root. RUN is the program (./run). $tmp is a directory that is gone afterwards; $tmp/out and $tmp/err
# are what the last program wrote. Each check counts as passed or failed, and none ends the test.
RUN=${RUN:-./run}
LC_ALL=C
export LC_ALL
test_name=$(basename "$0" .sh)
passed=0
failed=0
pid= # of a program in the background
tmp=$(mktemp -d) || exit 1
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
: >"$tmp/out"
: >"$tmp/err"

# Where the system has it, a hang fails instead of hanging the test.
if command -v timeout >/dev/null 2>&1; then
    limit() { timeout 120 "$@"; }
else
    limit() { "$@"; }
fi

# bytes FILE, lines FILE: how many the file has; 0 if there is no such file.
bytes() {
    if [ -e "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi
}

lines() {
    if [ -e "$1" ]; then wc -l <"$1" | tr -d ' '; else echo 0; fi
}

ok() {
    passed=$((passed + 1))
}

# fail WHAT [FILE]: with the beginning of the file, by default of what the last program said.
fail() {
    failed=$((failed + 1))
    echo "$test_name: $1"
    head -n 5 "${2:-$tmp/err}" | cat -v | sed 's/^/    /'
}

# is WHAT EXPECTED FOUND
is() {
    if [ "$2" = "$3" ]; then ok; else fail "$1: expected \"$2\", found \"$3\""; fi
}

# same WHAT FILE FILE
same() {
    if cmp -s "$2" "$3"; then ok; else fail "$1: not the same"; fi
}

# differ WHAT FILE FILE
differ() {
    if cmp -s "$2" "$3"; then fail "$1: the same"; else ok; fi
}

# says WHAT TEXT [err|out]: the text is in what the last program wrote there.
says() {
    if grep -qF -e "$2" "$tmp/${3:-err}"; then
        ok
    else
        fail "$1: expected \"$2\"" "$tmp/${3:-err}"
    fi
}

# matches WHAT EXPRESSION FILE: a line does.
matches() {
    if grep -qE -e "$2" "$3"; then ok; else fail "$1: no line matches $2" "$3"; fi
}

# check WHAT COMMAND...: the command succeeds.
check() {
    what=$1
    shift
    if "$@" >"$tmp/why" 2>&1; then ok; else fail "$what: $*" "$tmp/why"; fi
}

# run STATUS ARGUMENTS...: the program, without input, ends with this status.
run() {
    expected=$1
    shift
    limit "$RUN" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    is "run $*: status" "$expected" $?
}

# refused STATUS TEXT ARGUMENTS...: no output, one line that says the text.
refused() {
    text=$2
    status=$1
    shift 2
    run "$status" "$@"
    says "run $*" "$text"
    is "run $*: lines of messages" 1 "$(lines "$tmp/err")"
    is "run $*: bytes of output" 0 "$(bytes "$tmp/out")"
}

# The last command of a test.
finish() {
    echo "$test_name: $passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
