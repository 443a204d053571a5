// SPDX-License-Identifier: Apache-2.0
//
// The door of a contract is all that a program includes which speaks it.
#include <inferwire/contract/open_inference.h>

#include <array>
#include <iostream>

int main() {
  const auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {"localhost:8001"}, .credentials = inferwire::Insecure()});
  if (!server.ok()) return 1;
  const std::array<float, 64> pixels{};
  inferwire::Model digits = server->GetModel("digits");
  const absl::StatusOr<inferwire::InferResult> result =
      digits.Infer({{"image", std::span<const float>(pixels), {1, 64}}}, {.timeout = absl::Milliseconds(20)});
  if (!result.ok()) std::cerr << result.status() << "\n";
}
