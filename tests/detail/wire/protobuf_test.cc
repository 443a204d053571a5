// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/wire/protobuf.h"

#include <string>
#include <vector>

#include "inferwire/inference.pb.h"
#include "support/catch.h"

namespace wire = inferwire::detail::wire;

namespace {
// What gRPC does with a reply that arrived in `slices`.
wire::Reply Received(std::vector<grpc::Slice> slices) {
  grpc::ByteBuffer buffer(slices.data(), slices.size());
  wire::Reply reply;
  REQUIRE(grpc::SerializationTraits<wire::Reply>::Deserialize(&buffer, &reply).ok());
  CHECK_FALSE(buffer.Valid());
  return reply;
}

template <class Message>
absl::StatusOr<Message> Decode(wire::Reply&& reply) {
  Message out;
  if (absl::Status status = wire::DecodeInto(std::move(reply), out); !status.ok()) return status;
  return out;
}
}  // namespace

TEST_CASE("a message survives encoding and decoding", "[wire]") {
  inference::Request request;
  request.add_input(0.5f);
  request.set_text("t");
  const auto payload = wire::Encode(request);
  REQUIRE(payload.ok());
  CHECK(payload->size() == request.ByteSizeLong());
  const auto back = Decode<inference::Request>(Received({payload->slices()[0]}));
  REQUIRE(back.ok());
  CHECK(back->SerializeAsString() == request.SerializeAsString());
}

TEST_CASE("a message that arrives in many slices is put together", "[wire]") {
  inference::Response response;
  for (int i = 0; i < 1000; ++i) response.add_output(static_cast<float>(i));
  const std::string bytes = response.SerializeAsString();
  std::vector<grpc::Slice> slices;
  for (std::size_t i = 0; i < bytes.size(); i += 7) slices.emplace_back(bytes.substr(i, 7));
  const auto back = Decode<inference::Response>(Received(slices));
  REQUIRE(back.ok());
  CHECK(back->output_size() == 1000);
}

TEST_CASE("an empty message is a message", "[wire]") {
  CHECK(Decode<inference::Response>(Received({grpc::Slice(std::string())})).ok());
  const auto payload = wire::Encode(inference::Request());
  REQUIRE(payload.ok());
  CHECK(payload->size() == 0);
}

TEST_CASE("a missing message is an error of its own", "[wire]") {
  const auto missing = Decode<inference::Response>(wire::Reply());
  CHECK(missing.status().code() == absl::StatusCode::kInternal);
  CHECK(std::string(missing.status().message()).find("sent no message") != std::string::npos);
}

TEST_CASE("bytes that are no such message are INTERNAL, naming the type and the size", "[wire]") {
  const std::string bytes =
      GENERATE(std::string("\xff\xff\xff"), std::string("\x0a\x7f") + "short", std::string(20, '\xff'));
  const auto bad = Decode<inference::Response>(Received({grpc::Slice(bytes)}));
  CHECK(bad.status().code() == absl::StatusCode::kInternal);
  CHECK(std::string(bad.status().message()) ==
        "the reply of " + std::to_string(bytes.size()) + " bytes does not parse as inference.Response");
}
