// SPDX-License-Identifier: Apache-2.0
//
// Whom a client trusts, what it shows, and what it says where that fails. The certificates are those of
// tests/support/make-certificates, in the directory INFERWIRE_CERTIFICATES.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/credentials.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"
#include "support/sockets.h"

using inferwire::BearerToken;
using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::Tls;
using inferwire::TlsOptions;
using namespace inferwire_test;  // NOLINT

namespace {

std::string Certificate(const std::string& file) { return INFERWIRE_CERTIFICATES "/" + file; }
std::string Contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A server that answers with the name of the client's certificate.
std::unique_ptr<RawServer> Server(const std::string& name, bool ask = false,
                                  const std::string& authority = "both-ca.pem") {
  grpc::SslServerCredentialsOptions options(ask ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  options.pem_root_certs = Contents(Certificate(authority));
  options.pem_key_cert_pairs.push_back({Contents(Certificate(name + ".key")), Contents(Certificate(name + ".pem"))});
  return std::make_unique<RawServer>(
      [](RawCall& call) {
        call.Read();
        const auto names = call.context().auth_context()->FindPropertyValues("x509_common_name");
        call.Write(
            Answer(names.empty() ? call.header("authorization") : std::string(names[0].data(), names[0].size())));
      },
      "127.0.0.1:0", grpc::SslServerCredentials(options));
}

Client Secure(const std::string& target, TlsOptions tls, ClientOptions options = {}) {
  options.targets = {target};
  options.credentials = Tls(std::move(tls));
  auto client = Client::Create(std::move(options));
  INFO(client.status());
  REQUIRE(client.ok());
  return *std::move(client);
}

TlsOptions Identity(const std::string& name) {
  return {.root_certificates_file = Certificate("ca.pem"),
          .certificate_chain_file = Certificate(name + ".pem"),
          .private_key_file = Certificate(name + ".key")};
}

}  // namespace

TEST_CASE("a server whose certificate is in order is called, whether or not the files are looked at again", "[tls]") {
  const auto server = Server("server");
  for (const absl::Duration reload : {absl::Seconds(1), absl::InfiniteDuration()}) {
    const Client client =
        Secure(server->target(), {.root_certificates_file = Certificate("ca.pem"), .reload_interval = reload});
    const auto reply = client.Call<&Inference::RunInference>(Text("x"));
    INFO(reply.status());
    CHECK(reply.ok());
  }
}

TEST_CASE("a server that asks for a client's certificate gets it", "[tls]") {
  const auto server = Server("server", /*ask=*/true);
  for (const absl::Duration reload : {absl::Seconds(1), absl::InfiniteDuration()}) {
    TlsOptions tls = Identity("client");
    tls.reload_interval = reload;
    const auto reply = Secure(server->target(), tls).Call<&Inference::RunInference>(Text("x"));
    INFO(reply.status());
    REQUIRE(reply.ok());
    CHECK(reply->text() == "client");
  }
}

TEST_CASE("whatever is wrong between the two ends a call with a status that says so, within its deadline", "[tls]") {
  struct Case {
    const char* what;
    std::string server;  // empty: plaintext
    bool ask;
    bool secure;
    TlsOptions tls;
    const char* advice = "";
  };
  const std::vector<Case> cases = {
      {"an authority that the client does not trust",
       "server",
       false,
       true,
       {.root_certificates_file = Certificate("other-ca.pem")},
       "TlsOptions::root_certificates_file names others"},
      {"the system's authorities do not know it either",
       "server",
       false,
       true,
       {},
       "TlsOptions::root_certificates_file names others"},
      {"an expired certificate",
       "expired",
       false,
       true,
       {.root_certificates_file = Certificate("ca.pem")},
       "certificate is expired, or"},
      {"a certificate for another name",
       "elsewhere",
       false,
       true,
       {.root_certificates_file = Certificate("ca.pem")},
       "TlsOptions::server_name says whom to expect"},
      {"no certificate of the client's where one is asked for",
       "server",
       true,
       true,
       {.root_certificates_file = Certificate("ca.pem")}},
      {"plaintext to a server that speaks TLS", "server", false, false, {}},
      {"TLS to a server that speaks plaintext", "", false, true, {.root_certificates_file = Certificate("ca.pem")}},
  };
  for (const Case& one : cases) {
    for (const bool reload : {true, false}) {
      CAPTURE(one.what, reload);
      const auto server = one.server.empty() ? std::make_unique<RawServer>(Echo) : Server(one.server, one.ask);
      ClientOptions options;
      options.targets = {server->target()};
      options.timeout = absl::Seconds(10);
      options.retry.max_attempts = 2;
      TlsOptions tls = one.tls;
      if (!reload) tls.reload_interval = absl::InfiniteDuration();
      options.credentials = one.secure ? Tls(tls) : inferwire::Insecure();
      const Client client = *Client::Create(options);
      inferwire::CallInfo info;
      const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.info = &info}).status();
      CAPTURE(status);
      CHECK(status.code() == absl::StatusCode::kUnavailable);
      CHECK(info.latency < absl::Seconds(8));
      CHECK(server->calls() == 0);
      CHECK_FALSE(status.message().empty());
      CHECK(Contains(status, one.advice));
    }
  }
}

TEST_CASE("a certificate for another name is taken where that name is asked for", "[tls]") {
  const auto server = Server("elsewhere");
  for (const absl::Duration reload : {absl::Seconds(1), absl::InfiniteDuration()}) {
    const auto reply = Secure(server->target(), {.root_certificates_file = Certificate("ca.pem"),
                                                 .server_name = "elsewhere.test",
                                                 .reload_interval = reload})
                           .Call<&Inference::RunInference>(Text("x"));
    INFO(reply.status());
    CHECK(reply.ok());
  }
}

TEST_CASE("clients with different credentials never share a connection", "[tls]") {
  const auto server = Server("server", /*ask=*/true);
  const Client one = Secure(server->target(), Identity("client"));
  const Client other = Secure(server->target(), Identity("renewed"));
  const Client alike = Secure(server->target(), Identity("client"));
  for (int i = 0; i < 20; ++i) {
    CHECK(one.Call<&Inference::RunInference>(Text("x"))->text() == "client");
    CHECK(other.Call<&Inference::RunInference>(Text("x"))->text() == "renewed");
    CHECK(alike.Call<&Inference::RunInference>(Text("x"))->text() == "client");
  }
}

TEST_CASE("a certificate that is renewed under load is used, and no call fails", "[tls]") {
  const auto server = Server("server", /*ask=*/true);
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("inferwire-tls-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const auto place = [&](const std::string& from, const std::string& to) {
    std::filesystem::copy_file(Certificate(from), folder / "new", std::filesystem::copy_options::overwrite_existing);
    std::filesystem::rename(folder / "new", folder / to);
  };
  place("ca.pem", "ca.pem");
  place("client.pem", "mine.pem");
  place("client.key", "mine.key");
  // Connections are short-lived, so that what the files hold is soon seen.
  const Client client = Secure(server->target(),
                               {.root_certificates_file = (folder / "ca.pem").string(),
                                .certificate_chain_file = (folder / "mine.pem").string(),
                                .private_key_file = (folder / "mine.key").string(),
                                .reload_interval = absl::Seconds(1)},
                               {.connection = {.max_age = absl::Milliseconds(100)}});
  std::atomic<bool> over{false};
  std::atomic<int> failed{0}, before{0}, after{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      while (!over) {
        const auto reply = client.Call<&Inference::RunInference>(Text("x"));
        ++(!reply.ok() ? failed : reply->text() == "client" ? before : after);
      }
    });
  }
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (before < 20 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  place("renewed.pem", "mine.pem");
  place("renewed.key", "mine.key");
  while (after < 20 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  over = true;
  for (std::thread& caller : callers) caller.join();
  CHECK(before >= 20);
  CHECK(after >= 20);
  CHECK(failed == 0);
  std::filesystem::remove_all(folder);
}

TEST_CASE("a token goes over TLS", "[tls]") {
  const auto server = Server("server");
  const Client client =
      Secure(server->target(), {.root_certificates_file = Certificate("ca.pem")}, {.token = BearerToken("secret")});
  CHECK(client.Call<&Inference::RunInference>(Text("x"))->text() == "Bearer secret");
}

TEST_CASE("the system's authorities are trusted unless others are given", "[tls]") {
  // Read once in a process, from where this says.
  ::setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", Certificate("ca.pem").c_str(), 1);
  const auto server = Server("server");
  const auto reply = Secure(server->target(), {}).Call<&Inference::RunInference>(Text("x"));
  INFO(reply.status());
  CHECK(reply.ok());
  // With a certificate of its own, too.
  TlsOptions tls = Identity("client");
  tls.root_certificates_file.clear();
  const auto asking = Server("server", /*ask=*/true);
  const auto mutual = Secure(asking->target(), tls).Call<&Inference::RunInference>(Text("x"));
  INFO(mutual.status());
  REQUIRE(mutual.ok());
  CHECK(mutual->text() == "client");
}

TEST_CASE("a reload interval that makes no sense is refused", "[tls]") {
  const absl::Status status = Tls({.reload_interval = absl::ZeroDuration()}).Build().status();
  CHECK(Contains(status, "reload_interval is 0"));
}

TEST_CASE("a proxy of the environment is used", "[tls]") {
  const auto server = Server("server");
  const RawServer plain(Echo);
  const ConnectProxy proxy;
  for (const char* const name : {"grpc_proxy", "no_proxy", "no_grpc_proxy"}) ::unsetenv(name);  // whoever runs this
  for (const char* const name : {"http_proxy", "https_proxy"}) {
    ::setenv(name, ("http://" + proxy.target()).c_str(), 1);
  }
  // Any other host than loopback, which the proxy takes for it.
  const auto elsewhere = [](const std::string& target) { return "models.internal" + target.substr(target.rfind(':')); };
  const auto secure =
      Secure(elsewhere(server->target()), {.root_certificates_file = Certificate("ca.pem"), .server_name = "localhost"})
          .Call<&Inference::RunInference>(Text(""));
  INFO(secure.status());
  CHECK(secure.ok());
  CHECK(proxy.tunnels() >= 1);
  const int before = proxy.tunnels();
  for (const bool idempotent : {true, false}) {
    const Client client = Connect(elsewhere(plain.target()), {.idempotent = idempotent});
    CHECK(client.Call<&Inference::RunInference>(Text("x"))->text() == "x");
  }
  CHECK(proxy.tunnels() >= before + 2);
  ::setenv("no_proxy", "models.internal", 1);
  const int with_proxy = proxy.tunnels();
  const Client without =
      Connect(elsewhere(plain.target()), {.retry = {.max_attempts = 1}, .pool = {.max_channels = 7}});
  CHECK_FALSE(without.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(proxy.tunnels() == with_proxy);
  for (const char* const name : {"http_proxy", "https_proxy", "no_proxy"}) ::unsetenv(name);
}

TEST_CASE("keys that gRPC cannot use are refused when the client is made", "[tls]") {
  const absl::Duration reload = GENERATE(absl::Minutes(1), absl::InfiniteDuration());
  const auto create = [&](const std::string& chain, const std::string& key) {
    return Client::Create({.targets = {"localhost:1"},
                           .credentials = Tls({.root_certificates_file = Certificate("ca.pem"),
                                               .certificate_chain_file = Certificate(chain),
                                               .private_key_file = Certificate(key),
                                               .reload_interval = reload})})
        .status();
  };
  CHECK(create("client.pem", "client.key").ok());
  for (const std::string key : {"client-encrypted.key", "client-encrypted-rsa.key"}) {
    const absl::Status status = create("client.pem", key);
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(Contains(status, "private_key_file '" + Certificate(key) + "' is encrypted, and gRPC takes no passphrase"));
  }
  const absl::Status other = create("client.pem", "server.key");
  CHECK(other.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(other, "'" + Certificate("server.key") + "' is not the key of certificate_chain_file '" +
                            Certificate("client.pem") + "'"));
}

TEST_CASE("a forgotten Insecure(), or Tls(), says so", "[tls]") {
  RawServer plain(Echo);
  const std::string port = plain.target().substr(plain.target().rfind(':'));
  const Client secure = Secure("localhost" + port, {.root_certificates_file = Certificate("ca.pem")});
  const absl::Status not_ready = secure.WaitUntilReady(absl::Seconds(1));
  CHECK(not_ready.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(Contains(not_ready, "the server seems to speak plaintext there, as Insecure() credentials do"));
  const absl::Status failed = secure.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(failed.code() == absl::StatusCode::kUnavailable);
  CHECK(Contains(failed, "Insecure()"));
  for (const char c : std::string(failed.message())) CHECK(static_cast<unsigned char>(c) >= 0x20);

  const auto server = Server("server");
  const Client bare = Connect(server->target());
  CHECK(Contains(bare.WaitUntilReady(absl::Seconds(1)), "as one does that expects TLS (Tls() credentials)"));
  CHECK(Contains(bare.Call<&Inference::RunInference>(Text("x")).status(), "Tls()"));
}

TEST_CASE("over TLS another authority is sent where the certificate bears it, or a server name is given", "[tls]") {
  const auto server = Server("server");
  const auto call = [&](const std::string& name, const std::string& authority) {
    const Client client =
        Secure(server->target(), {.root_certificates_file = Certificate("ca.pem"), .server_name = name},
               {.retry = {.max_attempts = 1}, .connection = {.authority = authority}});
    return client.Call<&Inference::RunInference>(Text("x")).status();
  };
  CHECK(call("", "localhost").ok());
  CHECK_FALSE(call("", "models.example.org").ok());
  CHECK(call("localhost", "models.example.org").ok());
}
