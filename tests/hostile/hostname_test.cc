// SPDX-License-Identifier: Apache-2.0
//
// Whom a certificate is for: one rule, whether or not the files are looked at again. The authority is that of the
// directory INFERWIRE_CERTIFICATES.
#include <string>
#include <string_view>
#include <vector>

#include "inferwire/detail/channel/server_name.h"
#include "support/certificates.h"
#include "support/inference.h"

using inferwire::Client;
using inferwire::detail::CertificateIsFor;
using inferwire::detail::CertificateNames;
using inferwire::detail::HostOf;
using namespace inferwire_test;  // NOLINT

namespace {

struct Row {
  std::string alternatives;  // as openssl takes them; none: no such extension
  std::string common_name;
  std::string server_name;  // empty: the target's, 127.0.0.1
  bool taken;
};

CertificateNames Names(const Row& row) {
  CertificateNames out;
  out.common_name = row.common_name;
  std::string_view rest = row.alternatives;
  while (!rest.empty()) {
    const std::string_view one = rest.substr(0, rest.find(','));
    rest.remove_prefix(one.size() == rest.size() ? rest.size() : one.size() + 1);
    const std::string_view value = one.substr(one.find(':') + 1);
    if (one.starts_with("DNS:")) {
      out.dns.push_back(value);
    } else if (one.starts_with("IP:")) {
      out.ip.push_back(value);
    } else {
      out.others = true;
    }
  }
  return out;
}

const std::vector<Row>& Rows() {
  static const std::vector<Row>& rows = *new std::vector<Row>{
      // Names.
      {"DNS:models.internal", "x", "models.internal", true},
      {"DNS:a.test,DNS:models.internal", "x", "models.internal", true},
      {"DNS:Models.INTERNAL", "x", "models.internal", true},
      {"DNS:models.internal", "x", "MODELS.internal", true},
      {"DNS:models.internal", "x", "models.internal.", true},
      {"DNS:models.internal", "x", "xmodels.internal", false},
      {"DNS:models.internal", "x", "a.models.internal", false},
      {"DNS:a.models.internal", "x", "models.internal", false},
      {"DNS:models.internal.evil.test", "x", "models.internal", false},
      // Wildcards.
      {"DNS:*.models.internal", "x", "a.models.internal", true},
      {"DNS:*.models.internal", "x", "A.Models.Internal", true},
      {"DNS:*.models.internal", "x", "models.internal", false},
      {"DNS:*.models.internal", "x", "b.a.models.internal", false},
      {"DNS:*.internal", "x", "models.internal", false},
      {"DNS:*", "x", "localhost", false},
      {"DNS:*.*.internal", "x", "b.a.internal", false},
      // Partial ones, and those that stand elsewhere.
      {"DNS:m*.test.internal", "x", "models.test.internal", false},
      {"DNS:*s.test.internal", "x", "models.test.internal", false},
      {"DNS:models.*.internal", "x", "models.test.internal", false},
      {"DNS:models.test.*", "x", "models.test.internal", false},
      {"DNS:models.*", "x", "models.internal", false},
      // Addresses.
      {"IP:127.0.0.1", "x", "", true},
      {"IP:10.0.0.1,IP:127.0.0.1", "x", "", true},
      {"IP:127.0.0.2", "x", "", false},
      {"DNS:127.0.0.1", "x", "", false},
      {"DNS:*.0.0.1", "x", "", false},
      {"IP:127.0.0.1", "x", "models.internal", false},
      {"URI:spiffe://internal/127.0.0.1", "x", "", false},
      // The common name, where there is nothing else.
      {"", "models.internal", "models.internal", true},
      {"", "other.internal", "models.internal", false},
      {"", "*.internal", "models.internal", false},
      {"", "127.0.0.1", "", false},
      {"", "*.0.0.1", "", false},
      {"DNS:other.internal", "models.internal", "models.internal", false},
      {"IP:127.0.0.1", "models.internal", "models.internal", false},
      {"URI:spiffe://internal/x", "models.internal", "models.internal", false},
      {"email:x@y.test", "models.internal", "models.internal", false},
  };
  return rows;
}

}  // namespace

TEST_CASE("which names a certificate is for", "[hostile][hostname]") {
  for (const Row& row : Rows()) {
    CAPTURE(row.alternatives, row.common_name, row.server_name);
    CHECK(CertificateIsFor(Names(row), row.server_name.empty() ? "127.0.0.1" : row.server_name) == row.taken);
  }
  // What openssl does not write, or gRPC does not ask.
  const Row rows[] = {
      {"IP:::1", "", "[::1]", true},
      {"IP:0:0:0:0:0:0:0:1", "", "::1", true},
      {"IP:fe80::1", "", "[fe80::1%eth0]", true},
      {"IP:::1", "", "[::2]", false},
      {"DNS:models.internal.", "", "models.internal", true},
      {"DNS:", "", "models.internal", false},
      {"DNS:.", "", ".", false},
      {"DNS:.internal", "", "models.internal", false},
      {"DNS:*.", "", "internal", false},
      {"DNS:*..internal", "", "models.internal", false},
      {"DNS:*.models.internal", "", ".models.internal", false},
      {"DNS:*.models.internal", "", "*.models.internal", false},
      {"DNS:xn--*.models.internal", "", "xn--a.models.internal", false},
      {"DNS:*.0.1", "", "127.0.1", false},  // which resolvers take for an address
      {"DNS:2130706433", "", "2130706433", false},
      {"DNS:models.internal", "", "", false},
      {"", "", "", false},
      {"", "", "models.internal", false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.alternatives, row.server_name);
    CHECK(CertificateIsFor(Names(row), row.server_name) == row.taken);
  }
  CHECK(HostOf("models.internal:443") == "models.internal");
  CHECK(HostOf("models.internal") == "models.internal");
  CHECK(HostOf("[::1]:443") == "[::1]");
  CHECK(HostOf("::1") == "::1");
  CHECK(HostOf("127.0.0.1:1") == "127.0.0.1");
}

TEST_CASE("the two kinds of credentials take the same certificates from real servers", "[hostile][hostname]") {
  const Folder folder;
  const std::string key = ContentsOf(Certificate("server.key"));
  std::string shown;
  std::unique_ptr<RawServer> server;
  for (const Row& row : Rows()) {
    CAPTURE(row.alternatives, row.common_name, row.server_name);
    if (server == nullptr || shown != row.alternatives + "|" + row.common_name) {
      shown = row.alternatives + "|" + row.common_name;
      server = TlsServer(MakeCertificate(folder, row.common_name, row.alternatives), key, Echo);
    }
    for (const absl::Duration reload : {absl::Minutes(1), absl::InfiniteDuration()}) {
      CAPTURE(reload);
      const auto client =
          Client::Create({.targets = {server->target()},
                          .credentials = inferwire::Tls({.root_certificates_file = Certificate("ca.pem"),
                                                         .server_name = row.server_name,
                                                         .reload_interval = reload}),
                          .timeout = absl::Seconds(20),
                          .retry = {.max_attempts = 1}});
      REQUIRE(client.ok());
      const absl::Status status = client->Call<&Inference::RunInference>(Text("x")).status();
      CHECK(status.ok() == row.taken);
      INFO(status);
      if (row.taken) continue;
      // The handshake fails, and says why.
      CHECK(status.code() == absl::StatusCode::kUnavailable);
      CHECK(Contains(status, "the server's certificate is for "));
      CHECK(Contains(status, ", not for '" + (row.server_name.empty() ? "127.0.0.1" : row.server_name) + "'"));
      CHECK(Contains(client->WaitUntilReady(absl::Milliseconds(100)), "no connection within"));
    }
  }
}

TEST_CASE("where an authority is given it is the name that counts, unless a server name is", "[hostile][hostname]") {
  const Folder folder;
  const auto server = TlsServer(MakeCertificate(folder, "x", "DNS:models.internal,DNS:*.pool.internal"),
                                ContentsOf(Certificate("server.key")), Echo);
  const Row rows[] = {{"models.internal", "", "", true},      {"models.internal:443", "", "", true},
                      {"a.pool.internal", "", "", true},      {"b.a.pool.internal", "", "", false},
                      {"other.internal", "", "", false},      {"other.internal", "", "models.internal", true},
                      {"models.internal", "", "other", false}};
  for (const auto& [authority, unused, server_name, taken] : rows) {
    for (const absl::Duration reload : {absl::Minutes(1), absl::InfiniteDuration()}) {
      CAPTURE(authority, server_name, reload);
      const auto client =
          Client::Create({.targets = {server->target()},
                          .credentials = inferwire::Tls({.root_certificates_file = Certificate("ca.pem"),
                                                         .server_name = server_name,
                                                         .reload_interval = reload}),
                          .timeout = absl::Seconds(20),
                          .retry = {.max_attempts = 1},
                          .connection = {.authority = authority}});
      REQUIRE(client.ok());
      CHECK(client->Call<&Inference::RunInference>(Text("x")).ok() == taken);
    }
  }
}
