// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/wire/message.h"

#include <string>
#include <vector>

#include "support/catch.h"

namespace wire = inferwire::detail::wire;

TEST_CASE("a payload is sent again without copying its bytes", "[wire]") {
  const wire::Payload payload(grpc::Slice(std::string(1000, 'x')));
  for (int attempt = 0; attempt < 3; ++attempt) {
    grpc::ByteBuffer buffer;
    bool own = false;
    REQUIRE(grpc::SerializationTraits<wire::Payload>::Serialize(payload, &buffer, &own).ok());
    CHECK(own);
    std::vector<grpc::Slice> slices;
    REQUIRE(buffer.Dump(&slices).ok());
    REQUIRE(slices.size() == 1);
    CHECK(slices[0].begin() == payload.slices()[0].begin());
  }
}

TEST_CASE("a reply knows whether a message came at all", "[wire]") {
  wire::Reply reply;
  CHECK_FALSE(reply.received());
  CHECK(reply.size() == 0);
  const grpc::Slice empty{std::string()};
  grpc::ByteBuffer buffer(&empty, 1);
  REQUIRE(grpc::SerializationTraits<wire::Reply>::Deserialize(&buffer, &reply).ok());
  CHECK(reply.received());
  CHECK(reply.size() == 0);
}
