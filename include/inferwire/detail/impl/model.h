// SPDX-License-Identifier: Apache-2.0
//
// How a model is called: which of its contract's methods, on a call of its own or on a stream with others.
#ifndef INFERWIRE_DETAIL_IMPL_MODEL_H_
#define INFERWIRE_DETAIL_IMPL_MODEL_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/engine/gate.h"
#include "inferwire/detail/model/known_models.h"
#include "inferwire/detail/model/request_check.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model.h"
#include "inferwire/model_metadata.h"
#include "inferwire/options/retry_policy.h"
#include "inferwire/response_stream.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Asks one of the contract's questions, and waits. `what` names it where the contract has none.
template <class Answer, class... Args>
absl::StatusOr<Answer> Ask(const Client& client, const ContractTable& contract,
                           const ContractMethod<Answer, Args...>& method, std::string_view what, CallOptions options,
                           const std::type_identity_t<Args>&... args) {
  if (method.path == nullptr) return Lacks(contract, what);
  // In a forked child no message is looked at.
  absl::StatusOr<detail::wire::Payload> request = ForkedError();
  if (!detail::engine::IsForeign(*client.engine())) request = method.encode(args...);
  return client.CallAs<Answer>({.path = method.path(), .request = std::move(request), .foreign = contract.foreign},
                               method.decode, std::move(options));
}

INFERWIRE_DECL void Deliver(absl::StatusOr<InferResult>& result,
                            const std::vector<InferRequest::OutputBuffer>& buffers) {
  for (const auto& [name, datatype, to] : buffers) {
    if (!result.ok()) return;
    if (absl::Status status = result->Move(name, datatype, to); !status.ok()) result = std::move(status);
  }
}

inline bool HasPlacedOutputs(const InferRequest& request) {
  const auto& outputs = request.outputs();
  return std::any_of(outputs.begin(), outputs.end(), [](const auto& output) { return output.placement.has_value(); });
}

/// A step of a sequence is not sent twice, and not elsewhere: its state is with one server.
inline void AsOnce(const InferRequest& request, CallOptions& options) {
  if (request.sequence().has_id() && !options.idempotent.has_value()) options.idempotent = false;
}
inline auto DrainingFor(const ContractTable& contract, const InferRequest& request) {
  return request.sequence().has_id() ? nullptr : contract.draining;
}

}  // namespace detail

INFERWIRE_DECL Model::Model(const detail::ContractTable& contract, Client client, std::string name,
                            ModelOptions options, detail::Ref<detail::engine::StreamMux> shared)
    : contract_(&contract),
      client_(std::move(client)),
      name_(std::move(name)),
      options_(std::move(options)),
      shared_(std::move(shared)) {
  if (contract_->model_metadata.path == nullptr || detail::engine::IsForeign(*client_.engine())) return;
  if (!options_.check.value_or(contract_->checks_by_default)) return;
  known_ = detail::engine::Kept<detail::KnownModels>(*client_.engine())
               ->Get(contract_->model_metadata.path(), name_, options_.version);
}

INFERWIRE_DECL absl::StatusOr<InferResult> Model::Infer(InferRequest request, CallOptions options) const {
  detail::AsOnce(request, options);
  const detail::Decoder<InferResult> decode = DecoderFor(request, options);
  Client::Raw raw = RawFor(request, options);
  // What a shared stream brings comes by another thread anyway.
  absl::StatusOr<InferResult> result =
      raw.mux ? client_.AsyncAs<InferResult>(std::move(raw), decode, std::move(options)).Get()
              : client_.CallAs<InferResult>(std::move(raw), decode, std::move(options));
  detail::Deliver(result, request.output_buffers());
  return result;
}

INFERWIRE_DECL Future<InferResult> Model::AsyncInfer(InferRequest request, CallOptions options) const {
  detail::AsOnce(request, options);
  const detail::Decoder<InferResult> decode = DecoderFor(request, options);
  Future<InferResult> result = client_.AsyncAs<InferResult>(RawFor(request, options), decode, std::move(options));
  if (request.output_buffers().empty()) return result;
  return std::move(result).Then([buffers = request.output_buffers()](absl::StatusOr<InferResult> received) {
    detail::Deliver(received, buffers);
    return received;
  });
}

INFERWIRE_DECL ResponseStream<InferResult> Model::StreamInfer(InferRequest request, CallOptions options) const {
  if (contract_->stream == nullptr) {
    return client_.StreamAs<InferResult>(
        {.path = contract_->infer(), .request = detail::Lacks(*contract_, "method that streams its answers")},
        contract_->decode, std::move(options));
  }
  if (contract_->shares_streams() && !contract_->streams_alone && !detail::HasOwnHeaders(options)) {
    return client_.StreamAs<InferResult>(Shared(request, shared_, StreamGate(request, options)),
                                         contract_->decode_shared, std::move(options));
  }
  return client_.StreamAs<InferResult>(
      {.path = contract_->stream(), .request = Encode(request), .gate = StreamGate(request, options)},
      contract_->decode_streamed, std::move(options));
}

INFERWIRE_DECL absl::StatusOr<bool> Model::Ready(CallOptions options) const {
  return detail::Ask(client_, *contract_, contract_->model_ready, "question whether a model is ready",
                     std::move(options), name_, options_.version);
}

INFERWIRE_DECL absl::StatusOr<ModelMetadata> Model::Metadata(CallOptions options) const {
  if (contract_->model_metadata.path == nullptr) return detail::Lacks(*contract_, "question for a model's metadata");
  absl::StatusOr<ModelMetadata> metadata = AskMetadata(std::move(options), contract_->model_metadata.decode).Get();
  if (metadata.ok() && known_ != nullptr) known_->Set(*metadata);
  return metadata;
}

INFERWIRE_DECL absl::StatusOr<detail::wire::Payload> Model::Encode(InferRequest& request) const {
  if (detail::engine::IsForeign(*client_.engine())) return detail::ForkedError();
  request.set_model(name_);
  request.set_version(options_.version);
  return contract_->encode(request);
}

INFERWIRE_DECL bool Model::OverStream(const CallOptions& options) const {
  return options_.over_stream && contract_->shares_streams() && !detail::HasOwnHeaders(options);
}

INFERWIRE_DECL Client::Raw Model::RawFor(InferRequest& request, const CallOptions& options) const {
  if (OverStream(options)) return Shared(request, shared_, Gate(request, options));
  return {.path = contract_->infer(),
          .request = Encode(request),
          .draining = detail::DrainingFor(*contract_, request),
          .foreign = contract_->foreign,
          .gate = Gate(request, options)};
}

INFERWIRE_DECL detail::Decoder<InferResult> Model::DecoderFor(const InferRequest& request,
                                                              const CallOptions& options) const {
  if (OverStream(options)) return contract_->decode_shared;
  return detail::HasPlacedOutputs(request) ? contract_->decode_placed : contract_->decode;
}

// On a stream with others: what is sent may wait there when its call is over, so that memory is not lent.
INFERWIRE_DECL Client::Raw Model::Shared(InferRequest& request, const detail::Ref<detail::engine::StreamMux>& mux,
                                         std::shared_ptr<detail::engine::Gate> gate) const {
  std::string id = request.id();
  absl::Status legal = detail::CheckText("the request's id", id);
  request.set_id({});  // each attempt has its own on the wire
  legal.Update(contract_->ask_for_end(request));
  absl::StatusOr<detail::wire::Payload> payload = legal.ok() ? Encode(request) : std::move(legal);
  if (payload.ok()) *payload = detail::wire::Owned(*std::move(payload));
  return {contract_->shared(), std::move(payload), detail::DrainingFor(*contract_, request), mux, std::move(id),
          contract_->foreign,  std::move(gate)};
}

INFERWIRE_DECL Future<ModelMetadata> Model::AskMetadata(CallOptions options,
                                                        detail::Decoder<ModelMetadata> decode) const {
  return client_.AsyncAs<ModelMetadata>({.path = contract_->model_metadata.path(),
                                         .request = detail::engine::IsForeign(*client_.engine())
                                                        ? detail::ForkedError()
                                                        : contract_->model_metadata.encode(name_, options_.version),
                                         .draining = contract_->draining,
                                         .foreign = contract_->foreign},
                                        decode, std::move(options));
}

// Null where nothing is to be waited for: nothing is checked, or the request fits what is known. One that does not is
// held against what the model says now, since models are replaced.
INFERWIRE_DECL std::shared_ptr<detail::engine::Gate> Model::Gate(const InferRequest& request,
                                                                 const CallOptions& options) const {
  if (known_ == nullptr || detail::engine::IsForeign(*client_.engine())) return nullptr;
  const detail::KnownModel::Answer known = known_->Get();
  if (known != nullptr && CheckRequest(request, *known, contract_->also_takes).ok()) return nullptr;
  // The question is everyone's: it goes on when this call does not, takes its own time, and is asked once.
  constexpr absl::Duration kQuestionTimeout = absl::Seconds(5);
  CallOptions question{.timeout = kQuestionTimeout,
                       .metadata = options.metadata,
                       .token = options.token,
                       .retry = RetryPolicy{.max_attempts = 1}};
  return std::make_shared<detail::CheckGate>(
      known_, request, detail::KnownModel::Manner{options.metadata, options.token.has_value()},
      detail::engine::NowOf(*client_.engine()), contract_->also_takes,
      [self = *this, question = std::move(question)]() mutable {
        const auto asked =
            FutureAccess::Release(self.AskMetadata(std::move(question), self.contract_->decode_kept_metadata));
        const auto told = [self, asked] {
          self.known_->Told(asked->Take(), detail::engine::NowOf(*self.client_.engine()));
        };
        if (!asked->OnReady(told, /*in_place=*/true)) told();
      });
}

// Those who stream are not made to wait for a question unless they were told to check.
INFERWIRE_DECL std::shared_ptr<detail::engine::Gate> Model::StreamGate(const InferRequest& request,
                                                                       const CallOptions& options) const {
  if (known_ == nullptr || detail::engine::IsForeign(*client_.engine())) return nullptr;
  return options_.check.value_or(false) || known_->Get() != nullptr ? Gate(request, options) : nullptr;
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_MODEL_H_
