# SPDX-License-Identifier: Apache-2.0
"""usage: digits.py FOLDER: scikit-learn's handwritten digits, learned, and what the model itself says of them.

The model is FOLDER/digits.joblib. FOLDER/digits.csv has a line for each digit, without a header: 64 pixels (0 to 16),
the predicted class (0 to 9), and the ten classes' probabilities with all their digits.
"""

import os
import pathlib
import sys

# Threads that spin for each other take a minute for what one does in a second, where others use the machine too.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import joblib  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

folder = pathlib.Path(sys.argv[1])
pixels, classes = load_digits(return_X_y=True)
model = LogisticRegression(C=0.01, max_iter=1000).fit(pixels, classes)
joblib.dump(model, folder / "digits.joblib")
with open(folder / "digits.csv", "w") as file:
    for row, predicted, probabilities in zip(pixels, model.predict(pixels), model.predict_proba(pixels)):
        fields = [*(str(int(pixel)) for pixel in row), str(predicted), *(f"{p:.17g}" for p in probabilities)]
        file.write(",".join(fields) + "\n")
