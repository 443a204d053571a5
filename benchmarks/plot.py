# SPDX-License-Identifier: Apache-2.0
"""Draws throughput of tensors by their size, for people who would rather look than read.

plot.py FILE.png: what the part of tensors measured, by "way/MiB", comes as JSON on the standard input.
"""
import json
import sys

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

WAYS = {"send": [("raw_send", "raw stub"), ("ours_send", "inferwire, memory lent"), ("tcp_send", "plain TCP")],
        "receive": [("raw_receive", "raw stub"), ("ours_receive", "inferwire, into a buffer"),
                    ("ours_receive_pieces", "inferwire, pieces kept"), ("tcp_receive", "plain TCP")],
        "echo": [("raw_echo", "raw stub"), ("ours_echo", "inferwire"), ("tcp_echo", "plain TCP")]}


def main(file):
    found = json.load(sys.stdin)
    sizes = sorted({int(name.split("/")[1]) for name in found})
    figure, axes = plt.subplots(1, len(WAYS), figsize=(12, 3.6), sharey=True)
    for axis, (kind, ways) in zip(axes, WAYS.items()):
        for path, label in ways:
            axis.plot(sizes, [found[f"{path}/{size}"]["gigabytes_per_second"] for size in sizes], marker="o", label=label,
                      linestyle="--" if path.startswith("tcp") else "-")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set(title=kind, xlabel="MiB")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].set(ylabel="GB/s", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(file, dpi=150)


main(sys.argv[1])
