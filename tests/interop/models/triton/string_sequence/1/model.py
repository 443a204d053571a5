# SPDX-License-Identifier: Apache-2.0
"""The sum of what a sequence has sent so far, where ids are text.

Triton 2.51 cannot hand such an id to a model, so there is one slot, whose sequence the sum belongs to; another sequence
waits for its turn.
"""

import numpy as np
import triton_python_backend_utils as triton


def value(request, name):
    return int(triton.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)[0])


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        self.sum = (0 if value(request, "START") else self.sum) + value(request, "INPUT")
        return triton.InferenceResponse([triton.Tensor("OUTPUT", np.array([[self.sum]], np.int32))])
