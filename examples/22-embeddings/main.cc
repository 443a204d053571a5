// SPDX-License-Identifier: Apache-2.0
//
// Texts as vectors: the one that is nearest to a question, and the same asked of a reranker.
#include <inferwire/contract/tei.h>

#include <cstddef>
#include <cstdio>
#include <iostream>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "server/local_server.h"

namespace {

// Of vectors of the length 1.
float Cosine(std::span<const float> a, std::span<const float> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0f);
}

}  // namespace

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer server(argc, argv);
  const auto tei = inferwire::EmbeddingClient<inferwire::TextEmbeddings>::Create(
      {.targets = {server.target()}, .credentials = inferwire::Insecure()});
  if (!tei.ok()) {
    std::cerr << tei.status() << "\n";
    return 1;
  }

  const std::vector<std::string> lines = {
      "A stream that breaks goes on at another target.", "Certificates are read again when their files change.",
      "Vectors come back in the order of their texts.",  "Requests that fail are retried within a budget.",
      "The server is told when a call is cancelled.",
  };
  const std::string question = "How often is a failed request retried?";

  const auto vectors = tei->Embed(lines, {.normalize = true});  // all at once, in their order
  const auto asked = tei->Embed({question}, {.normalize = true});
  if (!vectors.ok() || !asked.ok()) {
    std::cerr << vectors.status() << " " << asked.status() << "\n";
    return 1;
  }
  std::cout << question << "\n\n" << vectors->size() << " texts, " << vectors->dimensions() << " dimensions:\n";
  std::size_t nearest = 0;
  for (std::size_t i = 0; i < vectors->size(); ++i) {
    const float score = Cosine((*asked)[0], (*vectors)[i]);
    if (score > Cosine((*asked)[0], (*vectors)[nearest])) nearest = i;
    std::printf("  %6.3f  %s\n", static_cast<double>(score), lines[i].c_str());
  }

  const auto ranked = tei->Rerank(question, lines);
  if (!ranked.ok()) {
    std::cerr << ranked.status() << "\n";
    return 1;
  }
  std::printf("\nranked by the server:\n");
  for (const inferwire::Ranked& rank : *ranked) {
    std::printf("  %6.3f  %s\n", static_cast<double>(rank.score), lines[rank.index].c_str());
  }
  return ranked->front().index == nearest && nearest == 3 ? 0 : 1;
}
