// SPDX-License-Identifier: Apache-2.0
//
// vLLM's own service, vllm.Inference (`vllm serve --grpc`).
#ifndef INFERWIRE_CONTRACT_VLLM_H_
#define INFERWIRE_CONTRACT_VLLM_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/contract/contract.h"
#include "inferwire/contract/generation_chunk.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/contract/vllm.grpc.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/generation.h"  // IWYU pragma: export
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {

/// vllm.Inference. Text or token ids in, both out. Read from vLLM 0.32's service; versions before 0.30 have none.
/// More than one sequence is INVALID_ARGUMENT of the server's there.
struct Vllm {
  static constexpr std::string_view kName = "vllm";
  using Generate = Rpc<&vllm::Inference::Stub::Generate, "vllm.Inference">;
  using GenerateStream = Rpc<&vllm::Inference::Stub::GenerateStream, "vllm.Inference">;
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries = Fields::kText | Fields::kTokenIds | Fields::kModel | Fields::kMaxTokens |
                                            Fields::kSampling | Fields::kSeed | Fields::kN | Fields::kStop |
                                            Fields::kStopTokenIds | Fields::kIgnoreEos | Fields::kLogprobs |
                                            Fields::kJsonSchema | Fields::kRegex | Fields::kGrammar | Fields::kChoice |
                                            Fields::kAdapter | Fields::kPriority | Fields::kRequestId;

  static absl::StatusOr<vllm::GenerateRequest> Encode(const GenerationRequest& request, bool /*stream*/) {
    vllm::GenerateRequest out;
    out.set_request_id(request.request_id);
    out.set_model(request.model);
    if (const auto* const text = std::get_if<std::string>(&request.prompt)) {
      out.set_text(*text);
    } else {
      const auto& ids = std::get<std::vector<std::int32_t>>(request.prompt);
      out.mutable_token_ids()->mutable_ids()->Assign(ids.begin(), ids.end());
    }
    // The message has no presence for these: what is 0 there is unset.
    for (const auto& [name, value] :
         {std::pair("top_p", request.top_p), {"repetition_penalty", request.repetition_penalty}}) {
      if (value == 0.0f) {
        return detail::InvalidArgumentError(
            detail::Cat(name, " is 0, which the contract vllm cannot tell from unset; expected more"));
      }
    }
    if (request.temperature.has_value()) out.set_temperature(*request.temperature);
    vllm::RandomSampling& sampling = *out.mutable_sampling();
    if (request.n > 1) sampling.set_num_sequences(static_cast<std::uint32_t>(request.n));
    sampling.set_top_k(static_cast<std::uint32_t>((std::max)(request.top_k.value_or(0), 0)));  // below 0: all
    sampling.set_top_p(request.top_p.value_or(0));
    sampling.set_min_p(request.min_p.value_or(0));
    if (request.seed.has_value()) sampling.set_seed(*request.seed);
    vllm::DecodingParameters& decoding = *out.mutable_decoding();
    decoding.set_presence_penalty(request.presence_penalty.value_or(0));
    decoding.set_frequency_penalty(request.frequency_penalty.value_or(0));
    decoding.set_repetition_penalty(request.repetition_penalty.value_or(0));
    if (request.json_schema.has_value()) decoding.set_json(*request.json_schema);
    if (request.regex.has_value()) decoding.set_regex(*request.regex);
    if (request.grammar.has_value()) decoding.set_grammar(*request.grammar);
    for (const std::string& choice : request.choice) decoding.mutable_choice()->add_choices(choice);
    vllm::StoppingCriteria& stopping = *out.mutable_stopping();
    stopping.set_max_new_tokens(static_cast<std::uint32_t>(request.max_tokens.value_or(0)));
    for (const std::int32_t id : request.stop_token_ids) {
      if (id < 0)
        return detail::InvalidArgumentError(detail::Cat("stop_token_ids has ", id, "; expected none below 0"));
      stopping.add_stop_token_ids(static_cast<std::uint32_t>(id));
    }
    for (const std::string& stop : request.stop) stopping.add_stop_strings(stop);
    stopping.set_ignore_eos(request.ignore_eos);
    vllm::ResponseOptions& response = *out.mutable_response();
    response.set_output_text(true);
    response.set_output_token_ids(true);
    if (request.logprobs.has_value()) {
      response.set_output_logprobs(true);
      if (*request.logprobs > 0) {
        response.mutable_output_candidates()->set_top_n(static_cast<std::uint32_t>(*request.logprobs));
      }
    }
    out.set_priority(request.priority.value_or(0));
    out.set_lora_name(request.adapter);
    return out;
  }

  static absl::Status Decode(vllm::GenerateResponse&& response, GenerationChunk& out) {
    if (response.has_prompt_info()) out.prompt_tokens = response.prompt_info().num_prompt_tokens();
    if (!response.has_outputs()) return absl::OkStatus();
    vllm::SequenceOutput& from = *response.mutable_outputs();
    GenerationPiece& piece = out.pieces.emplace_back();
    if (from.index() > kMaxIndex) return detail::Contradiction(detail::Cat("sequence ", from.index()));
    piece.index = static_cast<int>(from.index());
    piece.text = std::move(*from.mutable_text());
    piece.token_ids.reserve(static_cast<std::size_t>(from.token_ids_size()));
    for (const std::uint32_t id : from.token_ids()) {
      if (id > kMaxId) return detail::Contradiction(detail::Cat("token ", id));
      piece.token_ids.push_back(static_cast<std::int32_t>(id));
    }
    piece.tokens = from.num_tokens();
    if (from.logprobs_size() > 0) {
      if (from.logprobs_size() != from.token_ids_size() ||
          (from.candidate_tokens_size() > 0 && from.candidate_tokens_size() != from.logprobs_size())) {
        return detail::Contradiction(
            detail::Cat(from.logprobs_size(), " logprobs of ", from.token_ids_size(), " tokens"));
      }
      for (int i = 0; i < from.logprobs_size(); ++i) {
        TokenLogprob& one = piece.logprobs.emplace_back();
        one.token_id = static_cast<std::int32_t>(from.token_ids(i));
        one.logprob = from.logprobs(i);
        if (from.candidate_tokens_size() == 0) continue;
        for (const auto& candidate : from.candidate_tokens(i).tokens()) {
          one.candidates.push_back({static_cast<std::int32_t>(candidate.id()), "", candidate.logprob()});
        }
      }
    }
    if (!from.has_finish_info()) return absl::OkStatus();
    const vllm::FinishInfo& finish = from.finish_info();
    piece.finish_word = std::string(vllm::FinishInfo::FinishReason_Name(finish.finish_reason()));
    if (finish.num_output_tokens() > 0) piece.tokens_so_far = finish.num_output_tokens();
    switch (finish.finish_reason()) {
      case vllm::FinishInfo::NOT_FINISHED:
        piece.finish_word.clear();
        break;
      case vllm::FinishInfo::LENGTH:
        piece.finish_reason = FinishReason::kLength;
        break;
      case vllm::FinishInfo::ABORTED:
        piece.finish_reason = FinishReason::kAborted;
        break;
      case vllm::FinishInfo::STOP:
      default:
        piece.finish_reason = FinishReason::kStop;
    }
    switch (finish.stop_reason_case()) {
      case vllm::FinishInfo::kStopTokenId:
        piece.stopped_by = static_cast<std::int32_t>(finish.stop_token_id());
        break;
      case vllm::FinishInfo::kEosTokenId:
        piece.stopped_by = static_cast<std::int32_t>(finish.eos_token_id());
        break;
      case vllm::FinishInfo::kStopString:
        piece.stopped_by = std::string(finish.stop_string());
        break;
      case vllm::FinishInfo::STOP_REASON_NOT_SET:
        break;
    }
    return absl::OkStatus();
  }

 private:
  static constexpr std::uint32_t kMaxIndex = 1u << 20;
  static constexpr std::uint32_t kMaxId = 0x7FFFFFFF;
};
static_assert(GenerationContract<Vllm>);
template <>
inline constexpr bool kBuiltIn<Vllm> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_VLLM_H_
