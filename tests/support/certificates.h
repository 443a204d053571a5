// SPDX-License-Identifier: Apache-2.0
//
// Certificates for tests: those of make-certificates, in the directory INFERWIRE_CERTIFICATES, and more by openssl.
#ifndef INFERWIRE_TESTS_SUPPORT_CERTIFICATES_H_
#define INFERWIRE_TESTS_SUPPORT_CERTIFICATES_H_

#include <grpcpp/security/server_credentials.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "support/catch.h"
#include "support/raw_server.h"

namespace inferwire_test {

inline std::string Certificate(const std::string& file) { return INFERWIRE_CERTIFICATES "/" + file; }
inline std::string ContentsOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A folder that goes with the test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "inferwire-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  /// Replaces a file by renaming, as files of certificates are to be.
  void Put(const std::string& name, const std::string& contents) const {
    std::ofstream(path_ / "new", std::ios::binary) << contents;
    std::filesystem::rename(path_ / "new", path_ / name);
  }

 private:
  std::filesystem::path path_;
};

/// A certificate of the authority `ca` for the key of `server`, with the common name and the alternative names given;
/// none where those are empty.
inline std::string MakeCertificate(const Folder& folder, const std::string& common_name, const std::string& names) {
  folder.Put("extensions", names.empty() ? "basicConstraints=CA:FALSE\n" : "subjectAltName=" + names + "\n");
  const std::string command = "openssl req -new -key '" + Certificate("server.key") + "' -subj '/CN=" + common_name +
                              "' -out '" + folder / "csr" + "' 2>'" + folder / "log" + "' && openssl x509 -req -in '" +
                              folder / "csr" + "' -CA '" + Certificate("ca.pem") + "' -CAkey '" +
                              Certificate("ca.key") + "' -set_serial 7 -days 2 -extfile '" + folder / "extensions" +
                              "' -out '" + folder / "pem" + "' 2>'" + folder / "log" + "'";
  INFO(command);
  const bool made = std::system(command.c_str()) == 0;
  INFO(ContentsOf(folder / "log"));
  REQUIRE(made);
  return ContentsOf(folder / "pem");
}

/// A server that shows a certificate, and asks for one of the client's if it is to.
inline std::unique_ptr<RawServer> TlsServer(const std::string& certificate, const std::string& key,
                                            std::function<void(RawCall&)> handler, bool ask = false) {
  grpc::SslServerCredentialsOptions options(ask ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  options.pem_root_certs = ContentsOf(Certificate("both-ca.pem"));
  options.pem_key_cert_pairs.push_back({key, certificate});
  return std::make_unique<RawServer>(std::move(handler), "127.0.0.1:0", grpc::SslServerCredentials(options));
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_CERTIFICATES_H_
