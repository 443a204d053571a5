// SPDX-License-Identifier: Apache-2.0
//
// Small inferences as many callers make them, each a call of its own or in batches.
#include <inferwire/batcher.h>
#include <inferwire/contract/simple.h>
#include <inferwire/inference.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "measure.h"

namespace bench {
namespace {

// One row each; without options, each a call of its own.
class Rows final : public Way {
 public:
  explicit Rows(const std::string& target, std::optional<inferwire::BatcherOptions> options = std::nullopt)
      : model_(inferwire::InferenceClient<inferwire::Simple>::Create(
                   {.targets = {target}, .credentials = inferwire::Insecure()})
                   ->GetModel("echo")) {
    input_.fill(0.5f);
    if (options.has_value()) batcher_.emplace(model_, *options);
  }
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        const inferwire::InferRequest request = {{"input", std::span<const float>(input_), {1, 16}}};
        Expect((batcher_.has_value() ? batcher_->Infer(request) : model_.Infer(request)).status());
        latencies.Add(from);
      }
    });
  }

 private:
  std::array<float, 16> input_{};
  inferwire::Model<inferwire::Simple> model_;
  std::optional<inferwire::Batcher<inferwire::Simple>> batcher_;
};

}  // namespace

void AddBatching(Ways& ways) {
  ways["ours_infer_unbatched"] = [](const Aim& aim) { return std::make_unique<Rows>(aim.target); };
  // A batch grows while the one before is under way.
  ways["ours_infer_batched"] = [](const Aim& aim) {
    return std::make_unique<Rows>(aim.target,
                                  inferwire::BatcherOptions{.max_delay = absl::ZeroDuration(), .max_in_flight = 1});
  };
  ways["ours_infer_delayed"] = [](const Aim& aim) {
    return std::make_unique<Rows>(aim.target, inferwire::BatcherOptions());
  };
}

}  // namespace bench
