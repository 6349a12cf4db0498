#!/usr/bin/env python3
"""Would the tests notice? Changes one operator, constant or statement of a source file at a time and
runs the tests that are about that file. Lists the changes that no test noticed.

usage: test/mutate.py [-n COUNT] [-s SEED] [FILE...]      (by hand; make test does not need it)

COUNT mutants a file, chosen at random by SEED. Works on a copy of the tree, in a temporary directory;
one mutant takes a few seconds. What survives is either a gap in the tests or the same program in
other words (a bound never reached, a faster way to the same bits): somebody has to look.
"""
import argparse
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile

TESTS = {
    "quant.c": ["test_quant"],
    "matmul_q.c": ["test_matmul"],
    "simd/products.h": ["test_matmul"],
    "simd/simd_avx512.h": ["test_matmul"],
    "simd/simd_avx2.h": ["test_matmul", "test_ops", "test_functions"],
    "simd/ops.h": ["test_ops", "test_functions"],
    "gguf.c": ["test_gguf"],
    "tokenizer.c": ["test_tokenizer"],
    "pretokenize.c": ["test_pretokenize"],
    "string_index.c": ["test_tokenizer"],
    "model.c": ["test_model", "test_families"],
    "transformer.c": ["test_families", "test_transformer"],
    "threads.c": ["test_threads"],
    "sampler.c": ["test_sampler"],
    "chat.c": ["test_chat"],
}
DEFAULT = ["quant.c", "matmul_q.c", "simd/products.h", "gguf.c", "tokenizer.c", "model.c",
           "transformer.c"]

SWAPS = [  # longest first: the scanner takes the first that matches
    ("<<=", ["<<="]), (">>=", [">>="]), ("->", ["->"]), ("++", ["++"]), ("--", ["--"]),
    ("<<", [">>"]), (">>", ["<<"]), ("<=", ["<"]), (">=", [">"]), ("==", ["!="]), ("!=", ["=="]),
    ("&&", ["||"]), ("||", ["&&"]), ("+=", ["-="]), ("-=", ["+="]), ("*=", ["+="]), ("|=", ["&="]),
    ("&=", ["|="]), ("^=", ["|="]), ("<", ["<=", ">="]), (">", [">=", "<="]), (" + ", [" - "]),
    (" - ", [" + "]), (" * ", [" + "]), (" / ", [" * "]), (" % ", [" / "]), (" & ", [" | "]),
    (" | ", [" & "]), ("return -1;", ["return 0;"]), ("return 0;", ["return -1;"]),
    ("true", ["false"]), ("false", ["true"]),
]
STATEMENT = re.compile(r"^\s+[a-z][\w\->.\[\] ]*(\(.*\)| [+\-*|&]?= .*|\+\+|--);$")
DECLARATION = re.compile(r"^\s+(const |static |struct |enum |unsigned |u?int\w*_t |int |long |char |float |"
                         r"double |bool |size_t |void |return|goto|__m)")


def code_lines(text):
    """(number, line) of those that hold code, comments and strings blanked out."""
    blank = lambda m: re.sub(r"[^\n]", " ", m.group(0))
    text = re.sub(r"/\*.*?\*/|//[^\n]*|\"(\\.|[^\"\\\n])*\"|'(\\.|[^'\\\n])*'", blank, text,
                  flags=re.S)
    foreign, depth = 0, 0
    for number, line in enumerate(text.split("\n")):
        if line.startswith("#"):  # parts for another machine are not compiled here
            if re.match(r"#\s*if", line):
                depth += 1
            if re.match(r"#\s*endif", line):
                depth -= 1
                foreign = foreign if depth >= foreign else 0
            if re.match(r"#\s*(el|)if.*(NEON|aarch64)", line):
                foreign = depth
            elif re.match(r"#\s*(else|elif)", line) and depth == foreign:
                foreign = 0
            continue
        if line.strip() and not foreign and "static_assert" not in line:
            yield number, line


def mutants(text):
    """(number of the line, column, old, new) of every change."""
    for number, line in code_lines(text):
        if STATEMENT.match(line) and not DECLARATION.match(line):
            yield number, 0, line, re.match(r"\s*", line).group(0) + ";"
        at = 0
        while at < len(line):
            constant = re.match(r"(?<![\w.])(0x[0-9a-fA-F]+|\d+)(?![\w.])", line[at:])
            if constant and (at == 0 or not re.match(r"[\w.]", line[at - 1])):
                value = int(constant.group(1), 0)
                for new in {value + 1, abs(value - 1)}:
                    yield number, at, constant.group(1), str(new)
                at += constant.end()
                continue
            for old, news in SWAPS:
                if line.startswith(old, at):
                    for new in news:
                        if new != old:
                            yield number, at, old, new
                    at += len(old)
                    break
            else:
                at += 1


def limit():
    """Of the processor's time, so that a busy machine makes no difference; and of memory."""
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))


def run(command, **options):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL, **options).returncode


def make(tests):
    return run(["make", "-s", "OPT=-O1", *[f"build/release/test/{t}" for t in tests]])


def survives(tests):
    """What sleeps for ever is stopped, too."""
    try:
        return all(run([f"build/release/test/{t}"], preexec_fn=limit, timeout=1200) == 0
                   for t in tests)
    except subprocess.TimeoutExpired:
        return False


def mutate_file(name, count, seed):
    """Survivors and number of mutants that compiled."""
    with open(name) as f:
        original = f.read()
    changes = list(mutants(original))
    random.Random(f"{seed} {name}").shuffle(changes)
    survivors, n = [], 0
    for number, column, old, new in changes:
        if n == count:
            break
        lines = original.split("\n")
        line = lines[number]
        if line[column:column + len(old)] != old and column:
            continue
        lines[number] = line[:column] + new + line[column + len(old):] if column else new
        with open(name, "w") as f:
            f.write("\n".join(lines))
        if make(TESTS[name]) != 0:
            continue
        n += 1
        if survives(TESTS[name]):
            survivors.append((number + 1, line.strip(), lines[number].strip()))
            print(f"{name}:{number + 1}: survived\n    {line.strip()}\n    {lines[number].strip()}",
                  flush=True)
    with open(name, "w") as f:
        f.write(original)
    return survivors, n


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=30)
    parser.add_argument("-s", type=int, default=1)
    parser.add_argument("files", nargs="*", default=DEFAULT)
    options = parser.parse_args()
    os.nice(19)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with tempfile.TemporaryDirectory() as directory:
        tree = os.path.join(directory, "tree")
        shutil.copytree(root, tree, ignore=shutil.ignore_patterns("build", ".git"))
        os.chdir(tree)
        tests = sorted({t for name in options.files for t in TESTS[name]})
        if make(tests) != 0 or not survives(tests):
            sys.exit("the tests fail as they are")
        scores = []
        for name in options.files:
            survivors, n = mutate_file(name, options.n, options.s)
            scores.append((name, n, len(survivors)))
            print(f"{name}: {n - len(survivors)} of {n} noticed", flush=True)
        total, left = sum(s[1] for s in scores), sum(s[2] for s in scores)
        print(f"all: {total - left} of {total} noticed")


main()
