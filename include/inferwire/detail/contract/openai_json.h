// SPDX-License-Identifier: Apache-2.0
//
// Chat completions in OpenAI's JSON, which engines pass through inside of their messages.
#ifndef INFERWIRE_DETAIL_CONTRACT_OPENAI_JSON_H_
#define INFERWIRE_DETAIL_CONTRACT_OPENAI_JSON_H_

#include <absl/status/status.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "inferwire/contract/generation_chunk.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/base/utf8.h"
#include "inferwire/detail/contract/json.h"
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// The status that stands for a code of HTTP (as gRPC maps them, doc/http-grpc-status-mapping.md, and where that has
/// none, google.rpc.Code).
inline absl::StatusCode StatusOfHttp(std::int64_t code) {
  switch (code) {
    case 400:
    case 413:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 408:
    case 504:
      return absl::StatusCode::kDeadlineExceeded;
    case 409:
      return absl::StatusCode::kAborted;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    case 499:
      return absl::StatusCode::kCancelled;
    case 501:
      return absl::StatusCode::kUnimplemented;
    case 502:
    case 503:
      return absl::StatusCode::kUnavailable;
    default:
      break;
  }
  return code >= 400 && code < 500 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kInternal;
}

struct OpenAiJson {
  static std::string EncodeChat(const GenerationRequest& request, bool stream) {
    JsonObject body;
    auto& fields = *body.mutable_fields();
    const auto number = [&](const char* key, const auto& value) {
      if (value.has_value()) fields[key].set_number_value(static_cast<double>(*value));
    };
    const auto text = [&](const char* key, const std::string& value) {
      if (!value.empty()) fields[key].set_string_value(value);
    };
    fields["model"].set_string_value(request.model.empty() ? "default" : request.model);
    auto& messages = *fields["messages"].mutable_list_value();
    for (const ChatMessage& message : request.messages) {
      auto& one = *messages.add_values()->mutable_struct_value()->mutable_fields();
      one["role"].set_string_value(message.role);
      one["content"].set_string_value(message.content);
    }
    fields["stream"].set_bool_value(stream);
    if (stream)
      (*fields["stream_options"].mutable_struct_value()->mutable_fields())["include_usage"].set_bool_value(true);
    number("max_tokens", request.max_tokens);
    number("temperature", request.temperature);
    number("top_p", request.top_p);
    number("top_k", request.top_k);
    number("min_p", request.min_p);
    number("presence_penalty", request.presence_penalty);
    number("frequency_penalty", request.frequency_penalty);
    number("repetition_penalty", request.repetition_penalty);
    number("seed", request.seed);
    number("priority", request.priority);
    if (request.n > 1) fields["n"].set_number_value(request.n);
    for (const std::string& stop : request.stop) {
      fields["stop"].mutable_list_value()->add_values()->set_string_value(stop);
    }
    for (const std::int32_t id : request.stop_token_ids) {
      fields["stop_token_ids"].mutable_list_value()->add_values()->set_number_value(id);
    }
    if (request.ignore_eos) fields["ignore_eos"].set_bool_value(true);
    if (request.regex.has_value()) fields["regex"].set_string_value(*request.regex);
    if (request.grammar.has_value()) fields["ebnf"].set_string_value(*request.grammar);
    text("lora_path", request.adapter);
    text("rid", request.request_id);
    return WriteJson(body);
  }

  /// INVALID_ARGUMENT where a schema is no JSON object, which cannot be put into another one.
  static absl::StatusOr<std::string> EncodeChatWithSchema(const GenerationRequest& request, bool stream) {
    constexpr std::int64_t kMostSeed = std::int64_t{1} << 53;  // JSON's numbers are doubles
    if (request.seed.has_value() && (*request.seed > kMostSeed || *request.seed < -kMostSeed)) {
      return InvalidArgumentError(Cat("seed is ", *request.seed, "; JSON carries -2^53 to 2^53"));
    }
    if (absl::Status status = CheckTexts(request); !status.ok()) return status;
    std::string body = EncodeChat(request, stream);
    if (!request.json_schema.has_value()) return body;
    const std::optional<JsonObject> schema = ParseJsonObject(*request.json_schema);
    std::optional<JsonObject> whole = ParseJsonObject(body);
    if (!schema.has_value() || !whole.has_value()) {
      return InvalidArgumentError("json_schema is no JSON object");
    }
    auto& format = *(*whole->mutable_fields())["response_format"].mutable_struct_value()->mutable_fields();
    format["type"].set_string_value("json_schema");
    auto& named = *format["json_schema"].mutable_struct_value()->mutable_fields();
    named["name"].set_string_value("schema");
    *named["schema"].mutable_struct_value() = *schema;
    return WriteJson(*whole);
  }

  /// The error that a body tells, if it does: {"error": {"message", "code"}}, or that object itself.
  static absl::Status ErrorOf(const JsonObject& body) {
    if (const std::string_view text = FindText(body, "error"); !text.empty()) {
      return SaidError(absl::StatusCode::kInternal, std::string(text));
    }
    const JsonObject* error = FindObject(body, "error");
    if (error == nullptr && FindText(body, "object") == "error") error = &body;
    if (error == nullptr) return absl::OkStatus();
    return SaidError(StatusOfHttp(FindWholeNumber(*error, "code").value_or(500)),
                     std::string(FindText(*error, "message")));
  }

  /// A chunk of a stream, or a whole answer.
  static absl::Status Decode(std::string_view text, GenerationChunk& out) {
    if (text.empty() || text == "[DONE]") return absl::OkStatus();
    const std::optional<JsonObject> body = ParseJsonObject(text);
    if (!body.has_value()) return InternalError("the server's answer is no JSON object");
    if (absl::Status error = ErrorOf(*body); !error.ok()) return error;
    if (const JsonObject* const usage = FindObject(*body, "usage")) {
      out.prompt_tokens = FindWholeNumber(*usage, "prompt_tokens");
      out.completion_tokens = FindWholeNumber(*usage, "completion_tokens");
      if (const JsonObject* const details = FindObject(*usage, "prompt_tokens_details")) {
        out.cached_tokens = FindWholeNumber(*details, "cached_tokens");
      }
    }
    const JsonValue* const choices = Find(*body, "choices");
    if (choices == nullptr || !choices->has_list_value()) return absl::OkStatus();
    for (const JsonValue& value : choices->list_value().values()) {
      if (!value.has_struct_value()) continue;
      const JsonObject& choice = value.struct_value();
      const std::int64_t index = FindWholeNumber(choice, "index").value_or(0);
      if (index < 0 || index > kMaxIndex) {
        return Contradiction(Cat("it speaks of choice ", index));
      }
      GenerationPiece& piece = out.pieces.emplace_back();
      piece.index = static_cast<int>(index);
      const JsonObject* said = FindObject(choice, "delta");
      if (said == nullptr) said = FindObject(choice, "message");
      if (said != nullptr) piece.text = std::string(FindText(*said, "content"));
      const std::string_view word = FindText(choice, "finish_reason");
      if (word.empty()) continue;
      piece.finish_word = std::string(word);
      piece.finish_reason = FinishOf(word);
      if (const JsonValue* const stop = Find(choice, "matched_stop"); stop != nullptr) {
        if (const auto id = WholeNumber(*stop); id.has_value()) piece.stopped_by = static_cast<std::int32_t>(*id);
        if (stop->kind_case() == JsonValue::kStringValue) piece.stopped_by = std::string(stop->string_value());
      }
    }
    return absl::OkStatus();
  }

  static FinishReason FinishOf(std::string_view word) {
    if (word == "length") return FinishReason::kLength;
    if (word == "abort" || word == "aborted" || word == "cancelled") return FinishReason::kAborted;
    return word == "error" ? FinishReason::kError : FinishReason::kStop;
  }

 private:
  static absl::Status CheckTexts(const GenerationRequest& request) {
    const auto check = [](const char* field, std::string_view text) {
      return IsUtf8(text) ? absl::OkStatus() : InvalidArgumentError(Cat(field, " is not UTF-8"));
    };
    absl::Status status = check("model", request.model);
    for (const ChatMessage& message : request.messages) {
      status.Update(check("a message's role", message.role));
      status.Update(check("a message's content", message.content));
    }
    for (const std::string& stop : request.stop) status.Update(check("stop", stop));
    status.Update(check("regex", request.regex.value_or("")));
    status.Update(check("grammar", request.grammar.value_or("")));
    status.Update(check("adapter", request.adapter));
    status.Update(check("request_id", request.request_id));
    return status;
  }
  static constexpr std::int64_t kMaxIndex = 1 << 20;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CONTRACT_OPENAI_JSON_H_
