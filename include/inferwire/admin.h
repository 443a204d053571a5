// SPDX-License-Identifier: Apache-2.0
//
// Admin: what a server's operators ask of it, over contracts that offer it.
#ifndef INFERWIRE_ADMIN_H_
#define INFERWIRE_ADMIN_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/admin_types.h"
#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/contract/any_contract.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/contract/admin_table.h"
#include "inferwire/inference.h"
#include "inferwire/shared_memory.h"

namespace inferwire {
inline namespace v0 {

/// Keeps a region known to the server it was registered with, and lets the server forget it when this ends: with a call
/// that takes at most five seconds and whose error nobody sees; Unregister tells. A child of fork lets it be.
/// Move-only. Belongs to one thread at a time, and should end before the region does.
class [[nodiscard]] SharedMemoryRegistration {
 public:
  SharedMemoryRegistration(SharedMemoryRegistration&& other) noexcept
      : name_(std::move(other.name_)), origin_(other.origin_), unregister_(std::exchange(other.unregister_, nullptr)) {}
  SharedMemoryRegistration& operator=(SharedMemoryRegistration&& other) noexcept {
    if (this != &other) {
      End();
      name_ = std::move(other.name_);
      origin_ = other.origin_;
      unregister_ = std::exchange(other.unregister_, nullptr);
    }
    return *this;
  }
  ~SharedMemoryRegistration() { End(); }

  const std::string& name() const { return name_; }

  /// OK also where it was done already.
  absl::Status Unregister() {
    const auto unregister = std::exchange(unregister_, nullptr);
    return unregister ? unregister() : absl::OkStatus();
  }

 private:
  friend class Admin;
  SharedMemoryRegistration(std::string name, std::function<absl::Status()> unregister)
      : name_(std::move(name)), unregister_(std::move(unregister)) {}

  // A child of fork has a copy of what is its parent's.
  void End() {
    if (origin_ == detail::ProcessGeneration()) static_cast<void>(Unregister());
  }

  std::string name_;
  std::uint32_t origin_ = detail::ProcessGeneration();
  std::function<absl::Status()> unregister_;
};

/// The administration of a server: `inferwire::Admin admin(*server)`. A small value that keeps its client alive; safe
/// from any number of threads. Each function blocks for the server's answer. What the contract does not offer is
/// UNIMPLEMENTED, naming it; a server that lacks a method says UNIMPLEMENTED too, and Triton UNAVAILABLE where it
/// restricts one. What changes a server is not tried again once it may have reached it, unless the call's options say
/// so. Each call goes to one target: a client of several should not be used for it.
class Admin {
 public:
  template <Contract C>
  explicit Admin(const InferenceClient<C>& server)
      : Admin(server.client(), AnyContract(server.contract().table(), &detail::AdminTableOf<C>::Get())) {}
  /// Of a contract that ContractByName gave; of others every call is FAILED_PRECONDITION.
  explicit Admin(const AnyInferenceClient& server) : Admin(server.client(), server.contract()) {}

  /// How a model is configured; an empty version leaves it to the server.
  absl::StatusOr<ModelConfig> Config(const std::string& model, const std::string& version = "",
                                     CallOptions options = {}) const;

  /// What a model has done since it was loaded, one entry a version; empty names mean all.
  absl::StatusOr<std::vector<ModelStatistics>> Statistics(const std::string& model = "",
                                                          const std::string& version = "",
                                                          CallOptions options = {}) const;

  /// The models in the repositories, loaded or not.
  absl::StatusOr<std::vector<RepositoryModel>> RepositoryIndex(bool only_ready = false,
                                                               const std::string& repository = "",
                                                               CallOptions options = {}) const;

  /// Loads a model, or loads it again. Waits until it is ready; mind CallOptions::timeout. INVALID_ARGUMENT for options
  /// that the contract cannot carry.
  absl::Status LoadModel(const std::string& model, const LoadOptions& load = {}, CallOptions options = {}) const;
  /// Unloads a model. Servers let running requests end, and may answer before that.
  absl::Status UnloadModel(const std::string& model, const UnloadOptions& unload = {}, CallOptions options = {}) const;

  /// The regions that the server knows, by name; one if it is named. NOT_FOUND or an empty answer where it is not
  /// known.
  absl::StatusOr<std::vector<SystemSharedMemory>> SystemSharedMemoryStatus(const std::string& name = "",
                                                                           CallOptions options = {}) const;
  /// Makes a region known to a server on this machine, until UnregisterSystemSharedMemory.
  absl::Status RegisterSystemSharedMemory(const SystemSharedMemory& region, CallOptions options = {}) const;
#if INFERWIRE_HAS_SHARED_MEMORY
  /// The same for as long as the registration lives.
  absl::StatusOr<SharedMemoryRegistration> Register(const SharedMemoryRegion& region, CallOptions options = {}) const;
#endif
  /// Lets the server forget a region. INVALID_ARGUMENT without a name, which would mean all of them.
  absl::Status UnregisterSystemSharedMemory(const std::string& name, CallOptions options = {}) const;
  /// Lets the server forget all regions, also those of other clients.
  absl::Status UnregisterAllSystemSharedMemory(CallOptions options = {}) const;

  /// The same for memory of CUDA devices, known by the bytes of a cudaIpcMemHandle_t.
  absl::StatusOr<std::vector<CudaSharedMemory>> CudaSharedMemoryStatus(const std::string& name = "",
                                                                       CallOptions options = {}) const;
  absl::Status RegisterCudaSharedMemory(const CudaSharedMemory& region, const std::string& raw_handle,
                                        CallOptions options = {}) const;
  absl::Status UnregisterCudaSharedMemory(const std::string& name, CallOptions options = {}) const;
  absl::Status UnregisterAllCudaSharedMemory(CallOptions options = {}) const;

  /// The trace settings of a model, or of those that have none of their own.
  absl::StatusOr<TraceSettings> GetTraceSettings(const std::string& model = "", CallOptions options = {}) const;
  /// Changes those that are given; gives all.
  absl::StatusOr<TraceSettings> SetTraceSettings(const TraceSettings& settings, const std::string& model = "",
                                                 CallOptions options = {}) const;

  absl::StatusOr<LogSettings> GetLogSettings(CallOptions options = {}) const;
  /// Changes those that are given; gives all.
  absl::StatusOr<LogSettings> SetLogSettings(const LogSettings& settings, CallOptions options = {}) const;

 private:
  Admin(Client client, AnyContract contract) : client_(std::move(client)), contract_(contract) {}

  Client client_;
  AnyContract contract_;
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/admin.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_ADMIN_H_
