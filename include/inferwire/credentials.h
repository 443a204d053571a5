// SPDX-License-Identifier: Apache-2.0
//
// How a client proves who it is and checks who it talks to: TLS, or plaintext spelled out.
#ifndef INFERWIRE_CREDENTIALS_H_
#define INFERWIRE_CREDENTIALS_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "inferwire/detail/base/form.h"

namespace grpc {
class ChannelCredentials;
}  // namespace grpc

namespace inferwire {
inline namespace v0 {

namespace detail {
class CertificateSource;
}  // namespace detail

/// What TLS needs, as paths of PEM files. Client::Create reads them, and refuses what it cannot use.
struct TlsOptions {
  std::string root_certificates_file = {};  ///< whom to trust; empty: the system's roots
  std::string certificate_chain_file = {};  ///< this client's certificate, for servers that ask for one; needs the key
  std::string private_key_file = {};        ///< the key of that certificate
  /// The name that the server's certificate must bear, where it is not the target's: behind a tunnel, say.
  std::string server_name = {};
  /// How often the files are looked at; new connections are made with what they hold then, so that a certificate can be
  /// renewed under a running process. Replace files by renaming. A pair that does not match yet is left for the next
  /// look; with roots that are written half, new connections fail until they are whole. Whole seconds, at least one;
  /// infinite: the files are read once.
  absl::Duration reload_interval = absl::Minutes(1);
};

/// Plaintext or TLS. A value; nothing is read or connected before Client::Create.
class Credentials {
 public:
  /// TLS with the system's roots.
  Credentials() : tls_(TlsOptions{}) {}

  bool secure() const { return tls_.has_value(); }

  /// The credentials as gRPC takes them, and what tells them from others: connections may be shared where it agrees.
  struct Built {
    std::shared_ptr<grpc::ChannelCredentials> credentials;
    std::string identity;
    std::string server_name = {};  ///< in place of the target's
    /// Where they may be renewed.
    std::shared_ptr<const detail::CertificateSource> source = nullptr;
  };

  /// NOT_FOUND or INVALID_ARGUMENT, naming the file and what is wrong with it.
  absl::StatusOr<Built> Build() const;

 private:
  friend Credentials Insecure();
  friend Credentials Tls(TlsOptions options);
  explicit Credentials(std::optional<TlsOptions> tls) : tls_(std::move(tls)) {}

  std::optional<TlsOptions> tls_;
};

/// Plaintext: no encryption, no proof of who answers. For loopback and trusted networks.
inline Credentials Insecure() { return Credentials(std::nullopt); }

/// TLS, with the system's roots unless others are given.
inline Credentials Tls(TlsOptions options = {}) { return Credentials(std::optional<TlsOptions>(std::move(options))); }

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/credentials.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_CREDENTIALS_H_
