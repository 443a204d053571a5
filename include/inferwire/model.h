// SPDX-License-Identifier: Apache-2.0
//
// One model of a server, as a function of tensors, whatever the contract.
#ifndef INFERWIRE_MODEL_H_
#define INFERWIRE_MODEL_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/client.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/invoke_user.h"
#include "inferwire/detail/text.h"
#include "inferwire/engine/door.h"
#include "inferwire/engine/gate.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/known_models.h"
#include "inferwire/model_check.h"
#include "inferwire/model_metadata.h"
#include "inferwire/options/health_policy.h"
#include "inferwire/options/retry_policy.h"
#include "inferwire/wire/message.h"
#include "inferwire/wire/protobuf.h"

namespace inferwire {
inline namespace v0 {

template <Contract C>
class Sequence;

namespace detail {

/// A received message of a contract, in whatever form the contract reads it.
template <class C, class Response>
absl::StatusOr<InferResult> DecodeAs(wire::Reply&& reply) {
  if constexpr (std::is_same_v<Response, typename C::Infer::Response> && DecodesBytes<C>) {
    return InvokeUser("the contract's Decode", [&] { return C::Decode(std::move(reply)); });
  } else {
    Response response;
    if (absl::Status status = wire::DecodeInto(std::move(reply), response); !status.ok()) return status;
    return InvokeUser("the contract's Decode", [&] { return C::Decode(std::move(response)); });
  }
}
inline absl::Status Keep(absl::StatusOr<InferResult> result, InferResult& out) {
  if (!result.ok()) return result.status();
  if (!result->status().ok()) return detail::InternalError(result->status().message());
  out = *std::move(result);
  return absl::OkStatus();
}
inline absl::Status RefusePlaced(const InferResult& result) {
  if (result.placed_outputs().empty()) return absl::OkStatus();
  return detail::InternalError(Cat("the server's answer contradicts itself: output '",
                                   result.placed_outputs().front().name, "' came without elements"));
}

/// The neutral result. `Placed`: the request asked for outputs in shared memory.
template <class C, class Response, bool Placed = false>
absl::Status DecodeResult(wire::Reply&& reply, InferResult& out) {
  if (absl::Status status = Keep(DecodeAs<C, Response>(std::move(reply)), out); !status.ok()) return status;
  return Placed ? absl::OkStatus() : RefusePlaced(out);
}
/// The same from C::ModelStreamInfer. `Shared`: on a stream where the id is engine::WireId's.
template <class C, bool Shared>
absl::Status DecodeStreamed(wire::Reply&& reply, InferResult& out) {
  absl::StatusOr<InferResult> result =
      InvokeUser("the contract's DecodeStreamed", [&] { return C::DecodeStreamed(std::move(reply)); });
  if (absl::Status status = Keep(std::move(result), out); !status.ok()) return status;
  if (Shared) out.set_id(engine::UserId(out.id()));
  return absl::OkStatus();
}

inline bool HasPlacedOutputs(const InferRequest& request) {
  const auto& outputs = request.outputs();
  return std::any_of(outputs.begin(), outputs.end(), [](const auto& output) { return output.placement.has_value(); });
}

/// Outputs that the request directs to memory of the caller's are copied there; an error takes the result's place.
inline void Deliver(absl::StatusOr<InferResult>& result, const std::vector<InferRequest::OutputBuffer>& buffers) {
  for (const auto& [name, datatype, to] : buffers) {
    if (!result.ok()) return;
    if (absl::Status status = result->Move(name, datatype, to); !status.ok()) result = std::move(status);
  }
}

template <class C>
constexpr auto DrainingOf() -> bool (*)(const absl::Status&) {
  if constexpr (KnowsDraining<C>) return C::Draining;
  return nullptr;
}

/// Whether an answer with a field `ready` says so.
template <class Response>
bool IsReady(wire::Reply&& reply) {
  Response response;
  return wire::DecodeInto(std::move(reply), response).ok() && response.ready();
}

template <class C>
absl::StatusOr<wire::Payload> EncodeRequest(const InferRequest& request) {
  if (absl::Status status = request.Validate(); !status.ok()) return status;
  const auto encode = [&] { return InvokeUser("the contract's Encode", [&] { return C::Encode(request); }); };
  if constexpr (EncodesBytes<C>) {
    return encode();
  } else {
    absl::StatusOr<typename C::Infer::Request> message = encode();
    if (!message.ok()) return message.status();
    return wire::Encode(*message);
  }
}

template <class C>
absl::Status DecodeMetadata(wire::Reply&& reply, ModelMetadata& out) {
  typename C::ModelMetadata::Response response;
  if (absl::Status status = wire::DecodeInto(std::move(reply), response); !status.ok()) return status;
  absl::StatusOr<ModelMetadata> metadata =
      InvokeUser("the contract's Decode", [&] { return C::Decode(std::move(response)); });
  if (!metadata.ok()) return metadata.status();
  out = *std::move(metadata);
  return absl::OkStatus();
}
/// The same for those that are kept: none that takes much room.
template <class C>
absl::Status DecodeKeptMetadata(wire::Reply&& reply, ModelMetadata& out) {
  constexpr std::size_t kMost = std::size_t{1} << 20;
  if (reply.size() > kMost) return detail::ResourceExhaustedError(Cat("metadata of ", reply.size(), " bytes"));
  return DecodeMetadata<C>(std::move(reply), out);
}
template <class C>
constexpr AlsoTakes AlsoTakesOf() {
  if constexpr (KnowsWhatElse<C>) return C::AlsoTakes;
  return nullptr;
}
/// What a contract knows of its servers included.
template <class C>
absl::Status CheckAs(const InferRequest& request, const ModelMetadata& model) {
  return CheckRequest(request, model, AlsoTakesOf<C>());
}
template <class C>
constexpr bool ChecksByDefault() {
  if constexpr (requires { C::kMetadataBinds; }) return C::kMetadataBinds;
  return false;
}

template <class C>
absl::StatusOr<engine::Label> ReadLabel(wire::Reply& reply) {
  return InvokeUser("the contract's ReadLabel", [&] { return C::template ReadLabel<engine::Label>(reply); });
}
template <class C>
wire::Payload WithId(const wire::Payload& request, const std::string& id) {
  const absl::StatusOr<wire::Payload> named =
      InvokeUser("the contract's WithId", [&] { return C::WithId(request, id); });
  return named.ok() ? *named : request;  // whose answer counts where it is the only one
}
template <class C>
Ref<engine::Carrier> ShareStreams(const Client& client, bool once = false) {
  const engine::Speech speech{ReadLabel<C>, WithId<C>, /*foreign=*/!kBuiltIn<C>};
  return engine::ShareStream(client.engine(), C::ModelStreamInfer::path(), speech, once);
}

/// The streams of models, by name. Those of two models are not shared: servers need not be able to tell answers of
/// different kinds apart that are ready at once (Triton 2.51 aborts where one model is decoupled and the other is not),
/// and nobody waits for another model's answers.
class SharedStreams {
 public:
  template <class C>
  Ref<engine::Carrier> Get(const Client& client, const std::string& model) {
    std::lock_guard lock(mutex_);
    if (carriers_.size() >= kMost && !carriers_.contains(model)) {
      std::erase_if(carriers_, [](const auto& entry) { return entry.second->Unique(); });
    }
    Ref<engine::Carrier>& carrier = carriers_[model];
    if (!carrier) carrier = ShareStreams<C>(client);
    return carrier;
  }

 private:
  static constexpr std::size_t kMost = 100;  // before those that are not in use are forgotten

  std::mutex mutex_;
  std::map<std::string, Ref<engine::Carrier>> carriers_;
};

/// Whether a call sends headers of its own, which it cannot on a stream that others opened.
inline bool HasOwnHeaders(const CallOptions& options) {
  return !options.metadata.empty() || options.token.has_value() || options.compression.has_value() ||
         options.parent != nullptr;
}

}  // namespace detail

/// For HealthPolicy::readiness: targets are used while the contract says that the server is ready.
template <Contract C>
  requires UnaryRpc<typename C::ServerReady>
ReadinessCheck ServerReady() {
  return {&C::ServerReady::path(), "", detail::IsReady<typename C::ServerReady::Response>};
}
/// While it says that the model is.
template <Contract C>
  requires UnaryRpc<typename C::ModelReady>
ReadinessCheck ModelReady(const std::string& model, const std::string& version = "") {
  typename C::ModelReady::Request request;
  request.set_name(model);
  request.set_version(version);
  return {&C::ModelReady::path(), request.SerializeAsString(), detail::IsReady<typename C::ModelReady::Response>};
}

/// How a model is called.
struct ModelOptions {
  /// Empty: the server's choice.
  std::string version = {};
  /// Whether requests are held against the model's metadata before they are sent, which is asked for with the first
  /// one, once for all copies of the client. A request goes unchecked where the server does not tell, or not in half of
  /// the call's time. Unset: as the contract says, which knows whether its servers' metadata can be relied on, and then
  /// streams and sequences ask nothing, but are held against what is known.
  std::optional<bool> check = std::nullopt;
  /// Whether Infer and AsyncInfer send their requests on one stream to each server (for contracts that share streams),
  /// which takes less time than a call each. Deadlines, cancellation, retries and errors are the same; the server's
  /// metadata is the stream's, and hedges are not sent. A model that answers more than once is FAILED_PRECONDITION; it
  /// is for StreamInfer. Calls whose options say what is sent beside the request
  /// (metadata, token, compression, parent) are calls of their own.
  bool over_stream = false;
};

/// One model of a server, as a function of tensors. A small value that keeps its client alive; safe from any number of
/// threads. Lent inputs must stay until the call has completed: until Infer returns, or the future is ready, or the
/// stream has ended; or until those are dropped, which waits for it where memory was lent. Errors are those of Client,
/// and INVALID_ARGUMENT for a request that is not well formed, or not what the model expects, before anything is sent.
template <Contract C>
class Model {
 public:
  Model(Client client, std::string name, std::string version)
      : Model(std::move(client), std::move(name), ModelOptions{.version = std::move(version)}) {}
  /// `shared`: where the model's requests travel together with those of other objects of this kind.
  Model(Client client, std::string name, ModelOptions options, detail::Ref<engine::Carrier> shared = {})
      : client_(std::move(client)), name_(std::move(name)), options_(std::move(options)), shared_(std::move(shared)) {
    if constexpr (SharesStreams<C>) {
      if (!shared_) shared_ = detail::ShareStreams<C>(client_);
    }
    if constexpr (TellsModels<C>) {
      if (options_.check.value_or(detail::ChecksByDefault<C>()) && !engine::IsForeign(*client_.engine())) {
        known_ = engine::Kept<detail::KnownModels>(*client_.engine())
                     ->Get(C::ModelMetadata::path(), name_, options_.version);
      }
    }
  }

  const std::string& name() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return name_; }
  const std::string& version() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return options_.version; }

  /// Calls and waits: `model.Infer({{"image", std::span<const float>(pixels), {1, 64}}})`.
  absl::StatusOr<InferResult> Infer(InferRequest request, CallOptions options = {}) const {
    AsOnce(request, options);
    const detail::Decoder<InferResult> decode = DecoderFor(request, options);
    Client::Raw raw = RawFor(request, options);
    // What a shared stream brings comes by another thread anyway.
    absl::StatusOr<InferResult> result =
        raw.carrier ? client_.AsyncAs<InferResult>(std::move(raw), decode, std::move(options)).Get()
                    : client_.CallAs<InferResult>(std::move(raw), decode, std::move(options));
    detail::Deliver(result, request.output_buffers());
    return result;
  }

  /// Calls and returns at once; the future has the result.
  Future<InferResult> AsyncInfer(InferRequest request, CallOptions options = {}) const {
    AsOnce(request, options);
    const detail::Decoder<InferResult> decode = DecoderFor(request, options);
    Future<InferResult> result = client_.AsyncAs<InferResult>(RawFor(request, options), decode, std::move(options));
    if (request.output_buffers().empty()) return result;
    return std::move(result).Then([buffers = request.output_buffers()](absl::StatusOr<InferResult> received) {
      detail::Deliver(received, buffers);
      return received;
    });
  }

  /// The results as a stream, for contracts that have one. Where the contract shares streams, requests to one model of
  /// a client travel together on one to each server; an error that the server tells of one request ends that alone. A
  /// request that is given up cannot be called back from there: the stream is cancelled once nobody waits for anything
  /// on it. A call whose options say what is sent beside the request (metadata, token, compression, parent) has a
  /// stream of its own, and cancelling it cancels the request.
  ResponseStream<InferResult> StreamInfer(InferRequest request, CallOptions options = {}) const
    requires StreamingContract<C>
  {
    if constexpr (StreamsAnswers<C>) {
      return client_.StreamAs<InferResult>(
          {.path = C::StreamInfer::path(), .request = Encode(request), .gate = StreamGate(request, options)},
          detail::DecodeResult<C, typename C::StreamInfer::Response>, std::move(options));
    } else {
      if constexpr (SharesStreams<C>) {
        if (!detail::HasOwnHeaders(options)) {
          return client_.StreamAs<InferResult>(Shared(request, shared_, StreamGate(request, options)),
                                               detail::DecodeStreamed<C, true>, std::move(options));
        }
      }
      return client_.StreamAs<InferResult>(
          {.path = C::ModelStreamInfer::path(), .request = Encode(request), .gate = StreamGate(request, options)},
          detail::DecodeStreamed<C, false>, std::move(options));
    }
  }

  /// Requests that belong together, to a model that remembers those before; sequence.h says more. `id` is an integer
  /// other than 0, or a text, and unique among the sequences that run on the server.
  auto Sequence(decltype(SequenceStep::id) id) const
    requires SharesStreams<C>
  {
    return v0::Sequence<C>(*this, std::move(id));
  }

  /// Whether the model can serve. Servers differ about one that does not exist: false, or an error.
  absl::StatusOr<bool> Ready(CallOptions options = {}) const
    requires UnaryRpc<typename C::ModelReady>
  {
    const auto reply =
        client_.Call<typename C::ModelReady>(Named<typename C::ModelReady::Request>(), std::move(options));
    if (!reply.ok()) return reply.status();
    return reply->ready();
  }

  /// The model's inputs and outputs.
  absl::StatusOr<ModelMetadata> Metadata(CallOptions options = {}) const
    requires TellsModels<C>
  {
    absl::StatusOr<ModelMetadata> metadata = AskMetadata(std::move(options)).Get();
    if (metadata.ok() && known_ != nullptr) known_->Set(*metadata);
    return metadata;
  }

  const Client& client() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return client_; }

 private:
  template <Contract>
  friend class v0::Sequence;

  absl::StatusOr<wire::Payload> Encode(InferRequest& request) const {
    if (engine::IsForeign(*client_.engine())) return detail::ForkedError();
    request.set_model(name_);
    request.set_version(options_.version);
    return detail::EncodeRequest<C>(request);
  }
  // A step of a sequence is not sent twice, and not elsewhere: its state is with one server.
  static void AsOnce(const InferRequest& request, CallOptions& options) {
    if (request.sequence().has_id() && !options.idempotent.has_value()) options.idempotent = false;
  }
  bool OverStream(const CallOptions& options) const {
    return SharesStreams<C> && options_.over_stream && !detail::HasOwnHeaders(options);
  }
  Client::Raw RawFor(InferRequest& request, const CallOptions& options) const {
    if constexpr (SharesStreams<C>) {
      if (OverStream(options)) return Shared(request, shared_, Gate(request, options));
    }
    return {.path = C::Infer::path(),
            .request = Encode(request),
            .draining = request.sequence().has_id() ? nullptr : detail::DrainingOf<C>(),
            .foreign = !kBuiltIn<C>,
            .gate = Gate(request, options)};
  }
  detail::Decoder<InferResult> DecoderFor(const InferRequest& request, const CallOptions& options) const {
    if constexpr (SharesStreams<C>) {
      if (OverStream(options)) return detail::DecodeStreamed<C, true>;
    }
    using Response = typename C::Infer::Response;
    if (detail::HasPlacedOutputs(request)) return detail::DecodeResult<C, Response, true>;
    return detail::DecodeResult<C, Response>;
  }
  // On a stream with others: what is sent may wait there when its call is over, so that memory is not lent.
  Client::Raw Shared(InferRequest& request, const detail::Ref<engine::Carrier>& carrier,
                     std::shared_ptr<engine::Gate> gate) const
    requires SharesStreams<C>
  {
    std::string id = request.id();
    absl::Status legal = detail::CheckText("the request's id", id);
    request.set_id({});  // each attempt has its own on the wire
    legal.Update(detail::InvokeUser("the contract's AskForEnd", [&] { C::AskForEnd(request); }));
    absl::StatusOr<wire::Payload> payload = legal.ok() ? Encode(request) : std::move(legal);
    if (payload.ok()) *payload = wire::Owned(*std::move(payload));
    return {C::ModelStreamInfer::path(),
            std::move(payload),
            request.sequence().has_id() ? nullptr : detail::DrainingOf<C>(),
            carrier,
            std::move(id),
            !kBuiltIn<C>,
            std::move(gate)};
  }
  // ---- the model's metadata

  Future<ModelMetadata> AskMetadata(CallOptions options,
                                    detail::Decoder<ModelMetadata> decode = detail::DecodeMetadata<C>) const
    requires TellsModels<C>
  {
    return client_.AsyncAs<ModelMetadata>({.path = C::ModelMetadata::path(),
                                           .request = client_.Encode(Named<typename C::ModelMetadata::Request>()),
                                           .draining = detail::DrainingOf<C>(),
                                           .foreign = !kBuiltIn<C>},
                                          decode, std::move(options));
  }
  /// Null where nothing is to be waited for: nothing is checked, or the request fits what is known. One that does not
  /// is held against what the model says now, since models are replaced.
  std::shared_ptr<engine::Gate> Gate(const InferRequest& request, const CallOptions& options) const {
    if constexpr (TellsModels<C>) {
      if (known_ == nullptr || engine::IsForeign(*client_.engine())) return nullptr;
      const detail::KnownModel::Answer known = known_->Get();
      if (known != nullptr && detail::CheckAs<C>(request, *known).ok()) return nullptr;
      // The question is everyone's: it goes on when this call does not, takes its own time, and is asked once.
      CallOptions question{.timeout = kQuestionTimeout,
                           .metadata = options.metadata,
                           .token = options.token,
                           .retry = RetryPolicy{.max_attempts = 1}};
      return std::make_shared<detail::CheckGate>(
          known_, request, detail::KnownModel::Manner{options.metadata, options.token.has_value()},
          engine::NowOf(*client_.engine()), detail::CheckAs<C>,
          [self = *this, question = std::move(question)]() mutable {
            const auto asked =
                FutureAccess::Release(self.AskMetadata(std::move(question), detail::DecodeKeptMetadata<C>));
            const auto told = [self, asked] {
              self.known_->Told(asked->Take(), engine::NowOf(*self.client_.engine()));
            };
            if (!asked->OnReady(told, /*in_place=*/true)) told();
          });
    } else {
      return nullptr;
    }
  }
  // Those who stream are not made to wait for a question unless they were told to check.
  std::shared_ptr<engine::Gate> StreamGate(const InferRequest& request, const CallOptions& options) const {
    if (known_ == nullptr || engine::IsForeign(*client_.engine())) return nullptr;
    return options_.check.value_or(false) || known_->Get() != nullptr ? Gate(request, options) : nullptr;
  }

  template <class Request>
  Request Named() const {
    Request request;
    request.set_name(name_);
    request.set_version(options_.version);
    return request;
  }

  static constexpr absl::Duration kQuestionTimeout = absl::Seconds(5);

  Client client_;
  std::string name_;
  ModelOptions options_;
  detail::Ref<engine::Carrier> shared_;        // where the contract shares streams
  std::shared_ptr<detail::KnownModel> known_;  // where requests are checked
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_MODEL_H_
