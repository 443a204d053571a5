// SPDX-License-Identifier: Apache-2.0
#include <inferwire/client.h>

#include "inferwire/inference.grpc.pb.h"

absl::StatusCode Ask(const inferwire::Client& client) {
  auto future = client.Async<&inference::Inference::Stub::RunInference>(inference::Request());
  return std::move(future).Get().status().code();
}
