// SPDX-License-Identifier: Apache-2.0
//
// A contract's own question whether a server, or a model of it, is ready, for HealthPolicy::readiness.
#ifndef INFERWIRE_READINESS_H_
#define INFERWIRE_READINESS_H_

#include <string>
#include <utility>

#include "inferwire/contract/contract.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/options/health_policy.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Whether an answer with a field `ready` says so.
template <class Response>
bool IsReady(detail::wire::Reply&& reply) {
  Response response;
  return detail::wire::DecodeInto(std::move(reply), response).ok() && response.ready();
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

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_READINESS_H_
