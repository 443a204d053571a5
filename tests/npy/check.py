#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What NumPy saves is read, and what is written NumPy loads as the same array.

usage: check.py COPY_NPY
Exits with 77 where there is no NumPy.
"""
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy
except ImportError:
    print("skipped: NumPy is not installed (python3-numpy)")
    sys.exit(77)


def main():
    copy = sys.argv[1]
    wrong = []
    count = 0

    def run(write):
        with tempfile.TemporaryDirectory() as folder:
            source, target = pathlib.Path(folder, "from.npy"), pathlib.Path(folder, "to.npy")
            with source.open("wb") as file:
                write(file)
            done = subprocess.run([copy, source, target], capture_output=True, text=True)
            return done.stderr, numpy.load(target) if done.returncode == 0 else None

    def same(array, expected=None, version=(1, 0)):
        nonlocal count
        count += 1
        expected = array if expected is None else expected
        error, back = run(lambda file: numpy.lib.format.write_array(file, array, version))
        if back is None:
            wrong.append(f"{array.dtype} {array.shape} {version}: {error}")
        elif back.dtype != expected.dtype or back.shape != expected.shape or back.tobytes() != expected.tobytes():
            wrong.append(f"{array.dtype} {array.shape} {version}: came back as {back.dtype} {back.shape}")

    def refused(array, why):
        nonlocal count
        count += 1
        error, back = run(lambda file: numpy.save(file, array))
        if back is not None or why not in error:
            wrong.append(f"{array.dtype} {array.shape}: expected '{why}', found '{error}'")

    random = numpy.random.default_rng(7)
    shapes = [(), (0,), (1,), (5,), (2, 3), (1, 4, 0, 2), (2, 1, 3, 1, 2)]
    for dtype in ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]:
        for shape in shapes:
            for version in [(1, 0), (2, 0), (3, 0)]:
                same(random.integers(0, 2 if dtype == "?" else 100, shape).astype(dtype), version=version)
    same(numpy.array([numpy.nan, numpy.inf, -0.0, 1e-310]))
    same(numpy.array([b"a", b"", b"longer"]))
    text = numpy.array([["a", "\u00e9\u20ac"], ["\U0001f600", ""]])
    same(text, numpy.char.encode(text, "utf-8"))
    same(numpy.asfortranarray(numpy.arange(3)))
    refused(numpy.asfortranarray(numpy.ones((2, 3))), "Fortran")
    refused(numpy.arange(3, dtype=">i4"), "big-endian")
    refused(numpy.ones(2, "c8"), "has no datatype")
    refused(numpy.zeros(2, [("a", "f4")]), "arrays of records have no datatype")
    refused(numpy.zeros(2, "V2"), "bfloat16")
    refused(numpy.array(["2020-01-01"], "M8[D]"), "has no datatype")

    print("\n".join(wrong) or f"{count} arrays went through")
    sys.exit(1 if wrong else 0)


if len(sys.argv) != 2:
    sys.exit(__doc__)
main()
