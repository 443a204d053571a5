// SPDX-License-Identifier: Apache-2.0
//
// Threads, where the system may refuse one (a container's limit of processes): std::thread throws then.
#ifndef INFERWIRE_DETAIL_BASE_THREAD_H_
#define INFERWIRE_DETAIL_BASE_THREAD_H_

#include <thread>
#include <utility>

#include "inferwire/detail/base/invoke_user.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A thread that runs `fn`. Where none is to be had it is not joinable, and `fn` is destroyed.
template <class Fn>
std::thread NewThread(Fn fn) {
  std::thread thread;
  InvokeUser("std::thread", [&] { thread = std::thread(std::move(fn)); }).IgnoreError();
  return thread;
}

/// Runs `fn` on a thread of its own that nobody waits for. False where none is to be had.
template <class Fn>
bool StartThread(Fn fn) {
  std::thread thread = NewThread(std::move(fn));
  if (!thread.joinable()) return false;
  thread.detach();
  return true;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_THREAD_H_
