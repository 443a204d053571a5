// SPDX-License-Identifier: Apache-2.0
//
// Whether text is UTF-8 (RFC 3629), as protobuf's strings must be.
#ifndef INFERWIRE_DETAIL_BASE_UTF8_H_
#define INFERWIRE_DETAIL_BASE_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace inferwire {
inline namespace v0 {
namespace detail {

/// No surrogates, no overlong forms, nothing beyond U+10FFFF. Eight bytes at a time where they are ASCII.
inline bool IsUtf8(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto byte = [&](std::ptrdiff_t i) { return static_cast<unsigned char>(at[i]); };
  const auto follows = [&](std::ptrdiff_t i, unsigned least = 0x80, unsigned most = 0xbf) {
    return i < end - at && byte(i) >= least && byte(i) <= most;
  };
  while (at != end) {
    if (end - at >= 8) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, at, sizeof eight);
      if ((eight & 0x8080808080808080U) == 0) {
        at += 8;
        continue;
      }
    }
    const unsigned lead = byte(0);
    if (lead < 0x80) {
      at += 1;
    } else if (lead >= 0xc2 && lead <= 0xdf && follows(1)) {
      at += 2;
    } else if (lead >= 0xe0 && lead <= 0xef && follows(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf) &&
               follows(2)) {
      at += 3;
    } else if (lead >= 0xf0 && lead <= 0xf4 && follows(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf) &&
               follows(2) && follows(3)) {
      at += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_UTF8_H_
