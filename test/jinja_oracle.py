#!/usr/bin/python3
"""Chat templates against Jinja2 itself, set up as the transformers library does it. Needs Debian's
python3-jinja2; make test does not run this.

    test/jinja_oracle.py TEST_JINJA templates DIR   every template in DIR times every conversation in
                                                    test/data/conversations: the same bytes, and a
                                                    refusal in the template's own words
    test/jinja_oracle.py TEST_JINJA cases           writes what Jinja2 gives into test/data/jinja
    test/jinja_oracle.py TEST_JINJA random SEED N   N random expressions

TEST_JINJA is build/release/test/test_jinja, which renders for us: "test_jinja serve".
"""
import datetime
import glob
import json
import os
import random
import subprocess
import sys
import warnings

import jinja2.ext
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

warnings.simplefilter("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2024, 7, 26, 13, 5, 9)  # as test_jinja.c has it
CHAT, MARKS = 1, 2


class Raised(TemplateError):
    """What raise_exception raises."""


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_call"), [], [], body).set_lineno(line)

    @staticmethod
    def _call(caller):
        return caller()


def environment():
    def raise_exception(message):
        raise Raised(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


ENVIRONMENT = environment()


def variables(request):
    out = {"bos_token": "<s>", "eos_token": "</s>"}
    for name, absent in (("messages", None), ("tools", None), ("documents", None),
                         ("add_generation_prompt", True)):
        out[name] = request.get(name, absent)
    return {**out, **(request.get("chat_template_kwargs") or {})}


def jinja(template, text, chat):
    """(status, text): 0 rendered, 1 refused when rendered, 2 when read; a template's own words alone."""
    status = 2
    try:
        compiled = ENVIRONMENT.from_string(template)
        status = 1
        values = json.loads(text)
        out = compiled.render(**(variables(values) if chat else values))
        out.encode()
        return 0, out
    except Raised as error:
        return 1, ("own words", str(error.message))
    except Exception as error:  # whatever Python raises is a refusal
        return status, (type(error).__name__, str(error))


class Ours:
    def __init__(self, program):
        self.process = subprocess.Popen([program, "serve"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def __call__(self, template, text, flags):
        template, text = template.encode(), text.encode()
        self.process.stdin.write(b"%d %d %d\n" % (len(template), len(text), flags) + template + text)
        self.process.stdin.flush()
        status, size = map(int, self.process.stdout.readline().split())
        return status, self.process.stdout.read(size).decode()


def same(theirs, ours):
    if theirs[0] == 0 or ours[0] == 0:
        return theirs == ours
    if theirs[1][0] == "own words":  # control characters become '?', long ones are cut
        words = "".join("?" if ord(c) < 32 or 127 <= ord(c) < 160 else c for c in theirs[1][1])
        return ours[1].encode()[:500] == words.encode()[:500]
    return True


def check_templates(ours, directory):
    conversations = sorted(glob.glob(f"{HERE}/data/conversations/*.json"))
    templates = sorted(glob.glob(f"{directory}/*.jinja"))
    count = {"rendered": 0, "refused": 0, "different": 0}
    for path in templates:
        template = open(path, newline="", encoding="utf-8").read()
        for conversation in conversations:
            text = open(conversation, encoding="utf-8").read()
            theirs, mine = jinja(template, text, True), ours(template, text, CHAT)
            if not same(theirs, mine):
                count["different"] += 1
                print(f"{path} {conversation}\n  Jinja2: {theirs}\n  ours:   {mine}")
            count["refused" if theirs[0] else "rendered"] += 1
        check_marks(ours, path, template, conversations, count)
    print(f"{len(templates)} templates x {len(conversations)} conversations: {count}")
    return count["different"] > 0 or not templates


def disguise(value, key=None):
    """All letters of contents become private characters, which no template has."""
    if isinstance(value, dict):
        return {k: disguise(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [disguise(v, key) for v in value]
    if isinstance(value, str) and key in ("content", "text", "description", "reasoning_content"):
        return "".join(chr(0xE000 + ord(c)) if c.isalnum() and ord(c) < 0x1000 else c for c in value)
    return value


def check_marks(ours, path, template, conversations, count):
    for conversation in conversations:
        text = json.dumps(disguise(json.load(open(conversation, encoding="utf-8"))))
        theirs, mine = jinja(template, text, True), ours(template, text, CHAT | MARKS)
        if theirs[0] != 0:
            continue
        inside, plain, wrong = False, [], False
        for c in mine[1]:
            if c in "⟦⟧":
                inside = c == "⟦"
                continue
            plain.append(c)
            wrong = wrong or ("\uE000" <= c < "\uF000" and not inside)
        if wrong or "".join(plain) != theirs[1]:
            count["different"] += 1
            print(f"{path} {conversation}: marks are wrong\n  {mine}")


def write_cases(ours):
    bad = False
    for path in sorted(glob.glob(f"{HERE}/data/jinja/*.txt")):
        out = []
        for case in open(path, newline="", encoding="utf-8").read().split("==== case ")[1:]:
            title, rest = case.split("\n==== template\n", 1)
            template, rest = rest.split("\n==== input\n", 1)
            text = rest.split("\n==== ", 1)[0]
            theirs, mine = jinja(template, text, False), ours(template, text, 0)
            if not same(theirs, mine):
                bad = True
                print(f"{path} {title}\n  Jinja2: {theirs}\n  ours:   {mine}")
            kind, words = ("output", theirs[1]) if theirs[0] == 0 else ("refused", mine[1])
            out.append(f"==== case {title}\n==== template\n{template}\n==== input\n{text}\n"
                       f"==== {kind}\n{words}\n")
        with open(path, "w", newline="", encoding="utf-8") as file:
            file.write("".join(out))
    return bad


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    ours, mode = Ours(sys.argv[1]), sys.argv[2]
    if mode == "templates":
        return check_templates(ours, sys.argv[3])
    if mode == "cases":
        return write_cases(ours)
    if mode == "random":
        import jinja_random
        return jinja_random.check(lambda t, x: jinja(t, x, False), lambda t, x: ours(t, x, 0),
                                  random.Random(int(sys.argv[3])), int(sys.argv[4]))
    raise SystemExit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
