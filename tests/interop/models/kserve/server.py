# SPDX-License-Identifier: Apache-2.0
"""KServe's own server with a model of scikit-learn's digits.

Only the addresses it listens on are turned to loopback, which it has no settings for.
"""

import argparse
import asyncio

import grpc.aio
import joblib
import kserve
import numpy as np
import uvicorn.config
from kserve.errors import InferenceError


def on_loopback():
    add_port = grpc.aio._server.Server.add_insecure_port
    grpc.aio._server.Server.add_insecure_port = lambda self, address: add_port(
        self, address.replace("[::]", "127.0.0.1")
    )
    configure = uvicorn.config.Config.__init__

    def configure_on_loopback(self, *args, **options):
        if options.get("host") in (None, "0.0.0.0"):
            options["host"] = "127.0.0.1"
        configure(self, *args, **options)

    uvicorn.config.Config.__init__ = configure_on_loopback


class Digits(kserve.Model):
    """Classifies the input "predict"; others come back. Inputs with certain names delay the answer or fail it."""

    def __init__(self, path):
        super().__init__("digits")
        self.path = path
        self.load()

    def load(self):
        self.classifier = joblib.load(self.path)
        self.ready = True
        return True

    async def predict(self, payload, headers=None, response_headers=None):
        outputs = []
        for tensor in payload.inputs:
            if tensor.name == "SLEEP_S":
                await asyncio.sleep(float(tensor.as_numpy().reshape(-1)[0]))
            if tensor.name == "ERROR":
                raise InferenceError("model said no")
            if tensor.name == "RAISE":
                raise RuntimeError("boom")
            values, datatype = tensor.as_numpy(), tensor.datatype
            if tensor.name == "predict":
                values, datatype = self.classifier.predict(values).astype(np.int64), "INT64"
            output = kserve.InferOutput(tensor.name, list(values.shape), datatype)
            output.set_data_from_numpy(values, binary_data=False)
            outputs.append(output)
        return kserve.InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=outputs)


if __name__ == "__main__":
    on_loopback()
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--digits", help="the model's file")
    options, _ = parser.parse_known_args()
    server = kserve.ModelServer(http_port=options.http_port, grpc_port=options.grpc_port, workers=1, enable_grpc=True)
    server.start([Digits(options.digits)])
