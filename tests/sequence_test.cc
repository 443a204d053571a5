// SPDX-License-Identifier: Apache-2.0
#include "inferwire/sequence.h"

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/inference.h"
#include "inferwire/testing/fake_clock.h"
#include "server/server.h"
#include "support/inference.h"

using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::OpenInference;
using namespace inferwire_test;  // NOLINT

namespace {

std::unique_ptr<inferwire::examples::EmbeddedServer> StartServer() {
  auto started = inferwire::examples::EmbeddedServer::Start({});
  REQUIRE(started.ok());
  return *std::move(started);
}

struct Served {
  std::unique_ptr<inferwire::examples::EmbeddedServer> server = StartServer();
  InferenceClient<OpenInference> client{Connect(server->target())};
  inferwire::Model model = client.GetModel("sequence_sum");
};

InferRequest Add(std::int32_t n) { return {{"INPUT", std::vector<std::int32_t>{n}, {1}}}; }
std::int32_t Sum(const absl::StatusOr<inferwire::InferResult>& result) {
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  const auto sum = result->Get<std::int32_t>("OUTPUT");
  REQUIRE(sum.ok());
  return sum->front();
}

}  // namespace

TEST_CASE("a sequence's steps share a state, from the first to the last", "[sequence]") {
  Served served;
  auto sequence = served.model.Sequence(42);
  CHECK(Sum(sequence.Step(Add(1))) == 1);
  CHECK(Sum(sequence.Step(Add(10))) == 11);
  CHECK(Sum(sequence.End(Add(100))) == 111);
  const auto late = sequence.Step(Add(1));
  CHECK(late.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(late.status(), "sequence 42 has ended"));
}

TEST_CASE("sequences do not mix, and may be named", "[sequence]") {
  Served served;
  auto a = served.model.Sequence("a");
  auto b = served.model.Sequence("b");
  CHECK(Sum(a.Step(Add(1))) == 1);
  CHECK(Sum(b.Step(Add(2))) == 2);
  CHECK(Sum(a.Step(Add(10))) == 11);
  CHECK(Sum(b.End(Add(20))) == 22);
  CHECK(Sum(a.End(Add(100))) == 111);
}

TEST_CASE("a sequence may take its time between steps", "[sequence][trap]") {
  Served served;
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const InferenceClient<OpenInference> client{Connect(served.server->target(), {.clock = clock})};
  auto sequence = client.GetModel("sequence_sum").Sequence(43);
  CHECK(Sum(sequence.Step(Add(1))) == 1);
  clock->Advance(absl::Seconds(30));
  CHECK(Sum(sequence.Step(Add(10))) == 11);
  clock->Advance(absl::Seconds(30));
  CHECK(Sum(sequence.End(Add(100))) == 111);
}

TEST_CASE("a step that fails breaks the sequence, since nobody knows what the server remembers", "[sequence]") {
  Served served;
  auto sequence = served.model.Sequence(7);
  CHECK(Sum(sequence.Step(Add(1))) == 1);
  CHECK_FALSE(sequence.Step({{"INPUT", std::vector<float>{1}, {1}}}).ok());  // it began with integers
  const auto next = sequence.Step(Add(1));
  CHECK(next.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(next.status(), "a step has failed"));
}

TEST_CASE("a request that cannot be sent is no step", "[sequence]") {
  Served served;
  auto sequence = served.model.Sequence(8);
  CHECK(sequence.Step({{"INPUT", std::vector<std::int32_t>{1, 2}, {1}}}).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(Sum(sequence.End(Add(5))) == 5);
}

TEST_CASE("steps go one at a time", "[sequence]") {
  Event arrived, go;
  RawServer server([&](RawCall& call) {
    call.Read();
    arrived.Set();
    go.Wait();
    call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"));
  });
  const InferenceClient<OpenInference> client{Connect(server.target())};
  auto sequence = client.GetModel("m", {.check = false}).Sequence(9);
  auto first = sequence.AsyncStep(Add(1));
  REQUIRE(arrived.Wait());
  const auto second = sequence.AsyncStep(Add(1)).Get();
  CHECK(second.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(second.status(), "one at a time"));
  go.Set();
  // Never tried again, though it may be.
  CHECK(std::move(first).Get().status().code() == absl::StatusCode::kUnavailable);
  CHECK(server.calls() == 1);
  CHECK(sequence.Step(Add(1)).status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("a sequence needs an id, and has no headers of its own", "[sequence]") {
  Served served;
  CHECK(served.model.Sequence(0).Step(Add(1)).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(served.model.Sequence("").Step(Add(1)).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(served.model.Sequence(1).Step(Add(1), {.metadata = {{"a", "b"}}}).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a step of a sequence by Infer is sent once", "[sequence]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "busy"));
  });
  const InferenceClient<OpenInference> client{Connect(server.target())};
  InferRequest request = Add(1);
  request.set_sequence({.id = std::int64_t{5}, .start = true});
  CHECK(client.GetModel("m", {.check = false}).Infer(request).status().code() == absl::StatusCode::kUnavailable);
  CHECK(server.calls() == 1);
}

TEST_CASE("a step that is given up, in whatever way, breaks the sequence and says so", "[sequence][trap]") {
  enum class How { kDropped, kDroppedThen, kCancelled, kStopped, kDeadline };
  for (const How how : {How::kDropped, How::kDroppedThen, How::kCancelled, How::kStopped, How::kDeadline}) {
    CAPTURE(static_cast<int>(how));
    Event arrived, cancelled;
    RawServer server([&](RawCall& call) {
      call.Read();
      arrived.Set();
      call.WaitForCancel();
      cancelled.Set();
    });
    const auto clock = std::make_shared<inferwire::testing::FakeClock>();
    const InferenceClient<OpenInference> client{Connect(server.target(), {.clock = clock})};
    auto sequence = client.GetModel("m", {.check = false}).Sequence(9);
    std::stop_source stop;
    {
      auto step = sequence.AsyncStep(Add(1), {.timeout = absl::Minutes(1), .stop = stop.get_token()});
      REQUIRE(arrived.Wait());
      switch (how) {
        case How::kDropped:
          break;
        case How::kDroppedThen: {
          const auto chained =
              std::move(step).Then([](absl::StatusOr<inferwire::InferResult> result) { return result; });
          break;
        }
        case How::kCancelled:
          step.Cancel();
          CHECK(std::move(step).Get().status().code() == absl::StatusCode::kCancelled);
          break;
        case How::kStopped:
          stop.request_stop();
          CHECK(std::move(step).Get().status().code() == absl::StatusCode::kCancelled);
          break;
        case How::kDeadline:
          clock->Advance(absl::Minutes(1));
          CHECK(std::move(step).Get().status().code() == absl::StatusCode::kDeadlineExceeded);
          break;
      }
    }
    CHECK(cancelled.Wait());
    // Behind another continuation it is dropped a moment later.
    absl::Status next;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    do {
      next = sequence.Step(Add(1)).status();
      REQUIRE(next.code() == absl::StatusCode::kFailedPrecondition);
    } while (how == How::kDroppedThen && std::chrono::steady_clock::now() < until &&
             next.message().find("one at a time") != absl::string_view::npos);
    CHECK(Contains(next, "a step has failed or was dropped"));
    CHECK(server.calls() == 1);
  }
}

TEST_CASE("a step that was refused before it was sent leaves the sequence as it was", "[sequence]") {
  Served served;
  auto sequence = served.model.Sequence(10);
  CHECK(sequence.Step(Add(1), {.retry = inferwire::RetryPolicy{.max_attempts = 0}}).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(Sum(sequence.Step(Add(1))) == 1);
  CHECK(sequence.Step(Add(1), {.timeout = absl::ZeroDuration()}).status().code() ==
        absl::StatusCode::kDeadlineExceeded);
  CHECK(Sum(sequence.End(Add(2))) == 3);
}

namespace {

std::string StepAnswer(const std::string& id, std::int32_t sum) {
  inferwire::open_inference::ModelStreamInferResponse message;
  message.mutable_infer_response()->set_id(id);
  auto& output = *message.mutable_infer_response()->add_outputs();
  output.set_name("OUTPUT");
  output.set_datatype("INT32");
  output.add_shape(1);
  message.mutable_infer_response()->add_raw_output_contents(
      std::string(reinterpret_cast<const char*>(&sum), sizeof sum));
  return message.SerializeAsString();
}

}  // namespace

TEST_CASE("a server that marks no answers, nor echoes ids, keeps a sequence on its stream", "[sequence][trap]") {
  RawServer server([&](RawCall& call) {
    for (std::int32_t sum = 1; call.Read().has_value(); ++sum) call.Write(StepAnswer("", sum));
  });
  const InferenceClient<OpenInference> client{Connect(server.target())};
  auto sequence = client.GetModel("m", {.check = false}).Sequence(9);
  CHECK(Sum(sequence.Step(Add(1))) == 1);
  CHECK(Sum(sequence.Step(Add(1))) == 2);
  CHECK(Sum(sequence.End(Add(1))) == 3);
  CHECK(server.calls() == 1);
}

TEST_CASE("a step that is answered more than once breaks the sequence, and its answers are nobody else's",
          "[sequence][trap]") {
  Event stopped;
  RawServer server([&](RawCall& call) {
    call.Read();
    while (call.Write(StepAnswer("", 1))) {
    }
    stopped.Set();
  });
  const InferenceClient<OpenInference> client{Connect(server.target())};
  auto sequence = client.GetModel("m", {.check = false}).Sequence(9);
  CHECK(Sum(sequence.Step(Add(1))) == 1);
  CHECK(stopped.Wait());
  CHECK_FALSE(sequence.Step(Add(1)).ok());
  CHECK(sequence.Step(Add(1)).status().code() == absl::StatusCode::kFailedPrecondition);
}
