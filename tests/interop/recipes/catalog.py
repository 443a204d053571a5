# SPDX-License-Identifier: Apache-2.0
"""All servers by name: how each is installed, and how its instances start."""

import dataclasses
import functools
from collections.abc import Callable

from recipes import dynamo, kserve, mlserver, proxies, sglang, torchserve, triton


@dataclasses.dataclass(frozen=True)
class Server:
    name: str
    version: str
    install: Callable
    instances: dict  # label -> start(run, flags, port), in the order of starting
    program: str = ""  # the variable that names the installed program, for those that tests start themselves


def _tritons(*labels):
    return {label: functools.partial(_start_triton, label) for label in labels}


def _start_triton(label, run, **options):
    return triton.start(run, label, **options)


SERVERS = {
    server.name: server
    for server in (
        Server(
            "triton",
            triton.VERSION,
            triton.install,
            _tritons("triton", "triton-first", "triton-second", "triton-restricted", "triton-mtls", "triton-age"),
        ),
        Server("onnx", triton.VERSION, triton.install_onnx, _tritons("onnx")),
        Server("mlserver", mlserver.VERSION, mlserver.install, {"mlserver": mlserver.start}),
        Server("kserve", kserve.VERSION, kserve.install, {"kserve": kserve.start}),
        Server("dynamo", dynamo.VERSION, dynamo.install, {"dynamo": dynamo.start}),
        Server("sglang", sglang.VERSION, sglang.install, {"sglang": sglang.start}),
        Server("torchserve", torchserve.VERSION, torchserve.install, {"torchserve": torchserve.start}),
        Server(
            "envoy",
            proxies.ENVOY,
            proxies.install_envoy,
            {**_tritons("triton-first", "triton-second"), "envoy": proxies.start_envoy},
            "ENVOY",
        ),
        Server("toxiproxy", proxies.TOXIPROXY, proxies.install_toxiproxy, {}, "TOXIPROXY"),
    )
}
INSTANCES = {label: (server, start) for server in SERVERS.values() for label, start in server.instances.items()}
