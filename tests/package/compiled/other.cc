// SPDX-License-Identifier: Apache-2.0
#include <inferwire/admin.h>
#include <inferwire/batcher.h>
#include <inferwire/client.h>
#include <inferwire/contract/open_inference.h>
#include <inferwire/contracts.h>

#include <utility>
#include <vector>

#include "inferwire/inference.grpc.pb.h"

absl::StatusCode Ask(const inferwire::Client& client) {
  auto future = client.Async<&inference::Inference::Stub::RunInference>(inference::Request());
  return std::move(future).Get().status().code();
}

// By type and by name, alone, in a batch, as a stream and in a sequence.
bool ModelsAreUnavailable(const inferwire::Client& client) {
  const inferwire::InferenceClient<inferwire::OpenInference> server(client);
  const auto named = inferwire::ContractByName("open_inference_kserve");
  if (!named.ok()) return false;
  const inferwire::Model models[] = {server.GetModel("m", {.check = false}),
                                     inferwire::AnyInferenceClient(*named, client).GetModel("m")};
  const inferwire::InferRequest request = {{"x", std::vector<float>{1, 2}, {1, 2}}};
  bool fine = absl::IsUnavailable(server.Live().status()) &&
              absl::IsUnavailable(inferwire::Admin(server).LoadModel("m", {}, {.idempotent = true}));
  for (const inferwire::Model& model : models) {
    fine = fine && absl::IsUnavailable(model.Infer(request).status()) &&
           absl::IsUnavailable(model.AsyncInfer(request).Get().status()) &&
           absl::IsUnavailable(inferwire::Batcher(model, {.max_batch = 1}).Infer(request).status());
  }
  auto stream = models[0].StreamInfer(request);
  while (stream.Read()) {
  }
  auto sequence = models[0].Sequence(1);
  return fine && absl::IsUnavailable(stream.status()) && absl::IsUnavailable(sequence.Step(request).status());
}
