// SPDX-License-Identifier: Apache-2.0
//
// Short names for tests that call the project's own contract on a raw server.
#ifndef INFERWIRE_TESTS_SUPPORT_INFERENCE_H_
#define INFERWIRE_TESTS_SUPPORT_INFERENCE_H_

#include <string>
#include <utility>

#include "inferwire/client.h"
#include "inferwire/inference.grpc.pb.h"
#include "support/catch.h"
#include "support/raw_server.h"

namespace inferwire_test {

using Inference = inference::Inference::Stub;

inline inferwire::Client Connect(const std::string& target, inferwire::ClientOptions options = {}) {
  options.targets = {target};
  options.credentials = inferwire::Insecure();
  auto client = inferwire::Client::Create(std::move(options));
  REQUIRE(client.ok());
  return *std::move(client);
}

inline inference::Request Text(const std::string& text) {
  inference::Request request;
  request.set_text(text);
  return request;
}

inline inference::Response Response(const std::string& text) {
  inference::Response response;
  response.set_text(text);
  return response;
}

/// The same, serialised.
inline std::string Answer(const std::string& text) { return Response(text).SerializeAsString(); }

inline std::string TextOf(const std::string& bytes) {
  inference::Request request;
  return request.ParseFromString(bytes) ? request.text() : "unparsable";
}

/// Answers a unary call, or each request of a stream, with its text.
inline void Echo(RawCall& call) {
  while (auto bytes = call.Read()) {
    if (!call.Write(Answer(TextOf(*bytes)))) return;
  }
}

inline bool Contains(const absl::Status& status, const std::string& part) {
  const bool found = std::string(status.message()).find(part) != std::string::npos;
  if (!found) UNSCOPED_INFO("'" << status.message() << "' lacks '" << part << "'");
  return found;
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_INFERENCE_H_
