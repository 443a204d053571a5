// SPDX-License-Identifier: Apache-2.0
//
// Tensors instead of messages, over the Open Inference Protocol: the same code calls Triton, KServe or OpenVINO.
#include <inferwire/contract/open_inference.h>
#include <inferwire/inference.h>

#include <iostream>
#include <span>
#include <vector>

#include "server/local_server.h"

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer local(argc, argv);
  const auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {local.target()}, .credentials = inferwire::Insecure()});
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }

  inferwire::Model model = server->GetModel("add_sub");
  const absl::StatusOr<inferwire::ModelMetadata> metadata = model.Metadata();
  if (!metadata.ok()) {
    std::cerr << metadata.status() << "\n";
    return 1;
  }
  for (const inferwire::TensorMetadata& input : metadata->inputs) {
    std::cout << "takes " << input.name << " " << DataTypeName(input.datatype) << " " << input.shape.ToString() << "\n";
  }

  const std::vector<float> left = {5, 7, 9};
  absl::StatusOr<inferwire::InferResult> result = model.Infer({
      {"INPUT0", std::span<const float>(left), {3}},  // lent: stays yours, must live until the call returns
      {"INPUT1", std::vector<float>{1, 2, 3}, {3}},   // moved in: the request owns it
  });
  if (!result.ok()) {
    std::cerr << result.status() << "\n";
    return 1;
  }
  for (const inferwire::InferOutput& output : result->outputs()) {
    const absl::StatusOr<std::span<const float>> values = result->Get<float>(output.name());
    if (!values.ok()) continue;
    std::cout << "gives " << output.name() << ":";
    for (const float value : *values) std::cout << " " << value;
    std::cout << "\n";
  }
  return 0;
}
