# SPDX-License-Identifier: Apache-2.0
"""Sleeps as long as it is told, and says how long it did; ends at once when cancelled. A negative time is an error."""

import time

import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    @staticmethod
    def _answer(request):
        seconds = float(triton.get_input_tensor_by_name(request, "SLEEP_S").as_numpy()[0])
        if seconds < 0:
            return triton.InferenceResponse(error=triton.TritonError("negative sleep requested"))
        start = time.monotonic()
        while (slept := time.monotonic() - start) < seconds:
            if request.is_cancelled():
                return triton.InferenceResponse(error=triton.TritonError("cancelled", triton.TritonError.CANCELLED))
            time.sleep(min(0.01, seconds - slept))
        return triton.InferenceResponse([triton.Tensor("SLEPT_S", np.array([slept], np.float32))])
