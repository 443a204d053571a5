// SPDX-License-Identifier: Apache-2.0
//
// Contracts by name, for tools and configuration files: those that the program links, and its own.
#ifndef INFERWIRE_CONTRACTS_H_
#define INFERWIRE_CONTRACTS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

#include "inferwire/contract/any_contract.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/contract/admin_table.h"
#include "inferwire/detail/contract/table.h"

// Generated code is there to be included if its component is linked.
#if __has_include("inferwire/contract/open_inference.grpc.pb.h")
#include "inferwire/contract/open_inference.h"
#endif
#if __has_include("inferwire/inference.grpc.pb.h")
#include "inferwire/contract/simple.h"
#endif

namespace inferwire {
inline namespace v0 {
namespace detail {

INFERWIRE_DECL absl::Status AddContract(const AnyContract& contract);

}  // namespace detail

/// The contract of that name, with its administration: `AnyInferenceClient::Create(*ContractByName("open_inference"),
/// options)`. There are those whose components are linked to a file that includes this header, and those that were
/// registered. NOT_FOUND, naming them all. Thread-safe; does not block.
INFERWIRE_DECL absl::StatusOr<AnyContract> ContractByName(std::string_view name);

/// In the order of the alphabet. Thread-safe.
INFERWIRE_DECL std::vector<std::string> ContractNames();

/// Lets ContractByName find a contract of the program's own, by C::kName or what C is called, for as long as the
/// process lives. OK also where it was found already; ALREADY_EXISTS where another one has that name. Thread-safe.
template <Contract C>
absl::Status RegisterContract() {
  return detail::AddContract(AnyContract(detail::TableOf<C>::Get(), &detail::AdminTableOf<C>::Get()));
}

namespace detail {

/// As a static object: before main.
template <class... Cs>
bool RegisterContracts() {
  return (RegisterContract<Cs>().ok() & ...);
}
#if __has_include("inferwire/contract/open_inference.grpc.pb.h")
[[maybe_unused]] static const bool kOpenInferenceIsRegistered =
    RegisterContracts<OpenInference, OpenInferenceMlServer, OpenInferenceKServe, OpenInferenceTorchServe>();
#endif
#if __has_include("inferwire/inference.grpc.pb.h")
[[maybe_unused]] static const bool kSimpleIsRegistered = RegisterContracts<Simple>();
#endif

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/contracts.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_CONTRACTS_H_
