// SPDX-License-Identifier: Apache-2.0
#include "inferwire/credentials.h"

#include <unistd.h>
#include <cstdio>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/inference.h"

using inferwire::Credentials;
using inferwire::Insecure;
using inferwire::Tls;
using inferwire_test::Contains;

namespace {
class File {
 public:
  explicit File(const std::string& contents) {
    std::string name = (std::filesystem::temp_directory_path() / "inferwire-XXXXXX").string();
    const int fd = ::mkstemp(name.data());
    REQUIRE(fd >= 0);
    ::close(fd);
    path = name;
    std::ofstream(path) << contents;
  }
  ~File() { std::remove(path.c_str()); }
  std::string path;
};
}  // namespace

TEST_CASE("TLS is the default and plaintext is spelled out", "[credentials]") {
  CHECK(Credentials().secure());
  CHECK(Tls().secure());
  CHECK_FALSE(Insecure().secure());
  CHECK(inferwire::ClientOptions().credentials.secure());
  CHECK(Credentials().Build().ok());
}

TEST_CASE("a missing file is NOT_FOUND, naming the option, the path and the reason", "[credentials]") {
  const absl::Status status = Tls({.root_certificates_file = "/nowhere/ca.pem"}).Build().status();
  CHECK(status.code() == absl::StatusCode::kNotFound);
  CHECK(status.message() == "TLS: cannot read root_certificates_file '/nowhere/ca.pem': No such file or directory");
  CHECK(
      inferwire::Client::Create({.targets = {"a:1"}, .credentials = Tls({.root_certificates_file = "/nowhere/ca.pem"})})
          .status() == status);
}

TEST_CASE("a directory, an empty file and a file of another kind are refused", "[credentials]") {
  CHECK(Tls({.root_certificates_file = "/tmp"}).Build().status().code() == absl::StatusCode::kNotFound);
  const File empty(""), text("hello");
  CHECK_FALSE(Tls({.root_certificates_file = empty.path}).Build().ok());
  const absl::Status status = Tls({.root_certificates_file = text.path}).Build().status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(status, "'" + text.path + "' is no PEM file of its kind"));
}

TEST_CASE("a file that is cut off or damaged is refused", "[credentials]") {
  const std::string begin = "-----BEGIN CERTIFICATE-----\n", end = "-----END CERTIFICATE-----\n";
  for (const std::string& body : {begin, begin + "QUJD\n", begin + end, begin + "not base64!\n" + end}) {
    CAPTURE(body);
    const File file(body);
    const absl::Status status = Tls({.root_certificates_file = file.path}).Build().status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(Contains(status, "'" + file.path + "' is damaged"));
  }
  // Whole, and no certificate all the same.
  const File letters(begin + "QUJD\n" + end);
  const absl::Status status = Tls({.root_certificates_file = letters.path}).Build().status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(status, "'" + letters.path + "' holds no certificate that can be read"));
}

TEST_CASE("a certificate without its key, or a key without its certificate, is refused", "[credentials]") {
  CHECK(Contains(Tls({.certificate_chain_file = "c.pem"}).Build().status(),
                 "certificate_chain_file 'c.pem' was given without its private_key_file"));
  CHECK(Contains(Tls({.private_key_file = "k.pem"}).Build().status(),
                 "private_key_file 'k.pem' was given without its certificate_chain_file"));
}
