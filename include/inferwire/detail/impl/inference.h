// SPDX-License-Identifier: Apache-2.0
//
// What is asked of a server, and how its models come to share streams.
#ifndef INFERWIRE_DETAIL_IMPL_INFERENCE_H_
#define INFERWIRE_DETAIL_IMPL_INFERENCE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/client_options.h"
#include "inferwire/contract/any_contract.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/impl/model.h"
#include "inferwire/inference.h"
#include "inferwire/model.h"
#include "inferwire/model_metadata.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// The streams of models, by name. Those of two models are not shared: servers need not be able to tell answers of
/// different kinds apart that are ready at once (Triton 2.51 aborts where one model is decoupled and the other is not),
/// and nobody waits for another model's answers.
class SharedStreams {
 public:
  Ref<detail::engine::StreamMux> Get(const std::shared_ptr<detail::engine::Engine>& engine,
                                     const ContractTable& contract, const std::string& model) {
    std::lock_guard lock(mutex_);
    if (muxes_.size() >= kMost && !muxes_.contains(model)) {
      std::erase_if(muxes_, [](const auto& entry) { return entry.second->Unique(); });
    }
    Ref<detail::engine::StreamMux>& mux = muxes_[model];
    if (!mux) mux = detail::engine::ShareStream(engine, contract.shared(), contract.speech, /*once=*/false);
    return mux;
  }

 private:
  static constexpr std::size_t kMost = 100;  // before those that are not in use are forgotten

  std::mutex mutex_;
  std::map<std::string, Ref<detail::engine::StreamMux>> muxes_;
};

}  // namespace detail

INFERWIRE_DECL absl::StatusOr<AnyInferenceClient> AnyInferenceClient::Create(AnyContract contract,
                                                                             ClientOptions options) {
  absl::StatusOr<Client> client = Client::Create(std::move(options));
  if (!client.ok()) return client.status();
  return AnyInferenceClient(contract, *std::move(client));
}

INFERWIRE_DECL AnyInferenceClient::AnyInferenceClient(AnyContract contract, Client client)
    : contract_(contract), client_(std::move(client)), shared_(std::make_shared<detail::SharedStreams>()) {}

INFERWIRE_DECL Model AnyInferenceClient::GetModel(std::string name, ModelOptions options) const {
  const detail::ContractTable& contract = contract_.table();
  detail::Ref<detail::engine::StreamMux> shared;
  if (contract.shares_streams()) {
    // The lock may be held by a thread that a forked child does not have.
    shared = detail::engine::IsForeign(*client_.engine())
                 ? detail::engine::ShareStream(client_.engine(), contract.shared(), contract.speech, /*once=*/false)
                 : shared_->Get(client_.engine(), contract, name);
  }
  return Model(contract, client_, std::move(name), std::move(options), std::move(shared));
}

INFERWIRE_DECL absl::StatusOr<bool> AnyInferenceClient::Live(CallOptions options) const {
  const detail::ContractTable& contract = contract_.table();
  return detail::Ask(client_, contract, contract.server_live, "question whether a server is live", std::move(options));
}

INFERWIRE_DECL absl::StatusOr<bool> AnyInferenceClient::Ready(CallOptions options) const {
  const detail::ContractTable& contract = contract_.table();
  return detail::Ask(client_, contract, contract.server_ready, "question whether a server is ready",
                     std::move(options));
}

INFERWIRE_DECL absl::StatusOr<ServerMetadata> AnyInferenceClient::Metadata(CallOptions options) const {
  const detail::ContractTable& contract = contract_.table();
  return detail::Ask(client_, contract, contract.server_metadata, "question for a server's metadata",
                     std::move(options));
}

INFERWIRE_DECL absl::Status AnyInferenceClient::CheckDialect(CallOptions options) const {
  const detail::ContractTable& contract = contract_.table();
  if (contract.check_server == nullptr) return detail::Lacks(contract, "other dialect that it could be taken for");
  const absl::StatusOr<ServerMetadata> server = Metadata(std::move(options));
  if (!server.ok()) return server.status();
  return detail::InvokeUser("the contract's CheckServer", [&] { return contract.check_server(*server); });
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_INFERENCE_H_
