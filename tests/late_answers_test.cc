// SPDX-License-Identifier: Apache-2.0
//
// What has arrived counts before what has expired: where the process was held up, and where it takes long to understand
// an answer.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/batcher.h"
#include "inferwire/client.h"
#include "inferwire/contract/simple.h"
#include "inferwire/inference.h"
#include "inferwire/testing/fake_clock.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"
#include "support/process.h"

using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::Future;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::InferResult;
using inferwire::testing::FakeClock;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

// In a process of its own, which goes on while that of the calls does not.
TEST_CASE("a server that answers after 50 ms", "[.late-answers-server]") {
  RawServer server([](RawCall& call) {
    while (auto bytes = call.Read()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      if (!call.Write(Answer(TextOf(*bytes)))) return;
    }
  });
  std::printf("%s\n", server.target().c_str());
  std::fflush(stdout);
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}

namespace {

Process StartServer() { return Process({"/proc/self/exe", "[.late-answers-server]", "-o", "/dev/null"}); }

// As when a container is throttled, or the lid of a laptop closed.
void StandStill() {
  const Process waker(
      {"/bin/sh", "-c", "sleep 0.6; while kill -CONT " + std::to_string(::getpid()) + "; do sleep 0.1; done"},
      /*quiet=*/true);
  ::kill(::getpid(), SIGSTOP);
}

ClientOptions Strict() {
  return {.timeout = absl::Milliseconds(300), .attempt_timeout = absl::Milliseconds(250), .pool = {.min_channels = 4}};
}

}  // namespace

TEST_CASE("answers that came while the process did not run are results", "[client][late]") {
  const Process server = StartServer();
  const Client client = Connect(server.line(), Strict());
  REQUIRE(client.WaitUntilReady(absl::Seconds(10)).ok());
  REQUIRE(client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(10)}).ok());

  SECTION("as futures") {
    std::vector<Future<inference::Response>> futures;
    for (int i = 0; i < 64; ++i) futures.push_back(client.Async<&Inference::RunInference>(Text("x")));
    StandStill();
    for (auto& future : futures) CHECK(std::move(future).Get().status() == absl::OkStatus());
  }
  SECTION("of callers that block") {
    std::atomic<int> ok{0};
    std::atomic<int> begun{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i) {
      threads.emplace_back([&] {
        ++begun;
        if (client.Call<&Inference::RunInference>(Text("x")).ok()) ++ok;
      });
    }
    while (begun < 16) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    StandStill();
    for (std::thread& thread : threads) thread.join();
    CHECK(ok == 16);
  }
  SECTION("as streams whose first message is waited for") {
    std::vector<inferwire::ResponseStream<inference::Response>> streams;
    for (int i = 0; i < 16; ++i) {
      streams.push_back(client.Stream<&Inference::StreamInference>(
          Text("x"), {.idle_timeout = absl::Milliseconds(300), .first_message_timeout = absl::Milliseconds(300)}));
    }
    StandStill();
    for (auto& stream : streams) CHECK(stream.Read().has_value());
  }
  const auto stats = client.Stats();
  CHECK(stats.retries == 0);
  for (const auto& target : stats.targets) CHECK(target.ejections == 0);
}

// ---- answers that take long to understand

namespace {

// A contract whose answers are understood when the test says so.
struct Slow : inferwire::Simple {
  struct Gate {
    Event entered, open;
    std::atomic<int> decoded{0};
  };
  static inline std::atomic<Gate*> gate{nullptr};

  static absl::StatusOr<InferResult> Decode(inference::Response&& response) {
    if (Gate* const here = gate.load(); here != nullptr && response.text() == "slow") {
      here->entered.Set();
      here->open.Wait();
      ++here->decoded;
    }
    return inferwire::Simple::Decode(std::move(response));
  }
};

struct SlowWorld {
  explicit SlowWorld(ClientOptions options = {})
      : client(Connect(server.target(), std::move(options))), model(InferenceClient<Slow>(client).GetModel("m")) {
    Slow::gate = &gate;
  }
  ~SlowWorld() {
    gate.open.Set();
    Slow::gate = nullptr;
  }
  static InferRequest Words() { return {{"text", std::vector<std::string>{"slow"}, {1}}}; }
  Future<InferResult> Begin() {
    auto future = model.AsyncInfer(SlowWorld::Words());
    REQUIRE(gate.entered.Wait());
    return future;
  }
  RawServer server{Echo};
  Slow::Gate gate;
  Client client;
  inferwire::Model<Slow> model;
};

}  // namespace

TEST_CASE("while one answer is being understood others arrive, and deadlines are kept", "[client][late]") {
  SlowWorld world;
  auto slow = world.Begin();
  for (int i = 0; i < 20; ++i) {  // whatever loop they are on
    auto quick = world.client.Async<&Inference::RunInference>(Text("x"));
    REQUIRE(quick.Wait(absl::Seconds(5)));
    CHECK(std::move(quick).Get().ok());
  }
  CHECK_FALSE(slow.Ready());
  world.gate.open.Set();
  CHECK(std::move(slow).Get().status() == absl::OkStatus());
}

TEST_CASE("an answer that has arrived does not expire while it is being understood", "[client][late]") {
  const auto clock = std::make_shared<FakeClock>();
  SlowWorld world({.timeout = absl::Seconds(10),
                   .attempt_timeout = absl::Seconds(1),
                   .retry = {.max_attempts = 3},
                   .hedge = inferwire::HedgePolicy{.delay = absl::Milliseconds(500), .max_ratio = 1},
                   .outliers = {.consecutive_failures = 1},
                   .clock = clock});
  auto slow = world.Begin();
  clock->Advance(absl::Seconds(2));
  for (int i = 0; i < 20; ++i) CHECK(world.client.Async<&Inference::RunInference>(Text("x")).Get().ok());
  clock->Advance(absl::Seconds(60));
  for (int i = 0; i < 20; ++i) CHECK(world.client.Async<&Inference::RunInference>(Text("x")).Get().ok());
  CHECK_FALSE(slow.Ready());
  world.gate.open.Set();
  CHECK(std::move(slow).Get().status() == absl::OkStatus());
  CHECK(world.gate.decoded == 1);
  const auto stats = world.client.Stats();
  CHECK(stats.attempts == 41);
  CHECK(stats.targets.at(0).failures == 0);
  CHECK(stats.targets.at(0).ejections == 0);
}

TEST_CASE("a batch's callers do not expire while its answer is being understood", "[client][late][batch]") {
  const auto clock = std::make_shared<FakeClock>();
  SlowWorld world({.clock = clock});
  const inferwire::Batcher<Slow> batcher(world.model, {.max_batch = 1});
  auto slow = batcher.AsyncInfer(SlowWorld::Words(), {.timeout = absl::Seconds(10)});
  REQUIRE(world.gate.entered.Wait());
  clock->Advance(absl::Seconds(20));
  for (int i = 0; i < 20; ++i) CHECK(world.client.Async<&Inference::RunInference>(Text("x")).Get().ok());
  CHECK_FALSE(slow.Ready());
  world.gate.open.Set();
  CHECK(std::move(slow).Get().status() == absl::OkStatus());
}

TEST_CASE("a call is cancelled at once while its answer is being understood", "[client][late]") {
  SlowWorld world;
  auto slow = world.Begin();
  slow.Cancel();
  REQUIRE(slow.Wait(absl::Seconds(5)));
  CHECK(std::move(slow).Get().status().code() == absl::StatusCode::kCancelled);
  auto dropped = world.model.AsyncInfer(SlowWorld::Words());
  dropped = {};
  CHECK(world.gate.decoded == 0);
}

TEST_CASE("large answers are understood apart, and are right or wrong as others are", "[client][late]") {
  FakeServer fake;
  inference::Response large;
  for (int i = 0; i < (1 << 20); ++i) large.mutable_output()->Add(static_cast<float>(i));
  fake.On<&Inference::RunInference>().Reply(large).Times(8).Then().Do([](inferwire::testing::Call& call) {
    call.Read();
    call.Write(std::string(std::size_t{1} << 20, '\xff'));
    return grpc::Status();
  });
  const Client client = Connect(fake.target());
  std::vector<Future<inference::Response>> futures;
  for (int i = 0; i < 8; ++i) futures.push_back(client.Async<&Inference::RunInference>(Text("x")));
  for (auto& future : futures) {
    const auto result = std::move(future).Get();
    REQUIRE(result.ok());
    CHECK(result->output_size() == 1 << 20);
  }
  const auto wrong = client.Async<&Inference::RunInference>(Text("x")).Get();
  CHECK(wrong.status().code() == absl::StatusCode::kInternal);
  CHECK(Contains(wrong.status(), "does not parse"));
  // The last handle on the client may go on the thread that decodes.
  {
    auto last = Connect(fake.target()).Async<&Inference::RunInference>(Text("x"));
    std::move(last).Detach();
  }
}
