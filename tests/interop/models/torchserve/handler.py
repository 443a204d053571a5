# SPDX-License-Identifier: Apache-2.0
"""Gives back what came.

By TorchServe's own contract: the text in `data`, behind the command in `cmd`, where sleep, error and stream do as they
say. By the Open Inference Protocol: every input under its own name; those named SLEEP_S and ERROR do as they say.
"""

import base64
import json
import time

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException


def handle(data, context):
    return None if data is None else [answer(row, len(data), context) for row in data]


def text(value):
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else json.dumps(value)


def answer(row, rows, context):
    body = text(row.get("data", row.get("body")))
    if "cmd" not in row and body.startswith('{"'):
        request = json.loads(body)
        if "inputs" in request:
            return answer_open(request, context)
    command = text(row.get("cmd") or "echo")
    if command == "sleep":
        time.sleep(float(body))
    elif command == "error":
        raise PredictionException("model said no", 503)
    elif command == "stream":
        for index in range(int(body)):
            send_intermediate_predict_response(
                [f"token{index} "] * rows, context.request_ids, "Intermediate Prediction success", 200, context
            )
            time.sleep(0.05)
        return "done"
    return f"{command}:{body}"


def answer_open(request, context):
    """The server hands the request over as JSON, its texts as base64, and takes the answer as JSON too."""
    for tensor in request["inputs"]:
        if tensor["datatype"] == "BYTES":
            tensor["data"] = [text(base64.b64decode(element)) for element in tensor["data"]]
        if tensor["name"] == "SLEEP_S":
            time.sleep(float(tensor["data"][0]))
        if tensor["name"] == "ERROR":
            raise PredictionException("model said no", 503)
    model = context.manifest["model"]
    return {
        "id": request.get("id", ""),
        "model_name": model["modelName"],
        "model_version": model["modelVersion"],
        "outputs": request["inputs"],
    }
