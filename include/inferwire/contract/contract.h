// SPDX-License-Identifier: Apache-2.0
//
// What makes a type a contract: which method to call, and how to say a request and understand an answer in it.
#ifndef INFERWIRE_CONTRACT_CONTRACT_H_
#define INFERWIRE_CONTRACT_CONTRACT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model_metadata.h"
#include "inferwire/rpc.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {

/// C::Infer names a unary method, as an Rpc.
template <class C>
concept NamesInfer = UnaryRpc<typename C::Infer>;

/// C::Encode(const InferRequest&) gives an absl::StatusOr of the method's request, or of its bytes. The request was
/// validated.
template <class C>
concept EncodesMessages = requires(const InferRequest& request) {
  { C::Encode(request) } -> std::same_as<absl::StatusOr<typename C::Infer::Request>>;
};
template <class C>
concept EncodesBytes = requires(const InferRequest& request) {
  { C::Encode(request) } -> std::same_as<absl::StatusOr<detail::wire::Payload>>;
};
template <class C>
concept EncodesRequests = EncodesMessages<C> || EncodesBytes<C>;

/// C::Decode(Response&&), or C::Decode(detail::wire::Reply&&) with its bytes, gives an absl::StatusOr<InferResult>. The
/// response is a stranger's and is to be checked.
template <class C>
concept DecodesMessages = requires(typename C::Infer::Response&& response) {
  { C::Decode(std::move(response)) } -> std::same_as<absl::StatusOr<InferResult>>;
};
template <class C>
concept DecodesBytes = requires(detail::wire::Reply&& reply) {
  { C::Decode(std::move(reply)) } -> std::same_as<absl::StatusOr<InferResult>>;
};
template <class C>
concept DecodesResponses = DecodesMessages<C> || DecodesBytes<C>;

/// A contract has no base class and no state: a method's name and two static functions. What its functions throw ends
/// their call with INTERNAL.
template <class C>
concept Contract = NamesInfer<C> && EncodesRequests<C> && DecodesResponses<C>;

/// C::Draining says which errors mean that a server is about to go, and has not begun with the request: calls then go
/// to another target, if there is one.
template <class C>
concept DetectsDraining = requires(const absl::Status& status) {
  { C::Draining(status) } -> std::same_as<bool>;
};

/// C::ModelMetadata names a unary method that tells a model's inputs and outputs.
template <class C>
concept HasModelMetadata = UnaryRpc<typename C::ModelMetadata>;

/// C::AlsoTakes says which inputs servers take beyond what their models' metadata says: of what datatype and rank.
template <class C>
concept KnowsWhatElse = requires(const ModelMetadata& model, const TensorMetadata& expected) {
  { C::AlsoTakes(model, expected, DataType::kBytes, std::size_t{1}) } -> std::same_as<bool>;
};

/// C::CheckServer says, by what a server tells of itself, whether it speaks this contract and not one that looks alike.
template <class C>
concept ChecksDialect = requires(const ServerMetadata& server) {
  { C::CheckServer(server) } -> std::same_as<absl::Status>;
};

/// Whether all of C's functions are the library's own, which take no longer than their input is long. Anybody else's
/// may take any time, and are not called where other calls wait for it.
template <class C>
inline constexpr bool kBuiltIn = false;

/// For contracts that carry a model, its inputs' elements and little else: INVALID_ARGUMENT naming the first thing that
/// a request has beside them. Version, id and outputs by name are left to the contract.
inline absl::Status CarriesOnlyTensors(const InferRequest& request, std::string_view contract) {
  const auto cannot = [&](std::string_view what) {
    return detail::InvalidArgumentError(detail::Cat(contract, " cannot carry ", what));
  };
  if (!request.parameters().empty()) {
    return cannot(detail::Cat("parameters, but '", request.parameters().begin()->first, "' was given"));
  }
  if (request.priority() != 0) return cannot(detail::Cat("a priority, but ", request.priority(), " was given"));
  if (request.queue_timeout() != absl::ZeroDuration()) {
    return cannot(detail::Cat("a queue timeout, but ", absl::FormatDuration(request.queue_timeout()), " was given"));
  }
  if (request.sequence().has_id()) return cannot("a step of a sequence, but one was given");
  for (const InferInput& input : request.inputs()) {
    if (input.placement().has_value()) {
      return cannot(
          detail::Cat("shared memory, but input '", input.name(), "' lies in '", input.placement()->region, "'"));
    }
    if (!input.parameters().empty()) {
      return cannot(
          detail::Cat("parameters, but input '", input.name(), "' has '", input.parameters().begin()->first, "'"));
    }
  }
  for (const RequestedOutput& output : request.outputs()) {
    if (output.placement.has_value() || output.classification != 0 || !output.parameters.empty()) {
      return cannot(detail::Cat("how output '", output.name, "' is wanted"));
    }
  }
  return absl::OkStatus();
}

/// C::StreamInfer names a method that streams its answers; it takes the same request.
template <class C>
concept ServerStreaming = Contract<C> && ServerStreamRpc<typename C::StreamInfer> &&
                          std::same_as<typename C::StreamInfer::Request, typename C::Infer::Request> &&
                          requires(typename C::StreamInfer::Response&& response) {
                            { C::Decode(std::move(response)) } -> std::same_as<absl::StatusOr<InferResult>>;
                          };
/// C::ModelStreamInfer names a bidirectional method that takes requests for inference;
/// C::DecodeStreamed(detail::wire::Reply&&) gives an absl::StatusOr<InferResult>.
template <class C>
concept BidiStreaming = Contract<C> && BidiStreamRpc<typename C::ModelStreamInfer> &&
                        std::same_as<typename C::ModelStreamInfer::Request, typename C::Infer::Request> &&
                        requires(detail::wire::Reply&& reply) {
                          { C::DecodeStreamed(std::move(reply)) } -> std::same_as<absl::StatusOr<InferResult>>;
                        };
template <class C>
concept StreamingContract = ServerStreaming<C> || BidiStreaming<C>;

/// Requests and answers on C::ModelStreamInfer have ids, so that many travel on one stream: C::WithId gives a request
/// that was encoded without an id one, and C::ReadTag<Label>(reply) says whose an answer is, whether it is the last,
/// and what error it tells. C::RequestFinalResponse(request) has the server say when there is no more.
template <class C>
concept MultiplexedStreaming =
    BidiStreaming<C> && requires(InferRequest& request, const detail::wire::Payload& payload, const std::string& id) {
      C::RequestFinalResponse(request);
      { C::WithId(payload, id) } -> std::same_as<detail::wire::Payload>;
    };

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_CONTRACT_H_
