// SPDX-License-Identifier: Apache-2.0
//
// What ClientOptions::attempt_timeout bounds of streams: attempts that are not answered, and none whose messages flow.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/inference.h"
#include "inferwire/testing/fake_clock.h"
#include "support/inference.h"

using inferwire::Client;
using namespace inferwire_test;  // NOLINT
namespace oip = inferwire::open_inference;

namespace {

using FakeClock = inferwire::testing::FakeClock;

Client Connect(const RawServer& server, const std::shared_ptr<FakeClock>& clock) {
  return inferwire_test::Connect(
      server.target(),
      {.attempt_timeout = absl::Seconds(2), .retry = {.initial_backoff = absl::ZeroDuration()}, .clock = clock});
}

}  // namespace

TEST_CASE("a stream whose messages flow is not cut off by the attempt_timeout", "[attempt_timeout]") {
  Event go;
  std::atomic<int> calls{0};
  RawServer server([&](RawCall& call) {
    ++calls;
    call.Read();
    call.Write(Answer("a"));
    go.Wait();
    call.Write(Answer("b"));
  });
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(server, clock);
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  REQUIRE(stream.Read().value_or(Response("none")).text() == "a");
  clock->Advance(absl::Seconds(30));
  go.Set();
  CHECK(stream.Read().value_or(Response("none")).text() == "b");
  CHECK_FALSE(stream.Read().has_value());
  INFO(stream.status().ToString());
  CHECK(stream.status().ok());
  CHECK(calls == 1);
}

TEST_CASE("the server is told of a stream's own deadline, not of its attempt's", "[attempt_timeout]") {
  std::atomic<double> given{0};
  RawServer server([&](RawCall& call) {
    given = std::chrono::duration<double>(call.context().deadline() - std::chrono::system_clock::now()).count();
    Echo(call);
  });
  const Client client = Connect(server, std::make_shared<FakeClock>());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = absl::Seconds(1000)});
  REQUIRE(stream.Read().has_value());
  CHECK(given > 500);
  CHECK(client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(1000)}).ok());
  CHECK(given < 10);
}

TEST_CASE("a stream that is not answered within the attempt_timeout is tried again", "[attempt_timeout]") {
  std::atomic<int> calls{0};
  Event called;
  RawServer server([&](RawCall& call) {
    if (++calls > 1) return Echo(call);
    called.Set();
    call.WaitForCancel();
  });
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(server, clock);
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  REQUIRE(called.Wait());
  clock->Advance(absl::Seconds(2));
  CHECK(stream.Read().value_or(Response("none")).text() == "x");
  CHECK(calls == 2);
}

TEST_CASE("a session that was answered goes on for as long as it likes", "[attempt_timeout]") {
  RawServer server(Echo);
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(server, clock);
  auto session = client.Open<&Inference::Converse>();
  for (const std::string text : {"a", "b", "c"}) {
    REQUIRE(session.Write(Text(text)).ok());
    CHECK(session.Read().value_or(Response("none")).text() == text);
    clock->Advance(absl::Seconds(30));
  }
  CHECK(session.Finish().ok());
}

TEST_CASE("a session that is not answered ends with the attempt_timeout", "[attempt_timeout]") {
  Event called;
  RawServer server([&](RawCall& call) {
    call.Read();
    called.Set();
    call.WaitForCancel();
  });
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(server, clock);
  auto session = client.Open<&Inference::Converse>();
  REQUIRE(session.Write(Text("a")).ok());
  REQUIRE(called.Wait());
  // The client may hear only after a step of the clock that its message was taken, and waits from then.
  std::jthread time([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      clock->Advance(absl::Seconds(2));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  CHECK_FALSE(session.Read().has_value());
  CHECK(Contains(session.Finish(), "no message within the attempt_timeout of 2s"));
}

TEST_CASE("an upload takes as long as its messages do", "[attempt_timeout]") {
  std::atomic<int> read{0};
  RawServer server([&](RawCall& call) {
    while (call.Read()) {
      ++read;
      read.notify_all();
    }
    call.Write(Answer("all"));
  });
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(server, clock);
  auto upload = client.Upload<&Inference::UploadInference>();
  for (int round = 1; round <= 5; ++round) {
    // The second is sent when the client knows that the first was taken.
    REQUIRE(upload.Write(Text("x")).ok());
    REQUIRE(upload.Write(Text("x")).ok());
    for (int seen = read; seen < 2 * round; seen = read) read.wait(seen);
    clock->Advance(absl::Milliseconds(1500));
  }
  const auto reply = upload.Finish();
  INFO(reply.status().ToString());
  CHECK(reply.ok());
}

TEST_CASE("requests on a shared stream have their own attempt_timeout, the stream has none", "[attempt_timeout]") {
  Event second;
  RawServer server([&](RawCall& call) {
    while (const auto bytes = call.Read()) {
      oip::ModelInferRequest request;
      if (!request.ParseFromString(*bytes)) std::abort();
      for (const bool last : {false, true}) {
        oip::ModelStreamInferResponse message;
        auto& response = *message.mutable_infer_response();
        response.set_id(request.id());
        auto& output = *response.add_outputs();
        output.set_name("n");
        output.set_datatype("FP32");
        output.add_shape(1);
        output.mutable_contents()->add_fp32_contents(1);
        (*response.mutable_parameters())["triton_final_response"].set_bool_param(last);
        if (last) second.Wait();
        if (!call.Write(message.SerializeAsString())) return;
      }
    }
  });
  const auto clock = std::make_shared<FakeClock>();
  inferwire::ClientOptions options{.targets = {server.target()}, .credentials = inferwire::Insecure()};
  options.attempt_timeout = absl::Seconds(2);
  options.clock = clock;
  const auto client = inferwire::InferenceClient<inferwire::OpenInference>::Create(std::move(options));
  REQUIRE(client.ok());
  auto results = client->GetModel("m", {.check = false}).StreamInfer({{"n", std::vector<float>{1}, {1}}});
  const bool read = results.Read().has_value();
  INFO(results.status().ToString());
  REQUIRE(read);
  clock->Advance(absl::Seconds(30));
  second.Set();
  while (results.Read()) {
  }
  CHECK(results.status().ok());
}
