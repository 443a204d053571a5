# SPDX-License-Identifier: Apache-2.0
"""SGLang's own gRPC server, as its wheel has it, over a scripted engine: no weights, and nothing of torch."""

import zipfile

from recipes import cache
from recipes.process import Place, free_port, listens

VERSION = "0.5.23"
_ENGINE = cache.MODELS / "sglang/engine.py"


def install():
    return cache.installed(f"sglang-{VERSION}", _build)


def _build(folder):
    cache.venv(folder)
    cache.pip(
        *(folder, "download", "--no-deps", "--only-binary=:all:", "--dest", folder / "wheels", f"sglang=={VERSION}")
    )
    with zipfile.ZipFile(next((folder / "wheels").glob("sglang*.whl"))) as wheel:
        for name in wheel.namelist():
            file = name.rpartition("/")[2]
            if "/rust_extensions/_grpc" in name and file.endswith(".so"):
                (folder / file).write_bytes(wheel.read(name))


def start(run, instance="sglang", flags=(), port=None):
    folder = install()
    place = Place(run, instance)
    here = place.fresh()
    port = port or free_port()
    return place.start(
        [folder / "bin/python", _ENGINE, str(port), folder, *flags],
        cwd=here,
        environment={"PYTHONDONTWRITEBYTECODE": "1"},
        variables={"INFERWIRE_SGLANG": f"127.0.0.1:{port}"},
        ready=lambda: listens(port),
    )
