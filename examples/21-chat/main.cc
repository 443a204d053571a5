// SPDX-License-Identifier: Apache-2.0
//
// One program for several servers of language models: what differs is the contract's name.
#include <inferwire/contract/sglang.h>
#include <inferwire/contract/vllm.h>

#include <iostream>
#include <utility>

#include "server/local_server.h"

namespace {

using inferwire::GenerationRequest;

// Prints an answer as it comes, and cancels it behind so many tokens: the engine stops.
bool Answer(const inferwire::AnyGenerationClient& llm, GenerationRequest request, int most) {
  std::cout << llm.contract_name() << ": " << std::flush;
  inferwire::GenerationStream stream = llm.StreamGenerate(std::move(request));
  int tokens = 0;
  for (const inferwire::GenerationDelta& delta : stream) {
    std::cout << delta.text << std::flush;
    if (delta.finish_reason.has_value()) std::cout << "\n  ended (" << *delta.finish_reason << ")";
    if (++tokens == most) break;
  }
  const absl::Status end = stream.Finish();
  std::cout << (end.ok() ? "" : "\n  cancelled") << ": " << stream.usage().completion_tokens << " tokens for "
            << stream.usage().prompt_tokens << " of the prompt\n";
  if (end.ok() || (tokens == most && end.code() == absl::StatusCode::kCancelled)) return true;
  std::cerr << end << "\n";
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer server(argc, argv);
  const auto client = inferwire::Client::Create({.targets = {server.target()}, .credentials = inferwire::Insecure()});
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  const inferwire::GenerationClient<inferwire::Vllm> vllm(*client);
  const inferwire::GenerationClient<inferwire::Sglang> sglang(*client);

  const GenerationRequest text = {.prompt = "Aunt Polly asked", .max_tokens = 40, .seed = 5};
  const GenerationRequest chat = {
      .messages = {{"system", "You tell stories."}, {"user", "Aunt Polly asked"}}, .max_tokens = 40, .seed = 5};
  bool all = Answer(vllm, text, 1000);
  all = Answer(sglang, text, 5) && all;  // enough is enough
  all = Answer(sglang, chat, 1000) && all;
  return all ? 0 : 1;
}
