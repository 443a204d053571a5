// SPDX-License-Identifier: Apache-2.0
//
// Admin: what a server's operators ask of it, over contracts that offer it.
#ifndef INFERWIRE_ADMIN_H_
#define INFERWIRE_ADMIN_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/admin_types.h"
#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/invoke_user.h"
#include "inferwire/detail/process.h"
#include "inferwire/detail/text.h"
#include "inferwire/engine/door.h"
#include "inferwire/inference.h"
#include "inferwire/known_models.h"
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
  template <Contract C>
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

/// The administration of a server that speaks contract C: `inferwire::Admin admin(*server)`. A small value that keeps
/// its client alive; safe from any number of threads. Offers what C names; a server that lacks a method says
/// UNIMPLEMENTED, and Triton UNAVAILABLE where it restricts one. What changes a server is not tried again once it may
/// have reached it, unless the call's options say so. Each call goes to one target: a client of several should not be
/// used for it.
template <Contract C>
class Admin {
 public:
  explicit Admin(const InferenceClient<C>& server) : client_(server.client()) {}

  /// How a model is configured; an empty version leaves it to the server.
  absl::StatusOr<ModelConfig> Config(const std::string& model, const std::string& version = "",
                                     CallOptions options = {}) const
    requires UnaryRpc<typename C::ModelConfig>
  {
    return Ask<typename C::ModelConfig>(Versioned<typename C::ModelConfig>(model, version), std::move(options));
  }

  /// What a model has done since it was loaded, one entry a version; empty names mean all.
  absl::StatusOr<std::vector<ModelStatistics>> Statistics(const std::string& model = "",
                                                          const std::string& version = "",
                                                          CallOptions options = {}) const
    requires UnaryRpc<typename C::ModelStatistics>
  {
    return Ask<typename C::ModelStatistics>(Versioned<typename C::ModelStatistics>(model, version), std::move(options));
  }

  /// The models in the repositories, loaded or not.
  absl::StatusOr<std::vector<RepositoryModel>> RepositoryIndex(bool only_ready = false,
                                                               const std::string& repository = "",
                                                               CallOptions options = {}) const
    requires UnaryRpc<typename C::RepositoryIndex>
  {
    typename C::RepositoryIndex::Request request;
    request.set_repository_name(repository);
    request.set_ready(only_ready);
    return Ask<typename C::RepositoryIndex>(request, std::move(options));
  }

  /// Loads a model, or loads it again. Waits until it is ready; mind CallOptions::timeout. INVALID_ARGUMENT for options
  /// that the contract cannot carry.
  absl::Status LoadModel(const std::string& model, const LoadOptions& load = {}, CallOptions options = {}) const
    requires UnaryRpc<typename C::RepositoryModelLoad>
  {
    const auto request = detail::InvokeUser("the contract's LoadRequest", [&] { return C::LoadRequest(model, load); });
    if (!request.ok()) return request.status();
    absl::Status status = Change<typename C::RepositoryModelLoad>(*request, std::move(options));
    Forget(model);
    return status;
  }
  /// Unloads a model. Servers let running requests end, and may answer before that.
  absl::Status UnloadModel(const std::string& model, const UnloadOptions& unload = {}, CallOptions options = {}) const
    requires UnaryRpc<typename C::RepositoryModelUnload>
  {
    const auto request =
        detail::InvokeUser("the contract's UnloadRequest", [&] { return C::UnloadRequest(model, unload); });
    if (!request.ok()) return request.status();
    absl::Status status = Change<typename C::RepositoryModelUnload>(*request, std::move(options));
    Forget(model);
    return status;
  }

  /// The regions that the server knows, by name; one if it is named. NOT_FOUND or an empty answer where it is not
  /// known.
  absl::StatusOr<std::vector<SystemSharedMemory>> SystemSharedMemoryStatus(const std::string& name = "",
                                                                           CallOptions options = {}) const
    requires UnaryRpc<typename C::SystemSharedMemoryStatus>
  {
    return Ask<typename C::SystemSharedMemoryStatus>(Named<typename C::SystemSharedMemoryStatus>(name),
                                                     std::move(options));
  }
  /// Makes a region known to a server on this machine, until UnregisterSystemSharedMemory.
  absl::Status RegisterSystemSharedMemory(const SystemSharedMemory& region, CallOptions options = {}) const
    requires UnaryRpc<typename C::SystemSharedMemoryRegister>
  {
    auto request = Named<typename C::SystemSharedMemoryRegister>(region.name);
    request.set_key(region.key);
    request.set_offset(region.offset);
    request.set_byte_size(region.byte_size);
    return Send<typename C::SystemSharedMemoryRegister>(request, std::move(options));
  }
#if INFERWIRE_HAS_SHARED_MEMORY
  /// The same for as long as the registration lives.
  absl::StatusOr<SharedMemoryRegistration> Register(const SharedMemoryRegion& region, CallOptions options = {}) const
    requires UnaryRpc<typename C::SystemSharedMemoryRegister>
  {
    absl::Status status =
        RegisterSystemSharedMemory({region.name(), region.key(), 0, region.size()}, std::move(options));
    if (!status.ok()) return status;
    return SharedMemoryRegistration(region.name(), [admin = *this, name = region.name()] {
      return admin.UnregisterSystemSharedMemory(name, {.timeout = absl::Seconds(5)});
    });
  }
#endif
  /// Lets the server forget a region. INVALID_ARGUMENT without a name, which would mean all of them.
  absl::Status UnregisterSystemSharedMemory(const std::string& name, CallOptions options = {}) const
    requires UnaryRpc<typename C::SystemSharedMemoryUnregister>
  {
    if (name.empty()) return detail::InvalidArgumentError("a shared-memory region needs a name to be forgotten by");
    return Send<typename C::SystemSharedMemoryUnregister>(Named<typename C::SystemSharedMemoryUnregister>(name),
                                                          std::move(options));
  }
  /// Lets the server forget all regions, also those of other clients.
  absl::Status UnregisterAllSystemSharedMemory(CallOptions options = {}) const
    requires UnaryRpc<typename C::SystemSharedMemoryUnregister>
  {
    return Send<typename C::SystemSharedMemoryUnregister>({}, std::move(options));
  }

  /// The same for memory of CUDA devices, known by the bytes of a cudaIpcMemHandle_t.
  absl::StatusOr<std::vector<CudaSharedMemory>> CudaSharedMemoryStatus(const std::string& name = "",
                                                                       CallOptions options = {}) const
    requires UnaryRpc<typename C::CudaSharedMemoryStatus>
  {
    return Ask<typename C::CudaSharedMemoryStatus>(Named<typename C::CudaSharedMemoryStatus>(name), std::move(options));
  }
  absl::Status RegisterCudaSharedMemory(const CudaSharedMemory& region, const std::string& raw_handle,
                                        CallOptions options = {}) const
    requires UnaryRpc<typename C::CudaSharedMemoryRegister>
  {
    if (region.device > static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)())) {
      return detail::InvalidArgumentError(detail::Cat("no CUDA device has the number ", region.device));
    }
    auto request = Named<typename C::CudaSharedMemoryRegister>(region.name);
    request.set_raw_handle(raw_handle);
    request.set_device_id(static_cast<std::int64_t>(region.device));
    request.set_byte_size(region.byte_size);
    return Send<typename C::CudaSharedMemoryRegister>(request, std::move(options));
  }
  absl::Status UnregisterCudaSharedMemory(const std::string& name, CallOptions options = {}) const
    requires UnaryRpc<typename C::CudaSharedMemoryUnregister>
  {
    if (name.empty()) return detail::InvalidArgumentError("a shared-memory region needs a name to be forgotten by");
    return Send<typename C::CudaSharedMemoryUnregister>(Named<typename C::CudaSharedMemoryUnregister>(name),
                                                        std::move(options));
  }
  absl::Status UnregisterAllCudaSharedMemory(CallOptions options = {}) const
    requires UnaryRpc<typename C::CudaSharedMemoryUnregister>
  {
    return Send<typename C::CudaSharedMemoryUnregister>({}, std::move(options));
  }

  /// The trace settings of a model, or of those that have none of their own.
  absl::StatusOr<TraceSettings> GetTraceSettings(const std::string& model = "", CallOptions options = {}) const
    requires UnaryRpc<typename C::TraceSetting>
  {
    return SetTraceSettings({}, model, std::move(options));
  }
  /// Changes those that are given; gives all.
  absl::StatusOr<TraceSettings> SetTraceSettings(const TraceSettings& settings, const std::string& model = "",
                                                 CallOptions options = {}) const
    requires UnaryRpc<typename C::TraceSetting>
  {
    const auto request = detail::InvokeUser("the contract's Encode", [&] { return C::Encode(settings, model); });
    if (!request.ok()) return request.status();
    return Ask<typename C::TraceSetting>(*request, std::move(options));
  }

  absl::StatusOr<LogSettings> GetLogSettings(CallOptions options = {}) const
    requires UnaryRpc<typename C::LogSettings>
  {
    return SetLogSettings({}, std::move(options));
  }
  /// Changes those that are given; gives all.
  absl::StatusOr<LogSettings> SetLogSettings(const LogSettings& settings, CallOptions options = {}) const
    requires UnaryRpc<typename C::LogSettings>
  {
    const auto request = detail::InvokeUser("the contract's Encode", [&] { return C::Encode(settings); });
    if (!request.ok()) return request.status();
    return Ask<typename C::LogSettings>(*request, std::move(options));
  }

 private:
  // It may have another shape now, whatever the answer was.
  void Forget(const std::string& model) const {
    if (engine::IsForeign(*client_.engine())) return;
    engine::Kept<detail::KnownModels>(*client_.engine())->Forget(model);
  }

  template <class R>
  static typename R::Request Named(const std::string& name) {
    typename R::Request request;
    request.set_name(name);
    return request;
  }
  template <class R>
  static typename R::Request Versioned(const std::string& name, const std::string& version) {
    auto request = Named<R>(name);
    request.set_version(version);
    return request;
  }

  // A question and its answer in neutral types.
  template <class R>
  auto Ask(const typename R::Request& request, CallOptions options) const {
    using Answer = decltype(C::Decode(std::declval<typename R::Response>()));
    using Result = decltype(AsStatusOr(std::declval<Answer>()));
    auto reply = client_.Call<R>(request, std::move(options));
    if (!reply.ok()) return Result(reply.status());
    return Result(detail::InvokeUser("the contract's Decode", [&] { return C::Decode(*std::move(reply)); }));
  }
  template <class T>
  static absl::StatusOr<T> AsStatusOr(T);
  template <class T>
  static absl::StatusOr<T> AsStatusOr(absl::StatusOr<T>);

  // A change whose answer says whether it was made.
  template <class R>
  absl::Status Change(const typename R::Request& request, CallOptions options) const {
    options.idempotent = options.idempotent.value_or(false);
    auto reply = client_.Call<R>(request, std::move(options));
    if (!reply.ok()) return reply.status();
    return detail::InvokeUser("the contract's Decode", [&] { return C::Decode(*std::move(reply)); });
  }
  // A change whose answer says nothing.
  template <class R>
  absl::Status Send(const typename R::Request& request, CallOptions options) const {
    options.idempotent = options.idempotent.value_or(false);
    return client_.Call<R>(request, std::move(options)).status();
  }

  Client client_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ADMIN_H_
