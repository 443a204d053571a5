# SPDX-License-Identifier: Apache-2.0
"""The sum and the difference of two rows."""

import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    @staticmethod
    def _answer(request):
        a, b = (triton.get_input_tensor_by_name(request, name).as_numpy() for name in ("INPUT0", "INPUT1"))
        return triton.InferenceResponse([triton.Tensor("OUTPUT0", a + b), triton.Tensor("OUTPUT1", a - b)])
