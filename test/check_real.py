#!/usr/bin/env python3
"""usage: check_real.py RUN MODEL.gguf GOLDEN.json

A real model against llama.cpp: the ids of some texts, and the logits after each of their tokens.
GOLDEN is a list of {text, ids, std, tolerance, top}; top has a list of [token, logit] for each id,
the likeliest token first; std is the standard deviation of all logits of the text, in which
differences are measured. Then 100 tokens compared with --reference. Prints a line for each.
"""
import array
import json
import os
import subprocess
import sys
import tempfile


def run(*args):
    """Standard output and error of a run that must not fail."""
    done = subprocess.run(args, capture_output=True, check=False)
    if done.returncode != 0:
        text = done.stderr.decode(errors="replace").strip()
        sys.exit("exit status %d: %s\n%s" % (done.returncode, " ".join(args), text))
    return done.stdout, done.stderr


def read_logits(program, model, ids):
    """A row of floats for each id."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "logits")
        run(program, model, "--kv", "f32", "--ids", " ".join(map(str, ids)), "-n", "0", "-q",
            "--logits", path)
        logits = array.array("f")
        with open(path, "rb") as f:
            logits.frombytes(f.read())
    n_vocab, rest = divmod(len(logits), len(ids))
    if n_vocab == 0 or rest:
        sys.exit("%d logits for %d ids" % (len(logits), len(ids)))
    return [logits[i * n_vocab:(i + 1) * n_vocab] for i in range(len(ids))]


def check(program, model, case):
    """Whether ids and logits are llama.cpp's."""
    text, ids = case["text"], case["ids"]
    found = [int(i) for i in run(program, model, "-p", text, "--tokens")[0].split()]
    if found != ids:
        print("FAIL %.30r: ids %s, expected %s" % (text, found, ids))
        return False
    differences, others = [], 0
    for row, top in zip(read_logits(program, model, ids), case["top"], strict=True):
        differences += [abs(row[token] - logit) / case["std"] for token, logit in top]
        others += max(range(len(row)), key=row.__getitem__) != top[0][0]
    good = all(d <= case["tolerance"] for d in differences) and others == 0
    rms = (sum(d * d for d in differences) / len(differences)) ** 0.5
    print("%s %.30r: %d ids, max %.1e (%.0e allowed) rms %.1e of the deviation, "
          "%d other likeliest tokens" % ("ok  " if good else "FAIL", text, len(ids),
                                         max(differences), case["tolerance"], rms, others))
    return good


def verify(program, model, n_tokens):
    """Whether the reference's logits are the same bits."""
    statistics = run(program, model, "-p", "Once upon a time", "-n", str(n_tokens), "--verify",
                     "-q", "--json")[1]
    found = json.loads(statistics.splitlines()[-1])["gen_tokens"]
    print("%s %d tokens with the reference's bits" % ("ok  " if found == n_tokens else "FAIL", found))
    return found == n_tokens


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    program, model, golden = sys.argv[1:]
    with open(golden, encoding="utf-8") as f:
        cases = json.load(f)
    good = [check(program, model, case) for case in cases]
    good.append(verify(program, model, 100))
    sys.exit(0 if cases and all(good) else 1)


main()
