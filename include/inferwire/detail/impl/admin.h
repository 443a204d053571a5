// SPDX-License-Identifier: Apache-2.0
//
// How operators' questions and changes become calls.
#ifndef INFERWIRE_DETAIL_IMPL_ADMIN_H_
#define INFERWIRE_DETAIL_IMPL_ADMIN_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/admin.h"
#include "inferwire/admin_types.h"
#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/contract/any_contract.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/admin_table.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/impl/model.h"
#include "inferwire/detail/model/known_models.h"
#include "inferwire/shared_memory.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Asks by one of the table's methods, and waits. `what` names it where the contract has none.
template <class Answer, class... Args>
absl::StatusOr<Answer> AskAdmin(const Client& client, const AnyContract& contract,
                                ContractMethod<Answer, Args...> AdminTable::* method, std::string_view what,
                                CallOptions options, const std::type_identity_t<Args>&... args) {
  if (contract.admin() == nullptr) {
    return detail::FailedPreconditionError(
        Cat("the contract ", contract.name(),
            " came without its administration; expected that of an InferenceClient<...>, or of ContractByName"));
  }
  return Ask(client, contract.table(), contract.admin()->*method, what, std::move(options), args...);
}
/// The same of what changes a server: not twice, unless the caller says so.
template <class... Args>
absl::Status Change(const Client& client, const AnyContract& contract,
                    ContractMethod<Done, Args...> AdminTable::* method, std::string_view what, CallOptions options,
                    const std::type_identity_t<Args>&... args) {
  options.idempotent = options.idempotent.value_or(false);
  return AskAdmin(client, contract, method, what, std::move(options), args...).status();
}
/// A model may have another shape now, whatever the answer was.
inline void ForgetModel(const Client& client, const std::string& model) {
  if (detail::engine::IsForeign(*client.engine())) return;
  detail::engine::Kept<KnownModels>(*client.engine())->Forget(model);
}

}  // namespace detail

INFERWIRE_DECL absl::StatusOr<ModelConfig> Admin::Config(const std::string& model, const std::string& version,
                                                         CallOptions options) const {
  return detail::AskAdmin(client_, contract_, &detail::AdminTable::config, "question for a model's configuration",
                          std::move(options), model, version);
}

INFERWIRE_DECL absl::StatusOr<std::vector<ModelStatistics>> Admin::Statistics(const std::string& model,
                                                                              const std::string& version,
                                                                              CallOptions options) const {
  return detail::AskAdmin(client_, contract_, &detail::AdminTable::statistics, "question for statistics",
                          std::move(options), model, version);
}

INFERWIRE_DECL absl::StatusOr<std::vector<RepositoryModel>> Admin::RepositoryIndex(bool only_ready,
                                                                                   const std::string& repository,
                                                                                   CallOptions options) const {
  return detail::AskAdmin(client_, contract_, &detail::AdminTable::index, "question for the repositories' models",
                          std::move(options), only_ready, repository);
}

INFERWIRE_DECL absl::Status Admin::LoadModel(const std::string& model, const LoadOptions& load,
                                             CallOptions options) const {
  absl::Status status = detail::Change(client_, contract_, &detail::AdminTable::load, "method to load a model",
                                       std::move(options), model, load);
  detail::ForgetModel(client_, model);
  return status;
}

INFERWIRE_DECL absl::Status Admin::UnloadModel(const std::string& model, const UnloadOptions& unload,
                                               CallOptions options) const {
  absl::Status status = detail::Change(client_, contract_, &detail::AdminTable::unload, "method to unload a model",
                                       std::move(options), model, unload);
  detail::ForgetModel(client_, model);
  return status;
}

INFERWIRE_DECL absl::StatusOr<std::vector<SystemSharedMemory>> Admin::SystemSharedMemoryStatus(
    const std::string& name, CallOptions options) const {
  return detail::AskAdmin(client_, contract_, &detail::AdminTable::system_memory, "question for shared memory",
                          std::move(options), name);
}

INFERWIRE_DECL absl::Status Admin::RegisterSystemSharedMemory(const SystemSharedMemory& region,
                                                              CallOptions options) const {
  return detail::Change(client_, contract_, &detail::AdminTable::register_system_memory,
                        "method to register shared memory", std::move(options), region);
}

#if INFERWIRE_HAS_SHARED_MEMORY
INFERWIRE_DECL absl::StatusOr<SharedMemoryRegistration> Admin::Register(const SharedMemoryRegion& region,
                                                                        CallOptions options) const {
  absl::Status status = RegisterSystemSharedMemory({region.name(), region.key(), 0, region.size()}, std::move(options));
  if (!status.ok()) return status;
  return SharedMemoryRegistration(region.name(), [admin = *this, name = region.name()] {
    return admin.UnregisterSystemSharedMemory(name, {.timeout = absl::Seconds(5)});
  });
}
#endif

INFERWIRE_DECL absl::Status Admin::UnregisterSystemSharedMemory(const std::string& name, CallOptions options) const {
  if (name.empty()) return detail::InvalidArgumentError("a shared-memory region needs a name to be forgotten by");
  return detail::Change(client_, contract_, &detail::AdminTable::unregister_system_memory,
                        "method to forget shared memory", std::move(options), name);
}
INFERWIRE_DECL absl::Status Admin::UnregisterAllSystemSharedMemory(CallOptions options) const {
  return detail::Change(client_, contract_, &detail::AdminTable::unregister_system_memory,
                        "method to forget shared memory", std::move(options), std::string());
}

INFERWIRE_DECL absl::StatusOr<std::vector<CudaSharedMemory>> Admin::CudaSharedMemoryStatus(const std::string& name,
                                                                                           CallOptions options) const {
  return detail::AskAdmin(client_, contract_, &detail::AdminTable::cuda_memory, "question for CUDA memory",
                          std::move(options), name);
}

INFERWIRE_DECL absl::Status Admin::RegisterCudaSharedMemory(const CudaSharedMemory& region,
                                                            const std::string& raw_handle, CallOptions options) const {
  return detail::Change(client_, contract_, &detail::AdminTable::register_cuda_memory, "method to register CUDA memory",
                        std::move(options), region, raw_handle);
}

INFERWIRE_DECL absl::Status Admin::UnregisterCudaSharedMemory(const std::string& name, CallOptions options) const {
  if (name.empty()) return detail::InvalidArgumentError("a shared-memory region needs a name to be forgotten by");
  return detail::Change(client_, contract_, &detail::AdminTable::unregister_cuda_memory, "method to forget CUDA memory",
                        std::move(options), name);
}
INFERWIRE_DECL absl::Status Admin::UnregisterAllCudaSharedMemory(CallOptions options) const {
  return detail::Change(client_, contract_, &detail::AdminTable::unregister_cuda_memory, "method to forget CUDA memory",
                        std::move(options), std::string());
}

INFERWIRE_DECL absl::StatusOr<TraceSettings> Admin::GetTraceSettings(const std::string& model,
                                                                     CallOptions options) const {
  return SetTraceSettings({}, model, std::move(options));
}
INFERWIRE_DECL absl::StatusOr<TraceSettings> Admin::SetTraceSettings(const TraceSettings& settings,
                                                                     const std::string& model,
                                                                     CallOptions options) const {
  return detail::AskAdmin(client_, contract_, &detail::AdminTable::trace, "trace settings", std::move(options),
                          settings, model);
}

INFERWIRE_DECL absl::StatusOr<LogSettings> Admin::GetLogSettings(CallOptions options) const {
  return SetLogSettings({}, std::move(options));
}
INFERWIRE_DECL absl::StatusOr<LogSettings> Admin::SetLogSettings(const LogSettings& settings,
                                                                 CallOptions options) const {
  return detail::AskAdmin(client_, contract_, &detail::AdminTable::log, "log settings", std::move(options), settings);
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_ADMIN_H_
