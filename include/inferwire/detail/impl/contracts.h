// SPDX-License-Identifier: Apache-2.0
//
// The contracts that a process knows by name.
#ifndef INFERWIRE_DETAIL_IMPL_CONTRACTS_H_
#define INFERWIRE_DETAIL_IMPL_CONTRACTS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "inferwire/contract/any_contract.h"
#include "inferwire/contracts.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/text.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

struct KnownContracts {
  std::mutex mutex;
  std::map<std::string, AnyContract, std::less<>> by_name;

  /// Never destroyed: static objects of the program's may look for a contract at its end.
  static KnownContracts& Get() {
    static KnownContracts& known = *new KnownContracts;
    return known;
  }
};

INFERWIRE_DECL absl::Status AddContract(const AnyContract& contract) {
  KnownContracts& known = KnownContracts::Get();
  std::lock_guard lock(known.mutex);
  const auto [found, added] = known.by_name.emplace(contract.name(), contract);
  // The same contract may have a table in each library of the program.
  if (added || found->second.table().type == contract.table().type) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kAlreadyExists,
      Cat("a contract '", contract.name(), "' is registered already, which calls ", found->second.table().infer(),
          "; this one calls ", contract.table().infer(), " and needs a kName of its own"));
}

}  // namespace detail

INFERWIRE_DECL absl::StatusOr<AnyContract> ContractByName(std::string_view name) {
  detail::KnownContracts& known = detail::KnownContracts::Get();
  std::lock_guard lock(known.mutex);
  const auto found = known.by_name.find(name);
  if (found != known.by_name.end()) return found->second;
  std::string names;
  for (const auto& entry : known.by_name) names += detail::Cat(names.empty() ? "'" : ", '", entry.first, "'");
  return detail::MakeError(absl::StatusCode::kNotFound, detail::Cat("no contract is called '", name, "'; there are ",
                                                                    names.empty() ? "none" : names));
}

INFERWIRE_DECL std::vector<std::string> ContractNames() {
  detail::KnownContracts& known = detail::KnownContracts::Get();
  std::lock_guard lock(known.mutex);
  std::vector<std::string> names;
  for (const auto& entry : known.by_name) names.push_back(entry.first);
  return names;
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_CONTRACTS_H_
