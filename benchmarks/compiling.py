# SPDX-License-Identifier: Apache-2.0
"""How long a file that makes one call takes to compile, and how much memory that takes: by inferwire in both forms, by the raw stub."""
import os
import pathlib
import subprocess
import tempfile

CALL = """#include <inferwire/client.h>
#include "inferwire/inference.grpc.pb.h"
int main() {
  auto client = inferwire::Client::Create({.targets = {"localhost:1"}, .credentials = inferwire::Insecure()});
  return client->Call<&inference::Inference::Stub::RunInference>(inference::Request()).ok() ? 0 : 1;
}
"""
RAW_CALL = """#include <grpcpp/grpcpp.h>
#include "inferwire/inference.grpc.pb.h"
int main() {
  auto stub = inference::Inference::NewStub(grpc::CreateChannel("localhost:1", grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  inference::Response response;
  return stub->RunInference(&context, inference::Request(), &response).ok() ? 0 : 1;
}
"""
INFER = """#include <inferwire/inference.h>
#include <inferwire/contract/open_inference.h>
#include <vector>
int main() {
  auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {"localhost:1"}, .credentials = inferwire::Insecure()});
  auto result = server->GetModel("digits").Infer({{"image", std::vector<float>(64), {1, 64}}});
  return result.ok() && result->Get<float>("scores").ok() ? 0 : 1;
}
"""
RAW_INFER = """#include <grpcpp/grpcpp.h>
#include <string>
#include <vector>
#include "inferwire/contract/open_inference.grpc.pb.h"
namespace v2 = @NAMESPACE@;
int main() {
  auto stub = v2::GRPCInferenceService::NewStub(grpc::CreateChannel("localhost:1", grpc::InsecureChannelCredentials()));
  const std::vector<float> pixels(64);
  v2::ModelInferRequest request;
  request.set_model_name("digits");
  auto& image = *request.add_inputs();
  image.set_name("image");
  image.set_datatype("FP32");
  image.add_shape(1);
  image.add_shape(64);
  request.add_raw_input_contents()->assign(reinterpret_cast<const char*>(pixels.data()), pixels.size() * sizeof(float));
  grpc::ClientContext context;
  v2::ModelInferResponse response;
  if (!stub->ModelInfer(&context, request, &response).ok()) return 1;
  return response.outputs_size() == 1 && response.raw_output_contents_size() == 1 ? 0 : 1;
}
"""
COMPILED = "-DINFERWIRE_SEPARATE_COMPILATION"


def texts(headers):
    """By what is called: the raw stub's file and ours."""
    text = next(pathlib.Path(headers).rglob("open_inference.grpc.pb.h")).read_text()
    names = []
    for line in text.splitlines():
        if line.startswith("namespace ") and line.endswith("{"):
            names.append(line.split()[1])
        elif line.startswith("class GRPCInferenceService"):
            break
    return {"Call": (RAW_CALL, CALL), "Infer": (RAW_INFER.replace("@NAMESPACE@", "::".join(names)), INFER)}


def compile_once(compiler, text, flags):
    """User seconds and peak MiB."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "one.cc")
        source.write_text(text)
        child = subprocess.Popen([compiler, "-std=c++20", *flags, "-c", source, "-o", f"{source}.o"],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "LC_ALL": "C"})
        said = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise SystemExit(f"{compiler} {' '.join(map(str, flags))} failed:\n{said}")
    return {"seconds": used.ru_utime, "mib": used.ru_maxrss / 1024}


def flags_of(root, headers):
    found = subprocess.run(["pkg-config", "--cflags", "grpc++", "protobuf"], capture_output=True, text=True, check=True)
    return [f"-I{root}/include", *(f"-I{one}" for one in headers), *found.stdout.split()]
