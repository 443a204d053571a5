// SPDX-License-Identifier: Apache-2.0
//
// Which target strings can be meant. gRPC resolves what it does not understand by DNS, or makes a channel that is dead
// from the start, and says so with the first call only.
#ifndef INFERWIRE_DETAIL_CHANNEL_TARGET_H_
#define INFERWIRE_DETAIL_CHANNEL_TARGET_H_

#include <absl/status/status.h>
#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/base/utf8.h"
#include "inferwire/detail/channel/address.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace channel {

/// gRPC is asked itself: a channel to what it cannot parse is born dead, and one to anything else connects to nothing
/// yet.
inline bool UnderstoodByGrpc(std::string_view target) {
  return grpc::CreateChannel(std::string(target), grpc::InsecureChannelCredentials())
             ->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_IDLE;
}

/// What a target may look like. (github.com/grpc/grpc, doc/naming.md.)
class TargetSyntax {
 public:
  /// What is wrong with one, as the end of a sentence that begins with it; "" if nothing is.
  static std::string Fault(std::string_view target) {
    if (target.empty()) return "is empty";
    for (const char c : target) {
      if ((c >= 0 && c <= 0x20) || c == 0x7f) return "holds white space or a control character";
    }
    if (target.find_first_of("?#") != std::string_view::npos) return "holds a '?' or '#', which gRPC cuts off";
    const std::string_view scheme = SchemeOf(target);
    if (scheme.empty()) return HostPort(target);
    const std::string_view rest = target.substr(scheme.size() + 1);
    if (rest.find_first_not_of('/') == std::string_view::npos) return "names no address after its scheme";
    const std::string lower = absl::AsciiStrToLower(detail::ToAbsl(scheme));
    if (lower == "http" || lower == "https" || lower == "grpc" || lower == "grpcs") {
      return detail::Cat("has the scheme '", scheme, "', which gRPC does not know; ",
                         Meant(rest, "whether it is encrypted is said by the credentials, Tls() or Insecure()"));
    }
    if (lower != scheme) return detail::Cat("has the scheme '", scheme, "'; did you mean '", lower, ":'?");
    if (!KnownToGrpc(scheme)) return detail::Cat("has the scheme '", scheme, "', which this gRPC does not know");
    if (scheme == "dns") return Dns(rest);
    if (scheme == "ipv4" || scheme == "ipv6") return Addresses(scheme, rest);
    if (scheme.starts_with("unix")) return Socket(target, scheme, rest);
    if (UnderstoodByGrpc(target)) return {};
    return scheme == "vsock" ? "is not of the form vsock:CID:PORT" : "is not understood by gRPC";
  }

  /// Whether it is this machine, for all that its spelling tells: a socket file, a virtual machine's host, "localhost",
  /// an address of loopback in any form that resolvers take. Nothing is looked up.
  static bool Local(std::string_view target) {
    const std::string_view scheme = SchemeOf(target);
    if (scheme.starts_with("unix") || scheme == "vsock") return true;
    std::string_view rest = target.substr(scheme.empty() ? 0 : scheme.size() + 1);
    if (scheme == "xds" || scheme.starts_with("google-c2p")) return false;
    if (HasAuthority(rest)) rest.remove_prefix((std::min)(rest.find('/', 2), rest.size()));  // a DNS server
    rest.remove_prefix((std::min)(rest.find_first_not_of('/'), rest.size()));
    const std::string decoded = Decoded(rest);
    for (std::string_view list = decoded; !list.empty();) {  // of addresses: one will do
      const std::size_t comma = (std::min)(list.find(','), list.size());
      const std::string_view one = list.substr(0, comma);
      if (detail::IsLoopback(one.substr(0, one.rfind(':')))) return true;
      list.remove_prefix((std::min)(comma + 1, list.size()));
    }
    return false;
  }

 private:
  static constexpr std::array<std::string_view, 9> kSchemes = {
      "dns", "unix", "unix-abstract", "ipv4", "ipv6", "xds", "vsock", "google-c2p", "google-c2p-experimental"};
  static bool IsScheme(std::string_view text) {
    return std::find(kSchemes.begin(), kSchemes.end(), text) != kSchemes.end();
  }

  // What stands before a colon and begins an URI: before "://", or one of gRPC's own. "dns:53" is a host with a port.
  static std::string_view SchemeOf(std::string_view target) {
    const std::size_t colon = target.find(':');
    if (colon == std::string_view::npos) return {};
    const std::string_view scheme = target.substr(0, colon);
    const std::string_view rest = target.substr(colon + 1);
    if (rest.starts_with("//")) return scheme;
    const bool port = !rest.empty() && rest.find_first_not_of("0123456789") == std::string_view::npos;
    return !port && IsScheme(absl::AsciiStrToLower(detail::ToAbsl(scheme))) ? scheme : std::string_view();
  }
  // A scheme that gRPC does not know goes to DNS, whatever follows it; one that it knows does not. Not all have vsock.
  static bool KnownToGrpc(std::string_view scheme) {
    return scheme == "vsock" ? !UnderstoodByGrpc("vsock:no-number") : IsScheme(scheme);
  }

  // [//SERVER/]HOST:PORT
  static std::string Dns(std::string_view rest) {
    if (!rest.starts_with("//")) return HostPort(rest.substr(rest.starts_with("/") ? 1 : 0));
    const std::size_t slash = rest.find('/', 2);
    const std::string_view server = rest.substr(2, slash == std::string_view::npos ? slash : slash - 2);
    const std::string_view host = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
    if (host.empty()) {
      return detail::Cat("names a DNS server, '", server, "', but no host; did you mean 'dns:///", server, "'?");
    }
    if (!server.empty() && !IsAddressAndPort(server)) {
      return detail::Cat("names the DNS server '", server,
                         "'; gRPC takes it as ADDRESS:PORT alone, such as 8.8.8.8:53");
    }
    return HostPort(host);
  }

  // A list of ADDRESS:PORT, with nothing to be looked up.
  static std::string Addresses(std::string_view scheme, std::string_view rest) {
    if (HasAuthority(rest)) return NoAuthority(scheme, rest);
    rest.remove_prefix(rest.find_first_not_of('/'));
    while (true) {
      const std::size_t comma = rest.find(',');
      const std::string_view one = rest.substr(0, comma);
      if (const std::string fault = HostPort(one); !fault.empty()) {
        return detail::Cat("names '", one, "', which ", fault);
      }
      const std::string decoded = Decoded(one);
      const std::string_view host = HostOf(decoded);
      if (scheme == "ipv4" ? !IsIpv4(host) : !IsIpv6InBrackets(host)) {
        return detail::Cat("names '", one, "', which is no ", scheme == "ipv4" ? "IPv4" : "IPv6",
                           " address with a port; a name that is to be looked up goes without the scheme");
      }
      // Here gRPC looks the zone up at once.
      if (host.find('%') != std::string_view::npos && !UnderstoodByGrpc(detail::Cat(scheme, ":", one))) {
        return detail::Cat("names '", one, "', whose zone this machine does not have");
      }
      if (comma == std::string_view::npos) return {};
      rest.remove_prefix(comma + 1);
    }
  }

  static std::string HostPort(std::string_view text) {
    const std::string decoded = Decoded(text);
    const std::string_view given = decoded;
    if (given.find('@') != std::string_view::npos) return "holds an '@', but gRPC knows no user names in targets";
    if (given.find(',') != std::string_view::npos) {
      return "holds a ','; several targets are several elements of ClientOptions::targets";
    }
    if (given.find('/') != std::string_view::npos) return "holds a '/', which no host:port has";
    const std::size_t colon = given.rfind(':');
    const bool bracketed = given.starts_with("[");
    if (bracketed && given.find(']') == std::string_view::npos) return "has a '[' without its ']'";
    if (colon == std::string_view::npos || (bracketed && given.rfind(']') != colon - 1)) {
      return "has no port, which gRPC would take for 443";
    }
    const std::string_view host = given.substr(0, colon);
    if (host.empty() || host == "[]") return "has no host";
    if (!bracketed && host.find(':') != std::string_view::npos) {
      return "has several colons; an IPv6 address goes in brackets: [::1]:50051";
    }
    const std::string_view digits = given.substr(colon + 1);
    int port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port < 1 || port > 65535) {
      return detail::Cat("has the port '", digits, "', which is none of 1 to 65535");
    }
    return bracketed ? Bracketed(host) : Host(host);
  }
  static std::string_view HostOf(std::string_view host_port) { return host_port.substr(0, host_port.rfind(':')); }
  static std::string Bracketed(std::string_view host) {
    // That this machine lacks an interface today is nobody's mistake.
    if (IsIpv6InBrackets(host)) return {};
    return detail::Cat("has in brackets what is no IPv6 address: '", Quoted(host), "'");
  }
  // Names in other scripts are left to the resolver, and what DNS allows but host names do not, where it is in use:
  // my_service, of a container.
  static std::string Host(std::string_view host) {
    if (!detail::IsUtf8(host)) return detail::Cat("has the host '", Quoted(host), "', which is not UTF-8");
    const std::string_view name = host.ends_with(".") ? host.substr(0, host.size() - 1) : host;
    if (name.size() > 253) {
      return detail::Cat("has a host of ", name.size(), " characters; DNS allows 253");
    }
    if (const std::string fault = Number(name); !fault.empty() && host != fault) {
      return detail::Cat("has the host '", host, "', which is neither an IPv4 address nor a name",
                         fault == kNone ? "" : detail::Cat("; did you mean '", fault, "'?"));
    }
    std::string_view rest = name;
    while (true) {
      const std::size_t dot = rest.find('.');
      const std::string_view label = rest.substr(0, dot);
      if (label.empty() || label.size() > 63) {
        return detail::Cat("has the host '", host, "', of which a part between dots has ", label.size(),
                           " characters; DNS allows 1 to 63");
      }
      for (const char c : label) {
        if (IsAscii(c) && !IsAlnum(c) && c != '-' && c != '_') {
          return detail::Cat("has the host '", Quoted(host), "', which holds a '", Quoted(std::string_view(&c, 1)),
                             "'");
        }
      }
      if (label.front() == '-' || label.back() == '-') {
        return detail::Cat("has the host '", host, "', of which a part between dots begins or ends with a '-'");
      }
      if (label.find_first_not_of('_') == std::string_view::npos) {
        return detail::Cat("has the host '", host, "', of which a part between dots has neither letter nor digit");
      }
      if (dot == std::string_view::npos) return {};
      rest.remove_prefix(dot + 1);
    }
  }
  static bool IsAddressAndPort(std::string_view text) {
    if (!HostPort(text).empty()) return false;
    const std::string decoded = Decoded(text);
    const std::string_view host = HostOf(decoded);
    return IsIpv4(host) || IsIpv6InBrackets(host);
  }

  // ---- addresses. gRPC knows them too, but complains to stderr where it is asked of what is none.

  static bool IsAscii(char c) { return absl::ascii_isascii(static_cast<unsigned char>(c)); }
  static bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }
  static std::string Quoted(std::string_view text) { return absl::CHexEscape(detail::ToAbsl(text)); }

  static constexpr std::string_view kNone = "none";
  // What the C library takes for an IPv4 address, such as 127.1 or 0x7f000001, as it is written; kNone for what looks
  // like one and is none, "" for a name. A container's id may happen to be made of digits alone, but of 12.
  static std::string Number(std::string_view host) {
    std::array<std::uint64_t, 4> parts{};
    std::size_t count = 0;
    bool fits = true;
    for (std::string_view rest = host;; ++count) {
      const std::size_t dot = rest.find('.');
      std::string_view part = rest.substr(0, dot);
      const bool hex = part.starts_with("0x") || part.starts_with("0X");
      if (hex) part.remove_prefix(2);
      if (part.find_first_not_of(hex ? "0123456789abcdefABCDEF" : "0123456789") != std::string_view::npos) return {};
      if (part.empty()) return {};
      if (dot == std::string_view::npos && count == 0 && !hex && part.size() > 11) return {};
      const int base = hex ? 16 : part.starts_with("0") ? 8 : 10;
      std::uint64_t value = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value, base);
      fits = fits && count < 4 && error == std::errc() && end == part.data() + part.size();
      if (fits) parts[count] = value;
      if (dot == std::string_view::npos) break;
      rest.remove_prefix(dot + 1);
    }
    // The last part stands for all bytes that are left.
    std::uint64_t address = 0;
    for (std::size_t i = 0; fits && i <= count; ++i) {
      const std::size_t bytes = i < count ? 1 : 4 - count;
      fits = parts[i] >> (8 * bytes) == 0;
      address = (address << (8 * bytes)) | parts[i];
    }
    if (!fits) return std::string(kNone);
    return detail::Cat((address >> 24) & 0xff, ".", (address >> 16) & 0xff, ".", (address >> 8) & 0xff, ".",
                       address & 0xff);
  }
  static bool IsIpv4(std::string_view text) { return !text.empty() && Number(text) == text; }
  static bool IsIpv6InBrackets(std::string_view host) {
    if (!host.starts_with("[") || !host.ends_with("]")) return false;
    const std::string_view inner = host.substr(1, host.size() - 2);
    const std::size_t zone = inner.find('%');
    return zone != inner.size() - 1 && IsIpv6(inner.substr(0, zone));
  }
  static bool IsIpv6(std::string_view text) {
    constexpr int kGroups = 8;
    const std::size_t gap = text.find("::");
    if (gap == std::string_view::npos) return Groups(text, /*last=*/true) == kGroups;
    const std::string_view before = text.substr(0, gap), after = text.substr(gap + 2);
    const int left = before.empty() ? 0 : Groups(before, /*last=*/false);
    const int right = after.empty() ? 0 : Groups(after, /*last=*/true);
    return left >= 0 && right >= 0 && left + right < kGroups;
  }
  // How many groups of 16 bits there are, -1 where some are none. The last two may be written as an IPv4 address.
  static int Groups(std::string_view text, bool last) {
    for (int count = 1;; ++count) {
      const std::size_t colon = text.find(':');
      const std::string_view group = text.substr(0, colon);
      const bool end = colon == std::string_view::npos;
      if (end && last && IsIpv4(group)) return count + 1;
      const bool hex = group.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
      if (group.empty() || group.size() > 4 || !hex) return -1;
      if (end) return count;
      text.remove_prefix(colon + 1);
    }
  }

  static bool HasAuthority(std::string_view rest) { return rest.starts_with("//") && !rest.starts_with("///"); }
  static std::string NoAuthority(std::string_view scheme, std::string_view rest) {
    return detail::Cat("has '//' after its scheme, where gRPC expects none or three; did you mean '", scheme, ":",
                       rest.substr(2), "'?");
  }
  // unix:PATH, unix:///PATH, unix-abstract:NAME
  static std::string Socket(std::string_view target, std::string_view scheme, std::string_view rest) {
    if (HasAuthority(rest)) return NoAuthority(scheme, rest);
    const std::size_t size = Decoded(rest.substr(rest.starts_with("///") ? 2 : 0)).size();
    constexpr std::size_t kMost = 107, kMostEverywhere = 103;  // Linux, and others
    if (size <= kMostEverywhere || (size <= kMost && UnderstoodByGrpc(target))) return {};
    return detail::Cat("names a socket by ", size, " characters, which is more than a socket's name has");
  }
  // Of what follows a scheme that should not be there.
  static std::string Meant(std::string_view rest, std::string_view why) {
    rest.remove_prefix(rest.find_first_not_of('/'));
    const std::string_view host = rest.substr(0, rest.find('/'));
    return HostPort(host).empty() ? detail::Cat("did you mean '", host, "'? ", why) : std::string(why);
  }

  static int Hex(char c) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return -1;
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
  }
  // A target is an URI to gRPC: %5B is a bracket. What is no such triple stays.
  static std::string Decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool triple = text[i] == '%' && i + 2 < text.size() && Hex(text[i + 1]) >= 0 && Hex(text[i + 2]) >= 0;
      out += triple ? static_cast<char>(Hex(text[i + 1]) * 16 + Hex(text[i + 2])) : text[i];
      if (triple) i += 2;
    }
    return out;
  }
};

/// OK for `host:port`, `[ipv6]:port` and the schemes that this gRPC knows; otherwise INVALID_ARGUMENT, quoting the
/// target, and saying what is wrong with it and what was expected.
inline absl::Status ValidateTarget(std::string_view target) {
  const std::string fault = TargetSyntax::Fault(target);
  if (fault.empty()) return absl::OkStatus();
  return detail::InvalidArgumentError(
      detail::Cat("target '", absl::CHexEscape(detail::ToAbsl(target)), "' ", fault,
                  "; expected host:port, or one of gRPC's schemes such as dns:///host:port, unix:path"));
}

/// OK where this process has what a valid target needs beside a server: xDS takes its servers from a file, without
/// which every call fails. INVALID_ARGUMENT otherwise.
inline absl::Status ValidateSurroundings(std::string_view target) {
  if (!target.starts_with("xds:")) return absl::OkStatus();
  const auto variable = [](const char* name) -> std::string {
    const char* const value = std::getenv(name);
    return value != nullptr ? value : "";
  };
  const std::string file = variable("GRPC_XDS_BOOTSTRAP");
  std::string fault;
  if (!file.empty() && !std::ifstream(file).good()) {
    fault = detail::Cat("the file '", file, "', which GRPC_XDS_BOOTSTRAP names, cannot be read");
  } else if (file.empty() && variable("GRPC_XDS_BOOTSTRAP_CONFIG").empty()) {
    fault = "there is none";
  }
  if (fault.empty()) return absl::OkStatus();
  return detail::InvalidArgumentError(
      detail::Cat("target '", absl::CHexEscape(detail::ToAbsl(target)), "' needs an xDS bootstrap, and ", fault,
                  "; expected GRPC_XDS_BOOTSTRAP to name a file, or GRPC_XDS_BOOTSTRAP_CONFIG to hold its content"));
}

}  // namespace channel
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_TARGET_H_
