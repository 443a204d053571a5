# SPDX-License-Identifier: Apache-2.0
"""MLServer with a model of scikit-learn's and a runtime of our own, and what scikit-learn itself says."""

import json
import shutil

from recipes import cache, digits
from recipes.process import Place, answers, free_port

VERSION = "1.7.1"


def install():
    return digits.install(f"mlserver-{VERSION}", f"mlserver=={VERSION}", f"mlserver-sklearn=={VERSION}")


def start(run, instance="mlserver", flags=(), port=None):
    folder = install()
    learned = digits.learned(f"mlserver-{VERSION}", folder)
    place = Place(run, instance)
    here = place.fresh()
    shutil.copytree(cache.MODELS / "mlserver", here / "models", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(learned / "digits.joblib", here / "models/digits/model.joblib")
    grpc, http = port or free_port(), free_port()
    settings = {
        "host": "127.0.0.1",
        "grpc_port": grpc,
        "http_port": http,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    (here / "models/settings.json").write_text(json.dumps(settings))
    return place.start(
        [folder / "bin/mlserver", "start", here / "models", *flags],
        cwd=here / "models",
        environment={"PATH": f"{folder}/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        variables={
            "INFERWIRE_MLSERVER": f"127.0.0.1:{grpc}",
            "INFERWIRE_MLSERVER_HTTP": f"127.0.0.1:{http}",
            "INFERWIRE_MLSERVER_EXPECTED": str(learned / "digits.csv"),
        },
        ready=lambda: answers(http, "/v2/health/ready"),
    )
