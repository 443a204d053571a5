// SPDX-License-Identifier: Apache-2.0
//
// Servers that die, reset, drain and freeze under load. Of every call it is asked: did it end, once; was it made more
// often than it may; and if it failed, does it say why.
#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/client.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"
#include "support/process.h"
#include "support/slow.h"
#include "support/sockets.h"

using inferwire::CallInfo;
using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::InfoOf;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {

constexpr int kCalls = 2000;
// The disturbances keep their pace while the calls take ten times as long: many may fail, but none may be lost.
// Counts what was done for whom.
class Register {
 public:
  void Script(FakeServer& fake) {
    fake.On<&Inference::RunInference>().Do([this](inferwire::testing::Call& call) {
      const auto bytes = call.Read();
      if (!bytes.has_value()) return grpc::Status(grpc::StatusCode::CANCELLED, "no request came");
      inference::Request request;
      if (!request.ParseFromString(*bytes)) return grpc::Status(grpc::StatusCode::INTERNAL, "unparsable");
      {
        std::lock_guard lock(mutex_);
        ++done_[request.id()];
      }
      inference::Response response;
      response.set_id(request.id());
      call.Write(response);
      return grpc::Status();
    });
  }
  int Done(const std::string& id) const {
    std::lock_guard lock(mutex_);
    const auto found = done_.find(id);
    return found == done_.end() ? 0 : found->second;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, int> done_;
};

struct Outcome {
  std::string id;
  absl::Status status;
};

// So many calls from eight threads, every other one as a future, while `disturb` does its worst again and again.
std::vector<Outcome> Storm(const Client& client, const std::function<void(std::mt19937&)>& disturb) {
  std::vector<Outcome> outcomes(kCalls);
  std::atomic<int> next{0}, wrong{0};
  std::atomic<bool> over{false};
  std::thread chaos([&] {
    std::mt19937 generator(1);
    while (!over) {
      disturb(generator);
      std::this_thread::sleep_for(std::chrono::milliseconds(generator() % 20));  // the pace of the disturbance
    }
  });
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&] {
      for (int i = next++; i < kCalls; i = next++) {
        inference::Request request;
        request.set_id(std::to_string(i));
        auto reply = i % 2 == 0 ? client.Call<&Inference::RunInference>(request)
                                : client.Async<&Inference::RunInference>(request).Get();
        if (reply.ok() && reply->id() != request.id()) ++wrong;
        outcomes[static_cast<std::size_t>(i)] = {request.id(), reply.status()};
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  over = true;
  chaos.join();
  CHECK(wrong == 0);
  return outcomes;
}

// Every failure says why.
int Failures(const std::vector<Outcome>& outcomes) {
  int failures = 0;
  for (const auto& [id, status] : outcomes) {
    if (status.ok()) continue;
    ++failures;
    CAPTURE(id, status.ToString());
    const CallInfo info = InfoOf(status);
    CHECK(info.reason != CallInfo::Reason::kNone);
    CHECK_FALSE(info.attempts.empty());
    CHECK_FALSE(status.message().empty());
    for (const CallInfo::Attempt& attempt : info.attempts) CHECK_FALSE(attempt.target.empty());
  }
  return failures;
}

ClientOptions Options(bool idempotent) {
  return {
      .timeout = absl::Seconds(20),
      .idempotent = idempotent,
      .retry = {.max_attempts = 10, .initial_backoff = absl::Milliseconds(5), .max_backoff = absl::Milliseconds(200)},
      .retry_budget = {.ratio = 10, .min_per_second = 1000}};
}

void NoneLostNoneDoubled(const std::function<void(FakeServer&, std::mt19937&)>& disturb) {
  for (const bool idempotent : {false, true}) {
    CAPTURE(idempotent);
    Register served;  // outlives those who write in it
    FakeServer fake;
    served.Script(fake);
    const Client client = Connect(fake.target(), Options(idempotent));
    const auto outcomes = Storm(client, [&](std::mt19937& generator) { disturb(fake, generator); });
    const int failures = Failures(outcomes);
    for (const auto& [id, status] : outcomes) {
      CAPTURE(id);
      const int done = served.Done(id);
      if (status.ok()) CHECK(done >= 1);
      if (!idempotent) CHECK(done <= 1);
    }
    UNSCOPED_INFO("failed: " << failures);
    // What may be tried again gets through; what may not fails at times, but not mostly.
    if (!kSlow) CHECK(failures <= (idempotent ? kCalls / 4 : kCalls * 3 / 4));
  }
}

}  // namespace

TEST_CASE("2000 calls while the server dies and comes back: none lost, none doubled", "[chaos]") {
  NoneLostNoneDoubled([](FakeServer& fake, std::mt19937& generator) {
    fake.Stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(generator() % 20));
    fake.Start();
    // Longer than gRPC waits before it connects anew.
    std::this_thread::sleep_for(std::chrono::milliseconds(150 + generator() % 100));
  });
}

TEST_CASE("2000 calls while connections are reset: none lost, none doubled", "[chaos]") {
  NoneLostNoneDoubled([](FakeServer& fake, std::mt19937&) { fake.ResetConnections(); });
}

TEST_CASE("2000 calls over connections that go away: none fails, none doubled", "[chaos]") {
  std::atomic<int> count{0};
  FakeServer fake;
  fake.On<&Inference::RunInference>().Do([&](inferwire::testing::Call& call) {
    const auto bytes = call.Read();
    inference::Request request;
    if (!bytes.has_value() || !request.ParseFromString(*bytes)) return grpc::Status(grpc::StatusCode::INTERNAL, "none");
    if (++count % 50 == 0) call.GoAway(/*processed=*/true);
    inference::Response response;
    response.set_id(request.id());
    call.Write(response);
    return grpc::Status();
  });
  const Client client = Connect(fake.target(), Options(/*idempotent=*/false));
  CHECK(Failures(Storm(client, [](std::mt19937&) {})) == 0);
  CHECK(count == kCalls);
  CHECK(fake.connections() > 10);
}

TEST_CASE("2000 calls while a server freezes and thaws: each ends in time", "[chaos]") {
  Register served;
  FakeServer fake;
  served.Script(fake);
  ClientOptions options = Options(/*idempotent=*/true);
  options.attempt_timeout = absl::Milliseconds(200);
  const Client client = Connect(fake.target(), options);
  const auto outcomes = Storm(client, [&](std::mt19937& generator) {
    fake.StopReading();
    std::this_thread::sleep_for(std::chrono::milliseconds(generator() % 50));
    fake.ResumeReading();
  });
  const int failures = Failures(outcomes);
  if (!kSlow) CHECK(failures <= kCalls / 4);
}

TEST_CASE("2000 calls shared by a live server and one that dies again and again: all answered", "[chaos]") {
  Register served;
  FakeServer steady, shaky;
  served.Script(steady);
  served.Script(shaky);
  ClientOptions options = Options(/*idempotent=*/true);
  options.targets = {steady.target(), shaky.target()};
  options.credentials = inferwire::Insecure();
  const Client client = *Client::Create(options);
  const auto outcomes = Storm(client, [&](std::mt19937& generator) {
    shaky.Stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(generator() % 30));
    shaky.Start();
  });
  const int failures = Failures(outcomes);
  if (!kSlow) CHECK(failures == 0);
}

TEST_CASE("2000 calls while a real server is killed and started again: none lost", "[chaos]") {
  const char* const program = std::getenv("INFERWIRE_SERVER");
  if (program == nullptr) {
    WARN("INFERWIRE_SERVER names no server program");
    return;
  }
  const int port = BoundSocket().port();
  const std::vector<std::string> command = {program, "--listen", "127.0.0.1:" + std::to_string(port)};
  auto server = std::make_unique<Process>(command);
  ClientOptions options = Options(/*idempotent=*/true);
  options.retry.initial_backoff = absl::Milliseconds(50);  // gRPC may take a second to connect anew
  options.retry.max_backoff = absl::Seconds(1);
  const Client client = Connect("127.0.0.1:" + std::to_string(port), options);
  std::atomic<int> kills{0};
  std::atomic<int> next{0};
  std::atomic<bool> over{false};
  std::thread killer([&] {
    while (!over && kills < 5) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      server.reset();
      server = std::make_unique<Process>(command);
      ++kills;
    }
  });
  std::vector<absl::Status> outcomes(kCalls);
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&] {
      for (int i = next++; i < kCalls || (kills < 1 && i < 50 * kCalls); i = next++) {
        inference::Request request;
        request.set_model("storyteller");
        request.set_text("Once");
        const absl::Status status = client.Call<&Inference::RunInference>(request).status();
        if (i < kCalls) outcomes[static_cast<std::size_t>(i)] = status;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  over = true;
  killer.join();
  int failures = 0;
  for (const absl::Status& status : outcomes) {
    if (status.ok()) continue;
    ++failures;
    CAPTURE(status.ToString());
    CHECK(InfoOf(status).reason != CallInfo::Reason::kNone);
  }
  CHECK(kills >= 1);
  if (!kSlow) CHECK(failures <= kCalls / 4);
}

// Run by tests/chaos/black_hole, in a network namespace where whatever is sent to 10.255.0.0/16 is gone.
TEST_CASE("calls into a black hole end at their deadline, and fail over from it", "[.black_hole]") {
  SECTION("a port that drops every packet") {
    const Client client = Connect("10.255.0.2:80", {.timeout = absl::Milliseconds(300)});
    const auto start = std::chrono::steady_clock::now();
    std::vector<inferwire::Future<inference::Response>> futures;
    for (int i = 0; i < kCalls; ++i) futures.push_back(client.Async<&Inference::RunInference>(Text("x")));
    int late = 0;
    for (auto& future : futures) {
      const absl::Status status = std::move(future).Get().status();
      CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
      if (InfoOf(status).latency > absl::Milliseconds(300) + absl::Milliseconds(500)) ++late;
    }
    CHECK(late == 0);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  }
  SECTION("a name server that never answers") {
    const Client client = Connect("dns://10.255.0.3:53/nowhere.test:80", {.timeout = absl::Milliseconds(300)});
    CallInfo info;
    const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.info = &info}).status();
    CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(info.latency < absl::Milliseconds(800));
  }
  SECTION("with a live server beside it, every call is answered") {
    Register served;  // outlives those who write in it
    FakeServer fake;
    served.Script(fake);
    ClientOptions options = Options(/*idempotent=*/true);
    options.targets = {"10.255.0.2:80", fake.target()};
    options.credentials = inferwire::Insecure();
    options.attempt_timeout = absl::Milliseconds(100);
    const Client client = *Client::Create(options);
    CHECK(Failures(Storm(client, [](std::mt19937&) {})) <= (kSlow ? kCalls / 50 : 0));
  }
}
