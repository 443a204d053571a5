#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Python program on the project's contract, as its users write it.

usage: client.py TARGET
"""
import sys

import grpc
import inference_pb2
import inference_pb2_grpc

stub = inference_pb2_grpc.InferenceStub(grpc.insecure_channel(sys.argv[1]))

data = [0.5, 1.5, 2.5]
response = stub.RunInference(inference_pb2.Request(input=data), timeout=10)
assert list(response.output) == data, response

story = [r.text for r in stub.StreamInference(inference_pb2.Request(model="storyteller", text="Tom", input=[12, 1]), timeout=10)]
assert len(story) > 1, story

total = stub.UploadInference(iter([inference_pb2.Request(input=[1, 2]), inference_pb2.Request(input=[3])]), timeout=10)
assert list(total.output) == [6], total

turns = [r.output[0] for r in stub.Converse(iter([inference_pb2.Request(input=[1]), inference_pb2.Request(input=[2])]), timeout=10)]
assert turns == [1, 3], turns

try:
    stub.RunInference(inference_pb2.Request(model="nobody"), timeout=10)
    raise AssertionError("an unknown model was served")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
print("the Python client was served")
