# SPDX-License-Identifier: Apache-2.0
"""The sum of what a sequence has sent so far."""

import numpy as np
import triton_python_backend_utils as triton


def value(request, name):
    return triton.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)[0]


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        sequence = value(request, "CORRID")
        before = 0 if value(request, "START") else self.sums.get(sequence, 0)
        self.sums[sequence] = before + int(value(request, "INPUT"))
        output = triton.Tensor("OUTPUT", np.array([[self.sums[sequence]]], np.int32))
        if value(request, "END"):
            del self.sums[sequence]
        return triton.InferenceResponse([output])
