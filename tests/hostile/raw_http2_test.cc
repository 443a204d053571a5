// SPDX-License-Identifier: Apache-2.0
//
// The raw HTTP/2 server of these tests is one that ordinary calls are answered by.
#include "support/raw_http2.h"

#include <string>

#include "support/inference.h"

using inferwire::Client;
using namespace inferwire_test;  // NOLINT

TEST_CASE("an ordinary call is answered by a server whose frames are written by hand", "[http2]") {
  const auto answer = Text("x").SerializeAsString();
  RawHttp2Server server([&](RawHttp2Stream& stream) {
    if (stream.Asks("/StreamInference")) {
      stream.SendHeaders(OkHeaders());
      stream.SendMessage(answer);
      stream.SendMessage(answer);
      stream.SendTrailers(StatusTrailers(9, "no more"));
      return;
    }
    CHECK(stream.Asks("/RunInference"));
    stream.Answer(answer);
  });
  const Client client = Connect(server.target());
  for (int i = 0; i < 3; ++i) {
    const auto reply = client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(20)});
    INFO(reply.status().ToString());
    CHECK(reply.ok());
  }
  auto responses = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = absl::Seconds(20)});
  int messages = 0;
  while (responses.Read()) ++messages;
  CHECK(messages == 2);
  CHECK(responses.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(server.accepted() == 1);
  CHECK(server.open() == 1);
  CHECK(server.streams() == 4);
  CHECK(server.received() > 100);
  CHECK(server.sent() > 100);
}
