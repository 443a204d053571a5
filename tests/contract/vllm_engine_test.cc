// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/vllm_engine.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"
#include "support/generation.h"
#include "support/golden.h"

using inferwire::FinishReason;
using inferwire::GenerationRequest;
using inferwire::VllmEngine;
using namespace inferwire_test;  // NOLINT

namespace {
namespace vllm_engine = inferwire::vllm_engine;

const inferwire::detail::GenerationTable& VllmEngineTable() {
  return inferwire::detail::GenerationTableOf<VllmEngine>::Get();
}
Assembled OfVllmEngine(const std::vector<std::string>& messages, int n = 1) {
  return Assemble(VllmEngineTable().decode, messages, {.n = n});
}
absl::StatusCode VllmEngineCode(const vllm_engine::GenerateResponse& message, int n = 1) {
  return OfVllmEngine({message.SerializeAsString()}, n).status.code();
}
absl::Status RefusedByVllmEngine(const GenerationRequest& request) {
  return VllmEngine::Encode(request, true).status();
}

vllm_engine::GenerateRequest VllmEngineRequestOf(const CapturedCall& call) {
  vllm_engine::GenerateRequest out;
  REQUIRE(out.ParseFromString(call.request));
  return out;
}
/// `count` tokens from `first` on.
std::string VllmEngineChunk(std::uint32_t index, std::uint32_t first, std::uint32_t count) {
  vllm_engine::GenerateResponse out;
  out.mutable_chunk()->set_index(index);
  out.mutable_chunk()->set_prompt_tokens(3);
  out.mutable_chunk()->set_completion_tokens(count);
  for (std::uint32_t i = 0; i < count; ++i) out.mutable_chunk()->add_token_ids(first + i);
  return out.SerializeAsString();
}
std::string VllmEngineEnd(std::uint32_t index, std::uint32_t first, std::uint32_t count, const std::string& word) {
  vllm_engine::GenerateResponse out;
  out.mutable_complete()->set_index(index);
  out.mutable_complete()->set_prompt_tokens(3);
  out.mutable_complete()->set_completion_tokens(count);
  out.mutable_complete()->set_finish_reason(word);
  for (std::uint32_t i = 0; i < count; ++i) out.mutable_complete()->add_output_ids(first + i);
  return out.SerializeAsString();
}
}  // namespace

TEST_CASE("vllm_engine: what a real server answered is understood", "[vllm_engine]") {
  CHECK(VllmEngineTable().name == "vllm_engine");
  CHECK(std::string(VllmEngineTable().stream()) == "/vllm.grpc.engine.VllmEngine/Generate");
  CHECK_FALSE(VllmEngineTable().gives_text);
  CHECK(VllmEngineTable().wants_request_id);
  int generations = 0;
  for (const CapturedCall& call : Captured("vllm_engine")) {
    if (call.path != "/vllm.grpc.engine.VllmEngine/Generate" || call.status != "OK") continue;
    INFO(call.name);
    const vllm_engine::GenerateRequest request = VllmEngineRequestOf(call);
    const int n = std::max(static_cast<int>(request.sampling_params().n()), 1);
    const Assembled got = OfVllmEngine(call.messages, n);
    INFO(got.status);
    REQUIRE(got.status.ok());
    // Each message once more, by the generated code alone.
    std::map<int, std::vector<std::int32_t>> ids;
    std::map<int, std::string> words;
    std::int64_t tokens = 0;
    std::int64_t prompt = 0;
    std::size_t logprobs = 0;
    for (const std::string& bytes : call.messages) {
      vllm_engine::GenerateResponse message;
      REQUIRE(message.ParseFromString(bytes));
      if (message.has_chunk()) {
        REQUIRE(request.stream());
        const auto& chunk = message.chunk();
        std::vector<std::int32_t>& to = ids[static_cast<int>(chunk.index())];
        to.insert(to.end(), chunk.token_ids().begin(), chunk.token_ids().end());
        tokens += chunk.completion_tokens();
        prompt = chunk.prompt_tokens();
        logprobs += static_cast<std::size_t>(chunk.output_logprobs().token_logprobs_size());
        continue;
      }
      const auto& complete = message.complete();
      words[static_cast<int>(complete.index())] = complete.finish_reason();
      if (request.stream()) continue;
      ids[static_cast<int>(complete.index())].assign(complete.output_ids().begin(), complete.output_ids().end());
      tokens += complete.completion_tokens();
      prompt = complete.prompt_tokens();
    }
    std::size_t got_logprobs = 0;
    for (const auto& delta : got.deltas) {
      got_logprobs += delta.logprobs.size();
      for (std::size_t i = 0; i < delta.logprobs.size(); ++i) {
        CHECK(delta.logprobs[i].token_id == delta.token_ids.at(i));
        CHECK(delta.logprobs[i].logprob < 0);
        REQUIRE(delta.logprobs[i].candidates.size() == 1);
        CHECK(delta.logprobs[i].candidates[0].token_id == delta.token_ids[i]);
      }
      if (!delta.finish_reason.has_value()) continue;
      CHECK(delta.finish_reason == FinishReason::kLength);
      CHECK(delta.finish_word == words[delta.index]);
    }
    for (int i = 0; i < n; ++i) CHECK(got.token_ids(i) == ids[i]);
    CHECK(got.usage.completion_tokens == tokens);
    CHECK(got.usage.prompt_tokens == prompt);
    CHECK(got.usage.cached_tokens == 0);
    CHECK(got_logprobs == logprobs);
    CHECK((call.name != "stream of text" || logprobs == 4));
    ++generations;
  }
  CHECK(generations == 7);
}

TEST_CASE("vllm_engine: a call that was cut has its tokens, and no end", "[vllm_engine]") {
  for (const CapturedCall& call : Captured("vllm_engine")) {
    if (call.status != "CANCELLED") continue;
    const Assembled got = OfVllmEngine(call.messages);
    CHECK(got.token_ids().size() == 2);
    CHECK(got.status.code() == absl::StatusCode::kInternal);
    return;
  }
  FAIL("the capture has no call that was cancelled");
}

TEST_CASE("vllm_engine: the requests that a real server took are those that we write", "[vllm_engine]") {
  const std::vector<std::pair<std::string, GenerationRequest>> requests = {
      {"stream of ids",
       {.prompt = std::vector<std::int32_t>{101, 7592, 2045, 102},
        .max_tokens = 5,
        .temperature = 0.0f,
        .ignore_eos = true,
        .request_id = "a1"}},
      {"stream of text",
       {.prompt = "hello there",
        .max_tokens = 4,
        .temperature = 0.0f,
        .ignore_eos = true,
        .logprobs = 1,
        .request_id = "a3"}},
      {"two sequences",
       {.prompt = std::vector<std::int32_t>{101, 7592},
        .max_tokens = 3,
        .temperature = 0.8f,
        .seed = 1,
        .n = 2,
        .ignore_eos = true,
        .request_id = "a4"}},
  };
  std::size_t found = 0;
  for (const CapturedCall& call : Captured("vllm_engine")) {
    for (const auto& [name, request] : requests) {
      if (call.name != name) continue;
      INFO(name);
      ++found;
      vllm_engine::GenerateRequest theirs = VllmEngineRequestOf(call);
      auto ours = VllmEngine::Encode(request, true);
      REQUIRE(ours.ok());
      // What we say besides is what is so anyway.
      theirs.mutable_tokenized()->clear_original_text();
      if (!request.seed.has_value()) theirs.mutable_sampling_params()->set_n(1);
      if (const auto* const text = std::get_if<std::string>(&request.prompt)) theirs.set_text(*text);
      theirs.mutable_sampling_params()->set_skip_special_tokens(true);
      theirs.mutable_sampling_params()->set_spaces_between_special_tokens(true);
      CHECK(ours->SerializeAsString() == theirs.SerializeAsString());
    }
  }
  CHECK(found == requests.size());
}

TEST_CASE("vllm_engine: every field of a request is carried, or refused", "[vllm_engine]") {
  GenerationRequest request;
  request.prompt = std::vector<std::int32_t>{1, 2, 3};
  request.max_tokens = 7;
  request.temperature = 0.5f;
  request.top_p = 0.9f;
  request.top_k = 40;
  request.min_p = 0.1f;
  request.presence_penalty = 0.2f;
  request.frequency_penalty = -0.3f;
  request.repetition_penalty = 1.1f;
  request.seed = -5;
  request.n = 2;
  request.stop = {"a", "b"};
  request.stop_token_ids = {9, 0};
  request.ignore_eos = true;
  request.logprobs = 3;
  request.json_schema = "{}";
  request.request_id = "r";
  auto out = VllmEngine::Encode(request, true);
  REQUIRE(out.ok());
  const auto& sampling = out->sampling_params();
  CHECK(std::vector<std::uint32_t>(out->tokenized().input_ids().begin(), out->tokenized().input_ids().end()) ==
        std::vector<std::uint32_t>{1, 2, 3});
  CHECK(out->stream());
  CHECK(out->request_id() == "r");
  CHECK(sampling.max_tokens() == 7);
  CHECK(sampling.temperature() == 0.5f);
  CHECK(sampling.top_p() == 0.9f);
  CHECK(sampling.top_k() == 40);
  CHECK(sampling.min_p() == 0.1f);
  CHECK(sampling.presence_penalty() == 0.2f);
  CHECK(sampling.frequency_penalty() == -0.3f);
  CHECK(sampling.repetition_penalty() == 1.1f);
  CHECK(sampling.seed() == -5);
  CHECK(sampling.n() == 2);
  CHECK(std::vector<std::string>(sampling.stop().begin(), sampling.stop().end()) == request.stop);
  CHECK(std::vector<std::int32_t>(sampling.stop_token_ids().begin(), sampling.stop_token_ids().end()) ==
        request.stop_token_ids);
  CHECK(sampling.ignore_eos());
  CHECK(sampling.logprobs() == 3);
  CHECK(sampling.json_schema() == "{}");
  request.json_schema.reset();
  request.regex = "x+";
  CHECK(VllmEngine::Encode(request, true)->sampling_params().regex() == "x+");
  request.regex.reset();
  request.grammar = "root ::= x";
  CHECK(VllmEngine::Encode(request, true)->sampling_params().grammar() == "root ::= x");
  request.grammar.reset();
  request.choice = {"yes", "no"};
  request.prompt = "text";
  request.top_k = -1;
  out = VllmEngine::Encode(request, false);
  CHECK(out->sampling_params().choice().choices_size() == 2);
  CHECK(out->sampling_params().top_k() == 0);  // all
  CHECK(out->text() == "text");
  CHECK_FALSE(out->stream());

  // What is unset is not said.
  out = VllmEngine::Encode({.prompt = "x"}, true);
  CHECK_FALSE(out->sampling_params().has_temperature());
  CHECK_FALSE(out->sampling_params().has_max_tokens());
  CHECK_FALSE(out->sampling_params().has_seed());
  CHECK_FALSE(out->sampling_params().has_logprobs());
  CHECK(VllmEngine::Encode({.prompt = "x", .temperature = 0.0f}, true)->sampling_params().has_temperature());

  CHECK(std::string(RefusedByVllmEngine({.prompt = "x", .top_p = 0.0f}).message()).find("top_p is 0") == 0);
  CHECK(std::string(RefusedByVllmEngine({.prompt = "x", .repetition_penalty = 0.0f}).message())
            .find("repetition_penalty is 0") == 0);
  CHECK(RefusedByVllmEngine({.prompt = "x", .stop_token_ids = {-1}}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(RefusedByVllmEngine({.prompt = std::vector<std::int32_t>{-1}}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(RefusedByVllmEngine({.prompt = "x", .logprobs = -1}).code() == absl::StatusCode::kInvalidArgument);
  constexpr std::int64_t kMost = (std::numeric_limits<std::int32_t>::max)();
  CHECK(RefusedByVllmEngine({.prompt = "x", .seed = kMost}).ok());
  CHECK(std::string(RefusedByVllmEngine({.prompt = "x", .seed = kMost + 1}).message()).find("seed is 2147483648") == 0);
  CHECK(RefusedByVllmEngine({.prompt = "x", .seed = -kMost - 2}).code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("vllm_engine: two sequences, interleaved", "[vllm_engine]") {
  const Assembled got =
      OfVllmEngine({VllmEngineChunk(1, 10, 2), VllmEngineChunk(0, 20, 1), VllmEngineChunk(0, 21, 1),
                    VllmEngineEnd(0, 21, 1, "stop"), VllmEngineChunk(1, 12, 2), VllmEngineEnd(1, 12, 2, "length")},
                   2);
  REQUIRE(got.status.ok());
  CHECK(got.token_ids(0) == std::vector<std::int32_t>{20, 21});
  CHECK(got.token_ids(1) == std::vector<std::int32_t>{10, 11, 12, 13});
  CHECK(got.usage.completion_tokens == 6);
  CHECK(got.usage.prompt_tokens == 3);
  CHECK(got.finish_reason() == FinishReason::kLength);
  // One has not ended.
  CHECK(OfVllmEngine({VllmEngineEnd(1, 12, 2, "length")}, 2).status.code() == absl::StatusCode::kInternal);
}

TEST_CASE("vllm_engine: the last delta is given once, with a stream and without", "[vllm_engine]") {
  Assembled got = OfVllmEngine({VllmEngineChunk(0, 1, 2), VllmEngineChunk(0, 3, 1), VllmEngineEnd(0, 3, 1, "length")});
  CHECK(got.token_ids() == std::vector<std::int32_t>{1, 2, 3});
  CHECK(got.usage.completion_tokens == 3);
  got = OfVllmEngine({VllmEngineEnd(0, 1, 3, "length")});
  CHECK(got.token_ids() == std::vector<std::int32_t>{1, 2, 3});
  CHECK(got.usage.completion_tokens == 3);

  got = OfVllmEngine({Golden("vllm_engine/generate_chunk"), Golden("vllm_engine/generate_complete_streaming")});
  REQUIRE(got.status.ok());
  CHECK(got.token_ids() == std::vector<std::int32_t>{42, 43});
  CHECK(got.usage.completion_tokens == 2);
  REQUIRE(got.deltas.at(0).logprobs.size() == 2);
  CHECK(got.deltas[0].logprobs[1].token_id == 43);
  CHECK(got.deltas[0].logprobs[1].logprob == -1.25f);
  CHECK(got.deltas.back().stopped_by == inferwire::StoppedBy(std::int32_t{0}));
}

TEST_CASE("vllm_engine: how a sequence ended, and by what, also the token 0", "[vllm_engine]") {
  const std::vector<std::pair<std::string, FinishReason>> words = {
      {"stop", FinishReason::kStop},   {"length", FinishReason::kLength},   {"abort", FinishReason::kAborted},
      {"error", FinishReason::kError}, {"repetition", FinishReason::kStop}, {"", FinishReason::kStop}};
  for (const auto& [word, reason] : words) {
    const Assembled got = OfVllmEngine({VllmEngineEnd(0, 1, 1, word)});
    REQUIRE(got.deltas.size() == 1);
    CHECK(got.deltas[0].finish_reason == reason);
    CHECK(got.deltas[0].finish_word == word);
    CHECK(got.deltas[0].stopped_by == inferwire::StoppedBy());
  }
  vllm_engine::GenerateResponse message;
  message.mutable_complete()->set_finish_reason("stop");
  message.mutable_complete()->set_matched_token_id(0);
  CHECK(OfVllmEngine({message.SerializeAsString()}).deltas.at(0).stopped_by == inferwire::StoppedBy(std::int32_t{0}));
  message.mutable_complete()->set_matched_stop_str("END");
  CHECK(OfVllmEngine({message.SerializeAsString()}).deltas.at(0).stopped_by == inferwire::StoppedBy("END"));
}

TEST_CASE("vllm_engine: the likeliest tokens come first, whatever a server's order", "[vllm_engine]") {
  vllm_engine::GenerateResponse message;
  vllm_engine::GenerateComplete& end = *message.mutable_complete();
  end.add_output_ids(7);
  end.mutable_output_logprobs()->add_token_ids(7);
  end.mutable_output_logprobs()->add_token_logprobs(-3);
  auto& top = *end.mutable_output_logprobs()->add_top_logprobs();
  for (const auto& [id, value] : {std::pair(7u, -3.0f), {8u, std::numeric_limits<float>::quiet_NaN()}, {9u, -1.0f}}) {
    top.add_token_ids(id);
    top.add_values(value);
  }
  const Assembled got = OfVllmEngine({message.SerializeAsString()});
  REQUIRE(got.deltas.at(0).logprobs.size() == 1);
  const auto& candidates = got.deltas[0].logprobs[0].candidates;
  REQUIRE(candidates.size() == 3);
  CHECK(candidates[0].token_id == 9);
  CHECK(candidates[1].token_id == 7);
  CHECK(candidates[2].token_id == 8);
}

TEST_CASE("vllm_engine: hostile messages are errors", "[vllm_engine]") {
  constexpr auto kInternal = absl::StatusCode::kInternal;
  vllm_engine::GenerateResponse message;
  vllm_engine::GenerateComplete& end = *message.mutable_complete();
  CHECK(VllmEngineCode(message) == absl::StatusCode::kOk);
  end.set_index(0xFFFFFFFF);
  CHECK(VllmEngineCode(message) == kInternal);
  end.set_index(1);  // one was asked for
  CHECK(VllmEngineCode(message) == kInternal);
  end.set_index(0);
  end.add_output_ids(0x80000000);
  CHECK(VllmEngineCode(message) == kInternal);
  end.set_output_ids(0, 0x7FFFFFFF);
  CHECK(VllmEngineCode(message) == absl::StatusCode::kOk);
  end.set_matched_token_id(0x80000000);
  CHECK(VllmEngineCode(message) == kInternal);
  end.clear_matched_stop();
  auto& logprobs = *end.mutable_output_logprobs();
  logprobs.add_token_logprobs(-1);  // of no token
  const Assembled got = OfVllmEngine({message.SerializeAsString()});
  CHECK(got.status.code() == kInternal);
  CHECK(std::string(got.status.message()).find("the server's answer contradicts itself: ") == 0);
  logprobs.add_token_ids(0xFFFFFFFF);
  CHECK(VllmEngineCode(message) == kInternal);
  logprobs.set_token_ids(0, 5);
  CHECK(VllmEngineCode(message) == absl::StatusCode::kOk);
  logprobs.add_top_logprobs()->add_values(1);  // of no token
  CHECK(VllmEngineCode(message) == kInternal);
  logprobs.mutable_top_logprobs(0)->add_token_ids(0xFFFFFFFF);
  CHECK(VllmEngineCode(message) == kInternal);
  logprobs.mutable_top_logprobs(0)->set_token_ids(0, 5);
  CHECK(VllmEngineCode(message) == absl::StatusCode::kOk);
  logprobs.add_top_logprobs();  // of no place
  CHECK(VllmEngineCode(message) == kInternal);
  logprobs.clear_token_ids();
  logprobs.clear_token_logprobs();
  CHECK(VllmEngineCode(message) == kInternal);

  CHECK(OfVllmEngine({"\xFF\xFF"}).status.code() == kInternal);
  CHECK(OfVllmEngine({}).status.code() == kInternal);                          // OK, and no end
  CHECK(OfVllmEngine({""}).status.code() == kInternal);                        // neither of the two
  CHECK(OfVllmEngine({VllmEngineChunk(0, 1, 1)}).status.code() == kInternal);  // no end
  message.mutable_chunk()->set_index(0xFFFFFFFF);
  CHECK(VllmEngineCode(message) == kInternal);
}
