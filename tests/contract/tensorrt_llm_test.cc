// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/tensorrt_llm.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"
#include "support/generation.h"
#include "support/golden.h"

using inferwire::FinishReason;
using inferwire::GenerationRequest;
using inferwire::TensorRtLlm;
using namespace inferwire_test;  // NOLINT

namespace {
namespace tensorrt_llm = inferwire::tensorrt_llm;

const inferwire::detail::GenerationTable& TensorRtLlmTable() {
  return inferwire::detail::GenerationTableOf<TensorRtLlm>::Get();
}
Assembled OfTensorRtLlm(const std::vector<std::string>& messages, int n = 1) {
  return Assemble(TensorRtLlmTable().decode, messages, {.n = n});
}
absl::StatusCode TensorRtLlmCode(const tensorrt_llm::GenerateResponse& message) {
  return OfTensorRtLlm({message.SerializeAsString()}).status.code();
}
/// With all that it has to have.
GenerationRequest ForTensorRtLlm() {
  return {.prompt = std::vector<std::int32_t>{1, 2, 3}, .max_tokens = 7, .request_id = "r"};
}
absl::Status RefusedByTensorRtLlm(const GenerationRequest& request) {
  return TensorRtLlm::Encode(request, true).status();
}

/// `count` tokens from `first` on, `so_far` in all, each with a logprob.
template <class Message>
void FillTensorRtLlm(Message& message, google::protobuf::RepeatedField<std::uint32_t>& ids, std::uint32_t index,
                     std::uint32_t first, std::uint32_t count, std::uint32_t so_far) {
  message.set_sequence_index(index);
  message.set_prompt_tokens(3);
  message.set_cached_tokens(2);
  message.set_completion_tokens(so_far);
  for (std::uint32_t id = first; id < first + count; ++id) {
    ids.Add(id);
    auto& logprob = *message.add_logprobs();
    logprob.set_token_id(id);
    logprob.set_logprob(-static_cast<float>(id));
  }
}
std::string TensorRtLlmChunk(std::uint32_t index, std::uint32_t first, std::uint32_t count, std::uint32_t so_far) {
  tensorrt_llm::GenerateResponse out;
  auto& chunk = *out.mutable_chunk();
  FillTensorRtLlm(chunk, *chunk.mutable_token_ids(), index, first, count, so_far);
  return out.SerializeAsString();
}
/// With all of the sequence's tokens.
std::string TensorRtLlmEnd(std::uint32_t index, std::uint32_t first, std::uint32_t count, const std::string& word) {
  tensorrt_llm::GenerateResponse out;
  auto& end = *out.mutable_complete();
  FillTensorRtLlm(end, *end.mutable_output_token_ids(), index, first, count, count);
  end.set_finish_reason(word);
  return out.SerializeAsString();
}
}  // namespace

TEST_CASE("tensorrt_llm: every field of a request is carried, or refused", "[tensorrt_llm]") {
  using Guide = tensorrt_llm::GuidedDecodingParams;
  CHECK(TensorRtLlmTable().name == "tensorrt_llm");
  CHECK(std::string(TensorRtLlmTable().stream()) == "/trtllm.TrtllmService/Generate");
  CHECK_FALSE(TensorRtLlmTable().gives_text);
  CHECK(TensorRtLlmTable().wants_request_id);
  GenerationRequest request = ForTensorRtLlm();
  request.temperature = 0.5f;
  request.top_p = 0.9f;
  request.top_k = 40;
  request.min_p = 0.1f;
  request.presence_penalty = 0.2f;
  request.frequency_penalty = -0.3f;
  request.repetition_penalty = 1.1f;
  request.seed = std::int64_t{1} << 40;
  request.n = 2;
  request.stop = {"a", "b"};
  request.stop_token_ids = {9, 0};
  request.ignore_eos = true;
  request.logprobs = 3;
  request.json_schema = "{}";
  const auto out = TensorRtLlm::Encode(request, true);
  REQUIRE(out.ok());
  const auto& sampling = out->sampling_config();
  CHECK(std::vector<std::uint32_t>(out->tokenized().input_token_ids().begin(),
                                   out->tokenized().input_token_ids().end()) == std::vector<std::uint32_t>{1, 2, 3});
  CHECK(out->streaming());
  CHECK(out->request_id() == "r");
  CHECK(out->max_tokens() == 7);
  CHECK(sampling.temperature() == 0.5f);
  CHECK(sampling.top_p() == 0.9f);
  CHECK(sampling.top_k() == 40);
  CHECK(sampling.min_p() == 0.1f);
  CHECK(sampling.presence_penalty() == 0.2f);
  CHECK(sampling.frequency_penalty() == -0.3f);
  CHECK(sampling.repetition_penalty() == 1.1f);
  CHECK(sampling.seed() == std::uint64_t{1} << 40);
  CHECK(sampling.num_return_sequences() == 2);
  CHECK(sampling.beam_width() == 1);
  CHECK(std::vector<std::string>(out->stop().begin(), out->stop().end()) == request.stop);
  CHECK(std::vector<std::int32_t>(out->stop_token_ids().begin(), out->stop_token_ids().end()) ==
        request.stop_token_ids);
  CHECK(out->ignore_eos());
  CHECK(out->output_config().logprobs() == 3);
  CHECK(out->output_config().exclude_input_from_output());
  CHECK(out->guided_decoding().guide_type() == Guide::GUIDE_TYPE_JSON_SCHEMA);
  CHECK(out->guided_decoding().guide() == "{}");
  request.json_schema.reset();
  request.regex = "x+";
  CHECK(TensorRtLlm::Encode(request, true)->guided_decoding().guide_type() == Guide::GUIDE_TYPE_REGEX);
  CHECK(TensorRtLlm::Encode(request, true)->guided_decoding().guide() == "x+");
  request.regex.reset();
  request.grammar = "root ::= x";
  CHECK(TensorRtLlm::Encode(request, true)->guided_decoding().guide_type() == Guide::GUIDE_TYPE_EBNF_GRAMMAR);

  // What is unset is not said, and 0 is.
  const auto least = TensorRtLlm::Encode(ForTensorRtLlm(), false);
  REQUIRE(least.ok());
  CHECK_FALSE(least->streaming());
  CHECK_FALSE(least->has_guided_decoding());
  CHECK_FALSE(least->output_config().has_logprobs());
  for (const bool said :
       {least->sampling_config().has_temperature(), least->sampling_config().has_top_p(),
        least->sampling_config().has_top_k(), least->sampling_config().has_min_p(), least->sampling_config().has_seed(),
        least->sampling_config().has_repetition_penalty(), least->sampling_config().has_presence_penalty(),
        least->sampling_config().has_frequency_penalty()}) {
    CHECK_FALSE(said);
  }
  request = ForTensorRtLlm();
  request.temperature = request.top_p = 0.0f;
  request.top_k = -1;
  request.logprobs = 0;
  request.seed = 0;
  const auto zero = TensorRtLlm::Encode(request, true);
  REQUIRE(zero.ok());
  CHECK(zero->sampling_config().has_temperature());
  CHECK(zero->sampling_config().has_top_p());
  CHECK(zero->sampling_config().has_seed());
  CHECK(zero->sampling_config().has_top_k());
  CHECK(zero->sampling_config().top_k() == 0);  // all
  CHECK(zero->output_config().logprobs() == 1);

  request = ForTensorRtLlm();
  request.prompt = "text";
  CHECK(RefusedByTensorRtLlm(request).code() == absl::StatusCode::kInvalidArgument);
  request = ForTensorRtLlm();
  request.max_tokens.reset();
  CHECK(std::string(RefusedByTensorRtLlm(request).message()).find("max_tokens is unset") == 0);
  request = ForTensorRtLlm();
  request.seed = -1;
  CHECK(std::string(RefusedByTensorRtLlm(request).message()).find("seed is -1") == 0);
  request = ForTensorRtLlm();
  request.stop_token_ids = {-1};
  CHECK(RefusedByTensorRtLlm(request).code() == absl::StatusCode::kInvalidArgument);
  request = ForTensorRtLlm();
  request.logprobs = -1;
  CHECK(RefusedByTensorRtLlm(request).code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("tensorrt_llm: two sequences, interleaved; the end has all tokens once more", "[tensorrt_llm]") {
  Assembled got = OfTensorRtLlm(
      {TensorRtLlmChunk(1, 10, 2, 2), TensorRtLlmChunk(0, 20, 1, 1), TensorRtLlmChunk(0, 21, 1, 2),
       TensorRtLlmChunk(1, 12, 2, 4), TensorRtLlmEnd(0, 20, 2, "stop"), TensorRtLlmEnd(1, 10, 4, "length")},
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
  got = OfTensorRtLlm({TensorRtLlmEnd(0, 20, 2, "stop"), TensorRtLlmEnd(1, 10, 4, "length")}, 2);
  REQUIRE(got.status.ok());
  CHECK(got.token_ids(0) == std::vector<std::int32_t>{20, 21});
  CHECK(got.token_ids(1) == std::vector<std::int32_t>{10, 11, 12, 13});
  CHECK(got.usage.completion_tokens == 6);
  CHECK(OfTensorRtLlm({TensorRtLlmEnd(1, 10, 4, "length")}, 2).status.code() == absl::StatusCode::kInternal);

  // An end without the tokens of the stop string that had come.
  got = OfTensorRtLlm({TensorRtLlmChunk(0, 10, 3, 3), TensorRtLlmEnd(0, 10, 2, "stop")});
  REQUIRE(got.status.ok());
  CHECK(got.token_ids() == std::vector<std::int32_t>{10, 11, 12});
}

TEST_CASE("tensorrt_llm: golden messages", "[tensorrt_llm]") {
  Assembled got = OfTensorRtLlm({Golden("trtllm_service/generate_chunk")}, 2);
  REQUIRE(got.deltas.size() == 1);
  CHECK(got.deltas[0].index == 1);
  CHECK(got.deltas[0].token_ids == std::vector<std::int32_t>{0, 7});
  REQUIRE(got.deltas[0].logprobs.size() == 1);
  CHECK(got.deltas[0].logprobs[0].token_id == 7);
  CHECK(got.deltas[0].logprobs[0].logprob == -0.25f);
  REQUIRE(got.deltas[0].logprobs[0].candidates.size() == 1);
  CHECK(got.deltas[0].logprobs[0].candidates[0].token_id == 8);
  CHECK(got.deltas[0].logprobs[0].candidates[0].logprob == -2.5f);
  CHECK(got.usage.cached_tokens == 1);

  got = OfTensorRtLlm({Golden("trtllm_service/generate_complete_length")});
  REQUIRE(got.status.ok());
  CHECK(got.token_ids() == std::vector<std::int32_t>{0, 7});
  CHECK(got.finish_reason() == FinishReason::kLength);
  CHECK(got.usage.completion_tokens == 2);
  CHECK(OfTensorRtLlm({Golden("trtllm_service/generate_complete_string")}).deltas.at(0).stopped_by ==
        inferwire::StoppedBy("\n"));
  got = OfTensorRtLlm({Golden("trtllm_service/generate_complete_token")});
  CHECK(got.deltas.at(0).stopped_by == inferwire::StoppedBy(std::int32_t{0}));
  CHECK(got.finish_reason() == FinishReason::kStop);
}

TEST_CASE("tensorrt_llm: how a sequence ended", "[tensorrt_llm]") {
  const std::vector<std::pair<std::string, FinishReason>> words = {
      {"stop", FinishReason::kStop},       {"length", FinishReason::kLength}, {"cancelled", FinishReason::kAborted},
      {"timeout", FinishReason::kAborted}, {"error", FinishReason::kError},   {"stop_word", FinishReason::kStop},
      {"something", FinishReason::kStop},  {"", FinishReason::kStop}};
  for (const auto& [word, reason] : words) {
    const Assembled got = OfTensorRtLlm({TensorRtLlmEnd(0, 1, 1, word)});
    REQUIRE(got.deltas.size() == 1);
    CHECK(got.deltas[0].finish_reason == reason);
    CHECK(got.deltas[0].finish_word == word);
    CHECK(got.deltas[0].stopped_by == inferwire::StoppedBy());
  }
}

TEST_CASE("tensorrt_llm: hostile messages are errors", "[tensorrt_llm]") {
  constexpr auto kInternal = absl::StatusCode::kInternal;
  tensorrt_llm::GenerateResponse message;
  tensorrt_llm::GenerateComplete& end = *message.mutable_complete();
  CHECK(TensorRtLlmCode(message) == absl::StatusCode::kOk);
  end.set_completion_tokens(0xFFFFFFFF);
  CHECK(TensorRtLlmCode(message) == absl::StatusCode::kOk);
  end.set_sequence_index(0xFFFFFFFF);
  CHECK(TensorRtLlmCode(message) == kInternal);
  end.set_sequence_index(1);  // one was asked for
  CHECK(TensorRtLlmCode(message) == kInternal);
  end.set_sequence_index(0);
  end.add_output_token_ids(0xFFFFFFFF);
  CHECK(TensorRtLlmCode(message) == kInternal);
  end.set_output_token_ids(0, 0);
  end.set_matched_token_id(0xFFFFFFFF);
  CHECK(TensorRtLlmCode(message) == kInternal);
  end.clear_matched_stop();
  end.add_logprobs()->set_token_id(0xFFFFFFFF);
  CHECK(TensorRtLlmCode(message) == kInternal);
  end.mutable_logprobs(0)->set_token_id(5);
  CHECK(TensorRtLlmCode(message) == absl::StatusCode::kOk);
  end.mutable_logprobs(0)->add_top_logprobs()->set_token_id(0xFFFFFFFF);
  CHECK(TensorRtLlmCode(message) == kInternal);
  end.mutable_logprobs(0)->clear_top_logprobs();
  end.add_logprobs();  // of no token
  const Assembled got = OfTensorRtLlm({message.SerializeAsString()});
  CHECK(got.status.code() == kInternal);
  CHECK(std::string(got.status.message()) == "the server's answer contradicts itself: 2 logprobs of 1 tokens");

  CHECK(OfTensorRtLlm({"\xFF\xFF"}).status.code() == kInternal);
  CHECK(OfTensorRtLlm({}).status.code() == kInternal);    // OK, and no end
  CHECK(OfTensorRtLlm({""}).status.code() == kInternal);  // neither of the two
  CHECK(OfTensorRtLlm({TensorRtLlmChunk(0, 1, 1, 1)}).status.code() == kInternal);
}
