// SPDX-License-Identifier: Apache-2.0
//
// What the calls of a task tell of themselves, to whoever asked, as long as he holds the task's future.
#ifndef INFERWIRE_DETAIL_ASYNC_TELL_INFO_H_
#define INFERWIRE_DETAIL_ASYNC_TELL_INFO_H_

#include <absl/status/statusor.h>

#include <memory>
#include <utility>

#include "inferwire/future.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A task may end after its future is gone, when `asked` may be too: its calls write to what the task keeps, and a
/// continuation, which never runs then, passes it on.
template <class T>
Future<T> TellInfo(Future<T> future, std::shared_ptr<CallInfo> kept, CallInfo* asked) {
  if (asked == nullptr) return future;
  return std::move(future).Then([kept = std::move(kept), asked](absl::StatusOr<T> result) {
    *asked = *kept;
    return result;
  });
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ASYNC_TELL_INFO_H_
