// SPDX-License-Identifier: Apache-2.0
//
// What has arrived counts before what has expired: where the process was held up, and where it takes long to understand
// an answer.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <deque>
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
#include "support/slow.h"

using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::Future;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::InferResult;
using inferwire::testing::FakeClock;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {
constexpr auto kTimeout = std::chrono::milliseconds(kSlow ? 5000 : 1000);
}

// In a process of its own. A request names how many there will be of its like; once all have come, the process of the
// calls stands still, as when a container is throttled or the lid of a laptop closed, and meanwhile they are answered.
TEST_CASE("a server that answers while the client does not run", "[.late-answers-server]") {
  std::atomic<int> come{0};
  Event all;
  RawServer server([&](RawCall& call) {
    while (auto bytes = call.Read()) {
      const int expected = std::stoi(TextOf(*bytes));
      const bool last = expected > 1 && ++come == expected;
      if (last) {
        const pid_t client = ::getppid();
        ::kill(client, SIGSTOP);
        std::thread([client] {
          std::this_thread::sleep_for(kTimeout * 3 / 2);
          ::kill(client, SIGCONT);
        }).detach();
        all.Set();
      }
      if (expected > 1) all.Wait();
      if (!call.Write(Answer("here"))) return;
    }
  });
  std::printf("%s\n", server.target().c_str());
  std::fflush(stdout);
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}

TEST_CASE("answers that came while the process did not run are results", "[client][late]") {
  const Process server({"/proc/self/exe", "[.late-answers-server]", "-o", "/dev/null"});
  const Client client = Connect(server.line(), {.timeout = absl::FromChrono(kTimeout),
                                                .attempt_timeout = absl::FromChrono(kTimeout) * 0.9,
                                                .pool = {.min_channels = 4}});
  REQUIRE(client.WaitUntilReady(absl::Seconds(30)).ok());
  REQUIRE(client.Call<&Inference::RunInference>(Text("1"), {.timeout = absl::Seconds(30)}).ok());

  SECTION("as futures") {
    std::vector<Future<inference::Response>> futures;
    for (int i = 0; i < 64; ++i) futures.push_back(client.Async<&Inference::RunInference>(Text("64")));
    for (auto& future : futures) CHECK(std::move(future).Get().status() == absl::OkStatus());
  }
  SECTION("of callers that block") {
    std::atomic<int> ok{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i) {
      threads.emplace_back([&] {
        if (client.Call<&Inference::RunInference>(Text("16")).ok()) ++ok;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(ok == 16);
  }
  SECTION("as streams whose first message is waited for") {
    std::vector<inferwire::ResponseStream<inference::Response>> streams;
    for (int i = 0; i < 16; ++i) {
      streams.push_back(client.Stream<&Inference::StreamInference>(
          Text("16"),
          {.idle_timeout = absl::FromChrono(kTimeout), .first_message_timeout = absl::FromChrono(kTimeout)}));
    }
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
  // They stay, since what was cancelled may still be waiting there.
  static Gate& NewGate() {
    static std::deque<Gate>* const all = new std::deque<Gate>;
    return all->emplace_back();
  }

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
  Slow::Gate& gate = Slow::NewGate();
  Client client;
  inferwire::Model model;
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
  const inferwire::Batcher batcher(world.model, {.max_batch = 1});
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
    INFO(result.status().ToString());
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
