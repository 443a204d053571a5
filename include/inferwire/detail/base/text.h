// SPDX-License-Identifier: Apache-2.0
//
// Text for messages. Abseil built for C++14 has a string_view of its own, which std::string_view does not convert to.
#ifndef INFERWIRE_DETAIL_BASE_TEXT_H_
#define INFERWIRE_DETAIL_BASE_TEXT_H_

// Here, since all other headers include this one first; the second line ends the compilation with the first.
#if __cplusplus < 202002L && (!defined(_MSVC_LANG) || _MSVC_LANG < 202002L)
#error "inferwire: expected C++20 or later; compile with -std=c++20, or CMAKE_CXX_STANDARD 20"
#include "inferwire-needs-cxx20"
#endif

#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <string>
#include <string_view>
#include <type_traits>

namespace inferwire {
inline namespace v0 {
namespace detail {

inline absl::string_view ToAbsl(std::string_view text) { return absl::string_view(text.data(), text.size()); }
inline std::string_view ToStd(absl::string_view text) { return std::string_view(text.data(), text.size()); }

template <class T>
decltype(auto) CatPiece(const T& piece) {
  if constexpr (std::is_same_v<T, std::string_view>) {
    return ToAbsl(piece);
  } else {
    return (piece);
  }
}

/// absl::StrCat that takes std::string_view wherever Abseil's own is another type.
template <class... Pieces>
std::string Cat(const Pieces&... pieces) {
  return absl::StrCat(CatPiece(pieces)...);
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_TEXT_H_
