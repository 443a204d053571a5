// SPDX-License-Identifier: Apache-2.0
//
// Which target strings can be meant. gRPC resolves what it does not understand by DNS and fails much later.
#ifndef INFERWIRE_CHANNEL_TARGET_H_
#define INFERWIRE_CHANNEL_TARGET_H_

#include <absl/status/status.h>

#include <charconv>
#include <cstddef>
#include <string_view>
#include <system_error>

#include "inferwire/detail/text.h"

namespace inferwire {
inline namespace v0 {
namespace channel {

/// OK for `host:port`, `[ipv6]:port` and gRPC's own schemes (github.com/grpc/grpc, doc/naming.md); otherwise
/// INVALID_ARGUMENT, quoting the target and saying what was expected.
inline absl::Status ValidateTarget(std::string_view target) {
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        detail::Cat("target '", target, "' ", why,
                    "; expected host:port, or one of gRPC's schemes such as dns:///host:port, unix:path"));
  };
  if (target.empty()) return refuse("is empty");
  for (char c : target) {
    if ((c >= 0 && c <= 0x20) || c == 0x7f) {
      return refuse("holds white space or a control character");
    }
  }
  for (std::string_view scheme : {"dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "xds:", "vsock:"}) {
    if (!target.starts_with(scheme)) continue;
    const std::string_view rest = target.substr(scheme.size());
    if (rest.find_first_not_of('/') == std::string_view::npos) return refuse("names no address after its scheme");
    return absl::OkStatus();
  }
  if (const std::size_t scheme = target.find("://"); scheme != std::string_view::npos) {
    return refuse(detail::Cat("has the scheme '", target.substr(0, scheme), "', which gRPC does not know"));
  }
  if (target.find('/') != std::string_view::npos) return refuse("holds a '/', which no host:port has");

  const std::size_t colon = target.rfind(':');
  const bool bracketed = target.front() == '[';
  if (colon == std::string_view::npos || (bracketed && target.rfind(']') != colon - 1)) return refuse("has no port");
  const std::string_view host = target.substr(0, colon);
  if (host.empty() || host == "[]") return refuse("has no host");
  if (!bracketed && host.find(':') != std::string_view::npos)
    return refuse("has several colons; an IPv6 address goes in brackets: [::1]:50051");
  const std::string_view digits = target.substr(colon + 1);
  int port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port < 1 || port > 65535) {
    return refuse(detail::Cat("has the port '", digits, "', which is none of 1 to 65535"));
  }
  return absl::OkStatus();
}

}  // namespace channel
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CHANNEL_TARGET_H_
