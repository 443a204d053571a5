// SPDX-License-Identifier: Apache-2.0
//
// OpenEngine, openengine.v1.Inference: what TensorRT-LLM and Dynamo's sidecars offer. Experimental.
#ifndef INFERWIRE_CONTRACT_OPEN_ENGINE_H_
#define INFERWIRE_CONTRACT_OPEN_ENGINE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/contract/contract.h"
#include "inferwire/contract/generation_chunk.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/contract/open_engine.grpc.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/generation.h"  // IWYU pragma: export
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {

/// openengine.v1.Inference. Text or token ids in, both out. Experimental: the contract still moves, and this with it.
///
/// An engine tells an error as the last event of a call that ends OK; here it is the status. What the engine says may
/// be tried again is UNAVAILABLE, whatever its code. A priority travels in the metadata "openengine-priority", which
/// CallOptions::metadata can say.
struct OpenEngine {
  static constexpr std::string_view kName = "open_engine";
  using GenerateStream = Rpc<&open_engine::Inference::Stub::Generate, "openengine.v1.Inference">;
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries =
      Fields::kText | Fields::kTokenIds | Fields::kModel | Fields::kMaxTokens | Fields::kSampling | Fields::kSeed |
      Fields::kN | Fields::kStop | Fields::kStopTokenIds | Fields::kIgnoreEos | Fields::kLogprobs |
      Fields::kJsonSchema | Fields::kRegex | Fields::kGrammar | Fields::kChoice | Fields::kAdapter | Fields::kRequestId;

  static absl::StatusOr<open_engine::GenerateRequest> Encode(const GenerationRequest& request, bool /*stream*/) {
    open_engine::GenerateRequest out;
    out.set_request_id(request.request_id);
    out.set_model(request.model);
    if (const auto* const text = std::get_if<std::string>(&request.prompt)) {
      out.set_prompt(*text);
    } else {
      const auto& ids = std::get<std::vector<std::int32_t>>(request.prompt);
      out.mutable_token_ids()->mutable_ids()->Assign(ids.begin(), ids.end());
    }
    open_engine::SamplingParams& sampling = *out.mutable_sampling();
    if (request.temperature.has_value()) sampling.set_temperature(*request.temperature);
    if (request.top_p.has_value()) sampling.set_top_p(*request.top_p);
    if (request.top_k.has_value()) sampling.set_top_k(*request.top_k);
    if (request.min_p.has_value()) sampling.set_min_p(*request.min_p);
    if (request.presence_penalty.has_value()) sampling.set_presence_penalty(*request.presence_penalty);
    if (request.frequency_penalty.has_value()) sampling.set_frequency_penalty(*request.frequency_penalty);
    if (request.repetition_penalty.has_value()) sampling.set_repetition_penalty(*request.repetition_penalty);
    if (request.seed.has_value()) {
      if (*request.seed < 0) {
        return detail::InvalidArgumentError(
            detail::Cat("seed is ", *request.seed, "; the contract open_engine carries none below 0"));
      }
      sampling.set_seed(static_cast<std::uint64_t>(*request.seed));
    }
    if (request.n > 1) sampling.set_num_sequences(static_cast<std::uint32_t>(request.n));
    open_engine::StoppingOptions& stopping = *out.mutable_stopping();
    if (request.max_tokens.has_value()) stopping.set_max_tokens(static_cast<std::uint32_t>(*request.max_tokens));
    for (const std::string& stop : request.stop) stopping.add_conditions()->set_stop_text(stop);
    for (const std::int32_t id : request.stop_token_ids) {
      if (id < 0)
        return detail::InvalidArgumentError(detail::Cat("stop_token_ids has ", id, "; expected none below 0"));
      stopping.add_conditions()->set_stop_token_id(static_cast<std::uint32_t>(id));
    }
    if (request.ignore_eos) stopping.set_ignore_eos(true);
    if (request.logprobs.has_value()) {
      open_engine::ResponseOptions& response = *out.mutable_response();
      response.set_return_output_logprobs(true);
      if (*request.logprobs > 0) {
        response.mutable_output_candidates()->set_top_n(static_cast<std::uint32_t>(*request.logprobs));
      }
    }
    if (request.json_schema.has_value()) out.mutable_guided()->set_json_schema(*request.json_schema);
    if (request.regex.has_value()) out.mutable_guided()->set_regex(*request.regex);
    if (request.grammar.has_value()) out.mutable_guided()->set_ebnf_grammar(*request.grammar);
    for (const std::string& choice : request.choice) out.mutable_guided()->mutable_choice()->add_choices(choice);
    out.set_lora_name(request.adapter);
    return out;
  }

  static absl::Status Inspect(const open_engine::GenerateResponse& response) {
    return response.has_error() ? ErrorOf(response.error()) : absl::OkStatus();
  }

  static absl::Status Decode(open_engine::GenerateResponse&& response, GenerationChunk& out) {
    if (response.has_usage()) {
      out.prompt_tokens = response.usage().prompt_tokens();
      out.completion_tokens = response.usage().completion_tokens();
      if (response.usage().has_cached_prompt_tokens()) out.cached_tokens = response.usage().cached_prompt_tokens();
    }
    switch (response.event_case()) {
      case open_engine::GenerateResponse::kToken:
        return DecodeToken(std::move(*response.mutable_token()), out.pieces.emplace_back());
      case open_engine::GenerateResponse::kFinished:
        return DecodeFinished(std::move(*response.mutable_finished()), out.pieces.emplace_back());
      case open_engine::GenerateResponse::kError:
        return ErrorOf(response.error());
      case open_engine::GenerateResponse::kPrompt:        // nobody asked
      case open_engine::GenerateResponse::kPrefillReady:  // an engine that does the rest has its own
      case open_engine::GenerateResponse::EVENT_NOT_SET:
        break;
    }
    return absl::OkStatus();
  }

 private:
  static constexpr std::uint32_t kMaxIndex = 1u << 20;

  template <class Event>
  static absl::Status DecodeIndex(const Event& event, GenerationPiece& out) {
    if (!event.has_output_index()) return detail::Contradiction("it does not say which sequence it speaks of");
    if (event.output_index() > kMaxIndex) return detail::Contradiction(detail::Cat("sequence ", event.output_index()));
    out.index = static_cast<int>(event.output_index());
    return absl::OkStatus();
  }
  static absl::Status DecodeId(std::uint32_t id, std::int32_t& out) {
    if (id > std::uint32_t{(std::numeric_limits<std::int32_t>::max)()})
      return detail::Contradiction(detail::Cat("the token id ", id));
    out = static_cast<std::int32_t>(id);
    return absl::OkStatus();
  }

  static absl::Status DecodeToken(open_engine::TokenOutput&& from, GenerationPiece& out) {
    if (absl::Status status = DecodeIndex(from, out); !status.ok()) return status;
    out.text = std::move(*from.mutable_text());
    out.token_ids.reserve(static_cast<std::size_t>(from.tokens_size()));
    for (open_engine::TokenInfo& token : *from.mutable_tokens()) {
      std::int32_t& id = out.token_ids.emplace_back();
      if (absl::Status status = DecodeId(token.token_id(), id); !status.ok()) return status;
      if (!token.has_logprob()) continue;
      TokenLogprob& one = out.logprobs.emplace_back();
      one.token_id = id;
      one.text = std::move(*token.mutable_token());
      one.logprob = static_cast<float>(token.logprob());
      for (open_engine::LogProb& candidate : *token.mutable_candidates()) {
        TokenLogprob::Candidate& other = one.candidates.emplace_back();
        if (absl::Status status = DecodeId(candidate.token_id(), other.token_id); !status.ok()) return status;
        other.text = std::move(*candidate.mutable_token());
        other.logprob = static_cast<float>(candidate.logprob());
      }
    }
    return absl::OkStatus();
  }

  static absl::Status DecodeFinished(open_engine::GenerationFinished&& from, GenerationPiece& out) {
    if (absl::Status status = DecodeIndex(from, out); !status.ok()) return status;
    out.finish_word = std::string(open_engine::FinishReason_Name(from.reason()));
    switch (from.reason()) {
      case open_engine::FINISH_REASON_LENGTH:
        out.finish_reason = FinishReason::kLength;
        break;
      case open_engine::FINISH_REASON_CANCELLED:
        out.finish_reason = FinishReason::kAborted;
        break;
      case open_engine::FINISH_REASON_STOP:
      default:
        out.finish_reason = FinishReason::kStop;
    }
    std::int32_t id = 0;
    switch (from.stop_match().match_case()) {
      case open_engine::StopMatch::kStopTokenId:
        if (absl::Status status = DecodeId(from.stop_match().stop_token_id(), id); !status.ok()) return status;
        out.stopped_by = id;
        break;
      case open_engine::StopMatch::kEosTokenId:
        if (absl::Status status = DecodeId(from.stop_match().eos_token_id(), id); !status.ok()) return status;
        out.stopped_by = id;
        break;
      case open_engine::StopMatch::kStopText:
        out.stopped_by = std::string(from.stop_match().stop_text());
        break;
      case open_engine::StopMatch::MATCH_NOT_SET:
        break;
    }
    return absl::OkStatus();
  }

  static absl::Status ErrorOf(const open_engine::EngineError& error) {
    const absl::StatusCode code = error.retryable() ? absl::StatusCode::kUnavailable : CodeOf(error.code());
    if (!error.message().empty()) return detail::SaidError(code, error.message());
    const std::string name = open_engine::ErrorCode_Name(error.code());
    return detail::MakeError(code, detail::Cat("the engine says ", name.empty() ? detail::Cat(error.code()) : name));
  }
  static absl::StatusCode CodeOf(open_engine::ErrorCode code) {
    switch (code) {
      case open_engine::ERROR_CODE_INVALID_ARGUMENT:
        return absl::StatusCode::kInvalidArgument;
      case open_engine::ERROR_CODE_UNSUPPORTED_FEATURE:
        return absl::StatusCode::kUnimplemented;
      case open_engine::ERROR_CODE_ROLE_MISMATCH:
        return absl::StatusCode::kFailedPrecondition;
      case open_engine::ERROR_CODE_MODEL_NOT_FOUND:
      case open_engine::ERROR_CODE_REQUEST_NOT_FOUND:
      case open_engine::ERROR_CODE_KV_SESSION_NOT_FOUND:
        return absl::StatusCode::kNotFound;
      case open_engine::ERROR_CODE_OVERLOADED:
        return absl::StatusCode::kResourceExhausted;
      case open_engine::ERROR_CODE_DUPLICATE_REQUEST:
        return absl::StatusCode::kAlreadyExists;
      case open_engine::ERROR_CODE_CANCELLED:
        return absl::StatusCode::kCancelled;
      case open_engine::ERROR_CODE_DRAINING:  // INTERNAL in release 0.1.0; one who drains says `retryable`
      default:
        return absl::StatusCode::kInternal;
    }
  }
};
static_assert(GenerationContract<OpenEngine>);
template <>
inline constexpr bool kBuiltIn<OpenEngine> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_OPEN_ENGINE_H_
