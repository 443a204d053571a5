// SPDX-License-Identifier: Apache-2.0
//
// What gRPC's words for a connection that did not come about most probably mean.
#ifndef INFERWIRE_DETAIL_CHANNEL_ADVICE_H_
#define INFERWIRE_DETAIL_CHANNEL_ADVICE_H_

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>

#include "inferwire/detail/base/text.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace channel {

/// Whether the environment names any proxy, for whatever targets.
inline bool ProxyInEnvironment() {
  constexpr const char* kNames[] = {"grpc_proxy", "https_proxy", "http_proxy", "GRPC_ADDRESS_HTTP_PROXY"};
  return std::any_of(std::begin(kNames), std::end(kNames), [](const char* name) {
    const char* const value = std::getenv(name);
    return value != nullptr && *value != '\0';
  });
}

/// The proxy that the environment names for a target, with the variable that does; "" if there is none. Users and
/// passwords are left out. (github.com/grpc/grpc, doc/environment_variables.md and
/// doc/core/default_http_proxy_mapping.md.)
inline std::string EnvironmentProxy(std::string_view target) {
  if (target.starts_with("unix")) return {};
  const auto first_set = [](std::initializer_list<const char*> names, const char** name) -> std::string_view {
    for (const char* const candidate : names) {
      if (const char* const value = std::getenv(candidate)) {
        *name = candidate;
        return value;
      }
    }
    return {};
  };
  const char* name = "";
  std::string_view proxy = first_set({"grpc_proxy", "https_proxy", "http_proxy"}, &name);
  if (proxy.empty()) return {};
  const char* exceptions = "";
  std::string_view but = first_set({"no_grpc_proxy", "no_proxy"}, &exceptions);
  std::string_view host = target.substr(target.rfind('/') + 1);  // npos + 1 is 0
  host = host.substr(0, host.rfind(':'));
  while (!but.empty()) {
    const std::string_view one =
        detail::ToStd(absl::StripAsciiWhitespace(detail::ToAbsl(but.substr(0, but.find(',')))));
    if (!one.empty() && absl::EndsWithIgnoreCase(detail::ToAbsl(host), detail::ToAbsl(one))) return {};
    but.remove_prefix(but.find(',') == std::string_view::npos ? but.size() : but.find(',') + 1);
  }
  if (const std::size_t scheme = proxy.find("://"); scheme != std::string_view::npos) proxy.remove_prefix(scheme + 3);
  return detail::Cat(proxy.substr(proxy.rfind('@') + 1), "', which the environment's ", name, " names");
}

/// A sentence to put behind an error's text, "" where it is none of a connection that did not come about, or says all
/// by itself.
inline std::string Advice(std::string_view error, std::string_view target, bool uses_proxy) {
  const auto says = [&](std::string_view words) { return error.find(words) != std::string_view::npos; };
  const bool connecting = says("failed to connect to all addresses") || says("connections to all backends failing");
  if (!connecting && !says("empty address list") && !says("DNS resolution failed")) return {};
  std::string out;
  if (says("wrong version number") || says("WRONG_VERSION_NUMBER")) {
    out = "; the server seems to speak plaintext there, as Insecure() credentials do";
  } else if (says("certificate verify failed") || says("CERTIFICATE_VERIFY_FAILED")) {
    out =
        "; the server's certificate is expired, or signed by none of those that are trusted: "
        "TlsOptions::root_certificates_file names others";
  } else if (says("missing selected ALPN")) {
    out = "; the server speaks TLS there, but not HTTP/2: is it the port for gRPC?";
  } else if (says("http1.x server")) {
    out = "; the server speaks HTTP/1 there: is it the port for gRPC?";
  } else if (says("Failed parsing HTTP/2")) {
    out = "; the server speaks something else than HTTP/2 there: is it the port for gRPC?";
  } else if (says("Socket closed") || says("onnection reset by peer")) {
    out =
        "; the server took the connection and closed it, as one does that expects TLS (Tls() credentials), or a "
        "certificate of the client's";
  }
  if (const std::string proxy = uses_proxy ? EnvironmentProxy(target) : std::string(); !proxy.empty()) {
    out += detail::Cat("; connections go by the proxy '", proxy, "; ConnectionOptions::use_proxy turns that off");
  }
  return out;
}

}  // namespace channel
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_ADVICE_H_
