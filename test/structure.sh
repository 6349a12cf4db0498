#!/bin/sh
# usage: test/structure.sh [DIRECTORY]
# What the layout of the sources promises, in the repository or in the directory: a file includes
# nothing that stands above it and no files include each other in a circle; architectures are known by
# name in families/ alone; functions fit a screen; headings look alike.
set -u
cd "${1:-$(dirname "$0")/..}" || exit 1
LC_ALL=C
export LC_ALL

# The layers, from the top, one a line. X stands for X.c and X.h (for X.c alone where X.h has a place of
# its own), X/* for all that the folder holds and no other line names; X=Y is one module in several
# files. A file includes its own layer and those below.
layers='
test/* package/*
run quantize
cli/text cli/chat cli/render cli/families cli/info=cli/info_json cli/bench cli/perplexity cli/help
cli/modes
cli/template cli/conversation cli/generate
cli/stats cli/timing cli/prompt cli/thoughts cli/typed cli/sampling
cli/session
cli/options=cli/option_table=cli/option_use cli/quantize_options=cli/quantize_table
cli/verify cli/stops
cli/version cli/screen
cli/print
kq
transformer
model
families/*
steps/*
pass seq
plan=build=keys=tensors=facts
matmul_q machine
simd/*
act
profile
mix
quant=quant_iq=quant_grids=quantize_row
gguf_write
chat chat_template sampler
tokenizer=tokenizer_internal=tokenizer_load=tokenizer_keys
jinja=jinja_internal=jinja_parse=jinja_call=jinja_eval=jinja_exec=jinja_expression=jinja_filters=jinja_format=jinja_iter=jinja_lex=jinja_methods=jinja_scope=jinja_strings=jinja_tests=jinja_text=jinja_text_filters
json
value
pretokenize string_index
gguf
file_memory
file_kind threads elementary arithmetic memory
types.def kq.h utf8 unicode_data unicode_case arena array hash round error exact floats fpstate
'

# Files that are about to be written anew, of which only the includes are looked at.
to_be_rewritten=''

# FILE:NAME, comparisons with a word that happens to be an architecture's name, too (values of
# tokenizer.ggml.model), and in quantize's mixes, which are llama.cpp's and need no engine.
other_names='tokenizer_load.c:llama tokenizer_load.c:gpt2 tokenizer_load.c:gemma4 mix.c:falcon mix.c:llama mix.c:qwen2 mix.c:deci mix.c:olmo'

max_lines=60
failed=0

files=
for file in *.c *.h *.def cli/*.[ch] families/*.[ch] families/*.def steps/*.[ch] simd/*.[ch] package/*.[ch] test/*.[ch]; do
    [ -e "$file" ] && files="$files $file"
done

# settled [FOLDERS]: the files that are not about to be rewritten, one a line, but those in folders.
settled() {
    for file in $files; do
        for name in $to_be_rewritten ${1-}; do
            case $file in
            "$name" | "${name%/}"/*) continue 2 ;;
            esac
        done
        echo "$file"
    done
}

# report WHAT FOUND: what is wrong, nothing if all is well.
report() {
    if [ -z "$2" ]; then
        echo "ok   $1"
    else
        failed=$((failed + 1))
        echo "FAIL $1"
        echo "$2" | sed 's/^/    /'
    fi
}

# ---- includes -------------------------------------------------------------------------------------

# "FROM TO LINE" for every #include "...", the paths as they are from here.
includes() {
    # shellcheck disable=SC2086 # a list of words
    awk '
        FNR == 1 {
            folder = FILENAME
            if (!sub("/[^/]*$", "/", folder)) folder = ""
        }
        /^[ \t]*#[ \t]*include[ \t]*"/ {
            split($0, part, "\"")
            path = folder part[2]
            while (sub("[^/.]+/[.][.]/", "", path)) continue
            # tests are compiled with -I.
            if (folder == "test/" && system("test -e " path) != 0) path = part[2]
            print FILENAME, path, FNR
        }' $files
}

# What of the includes goes upward, or round in a circle.
check_includes() {
    includes | awk -v layers="$layers" -v files="$files" '
        function layer_of(file,  stem, folder) {
            stem = file
            sub("[.][ch]$", "", stem)
            folder = file
            sub("/[^/]*$", "/*", folder)
            if (file in layer) return layer[file]
            return stem in layer ? layer[stem] : folder in layer ? layer[folder] : 0
        }
        function module_of(file,  stem) {
            stem = file
            if (file in module) return module[file]
            sub("[.][ch]$", "", stem)
            return stem in module ? module[stem] : stem
        }
        BEGIN {
            n = split(layers, line, "\n")
            for (i = 1; i <= n; i++) {
                n_names = split(line[i], names, " ")
                for (k = 1; k <= n_names; k++) {
                    n_parts = split(names[k], parts, "=")
                    for (p = 1; p <= n_parts; p++) {
                        layer[parts[p]] = i
                        module[parts[p]] = names[k]
                    }
                }
            }
            n = split(files, list, " ")
            for (i = 1; i <= n; i++) {
                exists[list[i]] = 1
                if (!layer_of(list[i])) print list[i] " is in no layer (see test/structure.sh)"
            }
        }
        {
            if (!($2 in exists)) {
                print $1 ":" $3 ": there is no " $2
                next
            }
            if (layer_of($1) > layer_of($2)) print $1 ":" $3 ": includes " $2 ", which is above it"
            from = module_of($1)
            to = module_of($2)
            if (from != to && !((from, to) in edge)) {
                edge[from, to] = 1
                n_edges++
                tail[n_edges] = from
                head[n_edges] = to
                alive[from] = alive[to] = 1
            }
        }
        END {
            # Modules that include none of those left, or are included by none, are in no circle.
            do {
                changed = 0
                for (m in alive) {
                    into = out = 0
                    for (e = 1; e <= n_edges; e++) {
                        if (tail[e] == m && head[e] in alive) out++
                        if (head[e] == m && tail[e] in alive) into++
                    }
                    if (into == 0 || out == 0) {
                        delete alive[m]
                        changed = 1
                        break
                    }
                }
            } while (changed)
            for (e = 1; e <= n_edges; e++) {
                if (tail[e] in alive && head[e] in alive) {
                    print "in a circle: " tail[e] " includes " head[e]
                }
            }
        }'
}

# ---- architectures --------------------------------------------------------------------------------

# The names in the table of families, one a line.
architectures() {
    # shellcheck disable=SC2046 # a list of words
    grep -hoE '\{(\.arch = )?"[a-z0-9_.-]+"' $(ls families/families.c model.c 2>/dev/null) |
        sed 's/.*"\(.*\)"/\1/'
}

check_architectures() {
    names=$(architectures | tr '\n' ' ')
    if [ -z "$names" ]; then
        echo "no table of families was found"
        return
    fi
    for file in $(settled "families/ test/"); do
        awk -v names="$names" -v file="$file" -v others=" $other_names " '
            BEGIN { n = split(names, name, " ") }
            /cmp\(|strstr\(|str_eq\(|contains\(/ {
                for (i = 1; i <= n; i++) {
                    if (!index($0, "\"" name[i] "\"")) continue
                    if (index(others, " " file ":" name[i] " ")) continue
                    print file ":" FNR ": compares with \"" name[i] "\""
                }
            }' "$file"
    done
}

# ---- functions ------------------------------------------------------------------------------------

# A function begins with the first line of its declaration and ends with a brace in the first column;
# braces after a "=" are tables, macros and types are none.
check_functions() {
    for file in $(settled "families/ simd/"); do
        awk -v file="$file" -v max=$max_lines '
            in_macro || /^#/ {
                in_macro = /\\$/
                next
            }
            in_body {
                if (/^}/) {
                    if (is_function && FNR - first + 1 > max) {
                        sub(/\(.*/, "", text)
                        sub(/.*[ *]/, "", text)
                        print file ":" first ": " text " has " FNR - first + 1 " lines"
                    }
                    in_body = 0
                    text = ""
                }
                next
            }
            /^[ \t]*(\/\/|\/\*|\*)/ { next }
            {
                if (text == "") first = FNR
                text = text " " $0
                if (/\{[ \t]*$/) {
                    in_body = 1
                    is_function = text ~ /\(/ && text !~ /=/
                } else if (/[;}][ \t]*(\/\/.*|\/\*.*)?$/ || /^[ \t]*$/) {
                    text = ""
                }
            }' "$file"
    done
}

# ---- headings -------------------------------------------------------------------------------------

# A line with a rule in it is a heading of 100 columns, and nothing else.
check_headings() {
    for file in $(settled); do
        awk -v file="$file" '
            /^(\/\*|\/\/| \*).*----/ && !(/^\/\* ---- [^ ].* -+ \*\/$/ && length($0) == 100) {
                print file ":" FNR ": " $0
            }' "$file"
    done
}

report "includes" "$(check_includes)"
report "architectures by name" "$(check_architectures)"
report "functions of at most $max_lines lines" "$(check_functions)"
report "headings" "$(check_headings)"
[ $failed -eq 0 ]
