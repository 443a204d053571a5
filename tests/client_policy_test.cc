// SPDX-License-Identifier: Apache-2.0
//
// Deadlines, retries, budgets, hedging and cancellation as a client's user meets them, against real connections.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/client.h"
#include "inferwire/testing/fake_clock.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"
#include "support/sockets.h"

using inferwire::CallInfo;
using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::InfoOf;
using inferwire::Metadata;
using inferwire::testing::FakeClock;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {
std::string Find(const Metadata& metadata, const std::string& key) {
  for (const auto& [name, value] : metadata) {
    if (name == key) return value;
  }
  return "";
}
Client ConnectAll(std::vector<std::string> targets, ClientOptions options = {}) {
  options.targets = std::move(targets);
  options.credentials = inferwire::Insecure();
  auto client = Client::Create(std::move(options));
  REQUIRE(client.ok());
  return *std::move(client);
}
}  // namespace

// ---- retries

TEST_CASE("every attempt but the first tells the server how many came before it", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>()
      .Fail(absl::UnavailableError("warming up"))
      .Times(2)
      .Then()
      .Reply(Response("ready"));
  const Client client = Connect(fake.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  REQUIRE(client.Call<&Inference::RunInference>(Text("x"))->text() == "ready");
  const auto metadata = fake.metadata<&Inference::RunInference>();
  REQUIRE(metadata.size() == 3);
  CHECK(Find(metadata[0], "grpc-previous-rpc-attempts").empty());
  CHECK(Find(metadata[1], "grpc-previous-rpc-attempts") == "1");
  CHECK(Find(metadata[2], "grpc-previous-rpc-attempts") == "2");
}

TEST_CASE("a server's pushback is waited for before the next attempt", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>()
      .Pushback(absl::Seconds(3))
      .Fail(absl::UnavailableError("busy"))
      .Times(1)
      .Then()
      .Reply(Response("ready"));
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(fake.target(), {.retry = {.initial_backoff = absl::ZeroDuration()}, .clock = clock});
  CallInfo info;
  auto future = client.Async<&Inference::RunInference>(Text("x"), {.info = &info});
  REQUIRE(clock->WaitUntilDueWithin(absl::Seconds(3)));
  CHECK(clock->UntilNext() == absl::Seconds(3));
  clock->Advance(absl::Seconds(3));
  CHECK(std::move(future).Get()->text() == "ready");
  CHECK(info.attempts.at(0).pushback == absl::Seconds(3));
}

TEST_CASE("a server that asks not to be tried again is left alone", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Pushback(-absl::Milliseconds(1)).Fail(absl::UnavailableError("go away"));
  const Client client = Connect(fake.target());
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(InfoOf(status).reason == CallInfo::Reason::kPushback);
  CHECK(Contains(status, "gave up: pushback)"));
  CHECK(fake.calls<&Inference::RunInference>() == 1);
}

TEST_CASE("a failed call tells google.rpc's details and the trailing metadata", "[policy][client]") {
  FakeServer fake;
  absl::Status busy = absl::ResourceExhaustedError("queue is full");
  busy.SetPayload("type.googleapis.com/google.rpc.ErrorInfo", absl::Cord("\x0a\x04"
                                                                         "FULL\x12\x03pit"));
  busy.SetPayload("type.googleapis.com/acme.Unknown", absl::Cord("\x08\x01"));
  busy.SetPayload("type.googleapis.com/google.rpc.RetryInfo", absl::Cord("\x0a\x05\x08"));  // malformed
  fake.On<&Inference::RunInference>().Trailer("x-queue", "64").Fail(busy);
  const Client client = Connect(fake.target());
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  const CallInfo info = InfoOf(status);
  REQUIRE(info.details.size() == 1);
  CHECK(std::get<inferwire::ErrorInfo>(info.details[0]).reason == "FULL");
  CHECK(std::get<inferwire::ErrorInfo>(info.details[0]).domain == "pit");
  CHECK(Find(info.trailing_metadata, "x-queue") == "64");
}

TEST_CASE("a message over the server's limit is sent once, though its code is retryable", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(
      absl::ResourceExhaustedError("SERVER: Received message larger than max (4194400 vs. 4194304)"));
  const Client client = Connect(fake.target(), {.retry = {.retryable_codes = {absl::StatusCode::kResourceExhausted}}});
  CHECK_FALSE(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(fake.calls<&Inference::RunInference>() == 1);
}

// ---- what provably never reached a server

TEST_CASE("a call that is not idempotent is tried again on a dead port, whatever the target's spelling",
          "[policy][client]") {
  const DeadPort dead;
  const std::string port = std::to_string(dead.port());
  for (const std::string& target :
       {"127.0.0.1:" + port, "localhost:" + port, "ipv4:127.0.0.1:" + port, "dns:///127.0.0.1:" + port,
        std::string("unix:/nowhere/at-all"), std::string("unix:///nowhere/at-all")}) {
    CAPTURE(target);
    const Client client = Connect(target, {.idempotent = false, .retry = {.initial_backoff = absl::Milliseconds(1)}});
    const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
    CHECK(status.code() == absl::StatusCode::kUnavailable);
    CHECK(InfoOf(status).attempts.size() == 4);
    CHECK(InfoOf(status).reason == CallInfo::Reason::kAttemptsExhausted);
  }
}

TEST_CASE("a call that is not idempotent fails over from a dead port to a live one", "[policy][client]") {
  const DeadPort dead;
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("here"));
  const Client client = ConnectAll({dead.target(), fake.target()},
                                   {.idempotent = false, .retry = {.initial_backoff = absl::Milliseconds(1)}});
  for (int i = 0; i < 6; ++i) CHECK(client.Call<&Inference::RunInference>(Text("x"))->text() == "here");
  CHECK(fake.calls<&Inference::RunInference>() == 6);
}

TEST_CASE("a call that is not idempotent is made once where the connection breaks under it", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Drop();
  for (const std::string& target : {fake.target(), "ipv4:" + fake.target()}) {
    CAPTURE(target);
    const int before = fake.calls<&Inference::RunInference>();
    const Client client = Connect(target, {.idempotent = false});
    const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
    CHECK(status.code() == absl::StatusCode::kUnavailable);
    CHECK(InfoOf(status).reason == CallInfo::Reason::kNotIdempotent);
    CHECK(fake.calls<&Inference::RunInference>() == before + 1);
  }
}

TEST_CASE("a call that is not idempotent is made once where its attempt runs out of time", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Never();
  const Client client = Connect(fake.target(), {.attempt_timeout = absl::Milliseconds(50), .idempotent = false});
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(InfoOf(status).reason == CallInfo::Reason::kNotIdempotent);
  CHECK(fake.calls<&Inference::RunInference>() <= 1);  // none, if it had not come that far
}

TEST_CASE("a call that is not idempotent survives a connection that is going away", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>()
      .GoAway(/*processed=*/true)
      .Reply(Response("last words"))
      .Times(1)
      .Then()
      .Reply(Response("again"));
  const Client client = Connect(fake.target(), {.idempotent = false});
  CHECK(client.Call<&Inference::RunInference>(Text("x"))->text() == "last words");
  CHECK(client.Call<&Inference::RunInference>(Text("x"))->text() == "again");
  CHECK(fake.connections() == 2);
}

TEST_CASE("a session is tried again until something of it reached a server, and never after", "[policy][client]") {
  const DeadPort dead;
  FakeServer fake;
  fake.On<&Inference::Converse>().Echo();
  const Client client =
      ConnectAll({dead.target(), fake.target()}, {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  for (int i = 0; i < 4; ++i) {
    auto session = client.Open<&Inference::Converse>();
    REQUIRE(session.Write(Text("turn")).ok());
    int turns = 0;
    REQUIRE(session.WritesDone().ok());
    for (inference::Response& turn : session.responses()) turns += turn.text() == "turn" ? 1 : 0;
    CHECK(turns == 1);
    CHECK(session.Finish().ok());
  }
  fake.On<&Inference::Converse>().Receive().Fail(absl::UnavailableError("mid-way"));
  const Client one = Connect(fake.target());
  const int before = fake.calls<&Inference::Converse>();
  auto session = one.Open<&Inference::Converse>();
  REQUIRE(session.Write(Text("turn")).ok());
  CHECK(session.Finish().code() == absl::StatusCode::kUnavailable);
  CHECK(fake.calls<&Inference::Converse>() == before + 1);
}

// ---- budget

TEST_CASE("against a server that fails everything the load stays within the budget", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::UnavailableError("down"));
  const auto clock = std::make_shared<FakeClock>();  // no minimum comes in by time
  const Client client = Connect(fake.target(), {.retry = {.initial_backoff = absl::ZeroDuration()},
                                                .retry_budget = {.ratio = 0.2, .min_per_second = 1},
                                                .clock = clock});
  int out_of_budget = 0;
  constexpr int kCalls = 500;
  for (int i = 0; i < kCalls; ++i) {
    const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
    if (InfoOf(status).reason == CallInfo::Reason::kBudgetExhausted) {
      ++out_of_budget;
      CHECK(Contains(status, "gave up: budget)"));
    }
  }
  CHECK(out_of_budget > kCalls / 2);
  CHECK(fake.calls<&Inference::RunInference>() <= kCalls * 1.2 + 10);
  CHECK(fake.calls<&Inference::RunInference>() > kCalls * 1.15);
}

TEST_CASE("a flapping server costs no call while the budget lasts", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Do(
      [count = std::make_shared<std::atomic<int>>(0)](inferwire::testing::Call& call) -> grpc::Status {
        if (++*count % 12 == 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "hiccup");
        call.Write(Response("fine"));
        return grpc::Status();
      });
  const Client client = Connect(fake.target(), {.retry = {.initial_backoff = absl::ZeroDuration()}});
  int good = 0;
  for (int i = 0; i < 600; ++i) good += client.Call<&Inference::RunInference>(Text("x")).ok() ? 1 : 0;
  CHECK(good == 600);
}

// ---- hedging

TEST_CASE("a hedge answers for a server that is stuck, and the stuck call is cancelled there", "[policy][client]") {
  FakeServer stuck, quick;
  stuck.On<&Inference::RunInference>().Never();
  quick.On<&Inference::RunInference>().Reply(Response("quick"));
  const Client client = ConnectAll({stuck.target(), quick.target()},
                                   {.hedge = inferwire::HedgePolicy{.delay = absl::Milliseconds(5), .max_ratio = 1}});
  for (int i = 0; i < 20; ++i) {
    CallInfo info;
    REQUIRE(client.Call<&Inference::RunInference>(Text("x"), {.info = &info})->text() == "quick");
    CHECK(info.attempts.size() <= 2);
  }
  const int stuck_calls = stuck.calls<&Inference::RunInference>();
  CHECK(stuck_calls > 0);
  CHECK(stuck.WaitForCancelled<&Inference::RunInference>(stuck_calls));
}

TEST_CASE("a stream is hedged until its first message, and comes from one server alone", "[policy][client]") {
  FakeServer stuck, quick;
  stuck.On<&Inference::StreamInference>().Never();
  quick.On<&Inference::StreamInference>().Send(Response("a")).Send(Response("b")).Ok();
  const Client client = ConnectAll({stuck.target(), quick.target()},
                                   {.hedge = inferwire::HedgePolicy{.delay = absl::Milliseconds(5), .max_ratio = 1}});
  for (int i = 0; i < 10; ++i) {
    std::string text;
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    for (inference::Response& chunk : stream) text += chunk.text();
    CHECK(stream.status().ok());
    CHECK(text == "ab");
  }
  CHECK(stuck.WaitForCancelled<&Inference::StreamInference>(stuck.calls<&Inference::StreamInference>()));
}

TEST_CASE("hedges stay within their share of the calls", "[policy][client]") {
  FakeServer slow;
  slow.On<&Inference::RunInference>().Delay(absl::Milliseconds(3)).Reply(Response("slow"));
  const Client client =
      Connect(slow.target(), {.hedge = inferwire::HedgePolicy{.delay = absl::Microseconds(100), .max_ratio = 0.05}});
  for (int i = 0; i < 200; ++i) REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(slow.calls<&Inference::RunInference>() <= 210);
  CHECK(slow.calls<&Inference::RunInference>() >= 205);
}

TEST_CASE("a call that is not idempotent is not hedged", "[policy][client]") {
  FakeServer slow;
  slow.On<&Inference::RunInference>().Delay(absl::Milliseconds(30)).Reply(Response("slow"));
  const Client client =
      Connect(slow.target(),
              {.idempotent = false, .hedge = inferwire::HedgePolicy{.delay = absl::Milliseconds(1), .max_ratio = 1}});
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(slow.calls<&Inference::RunInference>() == 1);
}

TEST_CASE("once enough calls were answered, hedges start at the percentile asked for", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("quick"));
  const Client client = Connect(
      fake.target(), {.hedge = inferwire::HedgePolicy{.delay = absl::Hours(1), .max_ratio = 1, .percentile = 0.9}});
  for (int i = 0; i < 150; ++i) REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  fake.On<&Inference::RunInference>().Never().Times(1).Then().Reply(Response("hedged"));
  // With the delay alone this would take an hour.
  CHECK(client.Call<&Inference::RunInference>(Text("x"))->text() == "hedged");
}

// ---- cancellation

TEST_CASE("whoever cancels, the server sees it and the caller gets CANCELLED once", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Never();
  const Client client = Connect(fake.target());
  const int way = GENERATE(0, 1, 2, 3);
  CAPTURE(way);
  std::stop_source stop;
  auto future = client.Async<&Inference::RunInference>(Text("x"), {.stop = stop.get_token()});
  REQUIRE(fake.WaitForCalls<&Inference::RunInference>(1));
  if (way == 0) stop.request_stop();
  if (way == 1) future.Cancel();
  if (way == 2) client.Shutdown();
  if (way == 3) {
    const inferwire::Future<inference::Response> dropped = std::move(future);
  } else {
    CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
  }
  CHECK(fake.WaitForCancelled<&Inference::RunInference>(1));
}

TEST_CASE("cancelling cuts the wait before a retry", "[policy][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::UnavailableError("down"));
  const auto clock = std::make_shared<FakeClock>();  // the wait would never end
  const Client client = Connect(fake.target(), {.clock = clock, .random = [] { return 0.9; }});
  auto future = client.Async<&Inference::RunInference>(Text("x"));
  REQUIRE(clock->WaitUntilDueWithin(absl::Milliseconds(18)));
  future.Cancel();
  const absl::Status status = std::move(future).Get().status();
  CHECK(status.code() == absl::StatusCode::kCancelled);
  CHECK(InfoOf(status).attempts.size() == 1);
  CHECK(clock->UntilNext() == absl::InfiniteDuration());
}

// ---- deadlines

TEST_CASE("a call ends at its deadline though the server neither reads nor answers", "[policy][client]") {
  FakeServer fake;
  fake.StopReading();
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(fake.target(), {.timeout = absl::Seconds(8), .clock = clock});
  auto future = client.Async<&Inference::RunInference>(Text(std::string(32 << 20, 'x')));
  clock->Advance(absl::Seconds(8));
  const absl::Status status = std::move(future).Get().status();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(Contains(status, "no end within the timeout of 8s"));
}

TEST_CASE("each attempt tells the server what is left of the deadline", "[policy][client]") {
  std::mutex mutex;
  std::vector<absl::Duration> left;
  FakeServer fake;
  fake.On<&Inference::RunInference>().Do([&](inferwire::testing::Call& call) {
    std::lock_guard lock(mutex);
    left.push_back(call.TimeLeft());
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "no");
  });
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(fake.target(), {.timeout = absl::Seconds(20),
                                                .retry = {.max_attempts = 2, .initial_backoff = absl::Seconds(2)},
                                                .clock = clock,
                                                .random = [] { return 0.999; }});
  auto future = client.Async<&Inference::RunInference>(Text("x"));
  REQUIRE(clock->WaitUntilDueWithin(absl::Seconds(2)));
  clock->Advance(absl::Seconds(2));
  CHECK_FALSE(std::move(future).Get().ok());
  std::lock_guard lock(mutex);
  REQUIRE(left.size() == 2);
  const absl::Duration kRounding = absl::Milliseconds(200);  // gRPC sends three digits, rounded up
  CHECK(left[0] > absl::Seconds(19));
  CHECK(left[0] <= absl::Seconds(20) + kRounding);
  CHECK(left[1] > absl::Seconds(17));
  CHECK(left[1] <= absl::Seconds(18) + kRounding);
}

// ---- calls made by a server's handler

namespace {
// A service whose handler asks another server.
class Relaying final : public inference::Inference::Service {
 public:
  explicit Relaying(Client client) : client_(std::move(client)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Relaying() override { server_->Shutdown(std::chrono::system_clock::now()); }
  std::string target() const { return "127.0.0.1:" + std::to_string(port_); }

  grpc::Status RunInference(grpc::ServerContext* context, const inference::Request* request,
                            inference::Response* response) override {
    auto reply = client_.Call<&inference::Inference::Stub::RunInference>(*request, {.parent = context});
    {
      std::lock_guard lock(mutex_);
      outcome_ = reply.status();
    }
    done_.Set();
    if (!reply.ok()) return grpc::Status(grpc::StatusCode::INTERNAL, std::string(reply.status().message()));
    *response = *std::move(reply);
    return grpc::Status();
  }
  absl::Status Outcome() {
    REQUIRE(done_.Wait());
    std::lock_guard lock(mutex_);
    return outcome_;
  }

 private:
  const Client client_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  Event done_;
  std::mutex mutex_;
  absl::Status outcome_;
};
}  // namespace

TEST_CASE("a handler's call inherits the handler's deadline", "[policy][client]") {
  std::mutex mutex;
  absl::Duration left;
  FakeServer behind;
  behind.On<&Inference::RunInference>().Do([&](inferwire::testing::Call& call) {
    {
      std::lock_guard lock(mutex);
      left = call.TimeLeft();
    }
    call.Write(Response("from behind"));
    return grpc::Status();
  });
  Relaying front(Connect(behind.target(), {.timeout = absl::Minutes(10)}));
  const Client client = Connect(front.target());
  CHECK(client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(30)})->text() == "from behind");
  std::lock_guard lock(mutex);
  CHECK(left <= absl::Seconds(31));
  CHECK(left > absl::Seconds(20));
}

TEST_CASE("a handler's call is cancelled with the handler's own", "[policy][client]") {
  FakeServer behind;
  behind.On<&Inference::RunInference>().Never();
  Relaying front(Connect(behind.target(), {.timeout = absl::Minutes(10)}));
  const Client client = Connect(front.target());
  auto future = client.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Minutes(10)});
  REQUIRE(behind.WaitForCalls<&Inference::RunInference>(1));
  future.Cancel();
  CHECK(behind.WaitForCancelled<&Inference::RunInference>(1));
  const absl::Status outcome = front.Outcome();
  CHECK(outcome.code() == absl::StatusCode::kCancelled);
  CHECK(InfoOf(outcome).reason == CallInfo::Reason::kCancelled);
}

TEST_CASE("a call ends with the time of the handler that makes it", "[policy][client]") {
  FakeServer behind;
  behind.On<&Inference::RunInference>().Delay(absl::Seconds(30)).Reply(Response("late"));
  Relaying front(Connect(behind.target(), {.timeout = absl::Minutes(10)}));
  const Client client = Connect(front.target());
  // Which of the two tells the client first is open.
  CHECK_FALSE(client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(100)}).ok());
  CHECK_FALSE(front.Outcome().ok());
}

// ---- observers

TEST_CASE("an observer's metadata goes with its attempt", "[policy][client]") {
  struct Tracing final : inferwire::Observer {
    struct One final : inferwire::CallObserver {
      void AttemptStarted(const AttemptStart& start, Metadata& metadata) override {
        metadata.emplace_back("traceparent", "00-" + std::to_string(start.number));
      }
    };
    std::unique_ptr<inferwire::CallObserver> CallStarted(const CallStart& start) override {
      methods.insert(std::string(start.method));
      return std::make_unique<One>();
    }
    std::set<std::string> methods;
  };
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::UnavailableError("no")).Times(1).Then().Reply(Response("ok"));
  const auto tracing = std::make_shared<Tracing>();
  const Client client = Connect(fake.target(), {.observer = tracing});
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  const auto metadata = fake.metadata<&Inference::RunInference>();
  REQUIRE(metadata.size() == 2);
  CHECK(Find(metadata[0], "traceparent") == "00-0");
  CHECK(Find(metadata[1], "traceparent") == "00-1");
  CHECK(tracing->methods == std::set<std::string>{"/inference.Inference/RunInference"});
}

// ---- deadlines that both sides keep

namespace {
// Ends each call with `status` when it is told to.
struct EndsWhenTold {
  explicit EndsWhenTold(grpc::Status given) : status(std::move(given)) {}
  const grpc::Status status;
  Event arrived, go;
  RawServer server{[this](RawCall& call) {
    call.Read();
    arrived.Set();
    go.Wait();
    call.Finish(status);
  }};
};
}  // namespace

TEST_CASE("a server that cuts a call off a moment before the deadline is the deadline", "[policy][client]") {
  const grpc::Status said[] = {{grpc::StatusCode::CANCELLED, "Timeout expired"},
                               {grpc::StatusCode::UNAVAILABLE, "upstream request timeout"},
                               {grpc::StatusCode::INTERNAL, "Received RST_STREAM with error code 2"},
                               {grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"}};
  for (const grpc::Status& status : said) {
    EndsWhenTold one(status);
    const auto clock = std::make_shared<FakeClock>();
    const Client client = Connect(one.server.target(), {.clock = clock});
    auto future = client.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(5)});
    REQUIRE(one.arrived.Wait());
    clock->Advance(absl::Milliseconds(4997));
    one.go.Set();
    const absl::Status end = std::move(future).Get().status();
    CHECK(end.code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(Contains(end, "no end within the timeout of 5s"));
    CHECK(Contains(end, status.error_message()));
    CHECK(InfoOf(end).reason == CallInfo::Reason::kDeadline);
  }
}

TEST_CASE("what is an answer stays one at the deadline, and what cuts a call off before it is none of it",
          "[policy][client]") {
  const auto end_of = [](const grpc::Status& said, absl::Duration at) {
    EndsWhenTold one(said);
    const auto clock = std::make_shared<FakeClock>();
    const Client client = Connect(one.server.target(), {.retry = {.max_attempts = 1}, .clock = clock});
    auto future = client.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(5)});
    REQUIRE(one.arrived.Wait());
    clock->Advance(at);
    one.go.Set();
    return std::move(future).Get().status();
  };
  const absl::Duration last = absl::Milliseconds(4997);
  CHECK(end_of({grpc::StatusCode::INVALID_ARGUMENT, "shape"}, last).code() == absl::StatusCode::kInvalidArgument);
  CHECK(end_of({grpc::StatusCode::INTERNAL, "CUDA out of memory"}, last).code() == absl::StatusCode::kInternal);
  CHECK(end_of({grpc::StatusCode::UNKNOWN, "exception in the model"}, last).code() == absl::StatusCode::kUnknown);
  const absl::Duration before = absl::Milliseconds(4500);
  CHECK(end_of({grpc::StatusCode::CANCELLED, "shutting down"}, before).code() == absl::StatusCode::kCancelled);
  CHECK(end_of({grpc::StatusCode::UNAVAILABLE, "busy"}, before).code() == absl::StatusCode::kUnavailable);
}

TEST_CASE("an attempt that the server cuts off at its attempt_timeout is tried again", "[policy][client]") {
  Event arrived, go;
  std::atomic<int> calls{0};
  RawServer server([&](RawCall& call) {
    call.Read();
    if (++calls > 1) {
      call.Write(Answer("second"));
      return;
    }
    arrived.Set();
    go.Wait();
    call.Finish({grpc::StatusCode::CANCELLED, "Timeout expired"});
  });
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(server.target(), {.retry = {.initial_backoff = absl::ZeroDuration()}, .clock = clock});
  CallInfo info;
  auto future = client.Async<&Inference::RunInference>(Text("x"), {.info = &info, .attempt_timeout = absl::Seconds(4)});
  REQUIRE(arrived.Wait());
  clock->Advance(absl::Milliseconds(3996));
  go.Set();
  REQUIRE(std::move(future).Get()->text() == "second");
  CHECK(info.attempts.at(0).code == absl::StatusCode::kDeadlineExceeded);
  CHECK(info.attempts.at(0).message.find("attempt_timeout of 4s; the server said CANCELLED: Timeout expired") !=
        std::string::npos);
}

TEST_CASE("a stream that the server cuts off at the deadline has run out of time, and keeps what came",
          "[policy][client]") {
  Event sent, go;
  RawServer server([&](RawCall& call) {
    call.Read();
    call.Write(Answer("first"));
    sent.Set();
    go.Wait();
    call.Finish({grpc::StatusCode::CANCELLED, "Timeout expired"});
  });
  const auto clock = std::make_shared<FakeClock>();
  const Client client = Connect(server.target(), {.clock = clock});
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = absl::Seconds(5)});
  REQUIRE(sent.Wait());
  while (stream.stats().messages == 0) std::this_thread::yield();
  clock->Advance(absl::Milliseconds(4997));
  go.Set();
  CHECK(stream.Read().has_value());
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(InfoOf(stream.status()).reason == CallInfo::Reason::kDeadline);
}

TEST_CASE("a server that ends a stream with CANCELLED takes nothing back that it sent", "[policy][client]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer("first"));
    call.Finish({grpc::StatusCode::CANCELLED, "going away"});
  });
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  while (stream.status().ok()) std::this_thread::yield();
  CHECK(stream.Read().has_value());
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kCancelled);
}

TEST_CASE("limits of one call that leave no time are refused by name, in every form", "[policy][client]") {
  const DeadPort dead;
  const Client client = Connect(dead.target());
  const auto refused = [](const absl::Status& status, const char* name) {
    return status.code() == absl::StatusCode::kInvalidArgument && Contains(status, std::string(name) + " is ");
  };
  for (const absl::Duration none : {absl::ZeroDuration(), -absl::Seconds(1), -absl::InfiniteDuration()}) {
    CHECK(refused(client.Call<&Inference::RunInference>(Text("x"), {.attempt_timeout = none}).status(),
                  "attempt_timeout"));
    CHECK(refused(client.Async<&Inference::RunInference>(Text("x"), {.attempt_timeout = none}).Get().status(),
                  "attempt_timeout"));
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.idle_timeout = none});
    CHECK_FALSE(stream.Read().has_value());
    CHECK(refused(stream.status(), "idle_timeout"));
    CHECK(refused(client.Upload<&Inference::UploadInference>({.first_message_timeout = none}).Finish().status(),
                  "first_message_timeout"));
    CHECK(refused(client.Open<&Inference::Converse>({.idle_timeout = none}).Finish(), "idle_timeout"));
    // No time in all is no mistake.
    const absl::Status late = client.Call<&Inference::RunInference>(Text("x"), {.timeout = none}).status();
    CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
  }
}
