// SPDX-License-Identifier: Apache-2.0
//
// A coroutine that waits for one call and feeds its answer to the next, without blocking a thread.
#include <inferwire/client.h>

#include <iostream>

#include "inferwire/inference.grpc.pb.h"
#include "server/local_server.h"

using Inference = inference::Inference::Stub;

// Asks for a story, and then for another that goes on where the first one ended.
inferwire::Task<absl::StatusOr<std::string>> TellTwice(inferwire::Client client, std::string prompt) {
  inference::Request request;
  request.set_model("storyteller");
  request.set_text(prompt);
  absl::StatusOr<inference::Response> first = co_await client.Async<&Inference::RunInference>(request);
  if (!first.ok()) co_return first.status();

  request.set_text(first->text());
  absl::StatusOr<inference::Response> second = co_await client.Async<&Inference::RunInference>(request);
  if (!second.ok()) co_return second.status();
  co_return first->text() + "\n...\n" + second->text();
}

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer server(argc, argv);
  auto client = inferwire::Client::Create({.targets = {server.target()}, .credentials = inferwire::Insecure()});
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  const absl::StatusOr<std::string> story = inferwire::SyncWait(TellTwice(*client, "Tom"));
  if (!story.ok()) {
    std::cerr << story.status() << "\n";
    return 1;
  }
  std::cout << *story << "\n";
  return 0;
}
