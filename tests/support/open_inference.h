// SPDX-License-Identifier: Apache-2.0
//
// Requests and answers of the Open Inference Protocol, between generated messages and what is sent and received.
#ifndef INFERWIRE_TESTS_SUPPORT_OPEN_INFERENCE_H_
#define INFERWIRE_TESTS_SUPPORT_OPEN_INFERENCE_H_

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/detail/wire/message.h"
#include "support/catch.h"

namespace inferwire_test {

inline std::string BytesOf(const inferwire::detail::wire::Payload& payload) {
  std::string bytes;
  for (const grpc::Slice& slice : payload.slices()) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

/// What a server's generated code makes of a request.
template <class C = inferwire::OpenInference>
absl::StatusOr<inferwire::open_inference::ModelInferRequest> Encoded(const inferwire::InferRequest& request) {
  const auto payload = C::Encode(request);
  if (!payload.ok()) return payload.status();
  const std::string bytes = BytesOf(*payload);
  REQUIRE(bytes.size() == payload->size());
  inferwire::open_inference::ModelInferRequest message;
  REQUIRE(message.ParseFromString(bytes));
  return message;
}

/// A reply as it comes from the transport, in pieces of so many bytes; 0: in one.
inline inferwire::detail::wire::Reply InPieces(const std::string& bytes, std::size_t piece = 0) {
  std::vector<grpc::Slice> slices;
  if (piece == 0) piece = (std::max<std::size_t>)(bytes.size(), 1);
  for (std::size_t at = 0; at < bytes.size(); at += piece) slices.emplace_back(bytes.substr(at, piece));
  grpc::ByteBuffer buffer(slices.data(), slices.size());
  inferwire::detail::wire::Reply reply;
  REQUIRE(grpc::SerializationTraits<inferwire::detail::wire::Reply>::Deserialize(&buffer, &reply).ok());
  return reply;
}

/// What the client makes of an answer, however it is cut into pieces.
inline absl::StatusOr<inferwire::InferResult> Decoded(const inferwire::open_inference::ModelInferResponse& response) {
  const std::string bytes = response.SerializeAsString();
  absl::StatusOr<inferwire::InferResult> whole = inferwire::OpenInference::Decode(InPieces(bytes));
  for (const std::size_t piece : std::initializer_list<std::size_t>{1, 3, 50}) {
    const auto cut = inferwire::OpenInference::Decode(InPieces(bytes, piece));
    CHECK(cut.status() == whole.status());
    if (!cut.ok()) continue;
    REQUIRE(cut->outputs().size() == whole->outputs().size());
    for (std::size_t i = 0; i < cut->outputs().size(); ++i) {
      const auto &a = cut->outputs()[i], &b = whole->outputs()[i];
      CHECK(a.name() == b.name());
      CHECK(std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end()));
      CHECK(std::equal(a.strings().begin(), a.strings().end(), b.strings().begin(), b.strings().end()));
    }
  }
  return whole;
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_OPEN_INFERENCE_H_
