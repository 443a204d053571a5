// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/channel/target.h"

#include <absl/strings/escaping.h>

#include <cstddef>
#include <cstdlib>
#include <string>

#include "inferwire/client.h"
#include "support/catch.h"

using inferwire::detail::channel::ValidateTarget;

namespace {
// A name of so many characters, in parts that are not too long.
std::string LongName(std::size_t size) {
  std::string out(size, 'a');
  for (std::size_t i = 50; i + 1 < size; i += 50) out[i] = '.';
  return out;
}
}  // namespace

TEST_CASE("targets that gRPC can reach are accepted", "[channel]") {
  const std::string targets[] = {"localhost:50051",
                                 "10.0.0.1:1",
                                 "[::1]:65535",
                                 "example.org:443",
                                 "dns:///host:50051",
                                 "dns:host:1",
                                 "dns:/host:1",
                                 "dns:[::1]:1",
                                 "dns:///%5B::1%5D:1",
                                 "dns://8.8.8.8:53/host:1",
                                 "dns://[::1]:53/host:1",
                                 "my_host-1.:1",
                                 "127.1.2.3:1",
                                 "dns:53",
                                 "[fe80::1%nowhere0]:1",
                                 "h\xc3\xa9llo:1",
                                 "ipv4:///127.0.0.1:1",
                                 "ipv6:[::1]:1,[::2]:2",
                                 "unix:///run/server.sock",
                                 "google-c2p:///service",
                                 "unix:/run/server.sock",
                                 "unix:server.sock",
                                 "unix-abstract:name",
                                 "ipv4:127.0.0.1:1,127.0.0.2:1",
                                 "ipv6:[::1]:1",
                                 "xds:///service",
                                 "my_service:8001",
                                 "_http._tcp.a:1",
                                 "a-b:1",
                                 "a--b:080",
                                 "1a:1",
                                 "web.1:1",
                                 "123456789012:1",
                                 "0.0.0.0:1",
                                 std::string(63, 'a') + ":1",
                                 LongName(253) + ":1",
                                 LongName(253) + ".:1",
                                 "[::]:1",
                                 "[1:2:3:4:5:6:7:8]:1",
                                 "[1:2:3:4:5:6:7::]:1",
                                 "[::ffff:10.0.0.1]:1",
                                 "[1:2:3:4:5:6:1.2.3.4]:1",
                                 "[FE80::ab%1]:1",
                                 "a%2eb:1",
                                 "unix:/" + std::string(100, 'x'),
                                 "xn--hllo-bpa:1"};
  for (const std::string& target : targets) {
    CAPTURE(target);
    CHECK(ValidateTarget(target).ok());
  }
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
      {"127.0.0.1.:8001", "did you mean '127.0.0.1'?"},
      {"0x7f.1:8001", "did you mean '127.0.0.1'?"},
      {"0x7F000001:8001", "did you mean '127.0.0.1'?"},
      {"2130706433:8001", "did you mean '127.0.0.1'?"},
      {"127.1:1", "did you mean '127.0.0.1'?"},
      {"127.0.0.010:1", "did you mean '127.0.0.8'?"},
      {"1.2.3.4.5:1", "neither an IPv4 address nor a name"},
      {"0:1", "did you mean '0.0.0.0'?"},
      {"4294967296:1", "neither an IPv4 address nor a name"},
      {"dns:///2130706433:1", "did you mean '127.0.0.1'?"},
      {"\xff:1", "not UTF-8"},
      {"a\xc3:1", "not UTF-8"},
      {"%ff:1", "not UTF-8"},
      {"%00:1", "holds a '\\x00'"},
      {"a%20b:1", "holds a ' '"},
      {"a%zz:1", "holds a '%'"},
      {"127.0.0.1%lo:1", "holds a '%'"},
      {"-:1", "begins or ends with a '-'"},
      {"-a:1", "begins or ends with a '-'"},
      {"a-.b:1", "begins or ends with a '-'"},
      {"--:1", "begins or ends with a '-'"},
      {"_:1", "neither letter nor digit"},
      {"__.a:1", "neither letter nor digit"},
      {"a..:1", "has 0 characters"},
      {".a:1", "has 0 characters"},
      {LongName(254) + ":1", "254 characters; DNS allows 253"},
      {"[::1:1", "'[' without its ']'"},
      {"[::1", "'[' without its ']'"},
      {"::1]:1", "several colons"},
      {"[::1]]:1", "no IPv6 address"},
      {"[fe80::1%]:1", "no IPv6 address"},
      {"[1:2:3:4:5:6:7]:1", "no IPv6 address"},
      {"[1:2:3:4:5:6:7:8:9]:1", "no IPv6 address"},
      {"[1::2::3]:1", "no IPv6 address"},
      {"[:::]:1", "no IPv6 address"},
      {"[12345::]:1", "no IPv6 address"},
      {"[::1.2.3]:1", "no IPv6 address"},
      {"[::1]:", "has the port ''"},
      {"[::1]:0", "none of 1 to 65535"},
      {"host: 80", "white space"},
      {"host:0x50", "none of 1 to 65535"},
      {"ipv6:[fe80::1%no-such-zone]:1", "zone"},
      {"ipv4:127.0.0.1.:1", "did you mean '127.0.0.1'?"},
      {"ipv4:0x7f.1:1", "did you mean '127.0.0.1'?"},
      {"dns://127.1:53/host:1", "ADDRESS:PORT alone"},
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
  const bool known = !inferwire::detail::channel::UnderstoodByGrpc("vsock:no-number");
  const absl::Status status = ValidateTarget("vsock:3:50051");
  CHECK(status.ok() == known);
  if (!known) CHECK(std::string(status.message()).find("which this gRPC does not know") != std::string::npos);
}

TEST_CASE("xds: is refused where there is no bootstrap that gRPC could read", "[channel]") {
  using inferwire::detail::channel::ValidateSurroundings;
  ::unsetenv("GRPC_XDS_BOOTSTRAP");
  ::unsetenv("GRPC_XDS_BOOTSTRAP_CONFIG");
  CHECK(ValidateSurroundings("dns:///a:1").ok());
  const auto refused = [](const std::string& why) {
    const absl::Status status = inferwire::Client::Create({.targets = {"xds:///service"}}).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).find("target 'xds:///service' needs an xDS bootstrap, and " + why) == 0);
    CHECK(std::string(status.message()).find("GRPC_XDS_BOOTSTRAP_CONFIG") != std::string::npos);
  };
  refused("there is none");
  ::setenv("GRPC_XDS_BOOTSTRAP", "/no/such/file", 1);
  refused("the file '/no/such/file', which GRPC_XDS_BOOTSTRAP names, cannot be read");
  ::unsetenv("GRPC_XDS_BOOTSTRAP");
  ::setenv("GRPC_XDS_BOOTSTRAP_CONFIG", "{}", 1);
  CHECK(ValidateSurroundings("xds:///service").ok());
  ::unsetenv("GRPC_XDS_BOOTSTRAP_CONFIG");
}
