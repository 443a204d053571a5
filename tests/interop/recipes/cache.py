# SPDX-License-Identifier: Apache-2.0
"""The cache folder: what is installed once, under a name that holds its version, whoever asks and how many at once."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
MODELS = HERE / "models"


class Failure(Exception):
    """Said to the user as it is, without a trace."""


def root():
    named = os.environ.get("INFERWIRE_INTEROP_CACHE")
    if not named:
        named = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "inferwire-interop")
    return pathlib.Path(named).resolve()


@contextlib.contextmanager
def locked(name):
    """One process at a time."""
    root().mkdir(parents=True, exist_ok=True)
    with open(root() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def installed(name, build, *sources):
    """The folder `name`, which build(folder) fills where it is not whole, or these files of ours have changed since."""
    folder = root() / name
    stamp = folder / "installed"
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    with locked(name):
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            build(folder)
            stamp.write_text(digest)
    return folder


def run(*command, **options):
    """Runs a command; its output is shown where it fails."""
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if done.returncode != 0:
        raise Failure(f"'{' '.join(map(str, command))}' failed with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def packages(*names):
    """Installs Debian packages that are missing."""
    with locked("packages"):
        run("bash", "-euc", f'. "{HERE}/../../tools/packages.sh"; need_packages "$@"', "packages", *names)


def python():
    """The system's Python, of which Debian has the shared library too; else the one that runs this."""
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def venv(folder, *requirements, options=(), system=False):
    """A virtual environment with these requirements in it; `options` are pip's."""
    packages("python3-venv")
    run(python(), "-m", "venv", *(["--system-site-packages"] if system else []), folder)
    pip(folder, "install", *options, *requirements)


def pip(folder, verb, *arguments):
    run(folder / "bin/pip", verb, "--quiet", "--disable-pip-version-check", *arguments)


def site_packages(folder):
    return next((folder / "lib").glob("python3*")) / "site-packages"
