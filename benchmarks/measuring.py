# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' processes, and how they are counted and timed."""
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import compiling

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "benchmarks"
PROGRAMS = BUILD / "benchmarks"


def say(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def checked(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"benchmarks/run: '{' '.join(map(str, command))}' failed:\n{done.stdout}{done.stderr}")
    return done.stdout


class Server:
    """The benchmarks' server; it ends when its input does."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([PROGRAMS / "inferwire-bench-server", *map(str, arguments)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        targets = self.process.stdout.readline().split()
        if len(targets) != 3:
            sys.exit("benchmarks/run: the server did not start")
        self.target, self.tcp, self.rest = targets

    def target_of(self, path):
        return {"tcp": self.tcp, "rest": self.rest}.get(path.split("_")[0], self.target)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


class Elsewhere:
    """A server that runs already."""

    def __init__(self, target):
        self.target = target

    def target_of(self, _):
        return self.target


def client(server, path, calls, in_flight=1, warm_up=200, size=64, prefix=()):
    return checked([*prefix, PROGRAMS / "inferwire-bench-client", "--path", path, "--target", server.target_of(path),
                    "--calls", str(calls), "--in-flight", str(in_flight), "--warm-up", str(warm_up), "--bytes", str(size)])


def instructions(server, path, in_flight, calls, warm_up=20):
    """Per call: callgrind's, as the difference of two runs."""
    say(f"instructions: {path}, {in_flight} in flight")
    totals = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (calls // 4, calls // 4 + calls):
            out = f"{folder}/{count}"
            client(server, path, count, in_flight, max(warm_up, in_flight),
                   prefix=("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"))
            totals.append(int(re.search(r"^(?:summary|totals): (\d+)", pathlib.Path(out).read_text(), re.M).group(1)))
    return (totals[1] - totals[0]) / calls


def rounds(server, paths, calls, in_flight, count, warm_up=200, size=64):
    """Medians of what each way takes, the ways in turn. `ratios`: to the first of them, each round by itself."""
    seen = {path: [] for path in paths}
    for number in range(count):
        for path in paths if number % 2 == 0 else reversed(paths):
            say(f"times: {path}, {in_flight} in flight, round {number + 1} of {count}")
            seen[path].append(json.loads(client(server, path, calls, in_flight, warm_up, size)))
    keys = [key for key in seen[paths[0]][0] if key not in ("path", "calls", "in_flight")]
    out = {path: {key: statistics.median(one[key] for one in ones) for key in keys} for path, ones in seen.items()}
    for path, ones in seen.items():
        out[path]["p50_ratio"] = statistics.median(a["p50_us"] / b["p50_us"] for a, b in zip(ones, seen[paths[0]]))
    return out


def compile_times(count):
    """By compiler, optimisation and what is called: the least of user seconds and of MiB, by the raw stub and in both forms."""
    headers = sorted({str(found.parent.parent) for found in BUILD.rglob("inference.grpc.pb.h")} |
                     {str(found.parent.parent.parent) for found in BUILD.rglob("open_inference.grpc.pb.h")})
    flags = compiling.flags_of(ROOT, headers)
    out = {}
    clang = next(filter(shutil.which, ("clang++-19", "clang++")), None)
    for compiler in filter(None, (shutil.which("g++") and "g++", clang)):
        for optimise in ("-O0", "-O2"):
            for what, (raw, ours) in compiling.texts(BUILD).items():
                ways = {"raw": (raw, []), "compiled": (ours, [compiling.COMPILED]), "header-only": (ours, [])}
                for way, (text, more) in ways.items():
                    say(f"compile time: {compiler} {optimise} {what}, {way}")
                    seen = [compiling.compile_once(compiler, text, [optimise, *more, *flags]) for _ in range(count)]
                    out[compiler, optimise, what, way] = {key: min(one[key] for one in seen) for key in seen[0]}
    return out
