#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes story.txt from a plain-text edition of The Adventures of Tom Sawyer.

usage: excerpt.py EDITION.txt story.txt

Keeps the novel's own paragraphs, one a line, from chapter I to the conclusion: no title pages, no headings, no notes.
Paragraphs with words that demean people are left out, because a model repeats what it has read; so are those after the
first SIZE_LIMIT bytes.
"""
import re
import sys

SIZE_LIMIT = 280_000
LEFT_OUT = re.compile(r"nigg|negro|injun|indian|half-breed|slave|savage|squaw|mulat|darkey|murrel|colored|heathen|gypsy", re.IGNORECASE)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="ascii") as file:
        text = file.read()
    begin = text.index("\nCHAPTER I\n")
    end = text.index("\nCONCLUSION\n")
    kept, size = [], 0
    for paragraph in re.split(r"\n\s*\n", text[begin:end]):
        line = " ".join(paragraph.split())
        if not line or re.fullmatch(r"CHAPTER [IVXL]+", line) or "*" in line or LEFT_OUT.search(line):
            continue
        size += len(line) + 1
        if size > SIZE_LIMIT:
            break
        kept.append(line)
    with open(sys.argv[2], "w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(kept) + "\n")
    print(f"{len(kept)} paragraphs, {sum(len(line) + 1 for line in kept)} bytes")


if __name__ == "__main__":
    main()
