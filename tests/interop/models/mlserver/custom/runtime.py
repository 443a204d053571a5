# SPDX-License-Identifier: Apache-2.0
"""What came goes back; inputs of certain names delay the answer or fail it. As a stream: an answer for each."""

import asyncio

from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import InferenceResponse, ResponseOutput

POISON = -999


class Custom(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        outputs = []
        for tensor in payload.inputs:
            if tensor.name == "SLEEP_S":
                await asyncio.sleep(float(tensor.data[0]))
            if tensor.name == "ERROR":
                raise InferenceError("model said no")
            if tensor.name == "RAISE":
                raise RuntimeError("boom")
            outputs.append(
                ResponseOutput(
                    name=tensor.name,
                    shape=tensor.shape,
                    datatype=tensor.datatype,
                    data=tensor.data,
                    parameters=tensor.parameters,
                )
            )
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)

    async def predict_stream(self, payloads):
        async for payload in payloads:
            for index, value in enumerate(list(payload.inputs[0].data)):
                if value == POISON:
                    raise InferenceError(f"poison value {POISON}")
                await asyncio.sleep(0.05)
                outputs = [
                    ResponseOutput(name=name, shape=[1], datatype="INT32", data=[int(number)])
                    for name, number in (("OUT", value), ("IDX", index))
                ]
                yield InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)
