// SPDX-License-Identifier: Apache-2.0
#include "server/language_service.h"

#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>

#include <string>
#include <utility>

#include "server/continuation.h"
#include "server/pause.h"
#include "server/status.h"
#include "server/text.h"

namespace inferwire::examples {
namespace {

using ::vllm::FinishInfo;
using ::vllm::GenerateRequest;
using ::vllm::GenerateResponse;

constexpr char kModel[] = "storyteller";

absl::Status GoneError() { return absl::CancelledError("the caller has gone"); }

absl::StatusOr<Continuation::Terms> ReadTerms(const GenerateRequest& request) {
  const auto bad = [](const std::string& what) { return absl::InvalidArgumentError(absl::StrCat(kModel, ": ", what)); };
  if (!request.model().empty() && request.model() != kModel) {
    return absl::NotFoundError(absl::StrCat("no model ", Quote(request.model()), "; there is ", kModel));
  }
  if (request.prompt_case() != GenerateRequest::kText) {
    return bad(request.prompt_case() == GenerateRequest::kTokenIds ? "expected text, found token ids"
                                                                   : "there is no prompt");
  }
  if (request.sampling().num_sequences() > 1) {
    return bad(absl::StrCat("expected one sequence, found ", request.sampling().num_sequences()));
  }
  if (request.decoding().structured_output_case() != ::vllm::DecodingParameters::STRUCTURED_OUTPUT_NOT_SET) {
    return bad("a story has no structure that could be asked for");
  }
  if (request.response().output_logprobs() || request.response().prompt_logprobs()) {
    return bad("it tells no log probabilities");
  }
  if (request.media_size() > 0) return bad("it takes text alone");
  if (!request.lora_name().empty()) return bad(absl::StrCat("no adapter ", Quote(request.lora_name())));
  Continuation::Terms terms;
  terms.prompt = std::string(request.text());
  terms.seed = static_cast<std::uint64_t>(request.sampling().seed());
  const ::vllm::StoppingCriteria& stopping = request.stopping();
  terms.max_tokens = stopping.max_new_tokens();
  terms.stop.assign(stopping.stop_strings().begin(), stopping.stop_strings().end());
  terms.stop_token_ids.assign(stopping.stop_token_ids().begin(), stopping.stop_token_ids().end());
  terms.include_stop = stopping.include_stop_strings();
  terms.ignore_end = stopping.ignore_eos();
  return terms;
}

void SetFinish(const Continuation::Part& part, std::int64_t tokens, FinishInfo& finish) {
  finish.set_num_output_tokens(static_cast<std::uint32_t>(tokens));
  finish.set_finish_reason(part.end == Continuation::End::kLength ? FinishInfo::LENGTH : FinishInfo::STOP);
  if (part.end == Continuation::End::kStory) finish.set_eos_token_id(Continuation::kEndToken);
  if (part.end == Continuation::End::kStopString) finish.set_stop_string(part.stop_string);
  if (part.end == Continuation::End::kStopToken) finish.set_stop_token_id(part.stop_token);
}

}  // namespace

absl::Status LanguageService::Run(grpc::ServerContext& context, const GenerateRequest& request,
                                  const std::function<bool(const GenerateResponse&)>& send) const {
  absl::StatusOr<Continuation::Terms> terms = ReadTerms(request);
  if (!terms.ok()) return terms.status();
  absl::StatusOr<Continuation> story = Continuation::Create(teller_, *std::move(terms));
  if (!story.ok()) return story.status();
  const Running::Entry entry(running_, std::string(request.request_id()));
  const bool text = !request.response().has_output_text() || request.response().output_text();

  GenerateResponse prompt;
  prompt.mutable_prompt_info()->set_num_prompt_tokens(static_cast<std::uint32_t>(story->prompt_tokens()));
  if (!send(prompt)) return GoneError();
  for (;;) {
    if (!Pause([&] { return context.IsCancelled() || entry.aborted(); }, delay_) && !entry.aborted()) {
      return GoneError();
    }
    GenerateResponse response;
    if (entry.aborted()) {
      FinishInfo& finish = *response.mutable_outputs()->mutable_finish_info();
      finish.set_num_output_tokens(static_cast<std::uint32_t>(story->tokens()));
      finish.set_finish_reason(FinishInfo::ABORTED);
      return send(response) ? absl::OkStatus() : GoneError();
    }
    const Continuation::Part part = story->Next();
    if (part.empty()) continue;
    ::vllm::SequenceOutput& output = *response.mutable_outputs();
    if (text) output.set_text(part.text);
    output.set_num_tokens(static_cast<std::uint32_t>(part.token_ids.size()));
    if (request.response().output_token_ids()) {
      output.mutable_token_ids()->Assign(part.token_ids.begin(), part.token_ids.end());
    }
    const bool last = part.end != Continuation::End::kNone;
    if (last) SetFinish(part, story->tokens(), *output.mutable_finish_info());
    if (!send(response)) return GoneError();
    if (last) return absl::OkStatus();
  }
}

grpc::Status LanguageService::Generate(grpc::ServerContext* context, const GenerateRequest* request,
                                       GenerateResponse* response) {
  return ToGrpc(Run(*context, *request, [&](const GenerateResponse& part) {
    const std::string before = std::string(response->outputs().text());
    const std::uint32_t tokens = response->outputs().num_tokens();
    response->MergeFrom(part);  // ids are appended, and the rest replaced
    if (!part.has_outputs()) return true;
    response->mutable_outputs()->set_text(before + std::string(part.outputs().text()));
    response->mutable_outputs()->set_num_tokens(tokens + part.outputs().num_tokens());
    return true;
  }));
}

grpc::Status LanguageService::GenerateStream(grpc::ServerContext* context, const GenerateRequest* request,
                                             grpc::ServerWriter<GenerateResponse>* writer) {
  return ToGrpc(Run(*context, *request, [&](const GenerateResponse& part) { return writer->Write(part); }));
}

grpc::Status LanguageControlService::Abort(grpc::ServerContext*, const ::vllm::AbortRequest* request,
                                           ::vllm::AbortResponse*) {
  for (const auto& id : request->request_ids()) running_.Abort(std::string(id));
  return grpc::Status();
}

grpc::Status LanguageControlService::GetModelInfo(grpc::ServerContext*, const ::vllm::GetModelInfoRequest*,
                                                  ::vllm::ModelInfo* response) {
  response->set_model_id(kModel);
  response->set_served_model_name(kModel);
  response->set_supports_text_input(true);
  return grpc::Status();
}

}  // namespace inferwire::examples
