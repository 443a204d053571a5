// SPDX-License-Identifier: Apache-2.0
#include "inferwire/channel/target.h"

#include <string>

#include "support/catch.h"

using inferwire::channel::ValidateTarget;

TEST_CASE("targets that gRPC can reach are accepted", "[channel]") {
  const std::string target =
      GENERATE("localhost:50051", "10.0.0.1:1", "[::1]:65535", "example.org:443", "dns:///host:50051", "dns:host",
               "dns://8.8.8.8/host:1", "unix:/run/server.sock", "unix:server.sock", "unix-abstract:name",
               "ipv4:127.0.0.1:1,127.0.0.2:1", "ipv6:[::1]:1", "xds:///service", "vsock:3:50051");
  CAPTURE(target);
  CHECK(ValidateTarget(target).ok());
}

TEST_CASE("targets that cannot be meant are refused with a quote and a reason", "[channel]") {
  const auto [target, reason] = GENERATE(table<std::string, std::string>({
      {"", "is empty"},
      {"http://localhost:8000", "has the scheme 'http'"},
      {"https://host", "has the scheme 'https'"},
      {"grpc://host:1", "has the scheme 'grpc'"},
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
      {"host:50051x", "none of 1 to 65535"},
      {"host:50051/path", "holds a '/'"},
      {"host :50051", "white space"},
      {"host:50051\n", "white space"},
      {"unix:", "names no address"},
      {"dns:///", "names no address"},
  }));
  CAPTURE(target);
  const absl::Status status = ValidateTarget(target);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(status.message()).find("target '" + target + "'") == 0);
  CHECK(std::string(status.message()).find(reason) != std::string::npos);
}
