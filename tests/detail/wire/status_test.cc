// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/wire/status.h"

#include <string>

#include "support/catch.h"

using inferwire::Metadata;
using inferwire::detail::wire::FromGrpc;
using inferwire::detail::wire::ValidateMetadata;

TEST_CASE("every gRPC code keeps its number and message", "[wire]") {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status = FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(code), "why"));
    CHECK(static_cast<int>(status.code()) == code);
    CHECK(status.message() == "why");
  }
  CHECK(FromGrpc(grpc::Status()).ok());
}

TEST_CASE("a code that nobody defined becomes UNKNOWN and is named", "[wire]") {
  int code = 99;  // as it comes off the wire
  const absl::Status status = FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(code), "odd"));
  CHECK(status.code() == absl::StatusCode::kUnknown);
  CHECK(status.message() == "status code 99: odd");
}

TEST_CASE("metadata that HTTP/2 can carry is accepted", "[wire]") {
  CHECK(ValidateMetadata({}).ok());
  CHECK(ValidateMetadata({{"x-tenant", "a b~"}, {"trace_id.9", ""}, {"blob-bin", std::string("\0\xff\n", 3)}}).ok());
}

TEST_CASE("metadata that would abort the process is refused by name", "[wire]") {
  const auto [key, value] = GENERATE(table<std::string, std::string>({
      {"", "x"},
      {"X-Tenant", "x"},
      {"x tenant", "x"},
      {":path", "x"},
      {"x\n", "x"},
      {"caf\xc3\xa9", "x"},
      {"grpc-timeout", "1S"},
      {"x", "line\nbreak"},
      {"x", "\x7f"},
      {"x", "\xc3\xa9"},
  }));
  CAPTURE(key);
  const absl::Status status = ValidateMetadata({{"ok", "1"}, {key, value}});
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(status.message()).find("metadata: ") == 0);
}

TEST_CASE("a refused metadata value is not repeated, since it may be a secret", "[wire]") {
  const absl::Status status = ValidateMetadata({{"authorization", "Bearer s3cret\n"}});
  CHECK(std::string(status.message()).find("authorization") != std::string::npos);
  CHECK(std::string(status.message()).find("s3cret") == std::string::npos);
}
