// SPDX-License-Identifier: Apache-2.0
//
// One model of a server, as a function of tensors, whatever the contract.
#ifndef INFERWIRE_MODEL_H_
#define INFERWIRE_MODEL_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/contract/any_contract.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/engine/gate.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model_metadata.h"
#include "inferwire/response_stream.h"

namespace inferwire {
inline namespace v0 {

class Sequence;
namespace detail {
class KnownModel;

/// Outputs that the request directs to memory of the caller's are copied there; an error takes the result's place.
INFERWIRE_DECL void Deliver(absl::StatusOr<InferResult>& result,
                            const std::vector<InferRequest::OutputBuffer>& buffers);

}  // namespace detail

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
/// threads. InferenceClient::GetModel gives it. Lent inputs must stay until the call has completed: until Infer
/// returns, or the future is ready, or the stream has ended; or until those are dropped, which waits for it where
/// memory was lent. Errors are those of Client, and INVALID_ARGUMENT for a request that is not well formed, or not what
/// the model expects, before anything is sent; UNIMPLEMENTED, naming the contract, for what the contract lacks.
class Model {
 public:
  const std::string& name() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return name_; }
  const std::string& version() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return options_.version; }
  /// What its server speaks.
  AnyContract contract() const { return AnyContract(*contract_); }

  /// Calls and waits: `model.Infer({{"image", std::span<const float>(pixels), {1, 64}}})`.
  absl::StatusOr<InferResult> Infer(InferRequest request, CallOptions options = {}) const;

  /// Calls and returns at once; the future has the result.
  Future<InferResult> AsyncInfer(InferRequest request, CallOptions options = {}) const;

  /// The results as a stream, for contracts that have one. Where the contract shares streams, requests to one model of
  /// a client travel together on one to each server; an error that the server tells of one request ends that alone. A
  /// request that is given up cannot be called back from there: the stream is cancelled once nobody waits for anything
  /// on it. A call whose options say what is sent beside the request (metadata, token, compression, parent) has a
  /// stream of its own, and cancelling it cancels the request.
  ResponseStream<InferResult> StreamInfer(InferRequest request, CallOptions options = {}) const;

  /// Requests that belong together, to a model that remembers those before; sequence.h says more. `id` is an integer
  /// other than 0, or a text, and unique among the sequences that run on the server.
  v0::Sequence Sequence(decltype(SequenceStep::id) id) const;

  /// Asks whether the model can serve, and waits. Servers differ about one that does not exist: false, or an error.
  absl::StatusOr<bool> Ready(CallOptions options = {}) const;

  /// Asks for the model's inputs and outputs, and waits.
  absl::StatusOr<ModelMetadata> Metadata(CallOptions options = {}) const;

  const Client& client() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return client_; }

 private:
  friend class AnyInferenceClient;
  friend class v0::Sequence;

  /// `shared`: where the model's requests travel together with those of other objects of this kind.
  Model(const detail::ContractTable& contract, Client client, std::string name, ModelOptions options,
        detail::Ref<detail::engine::StreamMux> shared);

  absl::StatusOr<detail::wire::Payload> Encode(InferRequest& request) const;
  bool OverStream(const CallOptions& options) const;
  Client::Raw RawFor(InferRequest& request, const CallOptions& options) const;
  detail::Decoder<InferResult> DecoderFor(const InferRequest& request, const CallOptions& options) const;
  Client::Raw Shared(InferRequest& request, const detail::Ref<detail::engine::StreamMux>& mux,
                     std::shared_ptr<detail::engine::Gate> gate) const;

  // The model's metadata.

  Future<ModelMetadata> AskMetadata(CallOptions options, detail::Decoder<ModelMetadata> decode) const;
  std::shared_ptr<detail::engine::Gate> Gate(const InferRequest& request, const CallOptions& options) const;
  std::shared_ptr<detail::engine::Gate> StreamGate(const InferRequest& request, const CallOptions& options) const;

  const detail::ContractTable* contract_;
  Client client_;
  std::string name_;
  ModelOptions options_;
  detail::Ref<detail::engine::StreamMux> shared_;  // where the contract shares streams
  std::shared_ptr<detail::KnownModel> known_;      // where requests are checked
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/model.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_MODEL_H_
