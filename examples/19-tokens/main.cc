// SPDX-License-Identifier: Apache-2.0
//
// A language model: a prompt goes in, tokens come out, and a stop word ends the generation in the server too.
#include <inferwire/contract/open_inference.h>
#include <inferwire/inference.h>

#include <cstdint>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
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

  auto tokens = server->GetModel("storyteller")
                    .StreamInfer({
                        {"prompt", std::vector<std::string>{"Tom said"}, {1}},
                        {"max_tokens", std::vector<std::int64_t>{100'000}, {1}},
                    });
  for (const inferwire::InferResult& token : tokens) {
    const absl::StatusOr<std::span<const std::string_view>> text = token.Get<std::string_view>("text");
    if (!text.ok() || text->empty()) break;
    std::cout << text->front() << std::flush;
    if (text->front() == " Huck") break;
  }
  const absl::Status end = tokens.Finish();  // what is still to come is called off

  std::cout << "\n" << tokens.stats().messages_per_second << " tokens a second\n";
  if (end.ok() || end.code() == absl::StatusCode::kCancelled) return 0;
  std::cerr << end << "\n";
  return 1;
}
