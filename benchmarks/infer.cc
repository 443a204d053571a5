// SPDX-License-Identifier: Apache-2.0
//
// Inference with small tensors: by a generated stub, by a Model, and by a Model whose calls share a stream.
#include <inferwire/contract/simple.h>

#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "open.h"

namespace bench {
namespace {

using Row = std::array<float, 16>;
Row MakeRow() {
  Row row;
  row.fill(0.5f);
  return row;
}

/// A model that answers what it is asked.
struct Echo {
  std::string model = "echo", input = "input", output = "input";
};
/// On a Triton, which runs it in Python.
Echo Identity() { return {"identity_fp32", "INPUT0", "OUTPUT0"}; }

void Check(std::span<const float> answer) {
  if (answer.size() != 16 || answer[15] != 0.5f) Give("the model has not answered what it was asked");
}

struct RawInfer final : RawOpen {
  explicit RawInfer(const Aim& aim, Echo called = {}) : RawOpen(aim), echo(std::move(called)) {}
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      const Row row = MakeRow();
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        open::ModelInferRequest request;
        request.set_model_name(echo.model);
        Add(request, echo.input, row);
        const open::ModelInferResponse response = Infer(request);
        const std::string& raw = response.raw_output_contents(0);
        Check({reinterpret_cast<const float*>(raw.data()), raw.size() / sizeof(float)});
        latencies.Add(from);
      }
    });
  }
  const Echo echo;
};

template <bool kOverStream>
struct OursInfer final : OursOpen {
  explicit OursInfer(const Aim& aim, Echo called = {})
      : OursOpen(aim, called.model, kOverStream), echo(std::move(called)) {}
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      const Row row = MakeRow();
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        const inferwire::InferResult result = Infer({{echo.input, std::span<const float>(row), {1, 16}}});
        Check(*result.Get<float>(echo.output));
        latencies.Add(from);
      }
    });
  }
  const Echo echo;
};

template <bool kOverStream>
struct OursAsyncInfer final : OursOpen {
  explicit OursAsyncInfer(const Aim& aim) : OursOpen(aim, "echo", kOverStream) {}
  void Make(int calls, int in_flight, Latencies& latencies) override {
    struct One {
      Clock::time_point from;
      inferwire::Future<inferwire::InferResult> future;
    };
    const Row row = MakeRow();
    std::deque<One> flying;
    for (int i = 0; i < calls || !flying.empty(); ++i) {
      if (i < calls) {
        flying.push_back({Clock::now(), model.AsyncInfer({{"input", std::span<const float>(row), {1, 16}}})});
        if (flying.size() < static_cast<std::size_t>(in_flight)) continue;
      }
      const absl::StatusOr<inferwire::InferResult> result = std::move(flying.front().future).Get();
      Expect(result.status());
      Check(*result->Get<float>("input"));
      latencies.Add(flying.front().from);
      flying.pop_front();
    }
  }
};

struct OursSimple final : Way {
  explicit OursSimple(const Aim& aim)
      : model(inferwire::InferenceClient<inferwire::Simple>::Create(
                  {.targets = {aim.target}, .credentials = inferwire::Insecure()})
                  ->GetModel("echo")) {}
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      const Row row = MakeRow();
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        Expect(model.Infer({{"input", std::span<const float>(row), {1, 16}}}).status());
        latencies.Add(from);
      }
    });
  }
  inferwire::Model model;
};

}  // namespace

void AddInference(Ways& ways) {
  ways["raw_infer"] = Make<RawInfer>();
  ways["ours_infer"] = Make<OursInfer<false>>();
  ways["ours_infer_over_stream"] = Make<OursInfer<true>>();
  ways["ours_async_infer"] = Make<OursAsyncInfer<false>>();
  ways["ours_async_infer_over_stream"] = Make<OursAsyncInfer<true>>();
  ways["ours_simple_infer"] = Make<OursSimple>();
  ways["raw_triton"] = [](const Aim& aim) { return std::make_unique<RawInfer>(aim, Identity()); };
  ways["ours_triton"] = [](const Aim& aim) { return std::make_unique<OursInfer<false>>(aim, Identity()); };
  ways["ours_triton_over_stream"] = [](const Aim& aim) { return std::make_unique<OursInfer<true>>(aim, Identity()); };
}

}  // namespace bench
