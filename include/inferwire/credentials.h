// SPDX-License-Identifier: Apache-2.0
//
// How a client proves who it is and checks who it talks to: TLS, or plaintext spelled out.
#ifndef INFERWIRE_CREDENTIALS_H_
#define INFERWIRE_CREDENTIALS_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "inferwire/clock.h"
#include "inferwire/detail/connectivity.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/file.h"
#include "inferwire/detail/text.h"

namespace inferwire {
inline namespace v0 {

/// What TLS needs, as paths of PEM files. Client::Create reads them, and refuses what it cannot use.
struct TlsOptions {
  std::string root_certificates_file = {};  ///< whom to trust; empty: the system's roots
  std::string certificate_chain_file = {};  ///< this client's certificate, for servers that ask for one; needs the key
  std::string private_key_file = {};        ///< the key of that certificate
  /// The name that the server's certificate must bear, where it is not the target's: behind a tunnel, say.
  std::string server_name = {};
  /// How often the files are looked at; new connections are made with what they hold then, so that a certificate can be
  /// renewed under a running process. Replace files by renaming. A pair that does not match yet is left for the next
  /// look. Whole seconds, at least one; infinite: the files are read once.
  Duration reload_interval = absl::Minutes(1);
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
  };

  /// NOT_FOUND or INVALID_ARGUMENT, naming the file and what is wrong with it.
  absl::StatusOr<Built> Build() const {
    if (!tls_.has_value()) return Built{grpc::InsecureChannelCredentials(), "insecure"};
    if (tls_->certificate_chain_file.empty() != tls_->private_key_file.empty()) {
      return detail::InvalidArgumentError(
          tls_->private_key_file.empty() ? detail::Cat("TLS: certificate_chain_file '", tls_->certificate_chain_file,
                                                       "' was given without its private_key_file")
                                         : detail::Cat("TLS: private_key_file '", tls_->private_key_file,
                                                       "' was given without its certificate_chain_file"));
    }
    if (tls_->reload_interval < absl::Seconds(1)) {
      return detail::InvalidArgumentError(detail::Cat("TLS: reload_interval is ",
                                                      absl::FormatDuration(tls_->reload_interval),
                                                      "; expected at least 1s, or absl::InfiniteDuration()"));
    }
    grpc::SslCredentialsOptions options;
    const struct {
      std::string_view field;
      const std::string& path;
      std::string_view marker;
      std::string* contents;
    } files[] = {
        {"root_certificates_file", tls_->root_certificates_file, "-----BEGIN CERTIFICATE-----",
         &options.pem_root_certs},
        {"certificate_chain_file", tls_->certificate_chain_file, "-----BEGIN CERTIFICATE-----",
         &options.pem_cert_chain},
        {"private_key_file", tls_->private_key_file, "PRIVATE KEY-----", &options.pem_private_key},
    };
    for (const auto& file : files) {
      if (file.path.empty()) continue;
      if (absl::Status read = ReadPem(file.field, file.path, file.marker, file.contents); !read.ok()) return read;
    }
    if (absl::Status usable = CheckUsable(options); !usable.ok()) return usable;
    // The paths too: what they hold may part.
    std::string identity = detail::Cat("tls\n", absl::FormatDuration(tls_->reload_interval), "\n", tls_->server_name);
    for (const auto& file : files) {
      identity += detail::Cat("\n", file.path.size(), "\n", file.path, file.contents->size(), "\n", *file.contents);
    }
    const bool files_given = !tls_->root_certificates_file.empty() || !tls_->private_key_file.empty();
    if (!files_given || tls_->reload_interval == absl::InfiniteDuration()) {
      return Built{grpc::SslCredentials(options), std::move(identity), tls_->server_name};
    }
    return Built{Watching(grpc::experimental::TlsChannelCredentialsOptions()), std::move(identity), tls_->server_name};
  }

 private:
  // gRPC is asked itself what it makes of the certificates: a channel with what it cannot use fails without a look at
  // the address, one with the rest since there is no such socket.
  static bool UsableByGrpc(const grpc::SslCredentialsOptions& options) {
    const auto failed = detail::WhyNotConnected(
        grpc::CreateChannel("unix:/inferwire/no/such/socket", grpc::SslCredentials(options)), std::chrono::seconds(5));
    return !failed.has_value() || failed->error_message().find("empty address list") == std::string::npos;
  }
  absl::Status CheckUsable(const grpc::SslCredentialsOptions& options) const {
    if (options.pem_private_key.find("ENCRYPTED") != std::string::npos) {
      return detail::InvalidArgumentError(
          detail::Cat("TLS: private_key_file '", tls_->private_key_file,
                      "' is encrypted, and gRPC takes no passphrase; expected a key that "
                      "is not: openssl pkey -in KEY -out PLAIN_KEY"));
    }
    grpc::SslCredentialsOptions roots;
    roots.pem_root_certs = options.pem_root_certs;
    if (!roots.pem_root_certs.empty() && !UsableByGrpc(roots)) {
      return detail::InvalidArgumentError(detail::Cat("TLS: root_certificates_file '", tls_->root_certificates_file,
                                                      "' holds no certificate that can be read"));
    }
    if (options.pem_private_key.empty()) return absl::OkStatus();
    grpc::SslCredentialsOptions identity = options;
    if (identity.pem_root_certs.empty()) identity.pem_root_certs = options.pem_cert_chain;  // the system's take long
    if (!UsableByGrpc(identity)) {
      return detail::InvalidArgumentError(
          detail::Cat("TLS: private_key_file '", tls_->private_key_file, "' is not the key of certificate_chain_file '",
                      tls_->certificate_chain_file, "', or one of them cannot be read"));
    }
    return absl::OkStatus();
  }

  friend Credentials Insecure();
  friend Credentials Tls(TlsOptions options);
  explicit Credentials(std::optional<TlsOptions> tls) : tls_(std::move(tls)) {}

  // Credentials that look at the files again. A template, since newer versions of gRPC have renamed what it calls.
  template <class Options>
  std::shared_ptr<grpc::ChannelCredentials> Watching(Options options) const {
    constexpr std::int64_t kYear = std::int64_t{366} * 24 * 3600;
    const auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
        tls_->private_key_file, tls_->certificate_chain_file, tls_->root_certificates_file,
        static_cast<unsigned int>((std::min)(absl::ToInt64Seconds(tls_->reload_interval), kYear)));
    const bool roots = !tls_->root_certificates_file.empty();
    const bool identity = !tls_->private_key_file.empty();
    if constexpr (requires { options.set_root_certificate_provider(provider); }) {
      if (roots) options.set_root_certificate_provider(provider);
      if (identity) options.set_identity_certificate_provider(provider);
    } else {
      options.set_certificate_provider(provider);
      if (roots) options.watch_root_certs();
      if (identity) options.watch_identity_key_cert_pairs();
    }
    return grpc::experimental::TlsCredentials(options);
  }

  static absl::Status ReadPem(std::string_view field, const std::string& path, std::string_view marker,
                              std::string* contents) {
    const auto failed = [&](std::string_view why) {
      return detail::NotFoundError(detail::Cat("TLS: cannot read ", field, " '", path, "': ", why));
    };
    constexpr std::uint64_t kMost = 16 << 20;  // the roots of all systems together take a few MiB
    absl::StatusOr<detail::RegularFile> file = detail::RegularFile::Open(path);
    if (!file.ok()) return failed(detail::ToStd(file.status().message()));
    if (file->size() == 0) return failed("it is empty");
    if (file->size() > kMost) return failed(detail::Cat("it has ", file->size(), " bytes; expected at most ", kMost));
    contents->resize(static_cast<std::size_t>(file->size()));
    if (absl::Status read = file->Read(contents->data(), contents->size()); !read.ok()) {
      return failed(detail::ToStd(read.message()));
    }
    const std::size_t begin = contents->find(marker);
    const std::size_t body = begin + marker.size();
    if (begin == std::string::npos) {
      return detail::InvalidArgumentError(
          detail::Cat("TLS: ", field, " '", path, "' is no PEM file of its kind: it holds no line '", marker, "'"));
    }
    // What gRPC would find out with the first connection only. Keys may have headers before their base64 (RFC 1421).
    const std::size_t end = contents->find("-----END ", body);
    const std::string_view block = std::string_view(*contents).substr(body, end - body);
    constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n \t";
    if (end == std::string::npos || block.find_first_not_of("\r\n") == std::string_view::npos ||
        (block.find(':') == std::string_view::npos && block.find_first_not_of(kBase64) != std::string_view::npos)) {
      return detail::InvalidArgumentError(detail::Cat(
          "TLS: ", field, " '", path, "' is damaged: what follows its line '", marker, "' is cut off or no base64"));
    }
    return absl::OkStatus();
  }

  std::optional<TlsOptions> tls_;
};

/// Plaintext: no encryption, no proof of who answers. For loopback and trusted networks.
inline Credentials Insecure() { return Credentials(std::nullopt); }

/// TLS, with the system's roots unless others are given.
inline Credentials Tls(TlsOptions options = {}) { return Credentials(std::optional<TlsOptions>(std::move(options))); }

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CREDENTIALS_H_
