# SPDX-License-Identifier: Apache-2.0
"""TorchServe, whose Open Inference service lives in a package of its own; its torch is Debian's."""

from recipes import cache
from recipes.process import Place, answers, free_port, listens

VERSION = "0.12.0"
HANDLER = cache.MODELS / "torchserve/handler.py"


def install():
    cache.packages("openjdk-17-jre-headless", "python3-torch")

    def build(folder):
        cache.venv(folder, f"torchserve=={VERSION}", f"torch-model-archiver=={VERSION}", system=True)
        (folder / "store").mkdir()
        cache.run(
            folder / "bin/torch-model-archiver",
            "--model-name",
            "echo",
            "--version",
            "1.0",
            "--handler",
            HANDLER,
            "--export-path",
            folder / "store",
        )

    return cache.installed(f"torchserve-{VERSION}", build, HANDLER)


def start(run, instance="torchserve", flags=(), port=None):
    folder = install()
    place = Place(run, instance)
    here = place.fresh()
    (here / "tmp").mkdir()
    grpc, management, http, http_management = port or free_port(), free_port(), free_port(), free_port()
    settings = {
        "inference_address": f"http://127.0.0.1:{http}",
        "management_address": f"http://127.0.0.1:{http_management}",
        "metrics_address": f"http://127.0.0.1:{free_port()}",
        "grpc_inference_address": "127.0.0.1",
        "grpc_management_address": "127.0.0.1",
        "grpc_inference_port": grpc,
        "grpc_management_port": management,
        "default_workers_per_model": 1,
        "ts_open_inference_protocol": "oip",
        "enable_model_api": "true",
        "install_py_dep_per_model": "false",
    }
    (here / "config.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    command = [
        folder / "bin/torchserve",
        "--foreground",
        "--ncs",
        "--model-store",
        folder / "store",
        "--models",
        "echo=echo.mar",
        "--ts-config",
        here / "config.properties",
        "--disable-token-auth",
        "--enable-model-api",
        *flags,
    ]
    # Its pid file is in the temporary folder: one for each server, or a second one does not start.
    environment = {
        "PATH": f"{folder}/bin:/usr/bin:/bin",
        "TMPDIR": str(here / "tmp"),
        "LOG_LOCATION": str(here / "logs"),
        "METRICS_LOCATION": str(here / "logs"),
        "TS_OPEN_INFERENCE_PROTOCOL": "oip",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return place.start(
        command,
        cwd=here,
        environment=environment,
        variables={
            "INFERWIRE_TORCHSERVE": f"127.0.0.1:{grpc}",
            "INFERWIRE_TORCHSERVE_MANAGEMENT": f"127.0.0.1:{management}",
            "INFERWIRE_TORCHSERVE_HTTP": f"127.0.0.1:{http}",
        },
        ready=lambda: answers(http_management, "/models/echo", '"READY"') and listens(grpc) and listens(management),
    )
