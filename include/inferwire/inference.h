// SPDX-License-Identifier: Apache-2.0
//
// Tensors in, tensors out, whatever the contract: InferenceClient and Model.
#ifndef INFERWIRE_INFERENCE_H_
#define INFERWIRE_INFERENCE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <string>
#include <utility>

#include "inferwire/channel/health.h"
#include "inferwire/client.h"
#include "inferwire/contract/contract.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model_metadata.h"
#include "inferwire/wire/protobuf.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A received message of a contract as the neutral result. `Placed`: the request asked for outputs in shared memory.
template <class C, class Response, bool Placed = false>
absl::StatusOr<InferResult> DecodeResult(wire::Reply&& reply) {
  absl::StatusOr<Response> response = wire::Decode<Response>(std::move(reply));
  if (!response.ok()) return response.status();
  absl::StatusOr<InferResult> result = C::Decode(*std::move(response));
  if (!result.ok()) return result;
  if (!result->status().ok()) return absl::InternalError(result->status().message());
  if (!Placed && !result->placed_outputs().empty()) {
    return absl::InternalError(Cat("the server's answer contradicts itself: output '",
                                   result->placed_outputs().front().name, "' came without elements"));
  }
  return result;
}

inline bool HasPlacedOutputs(const InferRequest& request) {
  const auto& outputs = request.outputs();
  return std::any_of(outputs.begin(), outputs.end(), [](const auto& output) { return output.placement.has_value(); });
}

template <class C>
constexpr Client::Draining DrainingOf() {
  if constexpr (KnowsDraining<C>) return C::Draining;
  return nullptr;
}

/// Whether an answer with a field `ready` says so.
template <class Response>
bool IsReady(wire::Reply&& reply) {
  const absl::StatusOr<Response> response = wire::Decode<Response>(std::move(reply));
  return response.ok() && response->ready();
}

template <class C>
absl::StatusOr<wire::Payload> EncodeRequest(const InferRequest& request) {
  if (absl::Status status = request.Validate(); !status.ok()) return status;
  absl::StatusOr<typename C::Infer::Request> message = C::Encode(request);
  if (!message.ok()) return message.status();
  return wire::Encode(*message);
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

/// One model of a server, as a function of tensors. A small value that keeps its client alive; safe from any number of
/// threads. Lent inputs must stay until the call has completed: until Infer returns, or the future or stream has ended.
/// Errors are those of Client, and INVALID_ARGUMENT for a request that is not well formed, before anything is sent.
template <Contract C>
class Model {
 public:
  Model(Client client, std::string name, std::string version)
      : client_(std::move(client)), name_(std::move(name)), version_(std::move(version)) {}

  const std::string& name() const { return name_; }
  const std::string& version() const { return version_; }

  /// Calls and waits: `model.Infer({{"image", std::span<const float>(pixels), {1, 64}}})`.
  absl::StatusOr<InferResult> Infer(InferRequest request, CallOptions options = {}) const {
    using Response = typename C::Infer::Response;
    const Client::Draining draining = PinSequence(request, options);
    if (detail::HasPlacedOutputs(request)) {
      return client_.CallAs<InferResult, detail::DecodeResult<C, Response, true>>(C::Infer::path(), Encode(request),
                                                                                  std::move(options), draining);
    }
    return client_.CallAs<InferResult, detail::DecodeResult<C, Response>>(C::Infer::path(), Encode(request),
                                                                          std::move(options), draining);
  }

  /// Calls and returns at once; the future has the result.
  Future<InferResult> AsyncInfer(InferRequest request, CallOptions options = {}) const {
    using Response = typename C::Infer::Response;
    const Client::Draining draining = PinSequence(request, options);
    if (detail::HasPlacedOutputs(request)) {
      return client_.AsyncAs<InferResult, detail::DecodeResult<C, Response, true>>(C::Infer::path(), Encode(request),
                                                                                   std::move(options), draining);
    }
    return client_.AsyncAs<InferResult, detail::DecodeResult<C, Response>>(C::Infer::path(), Encode(request),
                                                                           std::move(options), draining);
  }

  /// The results as a stream, for contracts that have one.
  ResponseStream<InferResult> StreamInfer(InferRequest request, CallOptions options = {}) const
    requires StreamingContract<C>
  {
    return client_.StreamAs<InferResult, detail::DecodeResult<C, typename C::StreamInfer::Response>>(
        C::StreamInfer::path(), Encode(request), std::move(options));
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
    requires UnaryRpc<typename C::ModelMetadata>
  {
    auto reply =
        client_.Call<typename C::ModelMetadata>(Named<typename C::ModelMetadata::Request>(), std::move(options));
    if (!reply.ok()) return reply.status();
    return C::Decode(*std::move(reply));
  }

 private:
  absl::StatusOr<wire::Payload> Encode(InferRequest& request) const {
    request.set_model(name_);
    request.set_version(version_);
    return detail::EncodeRequest<C>(request);
  }
  // A step of a sequence is not sent twice, and not elsewhere: its state is with one server.
  static Client::Draining PinSequence(const InferRequest& request, CallOptions& options) {
    if (!request.sequence().has_id()) return detail::DrainingOf<C>();
    options.idempotent = options.idempotent.value_or(false);
    return nullptr;
  }
  template <class Request>
  Request Named() const {
    Request request;
    request.set_name(name_);
    request.set_version(version_);
    return request;
  }

  Client client_;
  std::string name_;
  std::string version_;
};

/// A server that speaks contract C. A cheap handle, like the Client it holds.
template <Contract C>
class InferenceClient {
 public:
  /// As Client::Create.
  static absl::StatusOr<InferenceClient> Create(ClientOptions options) {
    absl::StatusOr<Client> client = Client::Create(std::move(options));
    if (!client.ok()) return client.status();
    return InferenceClient(*std::move(client));
  }
  /// Speaks C over a client that exists already.
  explicit InferenceClient(Client client) : client_(std::move(client)) {}

  /// A model by name; an empty version leaves it to the server. Nothing is asked of the server yet.
  Model<C> GetModel(std::string name, std::string version = "") const {
    return Model<C>(client_, std::move(name), std::move(version));
  }

  /// Whether the server runs at all.
  absl::StatusOr<bool> Live(CallOptions options = {}) const
    requires UnaryRpc<typename C::ServerLive>
  {
    const auto reply = client_.Call<typename C::ServerLive>({}, std::move(options));
    if (!reply.ok()) return reply.status();
    return reply->live();
  }
  /// Whether the server can serve.
  absl::StatusOr<bool> Ready(CallOptions options = {}) const
    requires UnaryRpc<typename C::ServerReady>
  {
    const auto reply = client_.Call<typename C::ServerReady>({}, std::move(options));
    if (!reply.ok()) return reply.status();
    return reply->ready();
  }
  /// The server's name, version and extensions.
  absl::StatusOr<ServerMetadata> Metadata(CallOptions options = {}) const
    requires UnaryRpc<typename C::ServerMetadata>
  {
    auto reply = client_.Call<typename C::ServerMetadata>({}, std::move(options));
    if (!reply.ok()) return reply.status();
    return C::Decode(*std::move(reply));
  }
  /// Asks the server what it is. FAILED_PRECONDITION where it says that it speaks another dialect, whose messages would
  /// be misread; naming the contract to use.
  absl::Status CheckDialect(CallOptions options = {}) const
    requires KnowsServers<C>
  {
    const absl::StatusOr<ServerMetadata> server = Metadata(std::move(options));
    return server.ok() ? C::CheckServer(*server) : server.status();
  }

  const Client& client() const { return client_; }

 private:
  Client client_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_INFERENCE_H_
