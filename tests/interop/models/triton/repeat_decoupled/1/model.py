# SPDX-License-Identifier: Apache-2.0
"""A response for each element of IN, DELAY_MS apart, until cancelled; an error in place of that for -999."""

import threading
import time

import numpy as np
import triton_python_backend_utils as triton

POISON = -999


class TritonPythonModel:
    def initialize(self, _):
        self._lock = threading.Lock()
        self._running = 0

    def execute(self, requests):
        for request in requests:
            values = triton.get_input_tensor_by_name(request, "IN").as_numpy()
            delay = triton.get_input_tensor_by_name(request, "DELAY_MS")
            seconds = 0 if delay is None else float(delay.as_numpy()[0]) / 1000
            arguments = (request.get_response_sender(), values, seconds)
            threading.Thread(target=self._answer, args=arguments, daemon=True).start()

    def _count(self, change):
        with self._lock:
            self._running += change

    def _answer(self, sender, values, seconds):
        self._count(1)
        for index, value in enumerate(values):
            if sender.is_cancelled():
                break
            time.sleep(seconds)
            if value == POISON:
                sender.send(triton.InferenceResponse(error=triton.TritonError(f"poison value {POISON}")))
                continue
            outputs = [
                triton.Tensor("OUT", np.array([value], np.int32)),
                triton.Tensor("IDX", np.array([index], np.int32)),
                triton.Tensor("RUNNING", np.array([self._running], np.int32)),
            ]
            sender.send(triton.InferenceResponse(outputs))
        self._count(-1)
        sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
