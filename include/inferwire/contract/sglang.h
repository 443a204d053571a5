// SPDX-License-Identifier: Apache-2.0
//
// SGLang's own service, sglang.runtime.v1.SglangService.
#ifndef INFERWIRE_CONTRACT_SGLANG_H_
#define INFERWIRE_CONTRACT_SGLANG_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/contract/contract.h"
#include "inferwire/contract/generation_chunk.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/contract/sglang.grpc.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/json.h"
#include "inferwire/detail/contract/openai_json.h"
#include "inferwire/generation.h"  // IWYU pragma: export
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// What its two methods of generation have in common: a request's parameters, and answers that tell all so far again.
template <class Self, class Message, class Response>
struct SglangMethod {
  using Fields = GenerationFields;
  static constexpr std::uint32_t kParameters = Fields::kMaxTokens | Fields::kSampling | Fields::kSeed | Fields::kStop |
                                               Fields::kStopTokenIds | Fields::kIgnoreEos | Fields::kJsonSchema |
                                               Fields::kRegex | Fields::kAdapter | Fields::kPriority |
                                               Fields::kRequestId;

  static absl::StatusOr<Message> Encode(const GenerationRequest& request, bool stream) {
    Message out;
    Self::SetPrompt(request, out);
    sglang::SamplingParams& sampling = *out.mutable_sampling_params();
    if (request.temperature.has_value()) sampling.set_temperature(*request.temperature);
    if (request.top_p.has_value()) sampling.set_top_p(*request.top_p);
    if (request.top_k.has_value()) sampling.set_top_k(*request.top_k);
    if (request.min_p.has_value()) sampling.set_min_p(*request.min_p);
    if (request.frequency_penalty.has_value()) sampling.set_frequency_penalty(*request.frequency_penalty);
    if (request.presence_penalty.has_value()) sampling.set_presence_penalty(*request.presence_penalty);
    if (request.repetition_penalty.has_value()) sampling.set_repetition_penalty(*request.repetition_penalty);
    if (request.max_tokens.has_value()) sampling.set_max_new_tokens(*request.max_tokens);
    for (const std::string& stop : request.stop) sampling.add_stop(stop);
    sampling.mutable_stop_token_ids()->Assign(request.stop_token_ids.begin(), request.stop_token_ids.end());
    if (request.ignore_eos) sampling.set_ignore_eos(true);
    if (request.json_schema.has_value()) sampling.set_json_schema(*request.json_schema);
    if (request.regex.has_value()) sampling.set_regex(*request.regex);
    if (request.seed.has_value()) sampling.set_seed(*request.seed);
    if (stream) out.set_stream(true);
    if (!request.request_id.empty()) out.set_rid(request.request_id);
    if (!request.adapter.empty()) out.set_lora_path(request.adapter);
    if (request.priority.has_value()) out.set_priority(*request.priority);
    return out;
  }

  /// So it tells that it took no request on, or could not go on with it: by what it was aborted.
  static constexpr std::string_view kErrorMark = "status_code";
  static absl::Status Inspect(const Response& response) {
    const auto found = response.meta_info().find("finish_reason");
    if (found == response.meta_info().end()) return absl::OkStatus();
    const std::string_view json(found->second);
    if (json.find(kErrorMark) == std::string_view::npos) return absl::OkStatus();
    const std::optional<JsonObject> reason = ParseJsonObject(json);
    if (!reason.has_value() || Find(*reason, "status_code") == nullptr) return absl::OkStatus();
    return SaidError(StatusOfHttp(FindWholeNumber(*reason, "status_code").value_or(500)),
                     std::string(FindText(*reason, "message")));
  }

  static absl::Status Decode(Response&& response, GenerationChunk& out) {
    if (absl::Status error = Inspect(response); !error.ok()) return error;
    GenerationPiece& piece = out.pieces.emplace_back();
    piece.cumulative = true;
    Self::TakeOutput(response, piece);
    for (const auto& [key, json] : response.meta_info()) {
      const std::string_view name(key);
      if (name == "prompt_tokens") out.prompt_tokens = ParseWholeNumber(json);
      if (name == "cached_tokens") out.cached_tokens = ParseWholeNumber(json);
      if (name == "completion_tokens") piece.tokens_so_far = ParseWholeNumber(json);
      if (name != "finish_reason" || std::string_view(json) == "null") continue;
      const std::optional<JsonObject> reason = ParseJsonObject(json);
      if (!reason.has_value()) {
        return Contradiction("finish_reason is no JSON object");
      }
      piece.finish_word = std::string(FindText(*reason, "type"));
      piece.finish_reason = OpenAiJson::FinishOf(piece.finish_word);
      if (const JsonValue* const stop = Find(*reason, "matched"); stop != nullptr) {
        if (const auto id = WholeNumber(*stop); id.has_value()) piece.stopped_by = static_cast<std::int32_t>(*id);
        if (stop->kind_case() == JsonValue::kStringValue) piece.stopped_by = std::string(stop->string_value());
      }
    }
    if (response.finished() && !piece.finish_reason.has_value()) piece.finish_reason = FinishReason::kStop;
    return absl::OkStatus();
  }
};

struct SglangText : SglangMethod<SglangText, sglang::TextGenerateRequest, sglang::TextGenerateResponse> {
  using GenerateStream = Rpc<&sglang::SglangService::Stub::TextGenerate, "sglang.runtime.v1.SglangService">;
  static constexpr std::uint32_t kCarries = kParameters | Fields::kText;
  static bool Takes(const GenerationRequest& request) {
    return request.messages.empty() && std::holds_alternative<std::string>(request.prompt);
  }
  static void SetPrompt(const GenerationRequest& request, sglang::TextGenerateRequest& out) {
    out.set_text(std::get<std::string>(request.prompt));
  }
  static void TakeOutput(sglang::TextGenerateResponse& response, GenerationPiece& piece) {
    piece.text = std::move(*response.mutable_text());
  }
};

struct SglangTokens : SglangMethod<SglangTokens, sglang::GenerateRequest, sglang::GenerateResponse> {
  using GenerateStream = Rpc<&sglang::SglangService::Stub::Generate, "sglang.runtime.v1.SglangService">;
  static constexpr std::uint32_t kCarries = kParameters | Fields::kTokenIds;
  static bool Takes(const GenerationRequest& request) {
    return request.messages.empty() && std::holds_alternative<std::vector<std::int32_t>>(request.prompt);
  }
  static void SetPrompt(const GenerationRequest& request, sglang::GenerateRequest& out) {
    const auto& ids = std::get<std::vector<std::int32_t>>(request.prompt);
    out.mutable_input_ids()->Assign(ids.begin(), ids.end());
    out.set_return_text(true);
  }
  static void TakeOutput(sglang::GenerateResponse& response, GenerationPiece& piece) {
    piece.token_ids.assign(response.output_ids().begin(), response.output_ids().end());
    piece.text = std::move(*response.mutable_text());
  }
};

struct SglangChat {
  using GenerateStream = Rpc<&sglang::SglangService::Stub::ChatComplete, "sglang.runtime.v1.SglangService">;
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries =
      Fields::kMessages | Fields::kModel | Fields::kMaxTokens | Fields::kSampling | Fields::kSeed | Fields::kN |
      Fields::kStop | Fields::kStopTokenIds | Fields::kIgnoreEos | Fields::kJsonSchema | Fields::kRegex |
      Fields::kGrammar | Fields::kAdapter | Fields::kPriority | Fields::kRequestId;

  static absl::StatusOr<sglang::OpenAIRequest> Encode(const GenerationRequest& request, bool stream) {
    absl::StatusOr<std::string> body = OpenAiJson::EncodeChatWithSchema(request, stream);
    if (!body.ok()) return body.status();
    sglang::OpenAIRequest out;
    out.set_json_body(*std::move(body));
    return out;
  }
  static absl::Status Decode(sglang::OpenAIStreamChunk&& chunk, GenerationChunk& out) {
    return OpenAiJson::Decode(chunk.json_chunk(), out);
  }
  static constexpr std::string_view kErrorMark = "\"error\"";
  static absl::Status Inspect(const sglang::OpenAIStreamChunk& chunk) {
    const std::optional<JsonObject> body = ParseJsonObject(chunk.json_chunk());
    return body.has_value() ? OpenAiJson::ErrorOf(*body) : absl::OkStatus();
  }
};

}  // namespace detail

/// sglang.runtime.v1.SglangService: TextGenerate for text, Generate for token ids, ChatComplete for conversations. Its
/// models serve one at a time, so `model` goes along with conversations alone. Read from SGLang's wheel of 2026.
struct Sglang {
  static constexpr std::string_view kName = "sglang";
  using Forms = std::tuple<detail::SglangText, detail::SglangTokens, detail::SglangChat>;
};
static_assert(GenerationContract<Sglang>);
template <>
inline constexpr bool kBuiltIn<Sglang> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_SGLANG_H_
