#!/usr/bin/env python3
"""Random texts to token ids, by llama.cpp and by us.

    test/token_oracle.py PEER.py TEST_TOKENIZER N SEED FOLDER...

PEER.py drives llama.cpp (class Peer), TEST_TOKENIZER compares ids with a file of tests. Every
vocabulary in the folders and below them gets N texts; those in a folder "synth", whose merges run over
all that rules may cut, get them under each name of tokenizer.ggml.pre that pretokenize.c knows.
"""
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

WORDS = """the HELLO camelCase HTTPServer don't I'LL we've ’s naïve Straße αβγ ΑΒ Привет МИР ǅ ﬁ ſ İı
    0 12 123 1234567 3.14 1,000 ٠١٢ ०१२ ½ ² Ⅳ 一二三 １２３ 4th 0x1F 你好 世界 日本語 カタカナ ひらがな
    한국어 ㄱㄴ ㄅㄆ 漢字かな 𠀀𠀁 ｶﾀ 。，、！ e\u0301 \u0301 นม้ำ नमस्ते ക്ഷ שָׁלוֹם العربية \u200d
    \ufe0f ... !!! “” — « // /* -> => != ``` $$ € © ° × ∑ → № ؟ । 😀 👨‍👩‍👧 🇩🇪 ❤️ x+1 a_b __init__
    {'a': 1}\r\n http://a.b/c?d=e&f#g <p> \\n IMGIMGABZ <sentinel:1> < [ ] ' " : ; / \u2581""".split(" ")
WORDS = [w.strip("\n") for w in WORDS if w.strip("\n")]
SPACES = [" ", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\n \n", "\v", "\f", "\x85", "\xa0",
          "\u2003", "\u2028", "\u3000", "\ufeff", " \n", " " * 17, "\n" * 5, "\n" * 33]
BROKEN = [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80",
          b"\xe0\x80\x80", b"\xf8\x88", b"\xe4\xbd"]


def code_point(r):
    limit = r.choice([0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x32000, 0xe0200, 0x110000])
    c = r.randrange(limit)
    return chr(c if not 0xd800 <= c < 0xe000 else 0xfffd).encode()


def text(r, specials):
    parts = []
    for _ in range(r.choice([1, 2, 4, 8, 16, 32])):
        k = r.random()
        if specials and k < 0.12:
            parts.append(r.choice(specials))
        elif k < 0.18:
            parts.append(r.choice(BROKEN))
        elif k < 0.3:
            parts.append(code_point(r))
        elif k < 0.6:
            parts.append(r.choice(SPACES).encode())
        else:
            parts.append(r.choice(WORDS).encode())
    return b"".join(parts)


# Above U+10FFFF: llama.cpp gives up.
TOO_HIGH = re.compile(b"[\xf5-\xf7]|\xf4[\x90-\xbf]")


def key_at(data, key):
    """Where the value of a key begins, its type first."""
    name = key.encode()
    return data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)


def specials_of(data):
    """Texts of up to 300 tokens that are unknown, control or user-defined."""
    at = key_at(data, "tokenizer.ggml.tokens") + 8
    n, = struct.unpack_from("<Q", data, at)
    types = struct.unpack_from(f"<{n}i", data, key_at(data, "tokenizer.ggml.token_type") + 16)
    at += 8
    found = []
    for kind in types:
        size, = struct.unpack_from("<Q", data, at)
        if kind in (2, 3, 4) and size:
            found.append(data[at + 8:at + 8 + size])
        at += 8 + size
    return found[:300]


def with_rules(data, name):
    at = key_at(data, "tokenizer.ggml.pre") + 4
    size, = struct.unpack_from("<Q", data, at)
    return data[:at] + struct.pack("<Q", len(name)) + name.encode() + data[at + 8 + size:]


def ask(peer, vocab, texts, out):
    """In a process of its own: llama.cpp ends the process that it cannot go on in."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    source = open(peer, encoding="utf-8").read().rstrip()
    space = {"__name__": "peer"}
    exec(compile(source[:-len("main()")] if source.endswith("\nmain()") else source, peer, "exec"), space)
    p = space["Peer"](vocab, vocab_only=True)
    with open(out, "w", encoding="utf-8") as f:
        for t in texts:
            f.write(json.dumps({"text_hex": t.hex(), "ids": p.tokens(t)}) + "\n")
    os._exit(0)


def compare(peer, program, data, label, n, seed, folder):
    vocab, tests = os.path.join(folder, "vocab.gguf"), os.path.join(folder, "tests")
    with open(vocab, "wb") as f:
        f.write(data)
    r, specials = random.Random(f"{seed} {label}"), specials_of(data)
    texts = [t for t in (text(r, specials) for _ in range(n)) if not TOO_HIGH.search(t)]
    if ask(peer, vocab, texts, tests) != 0:
        print(f"{label}: llama.cpp gave up")
        return False
    done = subprocess.run([program, vocab, tests], capture_output=True, check=False)
    said = done.stdout.decode(errors="replace").strip().split("\n")
    print(f"{label}: {said[-1]}")
    if done.returncode != 0:
        print("\n".join(said[:5]))
    return done.returncode == 0


def main():
    peer, program, n, seed, *roots = sys.argv[1:]
    rules = re.findall(r'\.name = "([^"]+)"', open("pretokenize.c", encoding="utf-8").read())
    wrong = asked = 0
    with tempfile.TemporaryDirectory() as folder:
        for path, _, names in sorted(x for root in roots for x in os.walk(root)):
            for name in sorted(x for x in names if x.endswith(".gguf")):
                data = open(os.path.join(path, name), "rb").read()
                variants = [(name, data)]
                if os.path.basename(path) == "synth":
                    variants = [(f"{name} {x}", with_rules(data, x)) for x in rules]
                for label, variant in variants:
                    wrong += not compare(peer, program, variant, label, int(n), seed, folder)
                    asked += 1
    print(f"token_oracle: {asked} vocabularies, {wrong} with other ids")
    sys.exit(wrong > 0 or asked == 0)


main()
