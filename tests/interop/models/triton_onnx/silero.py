# SPDX-License-Identifier: Apache-2.0
"""Voice activity: a probability for each chunk of 512 samples.

From a whole recording at once (decoupled), or from the chunks of a sequence as they come. The network's state goes from
chunk to chunk, and so do the last 64 samples.
"""

import json
import pathlib

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

CHUNK, CONTEXT, RATE = 512, 64, 16000


class Voice:
    def __init__(self, session):
        self.session = session
        self.state = np.zeros((2, 1, 128), np.float32)
        self.context = np.zeros((1, CONTEXT), np.float32)

    def hear(self, chunk):
        window = np.concatenate([self.context, chunk.reshape(1, CHUNK)], axis=1)
        self.context = window[:, -CONTEXT:]
        inputs = {"input": window, "state": self.state, "sr": np.array(RATE, np.int64)}
        probability, self.state = self.session.run(None, inputs)
        return probability.reshape(1)


def value(request, name):
    return triton.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)


class TritonPythonModel:
    def initialize(self, args):
        self.decoupled = json.loads(args["model_config"]).get("model_transaction_policy", {}).get("decoupled", False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = str(pathlib.Path(__file__).with_name("model.onnx"))
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.voices = {}

    def execute(self, requests):
        if not self.decoupled:
            return [self._next(request) for request in requests]
        for request in requests:
            self._whole(request.get_response_sender(), value(request, "AUDIO"))

    def _whole(self, sender, audio):
        voice = Voice(self.session)
        for index in range(len(audio) // CHUNK):
            if sender.is_cancelled():
                break
            probability = voice.hear(audio[index * CHUNK : (index + 1) * CHUNK])
            chunk = triton.Tensor("CHUNK", np.array([index], np.int32))
            sender.send(triton.InferenceResponse([triton.Tensor("PROB", probability), chunk]))
        sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _next(self, request):
        sequence = value(request, "CORRID")[0]
        if value(request, "START")[0] or sequence not in self.voices:
            self.voices[sequence] = Voice(self.session)
        probability = self.voices[sequence].hear(value(request, "AUDIO"))
        if value(request, "END")[0]:
            del self.voices[sequence]
        return triton.InferenceResponse([triton.Tensor("PROB", probability.reshape(1, 1))])
