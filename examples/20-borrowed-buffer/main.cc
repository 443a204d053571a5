// SPDX-License-Identifier: Apache-2.0
//
// Vision without copies: a batch of images goes from this program's memory to the socket, the scores come into it.
#include <inferwire/contract/open_inference.h>
#include <inferwire/inference.h>

#include <cstdint>
#include <iostream>
#include <span>
#include <utility>
#include <vector>

#include "server/digits.h"
#include "server/local_server.h"
#include "server/models.h"

using namespace inferwire::examples;  // NOLINT

int main(int argc, char** argv) {
  const LocalServer local(argc, argv);
  const auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {local.target()}, .credentials = inferwire::Insecure()});
  const auto digits = LoadDigitSet(BuiltInDataDir() + "/digits/held_out.bin");
  if (!server.ok() || !digits.ok()) {
    std::cerr << server.status() << "\n" << digits.status() << "\n";
    return 1;
  }

  // What a camera would fill, and what a display would read: allocated once, lent to each call.
  const auto images = static_cast<std::int64_t>(digits->size());
  std::vector<float> scores(digits->size() * kDigitClasses);

  inferwire::InferRequest request = {{"image", std::span<const float>(digits->pixels), {images, 64}}};
  request.set_outputs({"scores"});
  request.set_output_buffer("scores", std::span(scores));
  if (const auto result = server->GetModel("digits").Infer(std::move(request)); !result.ok()) {
    std::cerr << result.status() << "\n";
    return 1;
  }

  const std::vector<int> read = MostProbable(scores);
  std::size_t right = 0;
  for (std::size_t i = 0; i < read.size(); ++i) right += read[i] == digits->labels[i] ? 1 : 0;
  std::cout << right << " of " << read.size() << " digits read correctly, in one call, from "
            << digits->pixels.size() * 4 << " bytes that were never copied\n";
  return right * 100 > read.size() * 95 ? 0 : 1;
}
