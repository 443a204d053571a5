#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes one C++ file of the ```cpp blocks of pages, which compiles if they do.

usage: snippets.py FILE PAGE...

A block stands for what it looks like: a whole program, initialisers of ClientOptions (".targets = ..."), or statements. What
statements take as given stands before the block, for readers of the source, as a function's parameters:

    <!-- given: inferwire::Client& client, const inference::Request& request -->

and `<!-- declarations -->` stands before what is no function's body. What all pages share is in prelude.h.
"""
import pathlib
import re
import sys

BLOCK = re.compile(r"(?:<!-- (given: |declarations)(.*?)\s*-->\n+)?^```cpp\n(.*?)^```$", re.M | re.S)


def initialisers(code):
    """Each initialiser that begins a line, unless the one before ends with a comma: those go together."""
    out = []
    for line in code.splitlines():
        if line.startswith(".") and not (out and re.sub(r"\s*//.*", "", out[-1]).rstrip().endswith(",")):
            out.append(line)
        else:
            out[-1] += "\n" + line
    return out


def translate(name, kind, given, code):
    code = re.sub(r"= /\* … \*/;", ";", code)
    includes = re.findall(r"^#include .*\n", code, re.M)
    code = re.sub(r"^#include .*\n", "", code, flags=re.M)
    if code.startswith("."):
        bodies = initialisers(code)
        code = "".join(f"void Options{i}() {{\n  Take({{\n{body}\n}});\n}}\n" for i, body in enumerate(bodies))
    elif not kind.startswith("declarations") and not re.search(r"^int main\(", code, re.M):
        result = "inferwire::Task<>" if re.search(r"\bco_(await|return|yield)\b", code) else "void"
        code = f"{result} Statements({given}) {{\n{code}}}\n"
    return includes, f"namespace {name} {{\n{code}}}  // namespace {name}\n"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    includes, bodies = [], []
    for page in map(pathlib.Path, sys.argv[2:]):
        text = page.read_text()
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start(3)) + 1
            name = f"{re.sub(r'[^a-z0-9]', '_', page.stem.lower())}_{line}"
            found, body = translate(name, block[1] or "", (block[2] or "").strip(), block[3])
            includes += found
            bodies.append(f"// {page.name}, line {line}\n{body}")
    text = '#include "docs/prelude.h"\n\n' + "".join(sorted(set(includes))) + "\n" + "\n".join(bodies)
    pathlib.Path(sys.argv[1]).write_text(text)


main()
