// SPDX-License-Identifier: Apache-2.0
//
// Tokens of a language model: what one costs as a delta, against the raw stub's message.
#include <inferwire/contract/vllm.h>

#include <memory>
#include <string>
#include <utility>

#include "simple.h"

namespace bench {
namespace {

using VllmStub = inferwire::vllm::Inference::Stub;

// As the benchmarks' server has it, under the name of its private package.
struct BenchVllm : inferwire::Vllm {
  using GenerateStream = inferwire::Rpc<&VllmStub::GenerateStream>;
};

struct RawTokens final : Way {
  explicit RawTokens(const Aim& aim)
      : stub(inferwire::vllm::Inference::NewStub(grpc::CreateChannel(aim.target, grpc::InsecureChannelCredentials()))) {
  }
  void Make(int calls, int, Latencies& latencies) override {
    grpc::ClientContext context;
    inferwire::vllm::GenerateRequest request;
    request.set_text("Once upon a time");
    request.mutable_stopping()->set_max_new_tokens(static_cast<std::uint32_t>(calls));
    const auto reader = stub->GenerateStream(&context, request);
    inferwire::vllm::GenerateResponse response;
    auto from = Clock::now();
    while (reader->Read(&response)) latencies.Add(std::exchange(from, Clock::now()));
    Expect(reader->Finish());
  }
  std::unique_ptr<VllmStub> stub;
};

struct OursTokens final : Ours {
  using Ours::Ours;
  void Make(int calls, int, Latencies& latencies) override {
    const inferwire::GenerationClient<BenchVllm> llm(client);
    auto stream = llm.StreamGenerate({.prompt = "Once upon a time", .max_tokens = calls});
    auto from = Clock::now();
    for ([[maybe_unused]] inferwire::GenerationDelta& delta : stream) {
      latencies.Add(std::exchange(from, Clock::now()));
    }
    Expect(stream.status());
  }
};

}  // namespace

void AddTokens(Ways& ways) {
  ways["raw_tokens"] = Make<RawTokens>();
  ways["ours_tokens"] = Make<OursTokens>();
}

}  // namespace bench
