// SPDX-License-Identifier: Apache-2.0
//
// The service of a vLLM engine behind the SMG gateway, vllm.grpc.engine.VllmEngine.
#ifndef INFERWIRE_CONTRACT_VLLM_ENGINE_H_
#define INFERWIRE_CONTRACT_VLLM_ENGINE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
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
#include "inferwire/contract/vllm_engine.grpc.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/smg.h"
#include "inferwire/generation.h"  // IWYU pragma: export
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {

/// vllm.grpc.engine.VllmEngine. Text or token ids in, token ids out. Read from smg-grpc-servicer 0.14.1 over vLLM 0.32.
/// The ids of a sequence that ended at a stop string have that string too.
struct VllmEngine {
  static constexpr std::string_view kName = "vllm_engine";
  using GenerateStream = Rpc<&vllm_engine::VllmEngine::Stub::Generate, "vllm.grpc.engine.VllmEngine">;
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries = Fields::kText | Fields::kTokenIds | Fields::kMaxTokens | Fields::kSampling |
                                            Fields::kSeed | Fields::kN | Fields::kStop | Fields::kStopTokenIds |
                                            Fields::kIgnoreEos | Fields::kLogprobs | Fields::kJsonSchema |
                                            Fields::kRegex | Fields::kGrammar | Fields::kChoice | Fields::kRequestId;
  static constexpr bool kGivesText = false;
  static constexpr bool kWantsRequestId = true;

  static absl::StatusOr<vllm_engine::GenerateRequest> Encode(const GenerationRequest& request, bool stream) {
    vllm_engine::GenerateRequest out;
    out.set_request_id(request.request_id);
    out.set_stream(stream);
    if (const auto* const text = std::get_if<std::string>(&request.prompt)) {
      out.set_text(*text);
    } else if (absl::Status status = detail::smg::PutPrompt(request, *out.mutable_tokenized()->mutable_input_ids());
               !status.ok()) {
      return status;
    }
    // The message has no presence for these: what is 0 there is unset.
    for (const auto& [name, value] :
         {std::pair("top_p", request.top_p), {"repetition_penalty", request.repetition_penalty}}) {
      if (value == 0.0f) {
        return detail::InvalidArgumentError(
            detail::Cat(name, " is 0, which the contract vllm_engine cannot tell from unset; expected more"));
      }
    }
    vllm_engine::SamplingParams& sampling = *out.mutable_sampling_params();
    if (request.temperature.has_value()) sampling.set_temperature(*request.temperature);
    sampling.set_top_p(request.top_p.value_or(0));
    sampling.set_top_k(static_cast<std::uint32_t>((std::max)(request.top_k.value_or(0), 0)));  // below 0: all
    sampling.set_min_p(request.min_p.value_or(0));
    sampling.set_frequency_penalty(request.frequency_penalty.value_or(0));
    sampling.set_presence_penalty(request.presence_penalty.value_or(0));
    sampling.set_repetition_penalty(request.repetition_penalty.value_or(0));
    if (request.max_tokens.has_value()) sampling.set_max_tokens(static_cast<std::uint32_t>(*request.max_tokens));
    if (request.seed.has_value()) {
      using Seed = std::numeric_limits<std::int32_t>;
      if (*request.seed < (Seed::min)() || *request.seed > (Seed::max)()) {
        return detail::InvalidArgumentError(detail::Cat("seed is ", *request.seed,
                                                        "; the contract vllm_engine has room for ", (Seed::min)(),
                                                        " to ", (Seed::max)()));
      }
      sampling.set_seed(static_cast<std::int32_t>(*request.seed));
    }
    sampling.set_n(static_cast<std::uint32_t>(request.n));
    for (const std::string& stop : request.stop) sampling.add_stop(stop);
    if (absl::Status status =
            detail::smg::PutIds("stop_token_ids", request.stop_token_ids, *sampling.mutable_stop_token_ids());
        !status.ok()) {
      return status;
    }
    sampling.set_ignore_eos(request.ignore_eos);
    // As the engine has it by itself; the message has no presence.
    sampling.set_skip_special_tokens(true);
    sampling.set_spaces_between_special_tokens(true);
    if (absl::Status status = detail::smg::CheckLogprobs(request); !status.ok()) return status;
    if (request.logprobs.has_value()) sampling.set_logprobs(*request.logprobs);
    if (request.json_schema.has_value()) sampling.set_json_schema(*request.json_schema);
    if (request.regex.has_value()) sampling.set_regex(*request.regex);
    if (request.grammar.has_value()) sampling.set_grammar(*request.grammar);
    for (const std::string& choice : request.choice) sampling.mutable_choice()->add_choices(choice);
    return out;
  }

  static absl::Status Decode(vllm_engine::GenerateResponse&& response, GenerationChunk& out) {
    if (response.has_chunk()) return Take(response.chunk(), response.chunk().token_ids(), out);
    if (!response.has_complete()) return absl::OkStatus();
    vllm_engine::GenerateComplete& end = *response.mutable_complete();
    if (absl::Status status = Take(end, end.output_ids(), out); !status.ok()) return status;
    return detail::smg::TakeEnd(end, out.pieces.back());
  }

 private:
  template <class Message, class Ids>
  static absl::Status Take(const Message& from, const Ids& ids, GenerationChunk& out) {
    detail::smg::TakeUsage(from, out);
    GenerationPiece& piece = out.pieces.emplace_back();
    if (from.completion_tokens() > 0) piece.tokens = from.completion_tokens();  // of this message
    if (absl::Status status = detail::smg::TakePiece(from.index(), ids, piece); !status.ok()) return status;
    return detail::smg::TakeLogprobs(from.output_logprobs(), piece.logprobs);
  }
};
static_assert(GenerationContract<VllmEngine>);
template <>
inline constexpr bool kBuiltIn<VllmEngine> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_VLLM_ENGINE_H_
