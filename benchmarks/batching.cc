// SPDX-License-Identifier: Apache-2.0
//
// Small inferences as many callers make them, each a call of its own or in batches.
#include <inferwire/batcher.h>
#include <inferwire/contract/open_inference.h>
#include <inferwire/contract/simple.h>
#include <inferwire/inference.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "measure.h"

namespace bench {
namespace {

// One row each; without options, each a call of its own.
template <inferwire::Contract C>
class Rows final : public Way {
 public:
  Rows(const std::string& target, std::string model, std::string input,
       std::optional<inferwire::BatcherOptions> options = std::nullopt)
      : name_(std::move(input)),
        model_(inferwire::InferenceClient<C>::Create({.targets = {target}, .credentials = inferwire::Insecure()})
                   ->GetModel(std::move(model), inferwire::ModelOptions{.check = false})) {
    input_.fill(0.5f);
    if (options.has_value()) batcher_.emplace(model_, *options);
  }
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        const inferwire::InferRequest request = {{name_, std::span<const float>(input_), {1, 16}}};
        Expect((batcher_.has_value() ? batcher_->Infer(request) : model_.Infer(request)).status());
        latencies.Add(from);
      }
    });
  }

 private:
  const std::string name_;
  std::array<float, 16> input_{};
  inferwire::Model model_;
  std::optional<inferwire::Batcher> batcher_;
};

template <inferwire::Contract C>
MakeWay On(std::string model, std::string input, std::optional<inferwire::BatcherOptions> options = std::nullopt) {
  return [=](const Aim& aim) { return std::make_unique<Rows<C>>(aim.target, model, input, options); };
}

}  // namespace

void AddBatching(Ways& ways) {
  // A batch grows while the one before is under way.
  const inferwire::BatcherOptions in_turn{.max_delay = absl::ZeroDuration(), .max_in_flight = 1};
  ways["ours_infer_unbatched"] = On<inferwire::Simple>("echo", "input");
  ways["ours_infer_batched"] = On<inferwire::Simple>("echo", "input", in_turn);
  ways["ours_infer_delayed"] = On<inferwire::Simple>("echo", "input", inferwire::BatcherOptions());
  // On a Triton, whose model does not batch.
  ways["ours_triton_batched"] = On<inferwire::OpenInference>("identity_fp32", "INPUT0", in_turn);
}

}  // namespace bench
