// SPDX-License-Identifier: Apache-2.0
//
// Strings as template arguments: names that are checked, or told apart, at compile time.
#ifndef INFERWIRE_DETAIL_BASE_FIXED_STRING_H_
#define INFERWIRE_DETAIL_BASE_FIXED_STRING_H_

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A string as a template argument.
template <std::size_t N>
struct FixedString {
  char data[N]{};
  consteval FixedString() = default;
  consteval FixedString(const char (&text)[N]) { std::copy_n(text, N, data); }  // NOLINT: meant to be implicit
  constexpr std::string_view view() const { return {data, N - 1}; }
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_FIXED_STRING_H_
