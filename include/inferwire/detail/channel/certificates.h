// SPDX-License-Identifier: Apache-2.0
//
// Certificates and keys in files: read, looked at, made into gRPC's credentials, and looked at again.
#ifndef INFERWIRE_DETAIL_CHANNEL_CERTIFICATES_H_
#define INFERWIRE_DETAIL_CHANNEL_CERTIFICATES_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/file.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/secret.h"
#include "inferwire/detail/base/sha256.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/connectivity.h"
#include "inferwire/detail/channel/server_name.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// What TLS is made of: paths, of which those that are not given are empty, and what lies there. Errors are NOT_FOUND
/// for what cannot be read and INVALID_ARGUMENT for what is not whole or not usable, and name the file, not its
/// contents.
class Certificates {
 public:
  struct Paths {
    std::string roots = {}, chain = {}, key = {};
    bool any() const { return !roots.empty() || !key.empty(); }
  };

  explicit Certificates(const Paths& paths) : paths_(paths) {}

  absl::Status ReadRoots() { return ReadPem("root_certificates_file", paths_.roots, kCertificate, roots_); }
  absl::Status ReadIdentity() {
    absl::Status status = ReadPem("certificate_chain_file", paths_.chain, kCertificate, chain_);
    if (status.ok()) status = ReadPem("private_key_file", paths_.key, "PRIVATE KEY-----", key_);
    return status;
  }

  /// gRPC is asked what it makes of them.
  absl::Status CheckRoots() const {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = roots_.text();
    if (paths_.roots.empty() || UsableByGrpc(options)) return absl::OkStatus();
    return InvalidArgumentError(
        Cat("TLS: root_certificates_file '", paths_.roots, "' holds no certificate that can be read"));
  }
  absl::Status CheckIdentity() const {
    if (paths_.key.empty()) return absl::OkStatus();
    if (key_.text().find("ENCRYPTED") != std::string::npos) {
      return InvalidArgumentError(Cat("TLS: private_key_file '", paths_.key,
                                      "' is encrypted, and gRPC takes no passphrase; expected a key that is not: "
                                      "openssl pkey -in KEY -out PLAIN_KEY"));
    }
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = chain_.text();  // the system's take long
    options.pem_cert_chain = chain_.text();
    options.pem_private_key = key_.text();
    const bool usable = UsableByGrpc(options);
    Wipe(options.pem_private_key);
    if (usable) return absl::OkStatus();
    return InvalidArgumentError(Cat("TLS: private_key_file '", paths_.key,
                                    "' is not the key of certificate_chain_file '", paths_.chain,
                                    "', or one of them cannot be read"));
  }

  /// Tells them from others, and nothing else of them.
  std::string Digest() const {
    Sha256 digest;
    for (const std::string* const part :
         {&paths_.roots, &roots_.text(), &paths_.chain, &chain_.text(), &paths_.key, &key_.text()}) {
      digest.Add(Cat(part->size(), "\n"));
      digest.Add(*part);
    }
    return digest.Finish();
  }

  /// gRPC's credentials of them, or of the system's roots; a server's certificate is checked by `verifier`. A template,
  /// since newer versions have renamed what it calls.
  template <class Options = grpc::experimental::TlsChannelCredentialsOptions>
  std::shared_ptr<grpc::ChannelCredentials> Make(
      const std::shared_ptr<grpc::experimental::CertificateVerifier>& verifier) const {
    Options options;
    options.set_certificate_verifier(verifier);
    if (!paths_.any()) return grpc::experimental::TlsCredentials(options);
// What newer versions have in their place older ones do not know.
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif
    std::vector<grpc::experimental::IdentityKeyCertPair> pairs;
    if (!paths_.key.empty()) pairs.push_back({key_.text(), chain_.text()});
    const auto provider = std::make_shared<grpc::experimental::StaticDataCertificateProvider>(roots_.text(), pairs);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
    for (auto& pair : pairs) Wipe(pair.private_key);
    if constexpr (requires { options.set_root_certificate_provider(provider); }) {
      if (!paths_.roots.empty()) options.set_root_certificate_provider(provider);
      if (!paths_.key.empty()) options.set_identity_certificate_provider(provider);
    } else {
      options.set_certificate_provider(provider);
      if (!paths_.roots.empty()) options.watch_root_certs();
      if (!paths_.key.empty()) options.watch_identity_key_cert_pairs();
    }
    return grpc::experimental::TlsCredentials(options);
  }

 private:
  static constexpr std::string_view kCertificate = "-----BEGIN CERTIFICATE-----";

  // A channel with what it cannot use fails without a look at the address, one with the rest since there is no such
  // socket.
  static bool UsableByGrpc(const grpc::SslCredentialsOptions& options) {
    const auto failed = WhyNotConnected(
        grpc::CreateChannel("unix:/inferwire/no/such/socket", grpc::SslCredentials(options)), std::chrono::seconds(5));
    return !failed.has_value() || failed->error_message().find("empty address list") == std::string::npos;
  }

  static absl::Status ReadPem(std::string_view field, const std::string& path, std::string_view marker,
                              Secret& contents) {
    if (path.empty()) return absl::OkStatus();
    const auto failed = [&](std::string_view why) {
      return NotFoundError(Cat("TLS: cannot read ", field, " '", path, "': ", why));
    };
    constexpr std::uint64_t kMost = 16 << 20;  // the roots of all systems together take a few MiB
    absl::StatusOr<RegularFile> file = RegularFile::Open(path);
    if (!file.ok()) return failed(ToStd(file.status().message()));
    if (file->size() == 0) return failed("it is empty");
    if (file->size() > kMost) return failed(Cat("it has ", file->size(), " bytes; expected at most ", kMost));
    contents.Set(std::string(file->size(), '\0'));
    if (absl::Status read = file->Read(contents.data(), contents.text().size()); !read.ok()) {
      return failed(ToStd(read.message()));
    }
    const std::string_view text = contents.text();
    if (text.find(marker) == std::string_view::npos) {
      return InvalidArgumentError(
          Cat("TLS: ", field, " '", path, "' is no PEM file of its kind: it holds no line '", marker, "'"));
    }
    // What gRPC would find out with the first connection only, or not at all: it takes the whole blocks in front of one
    // that is cut off. Keys may have headers before their base64 (RFC 1421).
    constexpr std::string_view kBegin = "-----BEGIN ", kDashes = "-----", kEnd = "-----END ";
    constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n \t";
    for (std::size_t at = text.find(kBegin); at != std::string_view::npos; at = text.find(kBegin, at)) {
      const std::size_t dashes = text.find(kDashes, at + kBegin.size());
      const std::size_t body = (std::min)(dashes, text.size() - kDashes.size()) + kDashes.size();
      const std::size_t end = text.find(kEnd, body);
      const std::string_view line = text.substr(at, (std::min)(body, text.find('\n', at)) - at);
      const std::string_view block = text.substr(body, end - body);
      const std::string_view label = text.substr(at + kBegin.size(), body - at - kBegin.size());
      if (dashes == std::string_view::npos || end == std::string_view::npos ||
          !text.substr(end + kEnd.size()).starts_with(label) ||
          block.find_first_not_of("\r\n") == std::string_view::npos ||
          (block.find(':') == std::string_view::npos && block.find_first_not_of(kBase64) != std::string_view::npos)) {
        return InvalidArgumentError(Cat("TLS: ", field, " '", path, "' is damaged: what follows its line '", line,
                                        "' is cut off or no base64"));
      }
      at = end;
    }
    return absl::OkStatus();
  }

  Paths paths_;
  Secret roots_, chain_, key_;
};

/// Credentials that follow their files. Where certificates have been replaced there are new ones, for new connections;
/// gRPC's own watcher would have the process aborted by a key that is written half. A pair that is not whole, or does
/// not match, is left for the next look, and so is what cannot be read; roots that are not whole have all new
/// connections fail, and say so, until they are.
class CertificateSource {
 public:
  /// Of certificates that are in order; looks at the files every `interval`.
  CertificateSource(const Certificates::Paths& paths, const Certificates& certificates, absl::Duration interval)
      : state_(std::make_shared<State>(paths)) {
    state_->Take(certificates);
    if (interval == absl::InfiniteDuration()) return;
    const auto pause = absl::ToChronoMilliseconds((std::min)(interval, absl::Hours(24 * 365)));
    thread_ = std::thread([state = state_, pause] {
      std::unique_lock lock(state->mutex);
      while (!state->stop.wait_for(lock, pause, [&] { return state->stopping; })) {
        lock.unlock();
        state->Look();
        lock.lock();
      }
    });
  }
  CertificateSource(const CertificateSource&) = delete;
  CertificateSource& operator=(const CertificateSource&) = delete;
  ~CertificateSource() {
    if (!thread_.joinable()) return;
    if (origin_.foreign()) {
      thread_.detach();  // it is the parent's, which has kept the state
      return;
    }
    {
      std::lock_guard lock(state_->mutex);
      state_->stopping = true;
    }
    state_->stop.notify_all();
    thread_.join();
  }

  std::shared_ptr<grpc::ChannelCredentials> credentials() const {
    std::lock_guard lock(state_->mutex);
    return state_->credentials;
  }
  /// How often they have been replaced.
  std::shared_ptr<const std::atomic<int>> renewals() const { return {state_, &state_->renewals}; }

 private:
  struct State {
    explicit State(const Certificates::Paths& given) : paths(given) {}

    void Take(const Certificates& certificates) {
      auto made = certificates.Make(grpc::experimental::ExternalCertificateVerifier::Create<ServerNameVerifier>(fault));
      taken = last_seen = certificates.Digest();
      std::lock_guard lock(mutex);
      credentials.swap(made);
    }
    void Look() {
      Certificates seen(paths);
      absl::Status roots = seen.ReadRoots();
      const absl::Status identity = seen.ReadIdentity();
      const std::string before = std::exchange(last_seen, seen.Digest());
      if (last_seen == before) return;
      if (roots.code() == absl::StatusCode::kNotFound) return;
      if (roots.ok()) roots = seen.CheckRoots();
      fault->Set(ToStd(roots.message()));
      if (!roots.ok() || !identity.ok() || last_seen == taken || !seen.CheckIdentity().ok()) return;
      Take(seen);
      renewals.fetch_add(1, std::memory_order_release);
    }

    const Certificates::Paths paths;
    const std::shared_ptr<TrustFault> fault = std::make_shared<TrustFault>();
    std::string taken, last_seen;  // digests; the looking thread's
    std::atomic<int> renewals{0};
    std::mutex mutex;
    std::condition_variable stop;
    bool stopping = false;
    std::shared_ptr<grpc::ChannelCredentials> credentials;
  };

  const OfOneProcess origin_;
  const std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_CERTIFICATES_H_
