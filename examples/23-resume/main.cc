// SPDX-License-Identifier: Apache-2.0
//
// A server goes in the middle of a generation: another one goes on with it, and each token is given once.
#include <inferwire/contract/vllm.h>

#include <chrono>
#include <iostream>
#include <string>

#include "server/server.h"

using inferwire::Vllm;
using inferwire::examples::EmbeddedServer;

int main() {
  auto first = EmbeddedServer::Start({.token_delay = std::chrono::milliseconds(5)});
  auto second = EmbeddedServer::Start({.token_delay = std::chrono::milliseconds(5)});
  if (!first.ok() || !second.ok()) {
    std::cerr << first.status() << " " << second.status() << "\n";
    return 1;
  }
  const auto llm = inferwire::GenerationClient<Vllm>::Create({
      .targets = {(*first)->target(), (*second)->target()},
      .credentials = inferwire::Insecure(),
      .target_order = inferwire::TargetOrder::kPriority,  // the second is the first one's backup
  });
  if (!llm.ok()) {
    std::cerr << llm.status() << "\n";
    return 1;
  }
  // With a seed: what another server goes on with is what this one would have said.
  const inferwire::GenerationRequest request = {.prompt = "Becky", .max_tokens = 80, .seed = 11, .ignore_eos = true};
  const auto unbroken = llm->Generate(request);
  if (!unbroken.ok()) {
    std::cerr << unbroken.status() << "\n";
    return 1;
  }

  inferwire::GenerationStream stream = llm->StreamGenerate(request, {.resume = true});
  std::string text;
  int deltas = 0;
  for (const inferwire::GenerationDelta& delta : stream) {
    text += delta.text;
    std::cout << delta.text << std::flush;
    if (++deltas != 30) continue;
    std::cout << " [the first server goes]" << std::flush;
    (*first)->Shutdown(std::chrono::milliseconds(0));
  }
  std::cout << "\n\n";
  if (!stream.status().ok()) {
    std::cerr << stream.status() << "\n";
    return 1;
  }
  const bool same = text == unbroken->text;
  std::cout << stream.usage().completion_tokens << " tokens by two servers: "
            << (same ? "whole, and equal to the unbroken generation" : "not what one server said") << "\n";
  return same ? 0 : 1;
}
