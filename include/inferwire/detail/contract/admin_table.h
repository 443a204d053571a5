// SPDX-License-Identifier: Apache-2.0
//
// What a contract offers to those who run its servers, as a table of functions: made once from its type.
#ifndef INFERWIRE_DETAIL_CONTRACT_ADMIN_TABLE_H_
#define INFERWIRE_DETAIL_CONTRACT_ADMIN_TABLE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/admin_types.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// The answer of what changes a server, where its status says all.
struct Done {};

struct AdminTable {
  AboutModel<ModelConfig> config = {};
  AboutModel<std::vector<ModelStatistics>> statistics = {};
  ContractMethod<std::vector<RepositoryModel>, bool, std::string> index = {};  // only those that are ready; repository
  ContractMethod<Done, std::string, LoadOptions> load = {};
  ContractMethod<Done, std::string, UnloadOptions> unload = {};
  ContractMethod<std::vector<SystemSharedMemory>, std::string> system_memory = {};
  ContractMethod<Done, SystemSharedMemory> register_system_memory = {};
  ContractMethod<Done, std::string> unregister_system_memory = {};
  ContractMethod<std::vector<CudaSharedMemory>, std::string> cuda_memory = {};
  ContractMethod<Done, CudaSharedMemory, std::string> register_cuda_memory = {};  // and its handle
  ContractMethod<Done, std::string> unregister_cuda_memory = {};
  ContractMethod<TraceSettings, TraceSettings, std::string> trace = {};  // of this model
  ContractMethod<LogSettings, LogSettings> log = {};
};

/// A change whose answer says whether it was made, by the overload of C::Decode that takes it, or says nothing.
template <class C, class R>
absl::Status DecodeDone(wire::Reply&& reply, Done&) {
  typename R::Response response;
  if (absl::Status status = wire::DecodeInto(std::move(reply), response); !status.ok()) return status;
  if constexpr (requires { C::Decode(std::move(response)); }) {
    return InvokeUser("the contract's Decode", [&] { return C::Decode(std::move(response)); });
  } else {
    return absl::OkStatus();
  }
}
/// A request that the contract makes.
template <class Request>
absl::StatusOr<wire::Payload> EncodeMade(const absl::StatusOr<Request>& request) {
  if (!request.ok()) return request.status();
  return wire::Encode(*request);
}
template <class R>
absl::StatusOr<wire::Payload> EncodeNameAlone(const std::string& name) {
  typename R::Request request;
  request.set_name(name);
  return wire::Encode(request);
}

template <class C>
constexpr AdminTable MakeAdminTable() {
  AdminTable out;
  if constexpr (requires { requires UnaryRpc<typename C::ModelConfig>; }) {
    using R = typename C::ModelConfig;
    out.config = {R::path, EncodeName<R>, DecodeAnswer<C, R, v0::ModelConfig>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::ModelStatistics>; }) {
    using R = typename C::ModelStatistics;
    out.statistics = {R::path, EncodeName<R>, DecodeAnswer<C, R, std::vector<v0::ModelStatistics>>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::RepositoryIndex>; }) {
    using R = typename C::RepositoryIndex;
    out.index = {R::path,
                 [](const bool& only_ready, const std::string& repository) {
                   typename R::Request request;
                   request.set_repository_name(repository);
                   request.set_ready(only_ready);
                   return wire::Encode(request);
                 },
                 DecodeAnswer<C, R, std::vector<RepositoryModel>>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::RepositoryModelLoad>; }) {
    using R = typename C::RepositoryModelLoad;
    out.load = {
        R::path,
        [](const std::string& model, const LoadOptions& load) {
          return EncodeMade(InvokeUser("the contract's LoadRequest", [&] { return C::LoadRequest(model, load); }));
        },
        DecodeDone<C, R>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::RepositoryModelUnload>; }) {
    using R = typename C::RepositoryModelUnload;
    out.unload = {R::path,
                  [](const std::string& model, const UnloadOptions& unload) {
                    return EncodeMade(
                        InvokeUser("the contract's UnloadRequest", [&] { return C::UnloadRequest(model, unload); }));
                  },
                  DecodeDone<C, R>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::SystemSharedMemoryStatus>; }) {
    using R = typename C::SystemSharedMemoryStatus;
    out.system_memory = {R::path, EncodeNameAlone<R>, DecodeAnswer<C, R, std::vector<SystemSharedMemory>>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::SystemSharedMemoryRegister>; }) {
    using R = typename C::SystemSharedMemoryRegister;
    out.register_system_memory = {R::path,
                                  [](const SystemSharedMemory& region) {
                                    typename R::Request request;
                                    request.set_name(region.name);
                                    request.set_key(region.key);
                                    request.set_offset(region.offset);
                                    request.set_byte_size(region.byte_size);
                                    return wire::Encode(request);
                                  },
                                  DecodeDone<C, R>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::SystemSharedMemoryUnregister>; }) {
    using R = typename C::SystemSharedMemoryUnregister;
    out.unregister_system_memory = {R::path, EncodeNameAlone<R>, DecodeDone<C, R>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::CudaSharedMemoryStatus>; }) {
    using R = typename C::CudaSharedMemoryStatus;
    out.cuda_memory = {R::path, EncodeNameAlone<R>, DecodeAnswer<C, R, std::vector<CudaSharedMemory>>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::CudaSharedMemoryRegister>; }) {
    using R = typename C::CudaSharedMemoryRegister;
    out.register_cuda_memory = {
        R::path,
        [](const CudaSharedMemory& region, const std::string& raw_handle) -> absl::StatusOr<wire::Payload> {
          if (region.device > static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)())) {
            return detail::InvalidArgumentError(Cat("no CUDA device has the number ", region.device));
          }
          typename R::Request request;
          request.set_name(region.name);
          request.set_raw_handle(raw_handle);
          request.set_device_id(static_cast<std::int64_t>(region.device));
          request.set_byte_size(region.byte_size);
          return wire::Encode(request);
        },
        DecodeDone<C, R>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::CudaSharedMemoryUnregister>; }) {
    using R = typename C::CudaSharedMemoryUnregister;
    out.unregister_cuda_memory = {R::path, EncodeNameAlone<R>, DecodeDone<C, R>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::TraceSetting>; }) {
    using R = typename C::TraceSetting;
    out.trace = {R::path,
                 [](const TraceSettings& settings, const std::string& model) {
                   return EncodeMade(InvokeUser("the contract's Encode", [&] { return C::Encode(settings, model); }));
                 },
                 DecodeAnswer<C, R, TraceSettings>};
  }
  if constexpr (requires { requires UnaryRpc<typename C::LogSettings>; }) {
    using R = typename C::LogSettings;
    out.log = {R::path,
               [](const v0::LogSettings& settings) {
                 return EncodeMade(InvokeUser("the contract's Encode", [&] { return C::Encode(settings); }));
               },
               DecodeAnswer<C, R, v0::LogSettings>};
  }
  return out;
}

/// That of C.
template <class C>
struct AdminTableOf {
  static const AdminTable& Get();
};
template <class C>
const AdminTable& AdminTableOf<C>::Get() {
  static constexpr AdminTable kTable = MakeAdminTable<C>();
  return kTable;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CONTRACT_ADMIN_TABLE_H_
