# SPDX-License-Identifier: Apache-2.0
"""The parts of the benchmarks: what each measures, the table it makes, and the targets it is held to.

A part is a function in PARTS that is given whether to be quick. What it calls are the client's ways: a file with an Add
function each, which measure.h declares.
"""
import json

from measuring import Elsewhere, Server, client, compile_times, instructions, rounds, say

MIB = 1 << 20


class Part:
    def __init__(self):
        self.data, self.lines, self.targets = {}, [], []

    def target(self, name, value, bound, less=True):
        self.targets.append({"name": name, "bound": bound, "less": less, "measured": value,
                             "met": value <= bound if less else value >= bound})

    def table(self, head, rows):
        """The first column is text, the others numbers."""
        if self.lines:
            self.lines.append("")
        rows = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        for row in [head, *rows]:
            self.lines.append("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                                        for i, (cell, width) in enumerate(zip(row, widths))))

    def calls(self, found, counted, what="call"):
        """`found` and `counted` by "way/in flight"."""
        self.table(["way/in flight", "instructions", "allocations", "p50 us", "of the first", "p99 us", f"{what}s/s",
                    "switches"],
                   [[name, f"{counted[name]:.0f}" if name in counted else "", f"{one['allocations_per_call']:.1f}",
                     f"{one['p50_us']:.1f}", f"{one['p50_ratio']:.2f}", f"{one['p99_us']:.1f}",
                     f"{one['calls_per_second']:.0f}", f"{one['switches_per_call']:.1f}"] for name, one in found.items()])


def named(found, in_flight):
    return {f"{path}/{in_flight}": one for path, one in found.items()}


def unary(quick):
    """Small unary calls."""
    part = Part()
    calls, times, number = (300, 2000, 3) if quick else (1000, 10000, 7)
    n, t = {}, {}
    with Server() as server:
        for in_flight, paths in ((1, ["raw_sync", "raw_cq", "raw_callback", "ours_call", "ours_async", "ours_coroutine"]),
                                 (64, ["raw_sync", "raw_cq", "raw_callback", "ours_call", "ours_async"])):
            for path in paths:
                n[f"{path}/{in_flight}"] = instructions(server, path, in_flight, calls)
            t.update(named(rounds(server, paths, times, in_flight, number), in_flight))
    part.data = {"instructions": n, "times": t}
    part.calls(t, n)
    allocations = {name: one["allocations_per_call"] for name, one in t.items()}
    part.target("Call, instructions against the raw sync stub", n["ours_call/1"] / n["raw_sync/1"], 0.95)
    part.target("Call, p50 against the raw sync stub", t["ours_call/1"]["p50_ratio"], 1.00)
    part.target("Async, 64 in flight, instructions against the raw callback stub", n["ours_async/64"] / n["raw_callback/64"],
                1.00)
    part.target("Async, 64 in flight, calls/s against the raw callback stub",
                t["ours_async/64"]["calls_per_second"] / t["raw_callback/64"]["calls_per_second"], 1.00, less=False)
    part.target("future, allocations beyond a Call's", allocations["ours_async/1"] - allocations["ours_call/1"], 2)
    part.target("coroutine, allocations beyond a Call's", allocations["ours_coroutine/1"] - allocations["ours_call/1"], 2)
    return part


def infer(quick):
    """Open Inference with 1x16 floats: a call each, and over a stream."""
    part = Part()
    calls, times, number = (300, 2000, 5) if quick else (1000, 5000, 9)
    n, t = {}, {}
    with Server() as server:
        paths = ["raw_infer", "ours_infer", "ours_infer_over_stream"]
        for path in paths:
            n[f"{path}/1"] = instructions(server, path, 1, calls)
        t.update(named(rounds(server, [*paths, "ours_simple_infer"], times, 1, number), 1))
        t.update(named(rounds(server, ["raw_infer", "ours_async_infer", "ours_async_infer_over_stream"], times, 64, number),
                       64))
    part.data = {"instructions": n, "times": t}
    part.calls(t, n)
    part.target("Model::Infer, instructions against the raw sync stub", n["ours_infer/1"] / n["raw_infer/1"], 0.85)
    part.target("Model::Infer, allocations", t["ours_infer/1"]["allocations_per_call"], 16)
    part.target("Model::Infer over a stream, p50 against the raw sync stub", t["ours_infer_over_stream/1"]["p50_ratio"], 0.6)
    return part


def streams(quick):
    """Streams of small messages."""
    part = Part()
    calls, times, number = (2000, 20000, 5) if quick else (4000, 50000, 9)
    n = {}
    with Server() as server:
        paths = ["raw_stream", "raw_callback_stream", "ours_stream", "ours_coroutine_stream"]
        for path in paths:
            n[f"{path}/1"] = instructions(server, path, 1, calls)
        t = named(rounds(server, paths, times, 1, number), 1)
        first = named(rounds(server, ["raw_first", "ours_first"], times // 20, 1, number), 1)
    part.data = {"instructions": n, "times": t, "first": first}
    part.calls(t, n, "message")
    part.calls(first, {}, "stream")
    part.target("ResponseStream, instructions a message against the raw sync reader",
                n["ours_stream/1"] / n["raw_stream/1"], 1.10)
    return part


def tokens(quick):
    """Tokens of a language model, as deltas."""
    part = Part()
    calls, times, number = (2000, 20000, 5) if quick else (4000, 50000, 9)
    n = {}
    with Server() as server:
        paths = ["raw_tokens", "ours_tokens"]
        for path in paths:
            n[f"{path}/1"] = instructions(server, path, 1, calls)
        t = named(rounds(server, paths, times, 1, number), 1)
    part.data = {"instructions": n, "times": t}
    part.calls(t, n, "token")
    part.target("StreamGenerate, instructions a delta against the raw sync reader's message",
                n["ours_tokens/1"] / n["raw_tokens/1"], 1.15)
    part.target("StreamGenerate, allocations a delta beyond the raw message's",
                t["ours_tokens/1"]["allocations_per_call"] - t["raw_tokens/1"]["allocations_per_call"], 2)
    return part


def tensors(quick):
    """Large tensors, against the raw stub, plain TCP and memcpy."""
    part = Part()
    number = 3 if quick else 7
    sizes = {64: 8} if quick else {1: 100, 16: 20, 64: 8, 256: 4}
    kinds = {"send": ["raw_send", "ours_send", "tcp_send"],
             "receive": ["raw_receive", "ours_receive", "ours_receive_pieces", "tcp_receive"],
             "echo": ["raw_echo", "ours_echo", "tcp_echo"], "memcpy": ["memcpy"]}
    rows = []
    with Server() as server:
        for size, calls in sizes.items():
            for paths in kinds.values():
                found = rounds(server, paths, calls, 1, number, 0, size * MIB)
                for path, one in found.items():
                    one["gigabytes_per_second"] = size * MIB / one["p50_us"] / 1000
                    one["speed_ratio"] = 1 / one["p50_ratio"]
                    part.data[f"{path}/{size}"] = one
                    rows.append([path, size, f"{one['gigabytes_per_second']:.2f}", f"{one['speed_ratio']:.2f}",
                                 "" if path.startswith(("tcp", "memcpy")) else f"{one['peak_beyond_payload']:.2f}"])
    part.table(["way", "MiB", "GB/s", "of the raw stub", "peak memory beyond the payload"], rows)
    at = {path: part.data[f"{path}/64"] for paths in kinds.values() for path in paths}
    part.target("send 64 MiB, GB/s against the raw stub", at["ours_send"]["speed_ratio"], 3, less=False)
    part.target("send 64 MiB, memory beyond the payload", at["ours_send"]["peak_beyond_payload"], 0.02)
    part.target("receive 64 MiB into the caller's buffer, GB/s against the raw stub", at["ours_receive"]["speed_ratio"], 2,
                less=False)
    part.target("receive 64 MiB into the caller's buffer, memory beyond the payload",
                at["ours_receive"]["peak_beyond_payload"], 1.1)
    part.target("receive 64 MiB, pieces kept, memory beyond the payload", at["ours_receive_pieces"]["peak_beyond_payload"],
                0.2)
    return part


def wan(quick):
    """Tensors to and from a server that is far away, against the generic stub."""
    part = Part()
    number, calls = (3, 3) if quick else (7, 5)
    sizes = {"1 MiB": MIB, "8 MiB": 8 * MIB} if quick else {"64 KiB": MIB // 16, "1 MiB": MIB, "8 MiB": 8 * MIB, "32 MiB": 32 * MIB}
    rows = []
    for rtt in (0, 20, 80):
        worst = 0
        with Server("--rtt-ms", rtt) as server:
            for name, size in sizes.items():
                for kind in ("send", "receive", "echo"):
                    # Near by a call is over soon, and little can be said of a few.
                    some = calls if rtt else calls * max(1, 32 * MIB // size)
                    found = rounds(server, [f"generic_{kind}", f"ours_{kind}"], some, 1, number, some, size)
                    generic, ours = found.values()
                    part.data[f"{kind}/{name}/{rtt} ms"] = found
                    worst = max(worst, ours["p50_ratio"])
                    rows.append([kind, name, rtt, f"{generic['p50_us'] / 1000:.1f}", f"{ours['p50_us'] / 1000:.1f}",
                                 f"{ours['p50_ratio']:.2f}"])
        part.target(f"round trip of {rtt} ms, time against the generic stub, the worst of all sizes and ways", worst, 1.05)
    part.table(["way", "size", "round trip, ms", "generic stub, ms", "Model::Infer, ms", "of the generic stub"], rows)
    return part


def rest(quick):
    """The same echo by JSON over HTTP/1.1; the server parses it."""
    part = Part()
    rows = []
    with Server() as server:
        for size, calls in ((64, 2000), (4096, 1000), (600_000, 30)):
            found = rounds(server, ["raw_echo", "ours_echo", "rest_json"], calls // 2 if quick else calls, 1,
                           3 if quick else 7, calls // 10, size)
            part.data[str(size)] = found
            rows.append([size, *(f"{found[path]['p50_us']:.0f}" for path in found),
                         f"{found['rest_json']['p50_us'] / found['ours_echo']['p50_us']:.2f}"])
    part.table(["bytes", "raw stub, p50 us", "Model::Infer", "JSON", "JSON of Model::Infer"], rows)
    return part


def batching(quick):
    """Many callers of one row each, on a server that takes a millisecond for a request, whatever is in it."""
    part = Part()
    with Server("--cost-us", 1000) as server:
        found = rounds(server, ["ours_infer_unbatched", "ours_infer_batched", "ours_infer_delayed"], 2000 if quick else 6000,
                       64, 3 if quick else 7)
    part.data = found
    part.calls(named(found, 64), {})
    return part


def pools(quick):
    """Which connection, deadlines, hedges, recovery."""
    part = Part()
    times, number = (2000, 3) if quick else (10000, 7)
    with Server() as server:
        n = {f"{path}/1": instructions(server, path, 1, 20_000, warm_up=2000)
             for path in ("ours_pick1", "ours_pick3", "ours_pick100")}
        t = named(rounds(server, ["ours_channels1", "ours_channels2", "ours_channels4"], times, 64, number), 64)
        say("recovery")
        recovery = json.loads(client(server, "ours_recovery", 2 if quick else 5, 1, 0))
        say("deadlines")
        deadline = json.loads(client(server, "ours_deadline", 640 if quick else 3200, 64, 64))
    with Server("--slow-every", 50, "--slow-ms", 50) as server:
        hedging = rounds(server, ["ours_call", "ours_hedged"], times // 4, 1, 3)
    part.data = {"instructions": n, "times": t, "recovery": recovery, "deadline": deadline, "hedging": hedging}
    part.calls(t | {f"{path}, 2 % slow": one for path, one in hedging.items()}, {})
    part.table(["a pick of so many targets", "instructions"], [[name[9:-2], f"{value:.0f}"] for name, value in n.items()])
    part.target("deadline, how late the latest of the calls ended, 64 in flight (ms)", deadline["max_us"] / 1000, 10)
    part.target("how long a server listens again before it is used, the longest of those measured (ms)",
                recovery["max_us"] / 1000, 1000)
    part.target("hedging, p99 against none, 2 % slow answers", hedging["ours_hedged"]["p99_us"] /
                hedging["ours_call"]["p99_us"], 0.5)
    return part


def compile_(quick):
    """How long a file that makes one call compiles, in both forms of the library."""
    part = Part()
    found = compile_times(1 if quick else 3)
    part.data = {", ".join(key): one for key, one in found.items()}
    rows = []
    for compiler, optimise, what in dict.fromkeys(key[:3] for key in found):
        raw, *ours = (found[compiler, optimise, what, way] for way in ("raw", "compiled", "header-only"))
        rows.append([f"{compiler} {optimise} {what}", f"{raw['seconds']:.1f}", *(f"{one['seconds'] / raw['seconds']:.2f}" for one in ours),
                     f"{raw['mib']:.0f}", *(f"{one['mib'] / raw['mib']:.2f}" for one in ours)])
        if compiler == "g++":
            for way, one, bound in (("compiled", ours[0], 1.35 if what == "Call" else 1.4),
                                    ("header-only", ours[1], 3 if (what, optimise) == ("Call", "-O0") else 4)):
                part.target(f"compile time of one {what}, {way}, {optimise}, against the raw stub", one["seconds"] / raw["seconds"], bound)
    part.table(["one file", "raw, s", "compiled", "header-only", "raw, MiB", "compiled", "header-only"], rows)
    return part


def triton(target, quick):
    """A Triton's model identity_fp32, in Python: a call each, over a stream, and batched."""
    part = Part()
    server = Elsewhere(target)
    number = 3 if quick else 7
    paths = ["raw_triton", "ours_triton", "ours_triton_over_stream"]
    part.data = (named(rounds(server, paths, 1000, 1, number), 1) |
                 named(rounds(server, [*paths, "ours_triton_batched"], 6000, 64, number), 64))
    part.calls(part.data, {})
    return part


PARTS = {"unary": unary, "infer": infer, "streams": streams, "tokens": tokens, "tensors": tensors, "wan": wan, "rest": rest, "batching": batching, "pools": pools,
         "compile": compile_}
