// SPDX-License-Identifier: Apache-2.0
//
// The service of a TensorRT-LLM engine behind the SMG gateway, trtllm.TrtllmService.
#ifndef INFERWIRE_CONTRACT_TENSORRT_LLM_H_
#define INFERWIRE_CONTRACT_TENSORRT_LLM_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "inferwire/contract/contract.h"
#include "inferwire/contract/generation_chunk.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/contract/tensorrt_llm.grpc.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/smg.h"
#include "inferwire/generation.h"  // IWYU pragma: export
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {

/// trtllm.TrtllmService. Token ids in, and out. It wants max_tokens.
struct TensorRtLlm {
  static constexpr std::string_view kName = "tensorrt_llm";
  using GenerateStream = Rpc<&tensorrt_llm::TrtllmService::Stub::Generate, "trtllm.TrtllmService">;
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries = Fields::kTokenIds | Fields::kMaxTokens | Fields::kSampling | Fields::kSeed |
                                            Fields::kN | Fields::kStop | Fields::kStopTokenIds | Fields::kIgnoreEos |
                                            Fields::kLogprobs | Fields::kJsonSchema | Fields::kRegex |
                                            Fields::kGrammar | Fields::kRequestId;
  static constexpr bool kGivesText = false;
  static constexpr bool kWantsRequestId = true;

  static absl::StatusOr<tensorrt_llm::GenerateRequest> Encode(const GenerationRequest& request, bool stream) {
    tensorrt_llm::GenerateRequest out;
    out.set_request_id(request.request_id);
    out.set_streaming(stream);
    if (absl::Status status = detail::smg::PutPrompt(request, *out.mutable_tokenized()->mutable_input_token_ids());
        !status.ok()) {
      return status;
    }
    if (!request.max_tokens.has_value()) {
      return detail::InvalidArgumentError("max_tokens is unset, which the contract tensorrt_llm has no word for");
    }
    out.set_max_tokens(static_cast<std::uint32_t>(*request.max_tokens));
    tensorrt_llm::SamplingConfig& sampling = *out.mutable_sampling_config();
    sampling.set_beam_width(1);
    sampling.set_num_return_sequences(static_cast<std::uint32_t>(request.n));
    if (request.temperature.has_value()) sampling.set_temperature(*request.temperature);
    if (request.top_p.has_value()) sampling.set_top_p(*request.top_p);
    if (request.top_k.has_value()) sampling.set_top_k((std::max)(*request.top_k, 0));  // below 0: all
    if (request.min_p.has_value()) sampling.set_min_p(*request.min_p);
    if (request.presence_penalty.has_value()) sampling.set_presence_penalty(*request.presence_penalty);
    if (request.frequency_penalty.has_value()) sampling.set_frequency_penalty(*request.frequency_penalty);
    if (request.repetition_penalty.has_value()) sampling.set_repetition_penalty(*request.repetition_penalty);
    if (request.seed.has_value()) {
      if (*request.seed < 0) {
        return detail::InvalidArgumentError(
            detail::Cat("seed is ", *request.seed, "; the contract tensorrt_llm has none below 0"));
      }
      sampling.set_seed(static_cast<std::uint64_t>(*request.seed));
    }
    for (const std::string& stop : request.stop) out.add_stop(stop);
    if (absl::Status status =
            detail::smg::PutIds("stop_token_ids", request.stop_token_ids, *out.mutable_stop_token_ids());
        !status.ok()) {
      return status;
    }
    out.set_ignore_eos(request.ignore_eos);
    out.mutable_output_config()->set_exclude_input_from_output(true);
    if (absl::Status status = detail::smg::CheckLogprobs(request); !status.ok()) return status;
    if (request.logprobs.has_value()) {
      // Engines make none of the token itself where none beside it is asked for.
      out.mutable_output_config()->set_logprobs((std::max)(*request.logprobs, 1));
    }
    using Guide = tensorrt_llm::GuidedDecodingParams;
    const auto guide = [&out](Guide::GuideType type, const std::string& text) {
      out.mutable_guided_decoding()->set_guide_type(type);
      out.mutable_guided_decoding()->set_guide(text);
    };
    if (request.json_schema.has_value()) guide(Guide::GUIDE_TYPE_JSON_SCHEMA, *request.json_schema);
    if (request.regex.has_value()) guide(Guide::GUIDE_TYPE_REGEX, *request.regex);
    if (request.grammar.has_value()) guide(Guide::GUIDE_TYPE_EBNF_GRAMMAR, *request.grammar);
    return out;
  }

  static absl::Status Decode(tensorrt_llm::GenerateResponse&& response, GenerationChunk& out) {
    if (response.has_chunk()) return Take(response.chunk(), response.chunk().token_ids(), out);
    if (!response.has_complete()) return absl::OkStatus();
    // With all tokens, but for those of a stop string; some of these may have come before.
    tensorrt_llm::GenerateComplete& end = *response.mutable_complete();
    if (absl::Status status = Take(end, end.output_token_ids(), out); !status.ok()) return status;
    return detail::smg::TakeEnd(end, out.pieces.back());
  }

 private:
  template <class Message, class Ids>
  static absl::Status Take(const Message& from, const Ids& ids, GenerationChunk& out) {
    detail::smg::TakeUsage(from, out);
    GenerationPiece& piece = out.pieces.emplace_back();
    if (from.completion_tokens() > 0) piece.tokens_so_far = from.completion_tokens();
    if (absl::Status status = detail::smg::TakePiece(from.sequence_index(), ids, piece); !status.ok()) return status;
    if (from.logprobs_size() > ids.size()) {
      return detail::Contradiction(detail::Cat(from.logprobs_size(), " logprobs of ", ids.size(), " tokens"));
    }
    piece.logprobs.reserve(static_cast<std::size_t>(from.logprobs_size()));
    for (const auto& logprob : from.logprobs()) {
      TokenLogprob& one = piece.logprobs.emplace_back();
      if (absl::Status status = detail::smg::TakeId(logprob.token_id(), one.token_id); !status.ok()) return status;
      one.logprob = logprob.logprob();
      for (const auto& top : logprob.top_logprobs()) {
        TokenLogprob::Candidate& candidate = one.candidates.emplace_back();
        if (absl::Status status = detail::smg::TakeId(top.token_id(), candidate.token_id); !status.ok()) return status;
        candidate.logprob = top.logprob();
      }
      detail::smg::SortCandidates(one.candidates);
    }
    return absl::OkStatus();
  }
};
static_assert(GenerationContract<TensorRtLlm>);
template <>
inline constexpr bool kBuiltIn<TensorRtLlm> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_TENSORRT_LLM_H_
