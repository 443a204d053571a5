// SPDX-License-Identifier: Apache-2.0
//
// xAI's API, xai_api.Chat: conversations with its models.
#ifndef INFERWIRE_CONTRACT_XAI_H_
#define INFERWIRE_CONTRACT_XAI_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "inferwire/contract/contract.h"
#include "inferwire/contract/generation_chunk.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/contract/xai.grpc.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/generation.h"  // IWYU pragma: export
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {

/// xai_api.Chat. Messages in, or a text, which is one message of the user's; text out. The key is ClientOptions::token.
/// What a model thinks and the tools that it calls are not told: for those, call the methods themselves by Client.
struct Xai {
  static constexpr std::string_view kName = "xai";
  static constexpr bool kResumes = false;
  using Generate = Rpc<&xai::Chat::Stub::GetCompletion, "xai_api.Chat">;
  using GenerateStream = Rpc<&xai::Chat::Stub::GetCompletionChunk, "xai_api.Chat">;
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries = Fields::kText | Fields::kMessages | Fields::kModel | Fields::kMaxTokens |
                                            Fields::kTemperature | Fields::kTopP | Fields::kPresencePenalty |
                                            Fields::kFrequencyPenalty | Fields::kSeed | Fields::kN | Fields::kStop |
                                            Fields::kLogprobs | Fields::kJsonSchema;

  // The same later, for those who call by Client.
  using StartDeferredCompletion = Rpc<&xai::Chat::Stub::StartDeferredCompletion, "xai_api.Chat">;
  using GetDeferredCompletion = Rpc<&xai::Chat::Stub::GetDeferredCompletion, "xai_api.Chat">;

  static absl::StatusOr<xai::GetCompletionsRequest> Encode(const GenerationRequest& request, bool /*stream*/) {
    xai::GetCompletionsRequest out;
    out.set_model(request.model);
    if (request.messages.empty()) {
      const auto* const text = std::get_if<std::string>(&request.prompt);
      if (text == nullptr) return detail::InvalidArgumentError("the contract xai carries no token ids; expected text");
      AddMessage(out, xai::ROLE_USER, *text);
    }
    for (const ChatMessage& message : request.messages) {
      const xai::MessageRole role = RoleOf(message.role);
      if (role == xai::INVALID_ROLE) {
        return detail::InvalidArgumentError(detail::Cat("messages has the role '", message.role,
                                                        "'; the contract xai carries system, developer, user and "
                                                        "assistant"));
      }
      AddMessage(out, role, message.content);
    }
    if (request.max_tokens.has_value()) out.set_max_tokens(*request.max_tokens);
    if (request.temperature.has_value()) out.set_temperature(*request.temperature);
    if (request.top_p.has_value()) out.set_top_p(*request.top_p);
    if (request.presence_penalty.has_value()) out.set_presence_penalty(*request.presence_penalty);
    if (request.frequency_penalty.has_value()) out.set_frequency_penalty(*request.frequency_penalty);
    if (request.seed.has_value()) {
      using Seed = std::numeric_limits<std::int32_t>;
      if (*request.seed < (Seed::min)() || *request.seed > (Seed::max)()) {
        return detail::InvalidArgumentError(
            detail::Cat("seed is ", *request.seed, "; the contract xai carries 32 bits of it"));
      }
      out.set_seed(static_cast<std::int32_t>(*request.seed));
    }
    if (request.n > 1) out.set_n(request.n);
    for (const std::string& stop : request.stop) out.add_stop(stop);
    if (request.logprobs.has_value()) {
      out.set_logprobs(true);
      if (*request.logprobs > 0) out.set_top_logprobs(*request.logprobs);
    }
    if (request.json_schema.has_value()) {
      out.mutable_response_format()->set_format_type(xai::FORMAT_TYPE_JSON_SCHEMA);
      out.mutable_response_format()->set_schema(*request.json_schema);
    }
    return out;
  }

  static absl::Status Decode(xai::GetChatCompletionChunk&& response, GenerationChunk& out) {
    if (response.outputs_size() > kMostOutputs) return TooMany(response.outputs_size());
    for (xai::CompletionOutputChunk& output : *response.mutable_outputs()) {
      AddPiece(output, std::move(*output.mutable_delta()->mutable_content()), out);
    }
    return response.has_usage() ? DecodeUsage(response.usage(), out) : absl::OkStatus();
  }
  static absl::Status Decode(xai::GetChatCompletionResponse&& response, GenerationChunk& out) {
    if (response.outputs_size() > kMostOutputs) return TooMany(response.outputs_size());
    for (xai::CompletionOutput& output : *response.mutable_outputs()) {
      AddPiece(output, std::move(*output.mutable_message()->mutable_content()), out);
    }
    return response.has_usage() ? DecodeUsage(response.usage(), out) : absl::OkStatus();
  }

 private:
  static constexpr int kMostOutputs = 1 << 16;

  static absl::Status TooMany(int outputs) {
    return detail::Contradiction(detail::Cat(outputs, " outputs of one message"));
  }

  static xai::MessageRole RoleOf(std::string_view role) {
    if (role == "system") return xai::ROLE_SYSTEM;
    if (role == "developer") return xai::ROLE_DEVELOPER;
    if (role == "user") return xai::ROLE_USER;
    if (role == "assistant") return xai::ROLE_ASSISTANT;
    return xai::INVALID_ROLE;
  }
  static void AddMessage(xai::GetCompletionsRequest& out, xai::MessageRole role, const std::string& text) {
    xai::Message& message = *out.add_messages();
    message.set_role(role);
    message.add_content()->set_text(text);
  }

  // An index that makes no sense is for the reader to find.
  template <class Output>
  static void AddPiece(Output& from, std::string&& text, GenerationChunk& out) {
    GenerationPiece& piece = out.pieces.emplace_back();
    piece.index = from.index();
    piece.text = std::move(text);
    piece.logprobs.reserve(static_cast<std::size_t>(from.logprobs().content_size()));
    for (xai::LogProb& token : *from.mutable_logprobs()->mutable_content()) {
      TokenLogprob& one = piece.logprobs.emplace_back();
      one.text = std::move(*token.mutable_token());
      one.logprob = token.logprob();
      for (xai::TopLogProb& candidate : *token.mutable_top_logprobs()) {
        one.candidates.push_back({0, std::move(*candidate.mutable_token()), candidate.logprob()});
      }
    }
    if (from.finish_reason() == xai::REASON_INVALID) return;
    piece.finish_word = std::string(xai::FinishReason_Name(from.finish_reason()));
    switch (from.finish_reason()) {
      case xai::REASON_MAX_LEN:
      case xai::REASON_MAX_CONTEXT:
      case xai::REASON_TIME_LIMIT:
        piece.finish_reason = FinishReason::kLength;
        break;
      case xai::REASON_STOP:
      case xai::REASON_TOOL_CALLS:
      default:
        piece.finish_reason = FinishReason::kStop;
    }
  }

  static absl::Status DecodeUsage(const xai::SamplingUsage& usage, GenerationChunk& out) {
    for (const std::int32_t count :
         {usage.prompt_tokens(), usage.cached_prompt_text_tokens(), usage.completion_tokens()}) {
      if (count < 0) return detail::Contradiction(detail::Cat(count, " tokens were used"));
    }
    out.completion_tokens = usage.completion_tokens();
    if (usage.prompt_tokens() == 0) return absl::OkStatus();  // not every chunk tells it
    out.prompt_tokens = usage.prompt_tokens();
    out.cached_tokens = usage.cached_prompt_text_tokens();
    return absl::OkStatus();
  }
};
static_assert(GenerationContract<Xai>);
template <>
inline constexpr bool kBuiltIn<Xai> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_XAI_H_
