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

#include "inferwire/client.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/invoke_user.h"
#include "inferwire/engine/door.h"
#include "inferwire/model.h"
#include "inferwire/model_metadata.h"
#include "inferwire/sequence.h"
#include "inferwire/stats.h"

namespace inferwire {
inline namespace v0 {

struct BindOptions;
template <class C, class Outputs, class Inputs>
class TypedModel;

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
  Model<C> GetModel(std::string name, ModelOptions options = {}) const {
    detail::Ref<engine::Carrier> shared;
    if constexpr (SharesStreams<C>) {
      if (!engine::IsForeign(*client_.engine())) shared = shared_->template Get<C>(client_, name);
    }
    return Model<C>(client_, std::move(name), std::move(options), std::move(shared));
  }
  // A template, since compilers take `{.check = false, .over_stream = true}` for a std::string too.
  Model<C> GetModel(std::string name, std::convertible_to<std::string> auto&& version) const {
    return GetModel(std::move(name), ModelOptions{.version = std::forward<decltype(version)>(version)});
  }

  /// A model as a function of typed tensors, checked against what the server says of it: include
  /// inferwire/typed_model.h, which says more.
  template <class Outputs, class Inputs>
  absl::StatusOr<TypedModel<C, Outputs, Inputs>> Bind(std::string name, const BindOptions& options) const;
  template <class Outputs, class Inputs>
  absl::StatusOr<TypedModel<C, Outputs, Inputs>> Bind(std::string name) const;

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
    return detail::InvokeUser("the contract's Decode", [&] { return C::Decode(*std::move(reply)); });
  }
  /// Asks the server what it is. FAILED_PRECONDITION where it says that it speaks another dialect, whose messages would
  /// be misread; naming the contract to use.
  absl::Status CheckDialect(CallOptions options = {}) const
    requires KnowsServers<C>
  {
    const absl::StatusOr<ServerMetadata> server = Metadata(std::move(options));
    if (!server.ok()) return server.status();
    return detail::InvokeUser("the contract's CheckServer", [&] { return C::CheckServer(*server); });
  }

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
  Client client_;
  std::shared_ptr<detail::SharedStreams> shared_ = std::make_shared<detail::SharedStreams>();
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_INFERENCE_H_
