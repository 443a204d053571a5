// SPDX-License-Identifier: Apache-2.0
//
// What the calls of a task tell of themselves, to whoever asked, as long as he holds the task's future.
#ifndef INFERWIRE_DETAIL_ASYNC_TELL_INFO_H_
#define INFERWIRE_DETAIL_ASYNC_TELL_INFO_H_

#include <memory>
#include <utility>

#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A task may end after its future is gone, when `asked` may be too: its calls write to what the task keeps, and a
/// continuation, which never runs then, passes it on.
/// `info` is that of the options that the calls are made with, and `start(kept)` starts the task, which holds `kept`.
template <class StartTask>
auto TellInfo(CallInfo*& info, StartTask start) {
  const auto kept = std::make_shared<CallInfo>();
  CallInfo* const asked = std::exchange(info, info != nullptr ? kept.get() : nullptr);
  auto future = start(kept);
  if (asked == nullptr) return future;
  return std::move(future).Then([kept, asked](auto result) {
    *asked = *kept;
    return result;
  });
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ASYNC_TELL_INFO_H_
