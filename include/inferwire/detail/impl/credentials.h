// SPDX-License-Identifier: Apache-2.0
//
// How credentials are made of what TlsOptions say.
#ifndef INFERWIRE_DETAIL_IMPL_CREDENTIALS_H_
#define INFERWIRE_DETAIL_IMPL_CREDENTIALS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>
#include <utility>

#include "inferwire/credentials.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/shared_by_key.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/certificates.h"

namespace inferwire {
inline namespace v0 {

INFERWIRE_DECL absl::StatusOr<Credentials::Built> Credentials::Build() const {
  if (!tls_.has_value()) return Built{grpc::InsecureChannelCredentials(), "insecure"};
  if (tls_->certificate_chain_file.empty() != tls_->private_key_file.empty()) {
    return detail::InvalidArgumentError(tls_->private_key_file.empty()
                                            ? detail::Cat("TLS: certificate_chain_file '", tls_->certificate_chain_file,
                                                          "' was given without its private_key_file")
                                            : detail::Cat("TLS: private_key_file '", tls_->private_key_file,
                                                          "' was given without its certificate_chain_file"));
  }
  if (tls_->reload_interval < absl::Seconds(1)) {
    return detail::InvalidArgumentError(detail::Cat("TLS: reload_interval is ",
                                                    absl::FormatDuration(tls_->reload_interval),
                                                    "; expected at least 1s, or absl::InfiniteDuration()"));
  }
  const detail::Certificates::Paths paths{tls_->root_certificates_file, tls_->certificate_chain_file,
                                          tls_->private_key_file};
  detail::Certificates certificates(paths);
  if (absl::Status read = certificates.ReadRoots(); !read.ok()) return read;
  if (absl::Status read = certificates.ReadIdentity(); !read.ok()) return read;
  std::string identity = detail::Cat("tls ", absl::FormatDuration(tls_->reload_interval), " ", tls_->server_name.size(),
                                     " ", tls_->server_name, certificates.Digest());
  // What others use is known to be usable.
  absl::Status usable;
  auto source = detail::SharedByKey<detail::CertificateSource>::Instance().Get(
      identity, [&]() -> std::shared_ptr<detail::CertificateSource> {
        usable = certificates.CheckRoots();
        if (usable.ok()) usable = certificates.CheckIdentity();
        if (!usable.ok()) return nullptr;
        return std::make_shared<detail::CertificateSource>(
            paths, certificates, paths.any() ? tls_->reload_interval : absl::InfiniteDuration());
      });
  if (!usable.ok()) return usable;
  return Built{source->credentials(), std::move(identity), tls_->server_name, std::move(source)};
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_CREDENTIALS_H_
