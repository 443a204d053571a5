// SPDX-License-Identifier: Apache-2.0
//
// A proxy that the environment names reads what goes by it: what must not be read does not.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "inferwire/detail/channel/target.h"
#include "support/inference.h"
#include "support/sockets.h"

using inferwire::BearerToken;
using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::detail::channel::TargetSyntax;
using namespace inferwire_test;  // NOLINT

namespace {

// Names a proxy by all that gRPC looks at.
class Environment {
 public:
  explicit Environment(const std::string& proxy, const char* name = nullptr) {
    for (const char* const one : kNames) ::unsetenv(one);
    for (const char* const one : {"grpc_proxy", "https_proxy", "http_proxy"}) {
      if (name == nullptr || std::string(name) == one) ::setenv(one, ("http://" + proxy).c_str(), 1);
    }
    ::setenv("GRPC_ADDRESS_HTTP_PROXY", proxy.c_str(), 1);
    ::setenv("GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES", "0.0.0.0/0", 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    for (const char* const one : kNames) ::unsetenv(one);
  }

 private:
  static constexpr const char* kNames[] = {"grpc_proxy",
                                           "https_proxy",
                                           "http_proxy",
                                           "no_grpc_proxy",
                                           "no_proxy",
                                           "GRPC_ADDRESS_HTTP_PROXY",
                                           "GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES"};
};

std::string Port(const std::string& target) { return target.substr(target.rfind(':')); }

// A call that shows what it carries.
std::string Authorization(const Client& client, inferwire::CallOptions options = {}) {
  const auto reply = client.Call<&Inference::RunInference>(Text("x"), std::move(options));
  return reply.ok() ? reply->text() : "failed: " + std::string(reply.status().message());
}
void TellAuthorization(RawCall& call) {
  call.Read();
  call.Write(Answer(call.header("authorization")));
}

// Not reached by anyone (RFC 5737); a proxy would be asked for it.
ClientOptions Brief() {
  ClientOptions options;
  options.timeout = absl::Milliseconds(500);
  options.retry.max_attempts = 1;
  return options;
}
constexpr const char* kElsewhere = "192.0.2.1:50051";

}  // namespace

TEST_CASE("targets on this machine are told by their spelling", "[hostile][proxy]") {
  for (const char* const local : {"localhost:1",
                                  "LocalHost:1",
                                  "localhost.:1",
                                  "models.localhost:1",
                                  "ip6-localhost:1",
                                  "localhost.localdomain:1",
                                  "127.0.0.1:1",
                                  "127.255.0.9:1",
                                  "127.1:1",
                                  "0x7f.1:1",
                                  "0177.0.0.1:1",
                                  "2130706433:1",
                                  "0.0.0.0:1",
                                  "0:1",
                                  "[::1]:1",
                                  "[0:0:0:0:0:0:0:1]:1",
                                  "[::1%lo]:1",
                                  "[::]:1",
                                  "[::ffff:127.0.0.1]:1",
                                  "[::ffff:7f00:1]:1",
                                  "dns:localhost:1",
                                  "dns:///localhost:1",
                                  "dns:/127.0.0.1:1",
                                  "dns://8.8.8.8:53/localhost:1",
                                  "dns:///%5B::1%5D:1",
                                  "ipv4:127.0.0.1:1",
                                  "ipv4:///127.0.0.1:1",
                                  "ipv4:10.0.0.1:1,127.0.0.1:1",
                                  "ipv6:[::1]:1",
                                  "ipv6:%5B::1%5D:1",
                                  "unix:/run/x",
                                  "unix:x",
                                  "unix:///run/x",
                                  "unix-abstract:x",
                                  "vsock:2:1"}) {
    CAPTURE(local);
    CHECK(TargetSyntax::Local(local));
  }
  for (const char* const other :
       {"models.internal:1", "localhost.example.org:1", "mylocalhost:1", "128.0.0.1:1", "10.127.0.1:1", "1.127:1",
        "[::2]:1", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:1", "[::ffff:0:127.0.0.1]:1", "dns:///models.internal:1",
        "dns://127.0.0.1:53/models.internal:1", "ipv4:10.0.0.1:1", "ipv6:[fe80::1%lo]:1", "xds:///localhost",
        "google-c2p:///localhost"}) {
    CAPTURE(other);
    CHECK_FALSE(TargetSyntax::Local(other));
  }
}

TEST_CASE("targets on this machine are never reached by a proxy", "[hostile][proxy]") {
  const char* const name = GENERATE("grpc_proxy", "https_proxy", "http_proxy");
  const ConnectProxy proxy;
  const Environment environment(proxy.target(), name);
  RawServer server(TellAuthorization);
  const std::string socket =
      (std::filesystem::temp_directory_path() / ("inferwire-proxy-" + std::to_string(::getpid()))).string();
  RawServer file(TellAuthorization, "unix:" + socket);
  const std::string abstract = "inferwire-proxy-" + std::to_string(::getpid());
  RawServer nameless(TellAuthorization, "unix-abstract:" + abstract);
  const std::string port = Port(server.target());
  for (const std::string& target :
       {"127.0.0.1" + port, "localhost" + port, "LOCALHOST" + port, "dns:///localhost" + port, "ipv4:127.0.0.1" + port,
        "ipv4:///127.0.0.1" + port, "[::ffff:127.0.0.1]" + port, "0.0.0.0" + port, "unix:" + socket, "unix://" + socket,
        "unix-abstract:" + abstract}) {
    for (const bool idempotent : {true, false}) {
      CAPTURE(name, target, idempotent);
      const Client client = Connect(
          target,
          {.timeout = absl::Seconds(5), .idempotent = idempotent, .token = BearerToken("secret").EvenOverPlaintext()});
      CHECK(client.WaitUntilReady(absl::Seconds(5)).ok());
      CHECK(Authorization(client) == "Bearer secret");
      CHECK(Authorization(Connect(target, {.timeout = absl::Seconds(5)})).empty());
      CHECK(proxy.connections() == 0);
    }
  }
  std::filesystem::remove(socket);
}

TEST_CASE("a token never goes by a proxy over plaintext, whatever the target", "[hostile][proxy]") {
  const ConnectProxy proxy;
  const Environment environment(proxy.target());
  const BearerToken token = BearerToken("secret").EvenOverPlaintext();
  // The client's, by whatever option, and a call's.
  ClientOptions with_token = Brief(), with_metadata = Brief();
  with_token.token = token;
  with_metadata.metadata = {{"authorization", "Bearer secret"}};
  for (const ClientOptions& options : {with_token, with_metadata}) {
    const Client client = Connect(kElsewhere, options);
    CHECK_FALSE(client.WaitUntilReady(absl::Milliseconds(300)).ok());
    CHECK_FALSE(client.Call<&Inference::RunInference>(Text("x")).ok());
  }
  const Client client = Connect(kElsewhere, Brief());
  for (const bool idempotent : {true, false}) {
    CHECK_FALSE(client.Call<&Inference::RunInference>(Text("x"), {.token = token, .idempotent = idempotent}).ok());
    CHECK_FALSE(
        client.Async<&Inference::RunInference>(Text("x"), {.token = token, .idempotent = idempotent}).Get().ok());
    auto stream = client.Stream<&Inference::StreamInference>(
        Text("x"), {.timeout = absl::Milliseconds(300), .token = token, .idempotent = idempotent});
    CHECK_FALSE(stream.Read().has_value());
    CHECK_FALSE(client
                    .Call<&Inference::RunInference>(
                        Text("x"), {.metadata = {{"authorization", "Basic c2VjcmV0"}}, .idempotent = idempotent})
                    .ok());
  }
  CHECK(proxy.connections() == 0);
}

TEST_CASE("other calls go by the proxy as ever, beside those that do not", "[hostile][proxy]") {
  const ConnectProxy proxy;
  const Environment environment(proxy.target());
  RawServer server(TellAuthorization);
  const Client client = Connect("models.internal" + Port(server.target()), {.timeout = absl::Seconds(5)});
  CHECK(Authorization(client).empty());
  CHECK(proxy.tunnels() >= 1);
  const int before = proxy.connections();
  const auto refused = client.Call<&Inference::RunInference>(
      Text("x"), {.timeout = absl::Milliseconds(500), .token = BearerToken("secret").EvenOverPlaintext()});
  CHECK_FALSE(refused.ok());
  CHECK(proxy.connections() == before);
  CHECK(Authorization(client).empty());
  // And by none where that is said.
  ClientOptions without = Brief();
  without.connection.use_proxy = false;
  CHECK_FALSE(
      Connect("models.internal" + Port(server.target()), without).Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(proxy.connections() == before);
}
