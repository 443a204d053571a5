#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes one source of several test files: gather.py ROOT OUTPUT FILE...

Most of a test file's time is spent on what it includes, not on what it says: the same library, instantiated again. Together
they pay for it once. Each file is wrapped in a namespace of its own, so that they may use the same names; what they include
is included before that, where its include guards keep it out of the namespaces."""
import pathlib
import re
import sys

root, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
includes = {}
bodies = []
for name in sys.argv[3:]:
    for line in re.findall(r"^#include .*$", (root / name).read_text(encoding="utf-8"), re.MULTILINE):
        includes[line.split("  //")[0].strip()] = None
    bodies.append(f'namespace in_{re.sub("[^A-Za-z0-9]", "_", name)} {{\n#include "{name}"\n}}')
text = "\n".join([*includes, *bodies, ""])
if not output.exists() or output.read_text(encoding="utf-8") != text:
    output.write_text(text, encoding="utf-8")
