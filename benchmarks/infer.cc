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

void Check(std::span<const float> answer) {
  if (answer.size() != 16 || answer[15] != 0.5f) Give("the model has not answered what it was asked");
}

struct RawInfer final : RawOpen {
  using RawOpen::RawOpen;
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      const Row row = MakeRow();
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        open::ModelInferRequest request;
        request.set_model_name("echo");
        Add(request, "input", row);
        const open::ModelInferResponse response = Infer(request);
        const std::string& raw = response.raw_output_contents(0);
        Check({reinterpret_cast<const float*>(raw.data()), raw.size() / sizeof(float)});
        latencies.Add(from);
      }
    });
  }
};

template <bool kOverStream>
struct OursInfer final : OursOpen {
  explicit OursInfer(const Aim& aim) : OursOpen(aim, "echo", kOverStream) {}
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      const Row row = MakeRow();
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        const inferwire::InferResult result = Infer({{"input", std::span<const float>(row), {1, 16}}});
        Check(*result.Get<float>("input"));
        latencies.Add(from);
      }
    });
  }
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
  inferwire::Model<inferwire::Simple> model;
};

// Triton's own example of a model, on a server of somebody else's.

struct RawAddSub final : RawOpen {
  using RawOpen::RawOpen;
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      const std::array<float, 4> row{1, 2, 3, 4};
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        open::ModelInferRequest request;
        request.set_model_name("add_sub");
        Add(request, "INPUT0", row);
        Add(request, "INPUT1", row);
        if (Infer(request).raw_output_contents_size() != 2) Give("add_sub answers two tensors");
        latencies.Add(from);
      }
    });
  }
};

template <bool kOverStream>
struct OursAddSub final : OursOpen {
  explicit OursAddSub(const Aim& aim) : OursOpen(aim, "add_sub", kOverStream) {}
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      const std::array<float, 4> row{1, 2, 3, 4};
      const std::span<const float> lent(row);
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        if (Infer({{"INPUT0", lent, {1, 4}}, {"INPUT1", lent, {1, 4}}}).outputs().size() != 2) {
          Give("add_sub answers two tensors");
        }
        latencies.Add(from);
      }
    });
  }
};

}  // namespace

void AddInference(Ways& ways) {
  ways["raw_infer"] = Make<RawInfer>();
  ways["ours_infer"] = Make<OursInfer<false>>();
  ways["ours_infer_over_stream"] = Make<OursInfer<true>>();
  ways["ours_async_infer"] = Make<OursAsyncInfer<false>>();
  ways["ours_async_infer_over_stream"] = Make<OursAsyncInfer<true>>();
  ways["ours_simple_infer"] = Make<OursSimple>();
  ways["raw_add_sub"] = Make<RawAddSub>();
  ways["ours_add_sub"] = Make<OursAddSub<false>>();
  ways["ours_add_sub_over_stream"] = Make<OursAddSub<true>>();
}

}  // namespace bench
