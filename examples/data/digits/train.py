#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the digit classifier and writes the two files that the example server reads. Needs scikit-learn.

usage: train.py [DIRECTORY]

Writes weights.bin and held_out.bin into DIRECTORY (default: beside this script) and prints the accuracy over the images
that the training never saw. Every random choice has a fixed seed: the same scikit-learn gives the same files.

Numbers are little-endian; README.md describes both files.
"""
import pathlib
import struct
import sys
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

DARKEST = 16  # a pixel is the number of dark points in a block of 4x4
HELD_OUT = 360
REQUIRED_ACCURACY = 0.96


def write_weights(path: pathlib.Path, model: MLPClassifier) -> None:
    with open(path, "wb") as file:
        file.write(b"IWDIGNET")
        file.write(struct.pack("<I", len(model.coefs_)))
        for weights, biases in zip(model.coefs_, model.intercepts_):
            inputs, outputs = weights.shape
            file.write(struct.pack("<II", inputs, outputs))
            file.write(np.ascontiguousarray(weights, dtype="<f4").tobytes())
            file.write(np.ascontiguousarray(biases, dtype="<f4").tobytes())


def write_images(path: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> None:
    with open(path, "wb") as file:
        file.write(b"IWDIGSET")
        file.write(struct.pack("<I", len(labels)))
        file.write(images.astype(np.uint8).tobytes())
        file.write(labels.astype(np.uint8).tobytes())


def main() -> None:
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__)
    directory = directory if directory.is_dir() else directory.parent
    digits = load_digits()
    train_images, test_images, train_labels, test_labels = train_test_split(
        digits.data, digits.target, test_size=HELD_OUT, random_state=0, stratify=digits.target
    )
    # A few hundred passes fit the training images; that the optimiser would go on is no news.
    warnings.simplefilter("ignore", ConvergenceWarning)
    model = MLPClassifier((64,), alpha=1e-3, max_iter=400, random_state=0)
    model.fit(train_images / DARKEST, train_labels)
    accuracy = model.score(test_images / DARKEST, test_labels)
    print(f"accuracy over {len(test_labels)} held-out images: {accuracy:.4f}")
    if accuracy <= REQUIRED_ACCURACY:
        sys.exit(f"train.py: expected more than {REQUIRED_ACCURACY}; nothing was written")
    write_weights(directory / "weights.bin", model)
    write_images(directory / "held_out.bin", test_images, test_labels)


if __name__ == "__main__":
    main()
