// SPDX-License-Identifier: Apache-2.0
//
// The service of an SGLang engine behind the SMG gateway, sglang.grpc.scheduler.SglangScheduler.
#ifndef INFERWIRE_CONTRACT_SGLANG_SCHEDULER_H_
#define INFERWIRE_CONTRACT_SGLANG_SCHEDULER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "inferwire/contract/contract.h"
#include "inferwire/contract/generation_chunk.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/contract/sglang_scheduler.grpc.pb.h"
#include "inferwire/detail/contract/smg.h"
#include "inferwire/generation.h"  // IWYU pragma: export
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {

/// sglang.grpc.scheduler.SglangScheduler. Token ids in, and out. GenerationRequest::adapter is the id by which the
/// engine knows it, which may differ from its name.
struct SglangScheduler {
  static constexpr std::string_view kName = "sglang_scheduler";
  using GenerateStream =
      Rpc<&sglang_scheduler::SglangScheduler::Stub::Generate, "sglang.grpc.scheduler.SglangScheduler">;
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries = Fields::kTokenIds | Fields::kMaxTokens | Fields::kSampling | Fields::kN |
                                            Fields::kStop | Fields::kStopTokenIds | Fields::kIgnoreEos |
                                            Fields::kLogprobs | Fields::kJsonSchema | Fields::kRegex |
                                            Fields::kGrammar | Fields::kAdapter | Fields::kRequestId;
  static constexpr bool kGivesText = false;
  static constexpr bool kWantsRequestId = true;

  static absl::StatusOr<sglang_scheduler::GenerateRequest> Encode(const GenerationRequest& request, bool stream) {
    sglang_scheduler::GenerateRequest out;
    out.set_request_id(request.request_id);
    out.set_stream(stream);
    if (absl::Status status = detail::smg::PutPrompt(request, *out.mutable_tokenized()->mutable_input_ids());
        !status.ok()) {
      return status;
    }
    // The message has no presence for most of these, and the engine takes them as they are: what is unset is said.
    sglang_scheduler::SamplingParams& sampling = *out.mutable_sampling_params();
    sampling.set_temperature(request.temperature.value_or(1));
    sampling.set_top_p(request.top_p.value_or(1));
    const int top_k = request.top_k.value_or(0);
    sampling.set_top_k(top_k > 0 ? top_k : -1);
    sampling.set_min_p(request.min_p.value_or(0));
    sampling.set_frequency_penalty(request.frequency_penalty.value_or(0));
    sampling.set_presence_penalty(request.presence_penalty.value_or(0));
    sampling.set_repetition_penalty(request.repetition_penalty.value_or(1));
    if (request.max_tokens.has_value()) sampling.set_max_new_tokens(static_cast<std::uint32_t>(*request.max_tokens));
    sampling.set_n(static_cast<std::uint32_t>(request.n));
    for (const std::string& stop : request.stop) sampling.add_stop(stop);
    if (absl::Status status =
            detail::smg::PutIds("stop_token_ids", request.stop_token_ids, *sampling.mutable_stop_token_ids());
        !status.ok()) {
      return status;
    }
    sampling.set_ignore_eos(request.ignore_eos);
    sampling.set_skip_special_tokens(true);
    sampling.set_spaces_between_special_tokens(true);
    if (request.json_schema.has_value()) sampling.set_json_schema(*request.json_schema);
    if (request.regex.has_value()) sampling.set_regex(*request.regex);
    if (request.grammar.has_value()) sampling.set_ebnf_grammar(*request.grammar);
    if (absl::Status status = detail::smg::CheckLogprobs(request); !status.ok()) return status;
    out.set_return_logprob(request.logprobs.has_value());
    out.set_top_logprobs_num(request.logprobs.value_or(0));
    out.set_logprob_start_len(-1);  // of the prompt none
    out.set_lora_id(request.adapter);
    return out;
  }

  static absl::Status Decode(sglang_scheduler::GenerateResponse&& response, GenerationChunk& out) {
    if (response.has_chunk()) return Take(response.chunk(), response.chunk().token_ids(), out);
    if (!response.has_complete()) return absl::OkStatus();
    sglang_scheduler::GenerateComplete& end = *response.mutable_complete();
    if (absl::Status status = Take(end, end.output_ids(), out); !status.ok()) return status;
    return detail::smg::TakeEnd(end, out.pieces.back());
  }

 private:
  template <class Message, class Ids>
  static absl::Status Take(const Message& from, const Ids& ids, GenerationChunk& out) {
    detail::smg::TakeUsage(from, out);
    GenerationPiece& piece = out.pieces.emplace_back();
    if (from.completion_tokens() > 0) piece.tokens_so_far = from.completion_tokens();
    if (absl::Status status = detail::smg::TakePiece(from.index(), ids, piece); !status.ok()) return status;
    return detail::smg::TakeLogprobs(from.output_logprobs(), piece.logprobs);
  }
};
static_assert(GenerationContract<SglangScheduler>);
template <>
inline constexpr bool kBuiltIn<SglangScheduler> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_SGLANG_SCHEDULER_H_
