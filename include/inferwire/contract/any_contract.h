// SPDX-License-Identifier: Apache-2.0
//
// A contract as a value, for programs that choose it when they run.
#ifndef INFERWIRE_CONTRACT_ANY_CONTRACT_H_
#define INFERWIRE_CONTRACT_ANY_CONTRACT_H_

#include <string_view>

#include "inferwire/contract/contract.h"
#include "inferwire/detail/contract/table.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
struct AdminTable;
}  // namespace detail

/// A small value: AnyContract::Of<OpenInference>(), or ContractByName("open_inference") of contracts.h.
class AnyContract {
 public:
  template <Contract C>
  static AnyContract Of() {
    return AnyContract(detail::TableOf<C>::Get());
  }

  /// As configuration files and tools write it: C::kName, or what the type is called.
  std::string_view name() const { return table_->name; }
  /// Whether models answer with a stream (Model::StreamInfer).
  bool streams() const { return table_->stream != nullptr; }
  /// Whether requests travel together on a stream (ModelOptions::over_stream, Model::Sequence).
  bool shares_streams() const { return table_->shares_streams(); }
  /// Whether models say what they take and give (Model::Metadata).
  bool tells_models() const { return table_->model_metadata.path != nullptr; }

  // For the layers above.

  explicit AnyContract(const detail::ContractTable& table, const detail::AdminTable* admin = nullptr)
      : table_(&table), admin_(admin) {}
  const detail::ContractTable& table() const { return *table_; }
  /// Null where it was not asked for: see RegisterContract.
  const detail::AdminTable* admin() const { return admin_; }

 private:
  const detail::ContractTable* table_;
  const detail::AdminTable* admin_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_ANY_CONTRACT_H_
