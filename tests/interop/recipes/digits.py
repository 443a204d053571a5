# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's digits, learned once by the scikit-learn of a server's own environment."""

from recipes import cache

LEARN = cache.MODELS / "digits.py"


def install(name, *requirements):
    """A server's virtual environment, with what its scikit-learn learns."""

    def build(folder):
        cache.venv(folder, *requirements)
        learned(name, folder)

    return cache.installed(name, build)


def learned(name, environment):
    """A folder with the model and what it says, as models/digits.py writes them."""
    return cache.installed(f"{name}-digits", lambda folder: cache.run(environment / "bin/python", LEARN, folder), LEARN)
