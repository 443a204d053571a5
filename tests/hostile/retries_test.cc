// SPDX-License-Identifier: Apache-2.0
//
// Servers that have their client come back: streams that go on where they broke, the budget that all calls share,
// tokens and health.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "inferwire/bearer_token.h"
#include "inferwire/detail/policy/budget.h"
#include "inferwire/detail/policy/retry.h"
#include "inferwire/testing/fake_clock.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"

using inferwire::CallInfo;
using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::InfoOf;
using inferwire::TimePoint;
using inferwire::detail::policy::Budget;
using inferwire::detail::policy::Retry;
using inferwire::testing::FakeClock;
using inferwire::testing::FakeServer;
using inferwire_test::Inference;
using inferwire_test::Text;

namespace {
constexpr double kInfinite = std::numeric_limits<double>::infinity();

// A stream whose attempts bring so many messages each and break after so long: how often it goes on within `life`.
int GoesOn(inferwire::RetryPolicy policy, int messages, std::chrono::milliseconds lasts, std::chrono::seconds life) {
  Budget budget(kInfinite, 0, TimePoint());
  Retry retry(policy, budget, /*idempotent=*/true);
  TimePoint now = TimePoint() + std::chrono::hours(1);
  const TimePoint end = now + life;
  for (int goes_on = 0;; ++goes_on) {
    for (int i = 0; i < messages; ++i) retry.ResetRetries(absl::FromChrono(lasts));
    now += lasts;
    const auto decision = retry.OnFailure({.begun = messages > 0}, absl::InfiniteDuration(), 0.5, now);
    if (!decision.retry) return goes_on;
    now += absl::ToChronoNanoseconds(decision.delay);
    if (now > end) return goes_on;
  }
}

// Gives so many messages and breaks, each time.
auto Breaks(int messages) {
  return [messages](inferwire::testing::Call& call) {
    for (int i = 0; i < messages; ++i) {
      if (!call.Write(inferwire_test::Response("m"))) return grpc::Status();
    }
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broke");
  };
}
inference::Request Again(const inference::Request& request, const inference::Response&) { return request; }

template <class Stream>
int CountAll(Stream& stream, int most = std::numeric_limits<int>::max()) {
  int count = 0;
  while (count < most && stream.Read().has_value()) ++count;
  return count;
}
}  // namespace

TEST_CASE("one message is no licence: a stream that breaks at once goes on a few times", "[hostile][retries]") {
  using std::chrono::milliseconds, std::chrono::seconds;
  const inferwire::RetryPolicy usual;
  CHECK(GoesOn(usual, 1, milliseconds(0), seconds(3600)) == 4);
  CHECK(GoesOn(usual, 1, milliseconds(500), seconds(3600)) == 4);
  CHECK(GoesOn(usual, 3, milliseconds(10), seconds(3600)) <= 12);
  // What makes up for each break goes on, and no more often than once a second in the mean.
  CHECK(GoesOn(usual, 4, milliseconds(0), seconds(60)) <= 80);
  CHECK(GoesOn(usual, 1000, milliseconds(10), seconds(60)) <= 80);
  CHECK(GoesOn(usual, 1000, milliseconds(10), seconds(60)) >= 50);
  inferwire::RetryPolicy hasty;
  hasty.initial_backoff = hasty.max_backoff = absl::ZeroDuration();
  CHECK(GoesOn(hasty, 1, milliseconds(0), seconds(3600)) == 4);
  CHECK(GoesOn(hasty, 1000, milliseconds(0), seconds(60)) <= 80);
  hasty.max_attempts = 1'000'000;
  CHECK(GoesOn(hasty, 1, milliseconds(0), seconds(60)) <= 80);
  // One that lasts goes on for as long as it does so.
  CHECK(GoesOn(usual, 1, seconds(15), seconds(3600)) >= 230);
  CHECK(GoesOn(usual, 0, seconds(15), seconds(3600)) == 3);
}

TEST_CASE("a stream whose server breaks it after each message ends, with an infinite budget too",
          "[hostile][retries]") {
  FakeServer fake;
  fake.On<&Inference::StreamInference>().Do(Breaks(1));
  for (const double ratio : {0.1, kInfinite}) {
    ClientOptions options;
    options.retry_budget.ratio = ratio;
    const Client client = inferwire_test::Connect(fake.target(), options);
    const int before = fake.calls<&Inference::StreamInference>();
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {}, Again);
    CHECK(CountAll(stream, 1000) <= 5);
    CHECK(stream.status().code() == absl::StatusCode::kUnavailable);
    CHECK(InfoOf(stream.status()).reason == CallInfo::Reason::kAttemptsExhausted);
    CHECK(fake.calls<&Inference::StreamInference>() - before <= 5);
  }
}

TEST_CASE("streams that break leave others of the budget", "[hostile][retries]") {
  FakeServer fake;
  fake.On<&Inference::StreamInference>().Do(Breaks(GENERATE(0, 1, 50)));
  fake.On<&Inference::RunInference>()
      .Fail(absl::UnavailableError("hiccup"))
      .Times(1)
      .Then()
      .Reply(inferwire_test::Response("a"));
  ClientOptions options;
  options.clock = std::make_shared<FakeClock>();  // which brings nothing in
  options.retry.initial_backoff = absl::ZeroDuration();
  const Client client = inferwire_test::Connect(fake.target(), options);
  for (int i = 0; i < 30; ++i) {
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = absl::Milliseconds(500)}, Again);
    CountAll(stream, 500);
  }
  // What nobody but the streams took is left in part, and the first call of another method has a retry for its hiccup.
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
}

TEST_CASE("a method that fails at every target leaves others of the budget", "[hostile][retries]") {
  FakeServer one, two;
  for (FakeServer* const fake : {&one, &two}) {
    fake->On<&Inference::RunInference>().Fail(absl::UnavailableError("down"));
    fake->On<&Inference::StreamInference>()
        .Fail(absl::UnavailableError("hiccup"))
        .Times(1)
        .Then()
        .Reply(inferwire_test::Response("a"));
  }
  ClientOptions options{.targets = {one.target(), two.target()}, .credentials = inferwire::Insecure()};
  options.clock = std::make_shared<FakeClock>();
  options.retry.initial_backoff = absl::ZeroDuration();
  const auto client = Client::Create(options);
  REQUIRE(client.ok());
  int out_of_budget = 0;
  for (int i = 0; i < 300; ++i) {
    const absl::Status status = client->Call<&Inference::RunInference>(Text("x")).status();
    out_of_budget += InfoOf(status).reason == CallInfo::Reason::kBudgetExhausted ? 1 : 0;
  }
  CHECK(out_of_budget > 200);
  CHECK(one.calls<&Inference::RunInference>() + two.calls<&Inference::RunInference>() <= 300 * 1.1 + 2 * 20);
  auto stream = client->Stream<&Inference::StreamInference>(Text("x"));
  CHECK(CountAll(stream) == 1);
  CHECK(stream.status().ok());
}

TEST_CASE("who took a budget's last is not who may overdraw it, and debts are paid first", "[hostile][retries]") {
  const TimePoint start = TimePoint() + std::chrono::hours(1);
  Budget budget(0, 2, start);
  int taken = 0;
  while (taken < 1000 && budget.Withdraw(start, 1)) ++taken;
  CHECK(taken == 20);
  // Others, a little each, and no more than ten seconds' worth in all.
  CHECK(budget.Withdraw(start, 2));
  CHECK(budget.Withdraw(start, 2));
  CHECK_FALSE(budget.Withdraw(start, 2));
  int others = 2;
  for (std::size_t whose = 3; whose < 60; ++whose) {
    while (budget.Withdraw(start, whose)) ++others;
  }
  CHECK(others == 20);
  CHECK(budget.available() == 0);
  CHECK_FALSE(budget.Withdraw(start + std::chrono::seconds(9)));
  CHECK(budget.Withdraw(start + std::chrono::seconds(11)));
  // In the long run nobody gets more than time brings.
  TimePoint now = start;
  int all = 0;
  for (int i = 0; i < 100'000; ++i) {
    now += std::chrono::milliseconds(10);
    for (std::size_t whose = 1; whose < 5; ++whose) all += budget.Withdraw(now, whose, whose == 1) ? 1 : 0;
  }
  CHECK(all <= 2 * 1000 + 20);
  // A stream that has begun leaves half of the start, and an empty budget stays empty.
  Budget fresh(0.1, 2, start);
  taken = 0;
  while (taken < 1000 && fresh.Withdraw(start, 1, /*begun=*/true)) ++taken;
  CHECK(taken == 10);
  Budget none(0, 0, start);
  CHECK_FALSE(none.Withdraw(start, 1));
  CHECK_FALSE(none.Withdraw(start + std::chrono::hours(1), 1));
}

TEST_CASE("a server that takes no token does not have one fetched for each call", "[hostile][retries]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::UnauthenticatedError("no"));
  std::atomic<int> fetched{0};
  const inferwire::BearerToken token([&]() -> absl::StatusOr<inferwire::AccessToken> {
    return inferwire::AccessToken{"t" + std::to_string(++fetched)};
  });
  const Client client = inferwire_test::Connect(fake.target(), {.token = token.EvenOverPlaintext()});
  for (int i = 0; i < 50; ++i) {
    CHECK(client.Call<&Inference::RunInference>(Text("x")).status().code() == absl::StatusCode::kUnauthenticated);
  }
  CHECK(fetched >= 2);
  CHECK(fetched <= 6);  // four, and some where the machine takes its time
}

TEST_CASE("a health service that never stops talking is heard now and then", "[hostile][retries]") {
  class Counting final : public inferwire::Executor {
   public:
    void Run(absl::AnyInvocable<void()> work) override {
      ++runs;
      pool_->Run(std::move(work));
    }
    std::atomic<int> runs{0};

   private:
    const std::shared_ptr<inferwire::Executor> pool_ = std::make_shared<inferwire::ThreadPool>(1);
  };
  std::atomic<int> told{0};
  inferwire_test::RawServer server([&](inferwire_test::RawCall& call) {
    if (call.method() != "/grpc.health.v1.Health/Watch") return inferwire_test::Echo(call);
    while (call.Write(std::string("\x08\x01", 2))) ++told;
  });
  const auto executor = std::make_shared<Counting>();
  ClientOptions options;
  options.executor = executor;
  options.health.check_service = "";
  const Client client = inferwire_test::Connect(server.target(), options);
  // Calls go on meanwhile, on the only thread.
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 20 || std::chrono::steady_clock::now() - begun < std::chrono::milliseconds(600); ++i) {
    auto text = client.Async<&Inference::RunInference>(Text("a")).Then(
        [](const auto& answer) { return answer.ok() ? answer->text() : std::string(); });
    REQUIRE(std::move(text).Get().value_or("") == "a");
    if (i >= 20) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  CHECK(told > 100);
  CHECK(executor->runs < 200 + 400 * seconds);
}
