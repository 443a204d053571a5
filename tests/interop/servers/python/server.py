# SPDX-License-Identifier: Apache-2.0
"""The contract in Python, by grpcio. What the models do: ../README.md."""
import signal
import sys
import threading
from concurrent import futures

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2 as details, status_pb2
from grpc_status import rpc_status
import inference_pb2
import inference_pb2_grpc

calls = {}  # by the request's id: an event, set when the slow call has ended


def ended(name):
    return calls.setdefault(name, threading.Event())


def echo(request, output):
    return inference_pb2.Response(output=output, shape=request.shape, text=request.text, model="echo", id=request.id)


def answer(request, context):
    if request.model == "fail":
        status = status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=request.text)
        for detail in (details.BadRequest(field_violations=[dict(field="text", description="asks for a failure")]),
                       details.ErrorInfo(reason="ASKED", domain="inference", metadata={"by": "python"}),
                       details.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000))):
            status.details.add().Pack(detail)
        context.abort_with_status(rpc_status.to_status(status))
    if request.model == "slow":
        if not context.add_callback(ended(request.id).set):  # it has ended already
            ended(request.id).set()
        left = context.time_remaining()
        yield echo(request, [-1.0 if left is None or left > 1e9 else left])  # grpcio: no deadline is one far away
        ended(request.id).wait()
        return
    if request.model == "seen":
        ended(request.text).wait()
    if request.model == "gzip":
        context.set_compression(grpc.Compression.Gzip)
    yield echo(request, request.input)


class Inference(inference_pb2_grpc.InferenceServicer):
    def RunInference(self, request, context):
        return list(answer(request, context))[0]

    def StreamInference(self, request, context):
        yield from (echo(request, [number]) for number in request.input)
        yield from answer(request, context)

    def UploadInference(self, requests, context):
        merged = inference_pb2.Request()
        for request in requests:
            merged.MergeFrom(request)
        return list(answer(merged, context))[0]

    def Converse(self, requests, context):
        for request in requests:
            yield from answer(request, context)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=[("grpc.max_receive_message_length", 64 << 20)])
inference_pb2_grpc.add_InferenceServicer_to_server(Inference(), server)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
print(f"127.0.0.1:{port}", flush=True)
stop.wait()
server.stop(30).wait()
