// SPDX-License-Identifier: Apache-2.0
#include "inferwire/channel/target.h"

#include <absl/strings/escaping.h>

#include <string>

#include "support/catch.h"

using inferwire::channel::ValidateTarget;

TEST_CASE("targets that gRPC can reach are accepted", "[channel]") {
  const std::string target = GENERATE(
      "localhost:50051", "10.0.0.1:1", "[::1]:65535", "example.org:443", "dns:///host:50051", "dns:host:1",
      "dns:/host:1", "dns:[::1]:1", "dns:///%5B::1%5D:1", "dns://8.8.8.8:53/host:1", "dns://[::1]:53/host:1",
      "my_host-1.:1", "127.1.2.3:1", "dns:53", "[fe80::1%nowhere0]:1", "h\xc3\xa9llo:1", "ipv4:///127.0.0.1:1",
      "ipv6:[::1]:1,[::2]:2", "unix:///run/server.sock", "google-c2p:///service", "unix:/run/server.sock",
      "unix:server.sock", "unix-abstract:name", "ipv4:127.0.0.1:1,127.0.0.2:1", "ipv6:[::1]:1", "xds:///service");
  CAPTURE(target);
  CHECK(ValidateTarget(target).ok());
}

TEST_CASE("targets that cannot be meant are refused with a quote and a reason", "[channel]") {
  const auto [target, reason] = GENERATE(table<std::string, std::string>({
      {"", "is empty"},
      {"http://localhost:8000", "has the scheme 'http'"},
      {"http://localhost:8000/v2/models", "did you mean 'localhost:8000'?"},
      {"https://host", "by the credentials, Tls() or Insecure()"},
      {"HTTPS://host:1", "has the scheme 'HTTPS'"},
      {"grpc://host:1", "did you mean 'host:1'?"},
      {"tcp://host:1", "has the scheme 'tcp', which this gRPC does not know"},
      {"passthrough:///host:1", "which this gRPC does not know"},
      {"DNS:///host:1", "did you mean 'dns:'?"},
      {"IPV4:127.0.0.1:1", "did you mean 'ipv4:'?"},
      {"UNIX:/tmp/x", "did you mean 'unix:'?"},
      {"localhost", "has no port"},
      {"[::1]", "has no port"},
      {"::1:50051", "several colons"},
      {":50051", "has no host"},
      {"[]:1", "has no host"},
      {"host:", "has the port ''"},
      {"host:0", "none of 1 to 65535"},
      {"host:65536", "none of 1 to 65535"},
      {"host:99999999999999999999", "none of 1 to 65535"},
      {"host:-1", "none of 1 to 65535"},
      {"host:+80", "none of 1 to 65535"},
      {"host:50051x", "none of 1 to 65535"},
      {"host:http", "none of 1 to 65535"},
      {"host:50051/path", "holds a '/'"},
      {"host:50051/", "holds a '/'"},
      {"host:1?x=1", "holds a '?'"},
      {"dns:///host:1#x", "holds a '?' or '#'"},
      {"user@host:1", "holds an '@'"},
      {"a:1,b:1", "several elements of ClientOptions::targets"},
      {"*:1", "holds a '*'"},
      {"a;b:1", "holds a ';'"},
      {"a..b:1", "has 0 characters"},
      {".:1", "has 0 characters"},
      {std::string(64, 'a') + ":1", "has 64 characters"},
      {"256.0.0.1:1", "neither an IPv4 address nor a name"},
      {"10.0.0:1", "neither an IPv4 address nor a name"},
      {"[localhost]:1", "no IPv6 address"},
      {"[127.0.0.1]:1", "no IPv6 address"},
      {"[::zz]:1", "no IPv6 address"},
      {"host :50051", "white space"},
      {"host:50051\n", "white space"},
      {"unix:", "names no address"},
      {"dns:///", "names no address"},
      {"dns://host:8001", "did you mean 'dns:///host:8001'?"},
      {"dns://host:8001/", "no host"},
      {"dns:///host", "has no port, which gRPC would take for 443"},
      {"dns:host", "has no port"},
      {"dns:host:http", "has the port 'http'"},
      {"dns:///host:99999", "has the port '99999'"},
      {"dns:///host:0", "has the port '0'"},
      {"dns:///host:1/", "holds a '/'"},
      {"dns:///user@host:1", "holds an '@'"},
      {"dns:::1:80", "several colons"},
      {"dns:///[::1]", "has no port"},
      {"dns:///a:1,b:1", "holds a ','"},
      {"dns://8.8.8.8/host:1", "ADDRESS:PORT alone"},
      {"dns://resolver:53/host:1", "ADDRESS:PORT alone"},
      {"ipv4:localhost:8001", "'localhost:8001', which is no IPv4 address"},
      {"ipv4:127.0.0.1", "has no port"},
      {"ipv4:127.0.0.1:http", "has the port 'http'"},
      {"ipv4:127.0.0.1:0", "has the port '0'"},
      {"ipv4:127.0.0.1:1,127.0.0.2", "names '127.0.0.2', which has no port"},
      {"ipv4:127.0.0.1:1,", "names ''"},
      {"ipv4:[::1]:1", "no IPv4 address"},
      {"ipv4:1.2.3:4", "neither an IPv4 address nor a name"},
      {"ipv4://127.0.0.1:1", "did you mean 'ipv4:127.0.0.1:1'?"},
      {"ipv6:::1:1", "several colons"},
      {"ipv6:[::1]", "has no port"},
      {"ipv6:127.0.0.1:1", "no IPv6 address"},
      {"ipv6:[::1]:http", "has the port 'http'"},
      {"unix://tmp/x", "did you mean 'unix:tmp/x'?"},
      {"unix:/tmp/" + std::string(200, 'x'), "more than a socket's name has"},
      {"unix-abstract:" + std::string(200, 'x'), "more than a socket's name has"},
      {"unix-abstract://a/b", "did you mean"},
      {"xds:", "names no address"},
      {"vsock:x", "vsock"},
  }));
  CAPTURE(target);
  const absl::Status status = ValidateTarget(target);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(status.message()).find("target '" + absl::CHexEscape(target) + "'") == 0);
  CHECK(std::string(status.message()).find(reason) != std::string::npos);
}

TEST_CASE("vsock: is taken where this gRPC has it, else it is refused, and never resolved as a name", "[channel]") {
  const bool known = !inferwire::channel::UnderstoodByGrpc("vsock:no-number");
  const absl::Status status = ValidateTarget("vsock:3:50051");
  CHECK(status.ok() == known);
  if (!known) CHECK(std::string(status.message()).find("which this gRPC does not know") != std::string::npos);
}
