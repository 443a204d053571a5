// SPDX-License-Identifier: Apache-2.0
//
// Hosts that are addresses, as they are compared, and whether they are this machine.
#ifndef INFERWIRE_DETAIL_CHANNEL_ADDRESS_H_
#define INFERWIRE_DETAIL_CHANNEL_ADDRESS_H_

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "inferwire/detail/base/text.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// The bytes of an address, 4 or 16, with or without brackets and zone; none where it is a name.
inline std::optional<std::string> AddressBytes(std::string_view host) {
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const bool v6 = host.find(':') != std::string_view::npos;
  if (v6) host = host.substr(0, host.find('%'));
  std::array<char, 16> bytes{};
  if (::inet_pton(v6 ? AF_INET6 : AF_INET, std::string(host).c_str(), bytes.data()) != 1) return std::nullopt;
  return std::string(bytes.data(), v6 ? 16 : 4);
}

/// Whether a host is this machine: by a name that is kept for it (RFC 6761, 6.3), or an address of loopback in any form
/// that resolvers take: 127.1, 0x7f000001, ::ffff:127.0.0.1. So are the addresses of no host, which connect there.
inline bool IsLoopback(std::string_view host) {
  std::string name = absl::AsciiStrToLower(ToAbsl(host));
  if (name.ends_with('.')) name.pop_back();
  for (const char* const local : {"localhost", "localhost.localdomain", "localhost4", "localhost6",
                                  "localhost6.localdomain6", "ip6-localhost", "ip6-loopback"}) {
    if (name == local) return true;
  }
  if (absl::EndsWith(name, ".localhost")) return true;
  constexpr std::string_view kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  std::string bytes = AddressBytes(name).value_or("");
  if (bytes.size() == 16) {
    if (std::all_of(bytes.begin(), bytes.end() - 1, [](char c) { return c == 0; })) return bytes[15] <= 1;
    if (!bytes.starts_with(kMapped)) return false;
    bytes.erase(0, kMapped.size());
  }
  std::uint32_t v4 = 0;
  if (bytes.size() == 4) {
    for (const char byte : bytes) v4 = v4 << 8 | static_cast<unsigned char>(byte);
  } else {
    in_addr short_form{};
    if (::inet_aton(name.c_str(), &short_form) == 0) return false;
    v4 = ntohl(short_form.s_addr);
  }
  return v4 >> 24 == 127 || v4 == 0;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_ADDRESS_H_
