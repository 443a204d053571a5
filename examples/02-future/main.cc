// SPDX-License-Identifier: Apache-2.0
//
// Calls that run at the same time: futures, continuations, and all results at once.
#include <inferwire/client.h>

#include <iostream>
#include <utility>
#include <vector>

#include "inferwire/inference.grpc.pb.h"
#include "server/local_server.h"

using Inference = inference::Inference::Stub;

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer server(argc, argv);
  const auto client = inferwire::Client::Create({.targets = {server.target()}, .credentials = inferwire::Insecure()});
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }

  std::vector<inferwire::Future<float>> squares;
  for (int i = 1; i <= 10; ++i) {
    inference::Request request;
    request.add_input(static_cast<float>(i));
    // The continuation runs on the client's executor; what it returns is the new future's result.
    squares.push_back(client->Async<&Inference::RunInference>(request).Then(
        [](absl::StatusOr<inference::Response> reply) -> absl::StatusOr<float> {
          if (!reply.ok()) return reply.status();
          return reply->output(0) * reply->output(0);
        }));
  }

  absl::StatusOr<std::vector<absl::StatusOr<float>>> all = inferwire::WhenAll(std::move(squares)).Get();
  if (!all.ok()) return 1;
  float sum = 0;
  for (const absl::StatusOr<float>& square : *all) {
    if (!square.ok()) {
      std::cerr << square.status() << "\n";
      return 1;
    }
    sum += *square;
  }
  std::cout << "the squares of 1 to 10 sum up to " << sum << "\n";
  return sum == 385 ? 0 : 1;
}
