// SPDX-License-Identifier: Apache-2.0
//
// How text of others is spelled out.
#ifndef INFERWIRE_DETAIL_IMPL_PRINTABLE_H_
#define INFERWIRE_DETAIL_IMPL_PRINTABLE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/printable.h"
#include "inferwire/detail/base/utf8.h"

namespace inferwire {
inline namespace v0 {

namespace detail {

/// Whether a character only steers what shows it: C0, DEL and C1 (to terminals U+009B is ESC [), what ends a line, and
/// what turns or hides text about it (github.com/nickboucher/trojan-source).
inline bool Steers(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x61c || c == 0x180e ||
         (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
         (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe007f);
}

INFERWIRE_DECL std::string Printable(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  const auto spell_byte = [&](unsigned char byte) {
    out += "\\x";
    out += kHex[byte >> 4];
    out += kHex[byte & 0xf];
  };
  std::size_t size = 0;
  for (std::size_t at = 0; at < text.size(); at += size) {
    const std::size_t begin = at;
    while (at < text.size() && text[at] >= 0x20 && text[at] < 0x7f) ++at;
    out += text.substr(begin, at - begin);
    if (at == text.size()) break;
    const auto lead = static_cast<unsigned char>(text[at]);
    size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const std::string_view one = text.substr(at, size);
    if (!IsUtf8(one)) {
      size = 1;
      spell_byte(lead);
      continue;
    }
    char32_t c = size == 1 ? lead : lead & (0x7fU >> size);
    for (const char next : one.substr(1)) c = c << 6 | (static_cast<unsigned char>(next) & 0x3fU);
    if (!Steers(c)) {
      out += one;
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += '\\';
      out += c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
    } else if (c < 0x80) {
      spell_byte(lead);
    } else {
      out += "\\u{";
      for (int shift = c > 0xffff ? 16 : 12; shift >= 0; shift -= 4) out += kHex[c >> shift & 0xf];
      out += '}';
    }
  }
  return out;
}

}  // namespace detail

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_PRINTABLE_H_
