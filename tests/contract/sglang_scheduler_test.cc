// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/sglang_scheduler.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"
#include "support/generation.h"
#include "support/golden.h"

using inferwire::FinishReason;
using inferwire::GenerationRequest;
using inferwire::SglangScheduler;
using namespace inferwire_test;  // NOLINT

namespace {
namespace sglang_scheduler = inferwire::sglang_scheduler;

const inferwire::detail::GenerationTable& SglangSchedulerTable() {
  return inferwire::detail::GenerationTableOf<SglangScheduler>::Get();
}
Assembled OfSglangScheduler(const std::vector<std::string>& messages, int n = 1) {
  return Assemble(SglangSchedulerTable().decode, messages, {.n = n});
}
absl::StatusCode SglangSchedulerCode(const sglang_scheduler::GenerateResponse& message) {
  return OfSglangScheduler({message.SerializeAsString()}).status.code();
}
absl::Status RefusedBySglangScheduler(const GenerationRequest& request) {
  return SglangScheduler::Encode(request, true).status();
}

/// `count` tokens from `first` on, `so_far` in all, each with a logprob.
template <class Message>
void FillSglangScheduler(Message& message, google::protobuf::RepeatedField<std::uint32_t>& ids, std::uint32_t index,
                         std::uint32_t first, std::uint32_t count, std::uint32_t so_far) {
  message.set_index(index);
  message.set_prompt_tokens(3);
  message.set_cached_tokens(2);
  message.set_completion_tokens(so_far);
  for (std::uint32_t id = first; id < first + count; ++id) {
    ids.Add(id);
    message.mutable_output_logprobs()->add_token_ids(id);
    message.mutable_output_logprobs()->add_token_logprobs(-static_cast<float>(id));
  }
}
std::string SglangSchedulerChunk(std::uint32_t index, std::uint32_t first, std::uint32_t count, std::uint32_t so_far) {
  sglang_scheduler::GenerateResponse out;
  auto& chunk = *out.mutable_chunk();
  FillSglangScheduler(chunk, *chunk.mutable_token_ids(), index, first, count, so_far);
  return out.SerializeAsString();
}
std::string SglangSchedulerEnd(std::uint32_t index, std::uint32_t first, std::uint32_t count, std::uint32_t so_far,
                               const std::string& word) {
  sglang_scheduler::GenerateResponse out;
  auto& end = *out.mutable_complete();
  FillSglangScheduler(end, *end.mutable_output_ids(), index, first, count, so_far);
  end.set_finish_reason(word);
  return out.SerializeAsString();
}
}  // namespace

TEST_CASE("sglang_scheduler: every field of a request is carried, or refused", "[sglang_scheduler]") {
  CHECK(SglangSchedulerTable().name == "sglang_scheduler");
  CHECK(std::string(SglangSchedulerTable().stream()) == "/sglang.grpc.scheduler.SglangScheduler/Generate");
  CHECK_FALSE(SglangSchedulerTable().gives_text);
  CHECK(SglangSchedulerTable().wants_request_id);
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
  request.n = 2;
  request.stop = {"a", "b"};
  request.stop_token_ids = {9, 0};
  request.ignore_eos = true;
  request.logprobs = 3;
  request.json_schema = "{}";
  request.adapter = "lora";
  request.request_id = "r";
  const auto out = SglangScheduler::Encode(request, true);
  REQUIRE(out.ok());
  const auto& sampling = out->sampling_params();
  CHECK(std::vector<std::uint32_t>(out->tokenized().input_ids().begin(), out->tokenized().input_ids().end()) ==
        std::vector<std::uint32_t>{1, 2, 3});
  CHECK(out->stream());
  CHECK(out->request_id() == "r");
  CHECK(out->lora_id() == "lora");
  CHECK(out->return_logprob());
  CHECK(out->top_logprobs_num() == 3);
  CHECK(sampling.max_new_tokens() == 7);
  CHECK(sampling.temperature() == 0.5f);
  CHECK(sampling.top_p() == 0.9f);
  CHECK(sampling.top_k() == 40);
  CHECK(sampling.min_p() == 0.1f);
  CHECK(sampling.presence_penalty() == 0.2f);
  CHECK(sampling.frequency_penalty() == -0.3f);
  CHECK(sampling.repetition_penalty() == 1.1f);
  CHECK(sampling.n() == 2);
  CHECK(std::vector<std::string>(sampling.stop().begin(), sampling.stop().end()) == request.stop);
  CHECK(std::vector<std::int32_t>(sampling.stop_token_ids().begin(), sampling.stop_token_ids().end()) ==
        request.stop_token_ids);
  CHECK(sampling.ignore_eos());
  CHECK(sampling.json_schema() == "{}");
  request.json_schema.reset();
  request.regex = "x+";
  CHECK(SglangScheduler::Encode(request, true)->sampling_params().regex() == "x+");
  request.regex.reset();
  request.grammar = "root ::= x";
  CHECK(SglangScheduler::Encode(request, true)->sampling_params().ebnf_grammar() == "root ::= x");

  CHECK(RefusedBySglangScheduler({.prompt = "text"}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(RefusedBySglangScheduler({.prompt = std::vector<std::int32_t>{-1}}).code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(RefusedBySglangScheduler({.prompt = std::vector<std::int32_t>{1}, .stop_token_ids = {-1}}).code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(RefusedBySglangScheduler({.prompt = std::vector<std::int32_t>{1}, .logprobs = -1}).code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("sglang_scheduler: what is unset is said, since the message has no presence", "[sglang_scheduler]") {
  const std::vector<std::int32_t> ids = {1, 2, 3};
  const auto ours = SglangScheduler::Encode({.prompt = ids, .max_tokens = 8, .request_id = "r1"}, true);
  REQUIRE(ours.ok());
  sglang_scheduler::GenerateRequest golden;
  REQUIRE(golden.ParseFromString(Golden("sglang_scheduler/generate_request")));
  golden.clear_timestamp();
  golden.mutable_sampling_params()->clear_custom_params();
  golden.set_logprob_start_len(-1);
  golden.mutable_sampling_params()->set_skip_special_tokens(true);
  golden.mutable_sampling_params()->set_spaces_between_special_tokens(true);
  CHECK(ours->SerializeAsString() == golden.SerializeAsString());
  CHECK_FALSE(ours->return_logprob());

  CHECK_FALSE(SglangScheduler::Encode({.prompt = ids}, true)->sampling_params().has_max_new_tokens());
  CHECK_FALSE(SglangScheduler::Encode({.prompt = ids}, false)->stream());
  CHECK(SglangScheduler::Encode({.prompt = ids, .temperature = 0.0f}, true)->sampling_params().temperature() == 0);
  CHECK(SglangScheduler::Encode({.prompt = ids, .top_p = 0.0f}, true)->sampling_params().top_p() == 0);
  CHECK(SglangScheduler::Encode({.prompt = ids, .top_k = 0}, true)->sampling_params().top_k() == -1);
  CHECK(SglangScheduler::Encode({.prompt = ids, .repetition_penalty = 0.0f}, true)
            ->sampling_params()
            .repetition_penalty() == 0);
  CHECK(SglangScheduler::Encode({.prompt = ids, .logprobs = 0}, true)->return_logprob());
}

TEST_CASE("sglang_scheduler: two sequences, interleaved; counts are of all so far", "[sglang_scheduler]") {
  Assembled got = OfSglangScheduler({SglangSchedulerChunk(1, 10, 2, 2), SglangSchedulerChunk(0, 20, 1, 1),
                                     SglangSchedulerChunk(0, 21, 1, 2), SglangSchedulerEnd(0, 21, 1, 2, "stop"),
                                     SglangSchedulerChunk(1, 12, 2, 4), SglangSchedulerEnd(1, 12, 2, 4, "length")},
                                    2);
  REQUIRE(got.status.ok());
  CHECK(got.token_ids(0) == std::vector<std::int32_t>{20, 21});
  CHECK(got.token_ids(1) == std::vector<std::int32_t>{10, 11, 12, 13});
  CHECK(got.usage.completion_tokens == 6);
  CHECK(got.usage.prompt_tokens == 3);
  CHECK(got.usage.cached_tokens == 2);
  std::size_t logprobs = 0;
  for (const auto& delta : got.deltas) {
    REQUIRE(delta.logprobs.size() == delta.token_ids.size());
    for (std::size_t i = 0; i < delta.logprobs.size(); ++i) {
      CHECK(delta.logprobs[i].token_id == delta.token_ids[i]);
      CHECK(delta.logprobs[i].logprob == -static_cast<float>(delta.token_ids[i]));
    }
    logprobs += delta.logprobs.size();
  }
  CHECK(logprobs == 6);

  // As a whole: an end for each.
  got = OfSglangScheduler({SglangSchedulerEnd(1, 10, 4, 4, "length"), SglangSchedulerEnd(0, 20, 2, 2, "stop")}, 2);
  REQUIRE(got.status.ok());
  CHECK(got.token_ids(0) == std::vector<std::int32_t>{20, 21});
  CHECK(got.token_ids(1) == std::vector<std::int32_t>{10, 11, 12, 13});
  CHECK(got.usage.completion_tokens == 6);
  CHECK(OfSglangScheduler({SglangSchedulerEnd(1, 10, 4, 4, "length")}, 2).status.code() == absl::StatusCode::kInternal);
}

TEST_CASE("sglang_scheduler: golden messages; the last delta is given once", "[sglang_scheduler]") {
  const Assembled got =
      OfSglangScheduler({Golden("sglang_scheduler/generate_chunk"), Golden("sglang_scheduler/generate_complete")});
  REQUIRE(got.status.ok());
  CHECK(got.token_ids() == std::vector<std::int32_t>{9});
  CHECK(got.usage.completion_tokens == 4);
  CHECK(got.finish_reason() == FinishReason::kLength);
  CHECK(got.deltas.back().stopped_by == inferwire::StoppedBy("\n"));
}

TEST_CASE("sglang_scheduler: how a sequence ended, and by what, also the token 0", "[sglang_scheduler]") {
  const std::vector<std::pair<std::string, FinishReason>> words = {
      {"stop", FinishReason::kStop},   {"length", FinishReason::kLength}, {"abort", FinishReason::kAborted},
      {"error", FinishReason::kError}, {"new word", FinishReason::kStop}, {"", FinishReason::kStop}};
  for (const auto& [word, reason] : words) {
    const Assembled got = OfSglangScheduler({SglangSchedulerEnd(0, 1, 1, 1, word)});
    REQUIRE(got.deltas.size() == 1);
    CHECK(got.deltas[0].finish_reason == reason);
    CHECK(got.deltas[0].finish_word == word);
    CHECK(got.deltas[0].stopped_by == inferwire::StoppedBy());
  }
  sglang_scheduler::GenerateResponse message;
  message.mutable_complete()->set_finish_reason("stop");
  message.mutable_complete()->set_matched_token_id(0);
  CHECK(OfSglangScheduler({message.SerializeAsString()}).deltas.at(0).stopped_by ==
        inferwire::StoppedBy(std::int32_t{0}));
}

TEST_CASE("sglang_scheduler: hostile messages are errors", "[sglang_scheduler]") {
  constexpr auto kInternal = absl::StatusCode::kInternal;
  sglang_scheduler::GenerateResponse message;
  sglang_scheduler::GenerateComplete& end = *message.mutable_complete();
  CHECK(SglangSchedulerCode(message) == absl::StatusCode::kOk);
  end.set_completion_tokens(0xFFFFFFFF);
  CHECK(SglangSchedulerCode(message) == absl::StatusCode::kOk);
  end.set_index(0xFFFFFFFF);
  CHECK(SglangSchedulerCode(message) == kInternal);
  end.set_index(1);  // one was asked for
  CHECK(SglangSchedulerCode(message) == kInternal);
  end.set_index(0);
  end.add_output_ids(0xFFFFFFFF);
  CHECK(SglangSchedulerCode(message) == kInternal);
  end.set_output_ids(0, 0);
  end.set_matched_token_id(0xFFFFFFFF);
  CHECK(SglangSchedulerCode(message) == kInternal);
  end.clear_matched_stop();
  auto& logprobs = *end.mutable_output_logprobs();
  logprobs.add_token_ids(1);  // without a logprob
  const Assembled got = OfSglangScheduler({message.SerializeAsString()});
  CHECK(got.status.code() == kInternal);
  CHECK(std::string(got.status.message()).find("the server's answer contradicts itself: ") == 0);
  logprobs.add_token_logprobs(-1);
  CHECK(SglangSchedulerCode(message) == absl::StatusCode::kOk);
  logprobs.add_top_logprobs()->add_token_ids(1);  // without a logprob
  CHECK(SglangSchedulerCode(message) == kInternal);
  logprobs.mutable_top_logprobs(0)->add_values(-1);
  CHECK(SglangSchedulerCode(message) == absl::StatusCode::kOk);
  logprobs.add_top_logprobs();  // of no place
  CHECK(SglangSchedulerCode(message) == kInternal);

  CHECK(OfSglangScheduler({"\xFF\xFF"}).status.code() == kInternal);
  CHECK(OfSglangScheduler({}).status.code() == kInternal);    // OK, and no end
  CHECK(OfSglangScheduler({""}).status.code() == kInternal);  // neither of the two
  CHECK(OfSglangScheduler({SglangSchedulerChunk(0, 1, 1, 1)}).status.code() == kInternal);
}
