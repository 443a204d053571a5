// SPDX-License-Identifier: Apache-2.0
//
// How a generation is asked for, put together, and gone on with elsewhere.
#ifndef INFERWIRE_DETAIL_IMPL_GENERATION_H_
#define INFERWIRE_DETAIL_IMPL_GENERATION_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/contract/generation_chunk.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/detail/async/tell_info.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/generation_table.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/generation/assembler.h"
#include "inferwire/detail/policy/affinity.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/future.h"
#include "inferwire/generation.h"
#include "inferwire/generation_types.h"
#include "inferwire/response_stream.h"
#include "inferwire/start.h"
#include "inferwire/status.h"
#include "inferwire/task.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Of one request: more than any engine makes.
inline constexpr int kMaxSequences = 1024;

/// INVALID_ARGUMENT naming the first field that makes no sense, or that the contract cannot carry.
INFERWIRE_DECL absl::Status CheckGeneration(const GenerationTable& contract, const GenerationRequest& request) {
  using Fields = GenerationFields;
  const auto* const text = std::get_if<std::string>(&request.prompt);
  const auto* const ids = std::get_if<std::vector<std::int32_t>>(&request.prompt);
  const bool has_prompt = ids != nullptr || !text->empty();
  if (has_prompt && !request.messages.empty()) {
    return InvalidArgumentError("a prompt and messages were given; expected one of the two");
  }
  if (ids != nullptr && ids->empty()) return InvalidArgumentError("prompt has no token ids; expected at least one");
  if (ids != nullptr && *std::min_element(ids->begin(), ids->end()) < 0) {
    return InvalidArgumentError(
        Cat("prompt has the token id ", *std::min_element(ids->begin(), ids->end()), "; expected none below 0"));
  }
  if (request.n < 1 || request.n > kMaxSequences) {
    return InvalidArgumentError(Cat("n is ", request.n, "; expected 1 to ", kMaxSequences));
  }
  if (request.logprobs.has_value() && *request.logprobs < 0) {
    return InvalidArgumentError(Cat("logprobs is ", *request.logprobs, "; expected 0 or more"));
  }
  if (request.max_tokens.has_value() && *request.max_tokens < 1) {
    return InvalidArgumentError(Cat("max_tokens is ", *request.max_tokens, "; expected at least 1"));
  }
  const struct {
    const char* name;
    const std::optional<float>& value;
    float least, most;
  } numbers[] = {{"temperature", request.temperature, 0, 1e6f},
                 {"top_p", request.top_p, 0, 1},
                 {"min_p", request.min_p, 0, 1},
                 {"presence_penalty", request.presence_penalty, -2, 2},
                 {"frequency_penalty", request.frequency_penalty, -2, 2},
                 {"repetition_penalty", request.repetition_penalty, 0, 1e6f}};
  for (const auto& [name, value, least, most] : numbers) {
    if (value.has_value() && !(*value >= least && *value <= most)) {
      return InvalidArgumentError(Cat(name, " is ", *value, "; expected ", least, " to ", most));
    }
  }
  const int forms = int{request.json_schema.has_value()} + int{request.regex.has_value()} +
                    int{request.grammar.has_value()} + int{!request.choice.empty()};
  if (forms > 1) {
    return InvalidArgumentError("more than one of json_schema, regex, grammar and choice was given; expected one");
  }
  for (const std::string& stop : request.stop) {
    if (stop.empty()) return InvalidArgumentError("stop has an empty string, which every text begins with");
  }
  const struct {
    std::uint32_t field;
    const char* name;
    bool given;
  } fields[] = {{Fields::kText | Fields::kTokenIds, "prompt", has_prompt},
                {Fields::kMessages, "messages", !request.messages.empty()},
                {Fields::kModel, "model", !request.model.empty()},
                {Fields::kMaxTokens, "max_tokens", request.max_tokens.has_value()},
                {Fields::kTemperature, "temperature", request.temperature.has_value()},
                {Fields::kTopP, "top_p", request.top_p.has_value()},
                {Fields::kTopK, "top_k", request.top_k.has_value()},
                {Fields::kMinP, "min_p", request.min_p.has_value()},
                {Fields::kPresencePenalty, "presence_penalty", request.presence_penalty.has_value()},
                {Fields::kFrequencyPenalty, "frequency_penalty", request.frequency_penalty.has_value()},
                {Fields::kRepetitionPenalty, "repetition_penalty", request.repetition_penalty.has_value()},
                {Fields::kSeed, "seed", request.seed.has_value()},
                {Fields::kN, "n (more than one sequence)", request.n > 1},
                {Fields::kStopTokenIds, "stop_token_ids", !request.stop_token_ids.empty()},
                {Fields::kIgnoreEos, "ignore_eos", request.ignore_eos},
                {Fields::kLogprobs, "logprobs", request.logprobs.has_value()},
                {Fields::kJsonSchema, "json_schema", request.json_schema.has_value()},
                {Fields::kRegex, "regex", request.regex.has_value()},
                {Fields::kGrammar, "grammar", request.grammar.has_value()},
                {Fields::kChoice, "choice", !request.choice.empty()},
                {Fields::kAdapter, "adapter", !request.adapter.empty()},
                {Fields::kPriority, "priority", request.priority.has_value()},
                {Fields::kRequestId, "request_id", !request.request_id.empty()}};
  for (const auto& [field, name, given] : fields) {
    if (given && (contract.carries & field) == 0) {
      return InvalidArgumentError(Cat("the contract ", contract.name, " cannot carry ", name, ", which was given"));
    }
  }
  if (ids != nullptr && (contract.carries & Fields::kTokenIds) == 0) {
    return InvalidArgumentError(
        Cat("the contract ", contract.name, " cannot carry a prompt of token ids; expected text"));
  }
  return absl::OkStatus();
}

/// Ids that no other process has, in all likelihood, nor a forked one.
class RequestIds {
 public:
  std::string Next() { return Cat("inferwire-", process_, "-", next_.fetch_add(1, std::memory_order_relaxed)); }

 private:
  const std::uint64_t process_ = policy::Mix(static_cast<std::uint64_t>(absl::GetCurrentTimeNanos()) ^
                                             policy::Mix(reinterpret_cast<std::uintptr_t>(this)));
  std::atomic<std::uint64_t> next_{0};
};

/// Which of a contract's methods takes the request: the last, where none does, whose refusal says why.
INFERWIRE_DECL const GenerationTable& FormFor(const GenerationTable& contract, const GenerationRequest& request) {
  for (const GenerationTable& form : contract.forms) {
    if (form.takes == nullptr || form.takes(request)) return form;
  }
  return contract.forms.empty() ? contract : contract.forms.back();
}

/// What is the same for all forms of a generation: the request as it goes out, and how its answer is put together.
struct PreparedGeneration {
  GenerationRequest request;
  Assembler::Terms terms;
  absl::Status status;
};
INFERWIRE_DECL PreparedGeneration Prepare(const GenerationTable& contract, GenerationRequest request,
                                          GenerationOptions options) {
  using Fields = GenerationFields;
  PreparedGeneration out{std::move(request), {}, absl::OkStatus()};
  out.status = CheckGeneration(contract, out.request);
  if (!out.status.ok()) return out;
  out.terms.n = out.request.n;
  out.terms.tells_finish = contract.tells_finish;
  out.terms.keeps = options.resume;
  if (!contract.gives_text) out.terms.tokenizer = options.tokenizer;
  const bool has_text = contract.gives_text || options.tokenizer.has_value();
  // Ids have those of the stop string too, which is for the client then to cut off.
  if ((contract.carries & Fields::kStop) != 0) {
    if (!contract.gives_text && has_text) out.terms.stop = out.request.stop;
  } else {
    out.terms.stop = std::exchange(out.request.stop, {});
    if (!out.terms.stop.empty() && !has_text) {
      out.status = InvalidArgumentError(Cat("the contract ", contract.name,
                                            " gives token ids alone: stop strings need GenerationOptions::tokenizer"));
      return out;
    }
  }
  const auto* const text = std::get_if<std::string>(&out.request.prompt);
  // What goes on behind ids has ids for its prompt: their text may end inside a character.
  const bool by_ids = (contract.carries & Fields::kText) == 0 ||
                      (options.resume && !contract.gives_text && options.tokenizer.has_value());
  if (text != nullptr && out.request.messages.empty() && by_ids) {
    if (!options.tokenizer.has_value()) {
      out.status = InvalidArgumentError(
          Cat("the contract ", contract.name,
              " carries token ids alone: expected a prompt of ids, or GenerationOptions::tokenizer"));
      return out;
    }
    absl::StatusOr<std::vector<std::int32_t>> ids =
        InvokeUser("Tokenizer::encode", [&] { return options.tokenizer->encode(*text); });
    if (ids.ok() && ids->empty()) ids = InvalidArgumentError("the tokenizer made no token of the prompt");
    if (!ids.ok()) {
      out.status = ids.status();
      return out;
    }
    out.request.prompt = *std::move(ids);
  }
  if (contract.wants_request_id && out.request.request_id.empty())
    out.request.request_id = OfThisProcess<RequestIds>().Next();
  if (options.resume && out.request.n > 1) {
    out.status = InvalidArgumentError(Cat("n is ", out.request.n, "; one sequence alone can be resumed"));
  }
  if (options.resume && !has_text && std::holds_alternative<std::string>(out.request.prompt)) {
    out.status = InvalidArgumentError(
        Cat("the contract ", contract.name,
            " gives token ids alone: a prompt of text can be resumed with GenerationOptions::tokenizer, or give ids"));
  }
  if (options.resume && !contract.resumes) {
    out.status = InvalidArgumentError(
        Cat("the contract ", contract.name, " carries conversations, which cannot be resumed inside an answer"));
  }
  if (options.resume && !out.request.messages.empty()) {
    out.status = InvalidArgumentError("messages were given, and a conversation cannot be resumed inside an answer");
  }
  return out;
}

/// What was received of a generation that is to be gone on with. It sees each message as it comes, before the reader,
/// who may be far behind when the stream breaks.
class ResumedGeneration {
 public:
  ResumedGeneration(const GenerationTable& contract, const PreparedGeneration& prepared)
      : contract_(contract), request_(prepared.request), assembler_(Receiving(prepared.terms)) {}

  absl::Status Inspect(const wire::Reply& reply) {
    std::lock_guard lock(mutex_);
    // A function of the user's may take any time, and is not for where other calls wait.
    if (contract_.foreign) {
      unread_.emplace_back(attempt_, reply.Copy());
    } else {
      Take(attempt_, reply.Copy());
    }
    return absl::OkStatus();
  }
  /// The request for the rest. CANCELLED where there is none. On the executor.
  absl::StatusOr<wire::Payload> Next() {
    std::lock_guard lock(mutex_);
    for (auto& [attempt, reply] : unread_) Take(attempt, std::move(reply));
    unread_.clear();
    ++attempt_;
    GenerationRequest rest = request_;
    if (auto* const ids = std::get_if<std::vector<std::int32_t>>(&rest.prompt)) {
      const auto& received = assembler_.received_ids();
      ids->insert(ids->end(), received.begin(), received.end());
    } else {
      std::get<std::string>(rest.prompt) += assembler_.received_text();
    }
    if (rest.max_tokens.has_value()) {
      *rest.max_tokens -= static_cast<int>((std::min<std::int64_t>)(assembler_.received_tokens(), *rest.max_tokens));
    }
    if (assembler_.finished() || rest.max_tokens.value_or(1) <= 0) {
      complete_ = true;
      return detail::CancelledError("the generation is complete");
    }
    if (!rest.request_id.empty()) rest.request_id += Cat("-", attempt_);
    return contract_.encode(rest, /*stream=*/true);
  }
  /// All was received before the stream broke.
  bool complete() const {
    std::lock_guard lock(mutex_);
    return complete_;
  }

 private:
  // What cannot be understood is for the reader to say.
  void Take(int attempt, wire::Reply&& reply) {
    GenerationChunk chunk;
    if (!contract_.decode(std::move(reply), chunk).ok()) return;
    chunk.attempt = attempt;
    std::deque<GenerationDelta> deltas;
    assembler_.Feed(std::move(chunk), deltas).IgnoreError();
  }
  // Ids are gone on with as they are: no text is made of them here.
  static Assembler::Terms Receiving(Assembler::Terms terms) {
    terms.tokenizer.reset();
    return terms;
  }

  const GenerationTable& contract_;
  const GenerationRequest request_;
  mutable std::mutex mutex_;
  Assembler assembler_;
  std::vector<std::pair<int, wire::Reply>> unread_;
  int attempt_ = 0;
  bool complete_ = false;
};

struct GenerationState {
  GenerationState(ResponseStream<GenerationChunk> from, Assembler::Terms terms,
                  std::shared_ptr<const ResumedGeneration> resumed)
      : stream(std::move(from)), assembler(std::move(terms)), resumption(std::move(resumed)) {}

  /// A delta that is there without waiting.
  std::optional<GenerationDelta> Pop() {
    if (deltas.empty()) return std::nullopt;
    std::optional<GenerationDelta> out(std::move(deltas.front()));
    deltas.pop_front();
    return out;
  }
  /// What came next, or nothing: the end.
  void Take(std::optional<GenerationChunk> chunk) {
    if (!chunk.has_value()) return End(stream.status());
    if (absl::Status status = assembler.Feed(*std::move(chunk), deltas); !status.ok()) {
      stream.Cancel();
      return End(std::move(status));
    }
    tokens += static_cast<std::int64_t>(deltas.size());
    // By a stop string that only the client knows: the engine need not go on.
    if (assembler.finished() && assembler.stopped_here()) {
      stream.Cancel();
      End(absl::OkStatus());
    }
  }
  void End(absl::Status status) {
    over = true;
    if (assembler.finished()) return;  // what became of the call then is of no interest
    if (!status.ok() && resumption != nullptr && resumption->complete()) {
      assembler.CloseAs(FinishReason::kLength, deltas);
      return;
    }
    final = status.ok() ? assembler.Close(deltas) : std::move(status);
  }

  ResponseStream<GenerationChunk> stream;
  Assembler assembler;
  std::shared_ptr<const ResumedGeneration> resumption;
  std::deque<GenerationDelta> deltas;
  std::int64_t tokens = 0;
  bool over = false;
  absl::Status final;
};

/// What it is given it keeps, whatever becomes of the stream meanwhile.
INFERWIRE_DECL Task<std::optional<GenerationDelta>> NextOf(std::shared_ptr<GenerationState> state) {
  if (state == nullptr) co_return std::nullopt;
  while (state->deltas.empty() && !state->over) {
    std::optional<GenerationChunk> chunk = co_await state->stream.Next();
    state->Take(std::move(chunk));
  }
  co_return state->Pop();
}

/// Deltas as a whole.
class GenerationParts {
 public:
  explicit GenerationParts(int n) { whole_.choices.resize(static_cast<std::size_t>(std::clamp(n, 1, kMaxSequences))); }

  void Add(GenerationDelta&& delta) {
    GenerationChoice& choice = whole_.choices[static_cast<std::size_t>(delta.index)];
    if (choice.text.empty()) {
      choice.text = std::move(delta.text);
    } else {
      choice.text += delta.text;
    }
    choice.token_ids.insert(choice.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
    for (TokenLogprob& one : delta.logprobs) choice.logprobs.push_back(std::move(one));
    if (!delta.finish_reason.has_value()) return;
    choice.finish_reason = *delta.finish_reason;
    choice.finish_word = std::move(delta.finish_word);
    choice.stopped_by = std::move(delta.stopped_by);
  }
  Generation Whole(const GenerationUsage& usage) && {
    static_cast<GenerationChoice&>(whole_) = whole_.choices.front();
    whole_.usage = usage;
    return std::move(whole_);
  }

 private:
  Generation whole_;
};

/// An answer that came in one message.
INFERWIRE_DECL absl::StatusOr<Generation> WholeOf(absl::StatusOr<GenerationChunk> chunk,
                                                  const Assembler::Terms& terms) {
  if (!chunk.ok()) return chunk.status();
  Assembler assembler(terms);
  std::deque<GenerationDelta> deltas;
  absl::Status status = assembler.Feed(*std::move(chunk), deltas);
  if (status.ok()) status = assembler.Close(deltas);
  if (!status.ok()) return status;
  GenerationParts parts(terms.n);
  for (GenerationDelta& delta : deltas) parts.Add(std::move(delta));
  return std::move(parts).Whole(assembler.usage());
}

/// `info`: what the call writes to meanwhile.
INFERWIRE_DECL Task<absl::StatusOr<Generation>> Gather(GenerationStream stream, int n, std::shared_ptr<CallInfo> info) {
  static_cast<void>(info);
  GenerationParts parts(n);
  while (std::optional<GenerationDelta> delta = co_await stream.Next()) parts.Add(*std::move(delta));
  if (absl::Status status = stream.status(); !status.ok()) co_return status;
  co_return std::move(parts).Whole(stream.usage());
}

}  // namespace detail

INFERWIRE_DECL GenerationStream::GenerationStream(std::shared_ptr<detail::GenerationState> state)
    : state_(std::move(state)) {}
INFERWIRE_DECL GenerationStream::GenerationStream(GenerationStream&&) noexcept = default;
INFERWIRE_DECL GenerationStream& GenerationStream::operator=(GenerationStream&& other) noexcept {
  if (this != &other) {
    const GenerationStream gone(std::move(*this));
    state_ = std::move(other.state_);
    current_ = std::move(other.current_);
  }
  return *this;
}
INFERWIRE_DECL GenerationStream::~GenerationStream() {
  // Else it goes with this, which cancels the call.
  if (state_ != nullptr && state_.use_count() > 1) state_->stream.Cancel();
}

INFERWIRE_DECL std::optional<GenerationDelta> GenerationStream::Read() {
  if (state_ == nullptr) return std::nullopt;
  while (state_->deltas.empty() && !state_->over) state_->Take(state_->stream.Read());
  return state_->Pop();
}

INFERWIRE_DECL Task<std::optional<GenerationDelta>> GenerationStream::Next() { return detail::NextOf(state_); }

INFERWIRE_DECL absl::Status GenerationStream::status() const {
  if (state_ == nullptr) return detail::FailedPreconditionError("the stream was moved away");
  if (state_->over) return state_->final;
  return state_->assembler.finished() ? absl::OkStatus() : state_->stream.status();
}

INFERWIRE_DECL void GenerationStream::Cancel() {
  if (state_ != nullptr) state_->stream.Cancel();
}

INFERWIRE_DECL absl::Status GenerationStream::Finish() {
  if (state_ == nullptr || state_->over) return status();
  absl::Status ended = state_->stream.Finish();
  state_->deltas.clear();
  state_->over = true;
  state_->final = state_->assembler.finished() ? absl::OkStatus() : std::move(ended);
  return state_->final;
}

INFERWIRE_DECL GenerationUsage GenerationStream::usage() const {
  return state_ != nullptr ? state_->assembler.usage() : GenerationUsage();
}

INFERWIRE_DECL GenerationStats GenerationStream::stats() const {
  GenerationStats out;
  if (state_ == nullptr) return out;
  const StreamStats of = state_->stream.stats();
  out.tokens = state_->assembler.usage().completion_tokens.value_or(state_->tokens);
  out.first_token = of.first_message;
  out.gap_p50 = of.gap_p50;
  out.gap_p99 = of.gap_p99;
  if (of.messages > 1) {
    out.tokens_per_second = of.messages_per_second * static_cast<double>(out.tokens) / static_cast<double>(of.messages);
  }
  return out;
}

INFERWIRE_DECL absl::StatusOr<Generation> AnyGenerationClient::Generate(GenerationRequest request,
                                                                        GenerationOptions options,
                                                                        CallOptions call) const {
  const int n = request.n;
  const detail::GenerationTable& form = detail::FormFor(*table_, request);
  if (form.once != nullptr && !options.resume) {
    detail::PreparedGeneration prepared = detail::Prepare(form, std::move(request), std::move(options));
    if (!prepared.status.ok()) return prepared.status;
    if (detail::engine::IsForeign(*client_.engine())) return detail::ForkedError();
    if (!call.timeout.has_value()) call.timeout = detail::engine::StreamTimeoutOf(*client_.engine());
    return detail::WholeOf(
        client_.CallAs<GenerationChunk>(
            {.path = form.once(), .request = form.encode(prepared.request, /*stream=*/false), .foreign = form.foreign},
            form.decode_once, std::move(call)),
        prepared.terms);
  }
  GenerationStream stream = Open(std::move(request), std::move(options), std::move(call), /*streams=*/false);
  detail::GenerationParts parts(n);
  while (std::optional<GenerationDelta> delta = stream.Read()) parts.Add(*std::move(delta));
  if (absl::Status status = stream.status(); !status.ok()) return status;
  return std::move(parts).Whole(stream.usage());
}

INFERWIRE_DECL Future<Generation> AnyGenerationClient::AsyncGenerate(GenerationRequest request,
                                                                     GenerationOptions options,
                                                                     CallOptions call) const {
  const int n = request.n;
  const detail::GenerationTable& form = detail::FormFor(*table_, request);
  if (form.once != nullptr && !options.resume) {
    detail::PreparedGeneration prepared = detail::Prepare(form, std::move(request), std::move(options));
    if (!prepared.status.ok()) return MakeReadyFuture<Generation>(prepared.status);
    if (detail::engine::IsForeign(*client_.engine())) return MakeReadyFuture<Generation>(detail::ForkedError());
    if (!call.timeout.has_value()) call.timeout = detail::engine::StreamTimeoutOf(*client_.engine());
    return client_
        .AsyncAs<GenerationChunk>(
            {.path = form.once(), .request = form.encode(prepared.request, /*stream=*/false), .foreign = form.foreign},
            form.decode_once, std::move(call))
        .Then([terms = std::move(prepared.terms)](absl::StatusOr<GenerationChunk> chunk) {
          return detail::WholeOf(std::move(chunk), terms);
        });
  }
  return detail::TellInfo(call.info, [&](std::shared_ptr<CallInfo> info) {
    return Start(detail::Gather(Open(std::move(request), std::move(options), std::move(call), /*streams=*/false), n,
                                std::move(info)));
  });
}

INFERWIRE_DECL GenerationStream AnyGenerationClient::StreamGenerate(GenerationRequest request,
                                                                    GenerationOptions options, CallOptions call) const {
  return Open(std::move(request), std::move(options), std::move(call), /*streams=*/true);
}

INFERWIRE_DECL GenerationStream AnyGenerationClient::Open(GenerationRequest request, GenerationOptions options,
                                                          CallOptions call, bool streams) const {
  const bool resume = options.resume;
  const detail::GenerationTable& form = detail::FormFor(*table_, request);
  detail::PreparedGeneration prepared = detail::Prepare(form, std::move(request), std::move(options));
  const auto encoded = [&]() -> absl::StatusOr<detail::wire::Payload> {
    if (!prepared.status.ok()) return prepared.status;
    if (detail::engine::IsForeign(*client_.engine())) return detail::ForkedError();
    return form.encode(prepared.request, streams || resume);
  };
  absl::StatusOr<detail::wire::Payload> payload = encoded();
  std::shared_ptr<detail::ResumedGeneration> resumed;
  if (resume && payload.ok()) resumed = std::make_shared<detail::ResumedGeneration>(form, prepared);
  detail::engine::Inspect inspect;
  detail::engine::ResumeFunction go_on;
  if (resumed != nullptr) {
    inspect = [resumed, told = form.inspect](const detail::wire::Reply& reply) {
      absl::Status status = told != nullptr ? told(reply) : absl::OkStatus();
      return status.ok() ? resumed->Inspect(reply) : status;
    };
    go_on = [resumed](const detail::wire::Reply&) { return resumed->Next(); };
  } else if (form.inspect != nullptr) {
    inspect = form.inspect;
  }
  ResponseStream<GenerationChunk> stream = client_.StreamAs<GenerationChunk>(
      {.path = form.stream(), .request = std::move(payload), .foreign = form.foreign, .inspect = std::move(inspect)},
      form.decode, std::move(call), std::move(go_on));
  return GenerationStream(
      std::make_shared<detail::GenerationState>(std::move(stream), std::move(prepared.terms), std::move(resumed)));
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_GENERATION_H_
