# SPDX-License-Identifier: Apache-2.0
"""An ONNX model whose inputs bear the names of the configuration's, and whose outputs have its order."""

import json
import pathlib

import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = str(pathlib.Path(__file__).with_name("model.onnx"))
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        inputs = {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        outputs = self.session.run(None, inputs)
        return triton.InferenceResponse([triton.Tensor(name, value) for name, value in zip(self.outputs, outputs)])
