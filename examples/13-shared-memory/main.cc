// SPDX-License-Identifier: Apache-2.0
//
// Tensors through shared memory, for a server on the same machine: no element of them travels through the connection.
#include <inferwire/admin.h>
#include <inferwire/contract/open_inference.h>
#include <inferwire/inference.h>
#include <inferwire/shared_memory.h>
#include <unistd.h>

#include <iostream>
#include <numeric>
#include <string>

#include "server/local_server.h"

absl::Status Run(const inferwire::InferenceClient<inferwire::OpenInference>& server) {
  // A name of this process's own. The region is removed from the system when it ends, the server forgets it before.
  auto region = inferwire::SharedMemoryRegion::Create("inferwire_example_" + std::to_string(getpid()), 1 << 20);
  if (!region.ok()) return region.status();
  const auto registration = inferwire::Admin(server).Register(*region);
  if (!registration.ok()) return registration.status();

  constexpr std::size_t kCount = 1000;
  const auto left = region->Allocate<float>(kCount);
  const auto right = region->Allocate<float>(kCount);
  const auto sum = region->Allocate<float>(kCount);
  for (const absl::Status& status : {left.status(), right.status(), sum.status()}) {
    if (!status.ok()) return status;
  }
  std::iota(left->elements().begin(), left->elements().end(), 0.0f);
  std::iota(right->elements().begin(), right->elements().end(), 1.0f);

  inferwire::InferRequest request = {left->Input("INPUT0", {kCount}), right->Input("INPUT1", {kCount})};
  request.add_output(sum->Output("OUTPUT0"));
  const auto result = server.GetModel("add_sub").Infer(request);
  if (!result.ok()) return result.status();
  const auto values = sum->Read(*result, "OUTPUT0");
  if (!values.ok()) return values.status();
  std::cout << values->size() << " sums in '" << region->name() << "', the last of them " << values->back() << "\n";
  return absl::OkStatus();
}

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer local(argc, argv);
  const auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {local.target()}, .credentials = inferwire::Insecure()});
  const absl::Status status = server.ok() ? Run(*server) : server.status();
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
