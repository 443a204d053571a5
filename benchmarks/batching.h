// SPDX-License-Identifier: Apache-2.0
//
// Small inferences as many callers make them, each a call of its own or in batches.
#ifndef INFERWIRE_BENCHMARKS_BATCHING_H_
#define INFERWIRE_BENCHMARKS_BATCHING_H_

#include <inferwire/batcher.h>
#include <inferwire/contract/simple.h>
#include <inferwire/inference.h>

#include <array>
#include <optional>
#include <span>
#include <string>

/// For a server that tells the shape of what it answers, which one with a cost per call does.
class SmallInferences {
 public:
  explicit SmallInferences(const std::string& target, std::optional<inferwire::BatcherOptions> options = std::nullopt)
      : model_(inferwire::InferenceClient<inferwire::Simple>::Create(
                   {.targets = {target}, .credentials = inferwire::Insecure()})
                   ->GetModel("echo")) {
    input_.fill(0.5f);
    if (options.has_value()) batcher_.emplace(model_, *options);
  }

  absl::Status Infer() const {
    const inferwire::InferRequest request = {{"input", std::span<const float>(input_), {1, 16}}};
    return (batcher_.has_value() ? batcher_->Infer(request) : model_.Infer(request)).status();
  }

 private:
  std::array<float, 16> input_{};
  inferwire::Model<inferwire::Simple> model_;
  std::optional<inferwire::Batcher<inferwire::Simple>> batcher_;
};

#endif  // INFERWIRE_BENCHMARKS_BATCHING_H_
