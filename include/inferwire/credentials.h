// SPDX-License-Identifier: Apache-2.0
//
// How a client proves who it is and checks who it talks to: TLS, or plaintext spelled out.
#ifndef INFERWIRE_CREDENTIALS_H_
#define INFERWIRE_CREDENTIALS_H_

#include <absl/status/statusor.h>
#include <grpcpp/security/credentials.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "inferwire/detail/text.h"

namespace inferwire {
inline namespace v0 {

/// What TLS needs, as paths of PEM files. They are read once, by Client::Create.
struct TlsOptions {
  std::string root_certificates_file = {};  ///< whom to trust; empty: the system's roots
  std::string certificate_chain_file = {};  ///< this client's certificate, for servers that ask for one; needs the key
  std::string private_key_file = {};        ///< the key of that certificate
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
  };

  /// NOT_FOUND or INVALID_ARGUMENT, naming the file and what is wrong with it.
  absl::StatusOr<Built> Build() const {
    if (!tls_.has_value()) return Built{grpc::InsecureChannelCredentials(), "insecure"};
    if (tls_->certificate_chain_file.empty() != tls_->private_key_file.empty()) {
      return absl::InvalidArgumentError(tls_->private_key_file.empty()
                                            ? detail::Cat("TLS: certificate_chain_file '", tls_->certificate_chain_file,
                                                          "' was given without its private_key_file")
                                            : detail::Cat("TLS: private_key_file '", tls_->private_key_file,
                                                          "' was given without its certificate_chain_file"));
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
    std::string identity = "tls";
    for (const auto& file : files) identity += detail::Cat("\n", file.contents->size(), "\n", *file.contents);
    return Built{grpc::SslCredentials(options), std::move(identity)};
  }

 private:
  friend Credentials Insecure();
  friend Credentials Tls(TlsOptions options);
  explicit Credentials(std::optional<TlsOptions> tls) : tls_(std::move(tls)) {}

  static absl::Status ReadPem(std::string_view field, const std::string& path, std::string_view marker,
                              std::string* contents) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    // A directory opens but does not read.
    if (!file || !(text << file.rdbuf())) {
      const int error = errno;
      return absl::NotFoundError(
          detail::Cat("TLS: cannot read ", field, " '", path, "'",
                      error != 0 ? detail::Cat(": ", std::strerror(error)) : ": it is empty or no file"));
    }
    *contents = std::move(text).str();
    if (contents->find(marker) == std::string::npos) {
      return absl::InvalidArgumentError(
          detail::Cat("TLS: ", field, " '", path, "' is no PEM file of its kind: it holds no line '", marker, "'"));
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
