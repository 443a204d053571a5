// SPDX-License-Identifier: Apache-2.0
//
// Compiled against a stand-in for stdexec, which no platform packages yet.
#include "inferwire/sender.h"

#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "support/inference.h"

using inferwire::AsSender;
using inferwire::Client;
using namespace inferwire_test;  // NOLINT

namespace {

struct Outcome {
  std::optional<absl::StatusOr<inference::Response>> value;
  bool stopped = false;
  Event done;
};
struct Receiver {
  using receiver_concept = stdexec::receiver_t;
  struct Env {
    std::stop_token stop_token;
  };
  Outcome* outcome;
  std::stop_token stop = {};

  void set_value(absl::StatusOr<inference::Response> value) && noexcept {
    outcome->value.emplace(std::move(value));
    outcome->done.Set();
  }
  void set_stopped() && noexcept {
    outcome->stopped = true;
    outcome->done.Set();
  }
  Env get_env() const noexcept { return {stop}; }
};

}  // namespace

TEST_CASE("a sender completes with what the call gives, errors included", "[sender]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  Outcome good;
  auto operation = AsSender(client.Async<&Inference::RunInference>(Text("a"))).connect(Receiver{&good});
  operation.start();
  REQUIRE(good.done.Wait());
  REQUIRE(good.value->ok());
  CHECK((*good.value)->text() == "a");
  Outcome bad;
  auto failing = AsSender(client.Async<&Inference::RunInference>(Text("a"), {.timeout = absl::ZeroDuration()}))
                     .connect(Receiver{&bad});
  failing.start();
  REQUIRE(bad.done.Wait());
  CHECK(bad.value->status().code() == absl::StatusCode::kDeadlineExceeded);
  Outcome empty;
  auto nothing = AsSender(inferwire::Future<inference::Response>()).connect(Receiver{&empty});
  nothing.start();
  CHECK(empty.value->status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("a stop that the receiver asks for cancels the call and completes as stopped", "[sender]") {
  Event cancelled;
  RawServer server([&](RawCall& call) {
    call.Read();
    call.WaitForCancel();
    cancelled.Set();
  });
  const Client client = Connect(server.target());
  std::stop_source stop;
  Outcome outcome;
  auto operation =
      AsSender(client.Async<&Inference::RunInference>(Text("a"))).connect(Receiver{&outcome, stop.get_token()});
  operation.start();
  stop.request_stop();
  REQUIRE(outcome.done.Wait());
  CHECK(outcome.stopped);
  CHECK_FALSE(outcome.value.has_value());
  Outcome early;
  auto stopped =
      AsSender(client.Async<&Inference::RunInference>(Text("a"))).connect(Receiver{&early, stop.get_token()});
  stopped.start();
  REQUIRE(early.done.Wait());
  CHECK(early.stopped);
}

TEST_CASE("a sender that is never started cancels its call when it goes", "[sender]") {
  Event cancelled;
  RawServer server([&](RawCall& call) {
    call.Read();
    call.WaitForCancel();
    cancelled.Set();
  });
  const Client client = Connect(server.target());
  Outcome outcome;
  {
    auto operation = AsSender(client.Async<&Inference::RunInference>(Text("a"))).connect(Receiver{&outcome});
  }
  CHECK_FALSE(outcome.value.has_value());
}
