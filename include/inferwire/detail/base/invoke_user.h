// SPDX-License-Identifier: Apache-2.0
//
// The one place where functions of the user's are called: whatever they throw becomes a status.
#ifndef INFERWIRE_DETAIL_BASE_INVOKE_USER_H_
#define INFERWIRE_DETAIL_BASE_INVOKE_USER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <exception>
#include <string_view>
#include <type_traits>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// INTERNAL, "exception in <function>: <text>", of the exception that is being handled.
inline absl::Status Thrown(std::string_view function) {
#ifdef __cpp_exceptions
  try {
    throw;
  } catch (const std::exception& error) {
    const char* const text = error.what();
    return detail::InternalError(Cat("exception in ", function, ": ", std::string_view(text != nullptr ? text : "")));
  } catch (...) {
  }
#endif
  return detail::InternalError(Cat("exception in ", function, ", which is no std::exception"));
}

/// What calling a function gives that may throw: a Status for nothing and for a Status, else a StatusOr.
template <class R>
struct OrThrown {
  using Type = absl::StatusOr<R>;
};
template <class T>
struct OrThrown<absl::StatusOr<T>> {
  using Type = absl::StatusOr<T>;
};
template <>
struct OrThrown<absl::Status> {
  using Type = absl::Status;
};
template <>
struct OrThrown<void> {
  using Type = absl::Status;
};

/// Calls `fn`, which calls the user's function of that name. Where there are no exceptions it only calls it.
template <class Fn>
auto InvokeUser(std::string_view function, Fn&& fn) -> typename OrThrown<std::decay_t<std::invoke_result_t<Fn>>>::Type {
  const auto call = [&]() -> typename OrThrown<std::decay_t<std::invoke_result_t<Fn>>>::Type {
    if constexpr (std::is_void_v<std::invoke_result_t<Fn>>) {
      std::forward<Fn>(fn)();
      return absl::OkStatus();
    } else {
      return std::forward<Fn>(fn)();
    }
  };
#ifdef __cpp_exceptions
  try {
    return call();
  } catch (...) {
    return Thrown(function);
  }
#else
  static_cast<void>(function);
  return call();
#endif
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_INVOKE_USER_H_
