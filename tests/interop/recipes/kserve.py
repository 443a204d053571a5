# SPDX-License-Identifier: Apache-2.0
"""KServe's Python server with a model of scikit-learn's."""

from recipes import cache, digits
from recipes.process import Place, answers, free_port, listens

VERSION = "0.21.0"


def install():
    return digits.install(f"kserve-{VERSION}", f"kserve=={VERSION}", "scikit-learn")


def start(run, instance="kserve", flags=(), port=None):
    folder = install()
    learned = digits.learned(f"kserve-{VERSION}", folder)
    place = Place(run, instance)
    here = place.fresh()
    grpc, http = port or free_port(), free_port()
    command = [
        folder / "bin/python",
        cache.MODELS / "kserve/server.py",
        f"--grpc_port={grpc}",
        f"--http_port={http}",
        "--digits",
        learned / "digits.joblib",
        *flags,
    ]
    return place.start(
        command,
        cwd=here,
        environment={"PYTHONDONTWRITEBYTECODE": "1"},
        variables={
            "INFERWIRE_KSERVE": f"127.0.0.1:{grpc}",
            "INFERWIRE_KSERVE_HTTP": f"127.0.0.1:{http}",
            "INFERWIRE_KSERVE_EXPECTED": str(learned / "digits.csv"),
        },
        ready=lambda: answers(http, "/v2/health/live") and listens(grpc),
    )
