// SPDX-License-Identifier: Apache-2.0
//
// Text for messages. Abseil built for C++14 has a string_view of its own, which std::string_view does not convert to.
#ifndef INFERWIRE_DETAIL_TEXT_H_
#define INFERWIRE_DETAIL_TEXT_H_

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

#endif  // INFERWIRE_DETAIL_TEXT_H_
