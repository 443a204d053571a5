// SPDX-License-Identifier: Apache-2.0
#include "server/sglang_service.h"

#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/continuation.h"
#include "server/ngrams.h"
#include "server/pause.h"
#include "server/status.h"
#include "server/text.h"
#include "server/words.h"

namespace inferwire::examples {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using ::sglang::runtime::v1::OpenAIStreamChunk;
using ::sglang::runtime::v1::SamplingParams;
using ::sglang::runtime::v1::TextGenerateResponse;

constexpr char kModel[] = "storyteller";
constexpr int kLongestPrompt = 1 << 20;

absl::Status GoneError() { return absl::CancelledError("the caller has gone"); }
absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(absl::StrCat(kModel, ": ", what)); }

template <class Message>
std::string Json(const Message& message) {
  std::string text;
  static_cast<void>(google::protobuf::util::MessageToJsonString(message, &text));
  return text;
}
std::string JsonText(const std::string& text) {
  Value value;
  value.set_string_value(text);
  return Json(value);
}

absl::StatusOr<Continuation::Terms> ReadTerms(const std::string& prompt, const SamplingParams& sampling) {
  if (sampling.n() > 1) return Bad(absl::StrCat("expected one sequence, found ", sampling.n()));
  if (sampling.has_json_schema() || sampling.has_regex() || sampling.has_guided_decoding()) {
    return Bad("a story has no structure that could be asked for");
  }
  if (sampling.has_max_new_tokens() && sampling.max_new_tokens() < 1) {
    return Bad(absl::StrCat("expected at least one new token, found ", sampling.max_new_tokens()));
  }
  Continuation::Terms terms;
  terms.prompt = prompt;
  terms.seed = static_cast<std::uint64_t>(sampling.seed());
  terms.max_tokens = sampling.max_new_tokens();
  terms.stop.assign(sampling.stop().begin(), sampling.stop().end());
  for (const std::int32_t id : sampling.stop_token_ids())
    terms.stop_token_ids.push_back(static_cast<std::uint32_t>(id));
  terms.ignore_end = sampling.ignore_eos();
  return terms;
}

// How a generation has ended, in the words of meta_info: none while it goes on.
struct Finish {
  std::string type = {};
  std::optional<Value> matched = std::nullopt;
};
Finish FinishOf(const Continuation::Part& part) {
  Finish finish;
  switch (part.end) {
    case Continuation::End::kNone:
      break;
    case Continuation::End::kLength:
      finish.type = "length";
      break;
    case Continuation::End::kStory:
      finish.type = "stop";
      finish.matched.emplace().set_number_value(Continuation::kEndToken);
      break;
    case Continuation::End::kStopString:
      finish.type = "stop";
      finish.matched.emplace().set_string_value(part.stop_string);
      break;
    case Continuation::End::kStopToken:
      finish.type = "stop";
      finish.matched.emplace().set_number_value(part.stop_token);
      break;
  }
  return finish;
}

// Tells the story part by part, the last of which has a finish, until `send` says false.
absl::Status Tell(grpc::ServerContext& context, const Running::Entry& entry, std::chrono::milliseconds delay,
                  Continuation& story, const std::function<bool(const std::string& text, const Finish& finish)>& send) {
  for (;;) {
    if (!Pause([&] { return context.IsCancelled() || entry.aborted(); }, delay)) {
      if (!entry.aborted()) return GoneError();
      return send("", {.type = "abort"}) ? absl::OkStatus() : GoneError();
    }
    const Continuation::Part part = story.Next();
    if (part.empty()) continue;
    if (!send(part.text, FinishOf(part))) return GoneError();
    if (part.end != Continuation::End::kNone) return absl::OkStatus();
  }
}

// Of OpenAI's JSON what there is of a key; none where it is of another kind.
const Value* Find(const Struct& object, const std::string& key) {
  const auto found = object.fields().find(key);
  return found == object.fields().end() || found->second.kind_case() == Value::kNullValue ? nullptr : &found->second;
}
std::string FindText(const Struct& object, const std::string& key) {
  const Value* const value = Find(object, key);
  return value != nullptr ? std::string(value->string_value()) : std::string();
}
absl::StatusOr<std::optional<std::int64_t>> FindInteger(const Struct& object, const std::string& key) {
  const Value* const value = Find(object, key);
  if (value == nullptr) return std::optional<std::int64_t>();
  const double number = value->number_value();
  if (value->kind_case() != Value::kNumberValue || std::floor(number) != number || std::abs(number) > 0x1p53) {
    return Bad(absl::StrCat("expected a whole number as ", key));
  }
  return std::optional<std::int64_t>(static_cast<std::int64_t>(number));
}

struct ChatRequest {
  std::string prompt = {};
  SamplingParams sampling = {};
  std::string id = {};
  bool stream = false;
  bool usage = false;
};

absl::Status ReadSampling(const Struct& body, SamplingParams& sampling) {
  for (const char* const key : {"max_tokens", "max_completion_tokens", "seed", "n"}) {
    const absl::StatusOr<std::optional<std::int64_t>> number = FindInteger(body, key);
    if (!number.ok()) return number.status();
    if (!number->has_value()) continue;
    const std::string_view name = key;
    if (name == "seed") {
      sampling.set_seed(**number);
      continue;
    }
    if (**number < 1 || **number > Continuation::kMostTokens) {
      return Bad(absl::StrCat("expected ", key, " of 1 to ", Continuation::kMostTokens, ", found ", **number));
    }
    name == "n" ? sampling.set_n(static_cast<int>(**number)) : sampling.set_max_new_tokens(static_cast<int>(**number));
  }
  if (const Value* const stop = Find(body, "stop"); stop != nullptr) {
    if (stop->kind_case() == Value::kStringValue) sampling.add_stop(std::string(stop->string_value()));
    for (const Value& one : stop->list_value().values()) sampling.add_stop(std::string(one.string_value()));
  }
  if (const Value* const ids = Find(body, "stop_token_ids"); ids != nullptr) {
    for (const Value& id : ids->list_value().values()) {
      sampling.add_stop_token_ids(static_cast<std::int32_t>(id.number_value()));
    }
  }
  const Value* const ignore = Find(body, "ignore_eos");
  sampling.set_ignore_eos(ignore != nullptr && ignore->bool_value());
  if (Find(body, "response_format") != nullptr || Find(body, "regex") != nullptr || Find(body, "ebnf") != nullptr) {
    return Bad("a story has no structure that could be asked for");
  }
  return absl::OkStatus();
}

absl::StatusOr<ChatRequest> ReadChat(const std::string& json) {
  Struct body;
  if (!google::protobuf::util::JsonStringToMessage(json, &body).ok()) return Bad("expected a JSON object as json_body");
  ChatRequest chat;
  bool asked = false;
  if (const Value* const messages = Find(body, "messages"); messages != nullptr) {
    for (const Value& message : messages->list_value().values()) {
      if (FindText(message.struct_value(), "role") != "user") continue;
      chat.prompt = FindText(message.struct_value(), "content");
      asked = true;
    }
  }
  if (!asked) return Bad("expected a message of the user, found none");
  if (absl::Status status = ReadSampling(body, chat.sampling); !status.ok()) return status;
  chat.id = FindText(body, "rid");
  const Value* const stream = Find(body, "stream");
  chat.stream = stream != nullptr && stream->bool_value();
  if (const Value* const options = Find(body, "stream_options"); options != nullptr) {
    const Value* const usage = Find(options->struct_value(), "include_usage");
    chat.usage = usage != nullptr && usage->bool_value();
  }
  return chat;
}

void SetUsage(const Continuation& story, Struct& body) {
  auto& usage = *(*body.mutable_fields())["usage"].mutable_struct_value()->mutable_fields();
  usage["prompt_tokens"].set_number_value(static_cast<double>(story.prompt_tokens()));
  usage["completion_tokens"].set_number_value(static_cast<double>(story.tokens()));
  usage["total_tokens"].set_number_value(static_cast<double>(story.prompt_tokens() + story.tokens()));
}

}  // namespace

absl::Status SglangService::Generate(grpc::ServerContext& context,
                                     const ::sglang::runtime::v1::TextGenerateRequest& request,
                                     grpc::ServerWriter<TextGenerateResponse>& writer) const {
  if (request.return_logprob()) return Bad("it tells no log probabilities");
  if (!request.lora_path().empty()) return Bad(absl::StrCat("no adapter ", Quote(request.lora_path())));
  absl::StatusOr<Continuation::Terms> terms = ReadTerms(std::string(request.text()), request.sampling_params());
  if (!terms.ok()) return terms.status();
  absl::StatusOr<Continuation> story = Continuation::Create(teller_, *std::move(terms));
  if (!story.ok()) return story.status();
  const Running::Entry entry(running_, std::string(request.rid()));
  TextGenerateResponse response;
  auto& info = *response.mutable_meta_info();
  info["id"] = JsonText(std::string(request.rid()));
  info["prompt_tokens"] = absl::StrCat(story->prompt_tokens());
  std::string all;
  return Tell(context, entry, delay_, *story, [&](const std::string& text, const Finish& finish) {
    all += text;
    response.set_text(all);
    info["completion_tokens"] = absl::StrCat(story->tokens());
    info["finish_reason"] = "null";
    if (!finish.type.empty()) {
      Struct reason;
      (*reason.mutable_fields())["type"].set_string_value(finish.type);
      if (finish.matched.has_value()) (*reason.mutable_fields())["matched"] = *finish.matched;
      if (finish.type == "length") {
        (*reason.mutable_fields())["length"].set_number_value(static_cast<double>(story->tokens()));
      }
      info["finish_reason"] = Json(reason);
      response.set_finished(true);
    }
    return writer.Write(response);
  });
}

absl::Status SglangService::Chat(grpc::ServerContext& context, const ::sglang::runtime::v1::OpenAIRequest& request,
                                 grpc::ServerWriter<OpenAIStreamChunk>& writer) const {
  const absl::StatusOr<ChatRequest> chat = ReadChat(std::string(request.json_body()));
  if (!chat.ok()) return chat.status();
  absl::StatusOr<Continuation::Terms> terms = ReadTerms(chat->prompt, chat->sampling);
  if (!terms.ok()) return terms.status();
  absl::StatusOr<Continuation> story = Continuation::Create(teller_, *std::move(terms));
  if (!story.ok()) return story.status();
  const Running::Entry entry(running_, chat->id);

  const auto send = [&](Struct body, const char* object, bool last) {
    auto& fields = *body.mutable_fields();
    fields["id"].set_string_value(chat->id);
    fields["object"].set_string_value(object);
    fields["model"].set_string_value(kModel);
    OpenAIStreamChunk chunk;
    chunk.set_json_chunk(Json(body));
    chunk.set_finished(last);
    return writer.Write(chunk);
  };
  std::string all;
  return Tell(context, entry, delay_, *story, [&](const std::string& text, const Finish& finish) {
    all += text;
    const bool last = !finish.type.empty();
    if (!chat->stream && !last) return true;
    Struct body;
    Struct& choice = *(*body.mutable_fields())["choices"].mutable_list_value()->add_values()->mutable_struct_value();
    auto& fields = *choice.mutable_fields();
    fields["index"].set_number_value(0);
    auto& said = *fields[chat->stream ? "delta" : "message"].mutable_struct_value()->mutable_fields();
    said["role"].set_string_value("assistant");
    said["content"].set_string_value(chat->stream ? text : all);
    fields["finish_reason"].set_null_value({});
    if (last) fields["finish_reason"].set_string_value(finish.type);
    if (finish.matched.has_value()) fields["matched_stop"] = *finish.matched;
    if (!chat->stream) {
      SetUsage(*story, body);
      return send(std::move(body), "chat.completion", true);
    }
    if (!send(std::move(body), "chat.completion.chunk", last && !chat->usage)) return false;
    if (!last || !chat->usage) return true;
    Struct end;
    (*end.mutable_fields())["choices"].mutable_list_value();
    SetUsage(*story, end);
    return send(std::move(end), "chat.completion.chunk", true);
  });
}

grpc::Status SglangService::TextGenerate(grpc::ServerContext* context,
                                         const ::sglang::runtime::v1::TextGenerateRequest* request,
                                         grpc::ServerWriter<TextGenerateResponse>* writer) {
  return ToGrpc(Generate(*context, *request, *writer));
}

grpc::Status SglangService::ChatComplete(grpc::ServerContext* context,
                                         const ::sglang::runtime::v1::OpenAIRequest* request,
                                         grpc::ServerWriter<OpenAIStreamChunk>* writer) {
  return ToGrpc(Chat(*context, *request, *writer));
}

grpc::Status SglangService::TextEmbed(grpc::ServerContext*, const ::sglang::runtime::v1::TextEmbedRequest* request,
                                      ::sglang::runtime::v1::TextEmbedResponse* response) {
  const std::string text(request->text());
  if (text.empty()) return ToGrpc(absl::InvalidArgumentError("expected a text, found an empty one"));
  const std::vector<float> vector = EmbedText(text);
  response->mutable_embedding()->Assign(vector.begin(), vector.end());
  (*response->mutable_meta_info())["id"] = JsonText(std::string(request->rid()));
  (*response->mutable_meta_info())["prompt_tokens"] = absl::StrCat(Words(text).size());
  return grpc::Status();
}

grpc::Status SglangService::Tokenize(grpc::ServerContext*, const ::sglang::runtime::v1::TokenizeRequest* request,
                                     ::sglang::runtime::v1::TokenizeResponse* response) {
  const std::string text(request->text());
  for (const std::string_view word : Words(text)) response->add_tokens(static_cast<std::int32_t>(TokenId(word)));
  response->set_count(response->tokens_size());
  response->set_max_model_len(kLongestPrompt);
  response->set_input_text(text);
  return grpc::Status();
}

grpc::Status SglangService::Abort(grpc::ServerContext*, const ::sglang::runtime::v1::AbortRequest* request,
                                  ::sglang::runtime::v1::AbortResponse* response) {
  if (request->abort_all()) {
    running_.AbortAll();
  } else {
    running_.Abort(std::string(request->rid()));
  }
  response->set_success(true);
  return grpc::Status();
}

}  // namespace inferwire::examples
