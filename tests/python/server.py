#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Python server of the project's contract: doubles numbers, and streams a text word by word.

Prints its target and serves until its standard input closes.
"""
import sys
from concurrent import futures

import grpc
import inference_pb2
import inference_pb2_grpc


class Inference(inference_pb2_grpc.InferenceServicer):
    def RunInference(self, request, context):
        if request.model == "missing":
            context.set_trailing_metadata((("x-reason", "python"),))
            context.abort(grpc.StatusCode.NOT_FOUND, "no model 'missing'")
        return inference_pb2.Response(output=[2 * x for x in request.input], id=request.id)

    def StreamInference(self, request, context):
        for word in request.text.split():
            yield inference_pb2.Response(text=word)

    def UploadInference(self, requests, context):
        return inference_pb2.Response(output=[sum(sum(r.input) for r in requests)])

    def Converse(self, requests, context):
        for request in requests:
            yield inference_pb2.Response(text=request.text.upper())


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
inference_pb2_grpc.add_InferenceServicer_to_server(Inference(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"127.0.0.1:{port}", flush=True)
sys.stdin.read()
server.stop(None)
