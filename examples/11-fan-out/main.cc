// SPDX-License-Identifier: Apache-2.0
//
// Fan-out: many calls at once as futures, many conversations at once as tasks, and an end to all of them in time.
#include <inferwire/client.h>

#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/inference.grpc.pb.h"
#include "server/local_server.h"

using Inference = inference::Inference::Stub;

namespace {

inference::Request Prompt(const std::string& text, float tokens, float seed) {
  inference::Request request;
  request.set_model("storyteller");
  request.set_text(text);
  request.add_input(tokens);
  request.add_input(seed);
  return request;
}

// Several steps, one after another, are a task: here, tokens until the first full stop.
inferwire::Task<std::string> FirstSentence(inferwire::Client client, std::string prompt, float seed) {
  auto chunks = client.Stream<&Inference::StreamInference>(Prompt(prompt, 1000, seed));
  std::string sentence = prompt;
  while (std::optional<inference::Response> chunk = co_await chunks.Next()) {
    sentence += chunk->text();
    if (chunk->text().find('.') != std::string::npos) break;  // leaving drops the stream, which stops the server
  }
  co_return sentence;
}

}  // namespace

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer server(argc, argv);
  const auto client = inferwire::Client::Create({.targets = {server.target()}, .credentials = inferwire::Insecure()});
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }

  // One call each: futures. They are gathered in order, each with a status of its own.
  std::vector<inferwire::Future<inference::Response>> calls;
  for (int seed = 0; seed < 20; ++seed) {
    calls.push_back(client->Async<&Inference::RunInference>(Prompt("Tom", 5, static_cast<float>(seed))));
  }
  const auto replies = inferwire::WhenAll(std::move(calls)).Get();
  if (!replies.ok()) return 1;
  for (const absl::StatusOr<inference::Response>& reply : *replies) {
    if (!reply.ok()) {
      std::cerr << reply.status() << "\n";
      return 1;
    }
  }
  std::cout << replies->size() << " calls were answered\n";

  // Streams at once, each read by its own task; no thread waits but this one.
  std::vector<inferwire::Task<std::string>> stories;
  for (const char* hero : {"Tom", "Huck", "Becky", "The old lady"}) {
    stories.push_back(FirstSentence(*client, hero, 7));
  }
  for (const std::string& story : inferwire::SyncWait(inferwire::WhenAll(std::move(stories)))) {
    std::cout << "- " << story << "\n";
  }

  // A task that runs by itself until nobody wants it any more: cancelled, its stream ends, and so does the task.
  inferwire::Future<std::string> endless = inferwire::Start(FirstSentence(*client, "Sid", 1));
  endless.Cancel();
  const absl::StatusOr<std::string> partial = std::move(endless).Get();
  std::cout << "the last one was " << (partial.ok() ? "already told: " + *partial : "stopped before it began") << "\n";
  return 0;
}
