// SPDX-License-Identifier: Apache-2.0
//
// Whether a server's certificate is for the name that a client means: the one rule, for every kind of gRPC's TLS
// credentials, which have rules of their own that differ.
#ifndef INFERWIRE_DETAIL_CHANNEL_SERVER_NAME_H_
#define INFERWIRE_DETAIL_CHANNEL_SERVER_NAME_H_

#include <absl/strings/ascii.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/string_ref.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/address.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// What a certificate says whom it is for.
struct CertificateNames {
  std::vector<std::string_view> dns = {}, ip = {};  ///< subject alternative names
  bool others = false;                              ///< whether there are such of other kinds, an URI say
  std::string_view common_name = {};
};

/// The host of "host:port", "[address]:port" or either alone.
inline std::string_view HostOf(std::string_view target) {
  if (target.starts_with('[')) return target.substr(0, target.find(']') + 1);
  const std::size_t colon = target.find(':');
  return colon != std::string_view::npos && colon == target.rfind(':') ? target.substr(0, colon) : target;
}

/// Whether a DNS name is the one that a certificate bears, which may stand for one whole label by a '*' in front of two
/// labels or more (RFC 9525, 6.3). Upper case is lower case, and a dot at the end is none.
inline bool BearsDnsName(std::string_view borne, std::string_view host) {
  const auto normal = [](std::string_view text) {
    return absl::AsciiStrToLower(ToAbsl(text.ends_with('.') ? text.substr(0, text.size() - 1) : text));
  };
  const std::string name = normal(host), pattern = normal(borne);
  if (name.empty() || name.find('*') != std::string::npos) return false;
  if (pattern.find('*') == std::string::npos) return pattern == name;
  if (!pattern.starts_with("*.") || pattern.find('*', 1) != std::string::npos) return false;
  const std::string_view parent = std::string_view(pattern).substr(1);
  const bool two_labels = parent.find('.', 1) != std::string_view::npos && parent.find("..") == std::string_view::npos;
  const std::size_t label = name.find('.');
  return two_labels && label != 0 && label != std::string::npos && std::string_view(name).substr(label) == parent;
}

/// Whether a certificate is for `host`. An address is one of its addresses; a name is one of its DNS names, or, where
/// it has no alternative names at all, its common name.
inline bool CertificateIsFor(const CertificateNames& names, std::string_view host) {
  const auto any = [](const std::vector<std::string_view>& borne, auto is) {
    return std::any_of(borne.begin(), borne.end(), is);
  };
  if (const auto address = AddressBytes(host)) {
    return any(names.ip, [&](std::string_view ip) { return AddressBytes(ip) == address; });
  }
  // What ends in a number is an address to some resolver, if a strange one (WHATWG URL, "ends in a number").
  const std::string_view bare = host.ends_with('.') ? host.substr(0, host.size() - 1) : host;
  const std::string_view last = bare.substr(bare.rfind('.') + 1);
  if (last.find_first_not_of("0123456789") == std::string_view::npos || last.starts_with("0x")) return false;
  if (any(names.dns, [&](std::string_view dns) { return BearsDnsName(dns, host); })) return true;
  const bool alternatives = !names.dns.empty() || !names.ip.empty() || names.others;
  return !alternatives && BearsDnsName(names.common_name, host);
}

/// What is wrong, for people.
inline std::string WrongServer(const CertificateNames& names, std::string_view host) {
  constexpr std::size_t kMost = 4, kMostLetters = 100;
  std::vector<std::string_view> borne = names.dns;
  borne.insert(borne.end(), names.ip.begin(), names.ip.end());
  if (borne.empty() && !names.others && !names.common_name.empty()) borne.push_back(names.common_name);
  std::string out = "the server's certificate is for ";
  if (borne.empty()) out += "no host";
  for (std::size_t i = 0; i < (std::min)(borne.size(), kMost); ++i) {
    out += Cat(i == 0 ? "'" : ", '", borne[i].substr(0, kMostLetters), "'");
  }
  if (borne.size() > kMost) out += Cat(" and ", borne.size() - kMost, " more");
  return Cat(out, ", not for '", host, "'; TlsOptions::server_name says whom to expect in place of the target");
}

/// Why no server is to be trusted at present; "" where nothing is wrong. Safe from any thread.
class TrustFault {
 public:
  void Set(std::string_view why) {
    std::lock_guard lock(mutex_);
    why_ = why;
  }
  std::string why() const {
    std::lock_guard lock(mutex_);
    return why_;
  }

 private:
  mutable std::mutex mutex_;
  std::string why_;
};

/// The rule, as gRPC asks for it once a certificate's authority has been found to be trusted.
class ServerNameVerifier final : public grpc::experimental::ExternalCertificateVerifier {
 public:
  using Request = grpc::experimental::TlsCustomVerificationCheckRequest;

  explicit ServerNameVerifier(std::shared_ptr<const TrustFault> fault) : fault_(std::move(fault)) {}

  bool Verify(Request* request, std::function<void(grpc::Status)> /*callback*/, grpc::Status* result) override {
    const auto view = [](grpc::string_ref text) { return std::string_view(text.data(), text.size()); };
    const auto views = [&](const std::vector<grpc::string_ref>& texts) {
      std::vector<std::string_view> out;
      out.reserve(texts.size());
      for (const grpc::string_ref& text : texts) out.push_back(view(text));
      return out;
    };
    CertificateNames names;
    names.dns = views(request->dns_names());
    names.ip = views(request->ip_names());
    names.others = !request->uri_names().empty() || !request->email_names().empty();
    names.common_name = view(request->common_name());
    const std::string_view host = HostOf(view(request->target_name()));
    if (const std::string fault = fault_->why(); !fault.empty()) {
      *result = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, fault);
    } else if (!CertificateIsFor(names, host)) {
      *result = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, WrongServer(names, host));
    }
    return true;  // at once
  }
  void Cancel(Request* /*request*/) override {}

 private:
  const std::shared_ptr<const TrustFault> fault_;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_SERVER_NAME_H_
