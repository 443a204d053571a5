// SPDX-License-Identifier: Apache-2.0
//
// Whether gRPC works in this process: not in one that was forked while gRPC was in use.
#ifndef INFERWIRE_DETAIL_ENGINE_FORK_H_
#define INFERWIRE_DETAIL_ENGINE_FORK_H_

#include <absl/status/status.h>
#include <grpc/grpc.h>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include <atomic>

#include "inferwire/detail/base/error.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

inline constinit std::atomic<bool> grpc_used_at_fork{false};
inline constinit std::atomic<bool> grpc_lost{false};

#if defined(__unix__) || defined(__APPLE__)
// Asked before the fork, by the thread that forks: in the child gRPC's locks may be held by nobody. So it is not asked
// there either, where that child forks.
inline const int watching_grpc =
    ::pthread_atfork([] { grpc_used_at_fork = grpc_lost || ::grpc_is_initialized() != 0; }, nullptr,
                     [] {
                       if (grpc_used_at_fork) grpc_lost = true;
                     });
#endif

/// FAILED_PRECONDITION where it does not. Its threads are gone then and its sockets shared with the parent, and what is
/// begun hangs; GRPC_ENABLE_FORK_SUPPORT does not help as long as anything of gRPC exists in the parent.
inline absl::Status MayUseGrpc() {
  if (!grpc_lost) return absl::OkStatus();
  return detail::FailedPreconditionError(
      "this process was forked while its parent used gRPC, which cannot be used here: fork before the first client or "
      "server is made, or have the child exec (docs/fork.md)");
}

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_FORK_H_
