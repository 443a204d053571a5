// SPDX-License-Identifier: Apache-2.0
//
// Tensors in, tensors out, whatever the contract: a server, its models, and their sequences.
#ifndef INFERWIRE_INFERENCE_H_
#define INFERWIRE_INFERENCE_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <concepts>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/client_options.h"
#include "inferwire/contract/any_contract.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/model.h"
#include "inferwire/model_metadata.h"
#include "inferwire/readiness.h"
#include "inferwire/sequence.h"
#include "inferwire/stats.h"

namespace inferwire {
inline namespace v0 {

struct BindOptions;
template <class Outputs, class Inputs>
class TypedModel;
namespace detail {
class SharedStreams;
}  // namespace detail

/// A server, whatever it speaks: for programs that choose the contract when they run. A cheap handle, like the Client
/// it holds; safe from any number of threads. The functions that ask the server block for its answer, and go to
/// whichever target a call would go to; their errors are those of Client::Call, and UNIMPLEMENTED, naming the contract,
/// for what the contract has no method for.
class AnyInferenceClient {
 public:
  /// As Client::Create.
  static absl::StatusOr<AnyInferenceClient> Create(AnyContract contract, ClientOptions options);
  /// Speaks `contract` over a client that exists already.
  AnyInferenceClient(AnyContract contract, Client client);

  /// What the server speaks.
  AnyContract contract() const { return contract_; }

  /// A model by name; an empty version leaves it to the server. Nothing is asked of the server yet.
  Model GetModel(std::string name, ModelOptions options = {}) const;
  // A template, since compilers take `{.check = false, .over_stream = true}` for a std::string too.
  Model GetModel(std::string name, std::convertible_to<std::string> auto&& version) const {
    return GetModel(std::move(name), ModelOptions{.version = std::forward<decltype(version)>(version)});
  }

  /// A model as a function of typed tensors, checked against what the server says of it: include
  /// inferwire/typed_model.h, which says more.
  template <class Outputs, class Inputs>
  absl::StatusOr<TypedModel<Outputs, Inputs>> Bind(std::string name, const BindOptions& options) const;
  template <class Outputs, class Inputs>
  absl::StatusOr<TypedModel<Outputs, Inputs>> Bind(std::string name) const;

  /// Whether the server runs at all.
  absl::StatusOr<bool> Live(CallOptions options = {}) const;
  /// Whether the server can serve.
  absl::StatusOr<bool> Ready(CallOptions options = {}) const;
  /// The server's name, version and extensions.
  absl::StatusOr<ServerMetadata> Metadata(CallOptions options = {}) const;
  /// Asks the server what it is. FAILED_PRECONDITION where it says that it speaks another dialect, whose messages would
  /// be misread; naming the contract to use.
  absl::Status CheckDialect(CallOptions options = {}) const;

  // As the Client's that it holds.

  /// Blocks until every target is connected.
  absl::Status WaitUntilReady(absl::Duration timeout) const { return client_.WaitUntilReady(timeout); }
  /// From now on calls go to these targets.
  absl::Status SetTargets(const std::vector<std::string>& targets) const { return client_.SetTargets(targets); }
  /// What was done so far, and how the targets are.
  ClientStats Stats() const { return client_.Stats(); }
  /// Ends all calls in flight, and refuses later ones.
  void Shutdown() const { client_.Shutdown(); }

  const Client& client() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return client_; }

 private:
  AnyContract contract_;
  Client client_;
  std::shared_ptr<detail::SharedStreams> shared_;
};

/// A server that speaks contract C: the same, where what C lacks does not compile.
template <Contract C>
class InferenceClient : public AnyInferenceClient {
 public:
  /// As Client::Create.
  static absl::StatusOr<InferenceClient> Create(ClientOptions options) {
    absl::StatusOr<Client> client = Client::Create(std::move(options));
    if (!client.ok()) return client.status();
    return InferenceClient(*std::move(client));
  }
  /// Speaks C over a client that exists already.
  explicit InferenceClient(Client client) : AnyInferenceClient(AnyContract::Of<C>(), std::move(client)) {}

  absl::StatusOr<bool> Live(CallOptions options = {}) const
    requires UnaryRpc<typename C::ServerLive>
  {
    return AnyInferenceClient::Live(std::move(options));
  }
  absl::StatusOr<bool> Ready(CallOptions options = {}) const
    requires UnaryRpc<typename C::ServerReady>
  {
    return AnyInferenceClient::Ready(std::move(options));
  }
  absl::StatusOr<ServerMetadata> Metadata(CallOptions options = {}) const
    requires UnaryRpc<typename C::ServerMetadata>
  {
    return AnyInferenceClient::Metadata(std::move(options));
  }
  absl::Status CheckDialect(CallOptions options = {}) const
    requires ChecksDialect<C>
  {
    return AnyInferenceClient::CheckDialect(std::move(options));
  }
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/inference.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_INFERENCE_H_
