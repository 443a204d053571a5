// SPDX-License-Identifier: Apache-2.0
//
// A model as a function: its signature is checked against the server's metadata once, and by the compiler at each call.
#include <inferwire/contract/open_inference.h>
#include <inferwire/typed_model.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <span>

#include "server/digits.h"
#include "server/local_server.h"
#include "server/models.h"

using Image = inferwire::Tensor<"image", float, -1, 64>;  // any number of images of 64 pixels
using Scores = inferwire::Tensor<"scores", float, -1, 10>;
using Label = inferwire::Tensor<"label", std::int64_t, -1>;

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer local(argc, argv);
  const auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {local.target()}, .credentials = inferwire::Insecure()});
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }

  const auto classify = server->Bind<inferwire::Outputs<Scores, Label>, inferwire::Inputs<Image>>("digits");
  if (!classify.ok()) {
    std::cerr << classify.status() << "\n";
    return 1;
  }

  const auto digits = inferwire::examples::LoadDigitSet(inferwire::examples::BuiltInDataDir() + "/digits/held_out.bin");
  if (!digits.ok()) {
    std::cerr << digits.status() << "\n";
    return 1;
  }
  const std::span<const float> three = std::span(digits->pixels).first(3 * inferwire::examples::kDigitPixels);
  const auto result = (*classify)(three, {.timeout = absl::Seconds(5)});
  if (!result.ok()) {
    std::cerr << result.status() << "\n";
    return 1;
  }
  const auto& [scores, label] = *result;  // views that keep the answer alive
  for (std::size_t i = 0; i < label.size(); ++i) {
    const auto row = scores.elements().subspan(10 * i, 10);
    std::cout << "a " << digits->labels[i] << " looks like a " << label[i] << ", with a probability of "
              << *std::max_element(row.begin(), row.end()) << "\n";
  }

  // What does not fit the model is told before anything is called.
  const auto wrong =
      server->Bind<inferwire::Outputs<Scores>, inferwire::Inputs<inferwire::Tensor<"image", double, 64>>>("digits");
  std::cout << wrong.status().message() << "\n";
  return 0;
}
