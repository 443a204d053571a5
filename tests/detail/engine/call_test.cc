// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/engine/call.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/testing/fake_clock.h"
#include "support/catch.h"

namespace engine = inferwire::detail::engine;
using inferwire::CallInfo;
using inferwire::ClientOptions;
using inferwire::TimePoint;
using inferwire::testing::FakeClock;

namespace {

// The engine as it is, over attempts that never meet gRPC: what they would report, the test reports.
class ScriptedCall final : public engine::Call {
 public:
  class ScriptedAttempt;
  // What can be seen from outside of one call.
  struct Seen {
    std::map<int, ScriptedAttempt*> open;  // started, and not yet at the end of its operations
    std::set<int> given_up;
    int started = 0;
    int ends = 0;
    absl::Status end;
    int alive = 0;  // objects
  };

  class ScriptedAttempt final : public engine::RpcAttempt {
   public:
    ScriptedAttempt(ScriptedCall& call, int number, TimePoint now, TimePoint due)
        : RpcAttempt(call, call.engine_->options(), call.spec_.options, call.effective_.compression,
                     call.PickTarget(now), number, now, due,
                     /*told=*/due, /*idempotent=*/true, /*lends=*/false),
          seen_(call.seen_) {
      ++seen_.alive;
    }
    ~ScriptedAttempt() override { --seen_.alive; }
    void Start() override {
      REQUIRE(seen_.ends == 0);  // none after the end
      ++seen_.started;
      seen_.open[number()] = this;
    }
    void Abandon() override { seen_.given_up.insert(number()); }
    void ReadMetadata(CallInfo&) const override {}

    // Its last operation comes off the queue.
    void Finish(const grpc::Status& status) {
      std::unique_ptr<ScriptedAttempt> self(this);
      seen_.open.erase(number());
      status_ = status;
      ScriptedCall& call = static_cast<ScriptedCall&>(*call_);
      call.OnAttemptEnd(std::unique_lock(call.mutex_), *this, inferwire::detail::wire::FromGrpc(status));
    }

   private:
    Seen& seen_;
  };

  ScriptedCall(std::shared_ptr<engine::Engine> engine, engine::Loop& loop, Spec spec, Seen& seen)
      : Call(std::move(engine), loop, std::move(spec)), seen_(seen) {
    ++seen_.alive;
  }
  ~ScriptedCall() override { --seen_.alive; }

 private:
  engine::Attempt* NewAttempt(int number, TimePoint now, TimePoint due) override {
    return new ScriptedAttempt(*this, number, now, due);
  }
  void OnOtherTimer(std::unique_lock<std::mutex>, engine::Timer&) override {}
  void OnEnd(absl::Status status) override {
    ++seen_.ends;
    seen_.end = std::move(status);
  }

  Seen& seen_;
};

class CountingObserver final : public inferwire::Observer {
 public:
  struct Counts {
    int calls = 0, starts = 0, hedges = 0, ends = 0, retries = 0, over = 0, alive = 0;
  };
  std::unique_ptr<inferwire::CallObserver> CallStarted(const CallStart&) override {
    ++counts.calls;
    return std::make_unique<One>(counts);
  }
  Counts counts;

 private:
  struct One final : inferwire::CallObserver {
    explicit One(Counts& c) : counts(c) { ++counts.alive; }
    ~One() override { --counts.alive; }
    void AttemptStarted(const AttemptStart& start, inferwire::Metadata& metadata) override {
      REQUIRE_FALSE(over);
      ++counts.starts;
      ++starts;
      if (start.hedge) ++counts.hedges;
      metadata.emplace_back("x-attempt", std::to_string(start.number));
    }
    void AttemptEnded(int, const CallInfo::Attempt&) override { ++counts.ends; }
    void RetryScheduled(absl::Duration) override { ++counts.retries; }
    void Ended(const absl::Status&, const CallInfo& info) override {
      REQUIRE_FALSE(std::exchange(over, true));
      ++counts.over;
      REQUIRE(info.attempts.size() == static_cast<std::size_t>(starts));
    }
    Counts& counts;
    int starts = 0;
    bool over = false;
  };
};

inferwire::detail::channel::Connector Connector() {
  return {{grpc::InsecureChannelCredentials(), "insecure"}, {}, {}, 1 << 20};
}

const std::string kPath = "/test.Service/Method";

struct World {
  explicit World(ClientOptions options, inferwire::CallOptions call_options = {}) {
    options.clock = clock;
    options.observer = observer;
    options.random = [] { return 0.5; };
    options.targets = {"first:1", "second:1"};
    options.outliers.consecutive_failures = 0;
    options.outliers.failure_rate = 1;
    const absl::Duration timeout = call_options.timeout.value_or(options.timeout);
    client = std::make_shared<engine::Engine>(std::move(options), Connector());
    call = inferwire::detail::MakeRef<ScriptedCall>(
        client, loop, engine::Call::Spec{kPath, {}, std::move(call_options), timeout}, seen);
  }
  ~World() {
    call = {};
    loop.Shutdown();
    while (loop.RunOne()) {
    }
  }
  void Start() { call->Start(absl::OkStatus()); }
  // Runs what rang.
  void Turn() {
    for (int i = 0; i < 3; ++i) loop.RunOne(engine::Now());
  }
  void Next() {
    REQUIRE(clock->AdvanceToNext() >= absl::ZeroDuration());
    Turn();
  }
  void Finish(int attempt, grpc::StatusCode code, const std::string& message = "", const std::string& details = "") {
    seen.open.at(attempt)->Finish(grpc::Status(code, message, details));
  }
  // The operations of attempts that were given up come back too, some time.
  void FinishTheRest() {
    while (!seen.open.empty()) seen.open.begin()->second->Finish(grpc::Status(grpc::StatusCode::CANCELLED, "gone"));
  }

  const std::shared_ptr<FakeClock> clock = std::make_shared<FakeClock>();
  const std::shared_ptr<CountingObserver> observer = std::make_shared<CountingObserver>();
  ScriptedCall::Seen seen;
  engine::Loop loop;
  std::shared_ptr<engine::Engine> client;
  inferwire::detail::Ref<ScriptedCall> call;
};

ClientOptions Options() {
  return {.timeout = absl::Milliseconds(400),
          .attempt_timeout = absl::Milliseconds(100),
          .retry = {.max_attempts = 2, .initial_backoff = absl::Milliseconds(20)},
          .hedge = inferwire::HedgePolicy{.delay = absl::Milliseconds(30), .max_hedges = 1, .max_ratio = 1}};
}

}  // namespace

TEST_CASE("the first answer wins, and the other attempt is given up", "[engine]") {
  CallInfo info;
  World world(Options(), {.info = &info});
  world.Start();
  world.Next();  // the hedge
  REQUIRE(world.seen.started == 2);
  world.Finish(1, grpc::StatusCode::OK);
  CHECK(world.seen.ends == 1);
  CHECK(world.seen.end.ok());
  CHECK(world.seen.given_up == std::set<int>{0});
  REQUIRE(info.attempts.size() == 2);
  CHECK(info.attempts[0].code == absl::StatusCode::kCancelled);
  CHECK_FALSE(info.attempts[0].hedge);
  CHECK(info.attempts[1].code == absl::StatusCode::kOk);
  CHECK(info.attempts[1].hedge);
  CHECK(info.attempts[0].target != info.attempts[1].target);  // hedges go elsewhere
  world.FinishTheRest();
  CHECK(world.seen.ends == 1);
}

TEST_CASE("an attempt's expiry is tried again, the call's is its end", "[engine]") {
  auto options = Options();
  options.hedge = std::nullopt;
  World world(options);
  world.Start();
  world.Next();  // 100 ms: expired
  CHECK(world.seen.given_up == std::set<int>{0});
  world.Next();  // the backoff
  CHECK(world.seen.started == 2);
  world.Next();  // the second one expires too
  REQUIRE(world.seen.ends == 1);
  CHECK(world.seen.end.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(std::string(world.seen.end.message()) ==
        "no end within the attempt_timeout of 100ms (2 attempts to 2 targets in 210ms; gave up: attempts)");
  world.FinishTheRest();
}

TEST_CASE("gRPC's own deadline, a little early, counts as ours", "[engine]") {
  auto options = Options();
  options.hedge = std::nullopt;
  options.attempt_timeout = absl::InfiniteDuration();
  World world(options);
  world.Start();
  world.clock->Advance(absl::Milliseconds(398));
  world.Finish(0, grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  REQUIRE(world.seen.ends == 1);
  CHECK(inferwire::InfoOf(world.seen.end).reason == CallInfo::Reason::kDeadline);
  CHECK(std::string(world.seen.end.message()).starts_with("no end within the timeout of 400ms"));
}

TEST_CASE("a server's DEADLINE_EXCEEDED long before ours is an answer", "[engine]") {
  World world(Options());
  world.Start();
  world.Finish(0, grpc::StatusCode::DEADLINE_EXCEEDED, "the model is slow");
  REQUIRE(world.seen.ends == 1);
  CHECK(inferwire::InfoOf(world.seen.end).reason == CallInfo::Reason::kPermanent);
  CHECK(std::string(world.seen.end.message()) == "the model is slow");
}

TEST_CASE("a message over a limit is never tried again, whatever the policy", "[engine]") {
  auto options = Options();
  options.retry.retry_if = [](const absl::Status&) { return true; };
  World world(options);
  world.Start();
  world.Finish(0, grpc::StatusCode::RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max (2000 vs. 1000)");
  REQUIRE(world.seen.ends == 1);
  CHECK(inferwire::InfoOf(world.seen.end).reason == CallInfo::Reason::kPermanent);
}

TEST_CASE("the user's predicate decides in place of the codes", "[engine]") {
  auto options = Options();
  options.hedge = std::nullopt;
  options.retry.retry_if = [](const absl::Status& status) {
    return std::string(status.message()).find("queue") != std::string::npos;
  };
  {
    World world(options);
    world.Start();
    world.Finish(0, grpc::StatusCode::INTERNAL, "the queue is full");
    CHECK(world.seen.ends == 0);
    world.Next();
    world.Finish(1, grpc::StatusCode::OK);
    CHECK(world.seen.end.ok());
  }
  World world(options);
  world.Start();
  world.Finish(0, grpc::StatusCode::UNAVAILABLE, "no");
  CHECK(world.seen.ends == 1);
}

TEST_CASE("a call's own policies stand in for the client's", "[engine]") {
  World world({.timeout = absl::Seconds(1)}, {.retry = inferwire::RetryPolicy{.max_attempts = 1},
                                              .hedge = inferwire::HedgePolicy{.delay = absl::Milliseconds(5)}});
  for (int i = 0; i < 100; ++i) world.client->hedge_budget().Deposit();
  world.Start();
  CHECK(world.clock->AdvanceToNext() == absl::Milliseconds(5));
  world.Turn();
  CHECK(world.seen.started == 2);
  world.Finish(0, grpc::StatusCode::UNAVAILABLE);
  CHECK(world.seen.ends == 0);  // the hedge still runs
  world.Finish(1, grpc::StatusCode::UNAVAILABLE);
  CHECK(inferwire::InfoOf(world.seen.end).reason == CallInfo::Reason::kAttemptsExhausted);
}

TEST_CASE("a call's policies that make no sense end it without an attempt", "[engine]") {
  World world({}, {.retry = inferwire::RetryPolicy{.max_attempts = 0}});
  world.Start();
  CHECK(world.seen.started == 0);
  CHECK(world.seen.end.code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("an observer is told of everything, in order", "[engine]") {
  World world(Options());
  world.Start();
  world.Next();
  world.Finish(0, grpc::StatusCode::UNAVAILABLE);
  world.Next();
  world.Finish(2, grpc::StatusCode::OK);
  const CountingObserver::Counts& counts = world.observer->counts;
  CHECK(counts.calls == 1);
  CHECK(counts.starts == 3);
  CHECK(counts.hedges == 1);
  CHECK(counts.retries == 1);
  CHECK(counts.ends == 3);
  CHECK(counts.over == 1);
  world.FinishTheRest();
}

TEST_CASE("an observer's illegal metadata ends the call, and says whose it is", "[engine]") {
  struct Bad final : inferwire::Observer {
    struct One final : inferwire::CallObserver {
      void AttemptStarted(const AttemptStart&, inferwire::Metadata& metadata) override {
        metadata = {{"Bad Key", "x"}};
      }
    };
    std::unique_ptr<inferwire::CallObserver> CallStarted(const CallStart&) override { return std::make_unique<One>(); }
  };
  World world({});
  ClientOptions options;
  options.observer = std::make_shared<Bad>();
  options.targets = {"first:1"};
  const auto client = std::make_shared<engine::Engine>(options, Connector());
  ScriptedCall::Seen seen;
  inferwire::detail::MakeRef<ScriptedCall>(client, world.loop, engine::Call::Spec{kPath, {}, {}, absl::Seconds(1)},
                                           seen)
      ->Start(absl::OkStatus());
  CHECK(seen.started == 0);
  CHECK(seen.alive == 0);
  CHECK(seen.end.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(seen.end.message()).starts_with("from the observer: metadata: the key 'Bad Key'"));
}

TEST_CASE("with every server down, the load of a client stays within its budget", "[engine]") {
  ClientOptions options{.retry = {.max_attempts = 4, .initial_backoff = absl::Milliseconds(1)},
                        .retry_budget = {.ratio = 0.1, .min_per_second = 2}};
  World world(options);
  constexpr int kCalls = 2000;
  int attempts = 0, out_of_budget = 0;
  for (int i = 0; i < kCalls; ++i) {
    ScriptedCall::Seen seen;
    auto call = inferwire::detail::MakeRef<ScriptedCall>(world.client, world.loop,
                                                         engine::Call::Spec{kPath, {}, {}, absl::Seconds(10)}, seen);
    call->Start(absl::OkStatus());
    while (seen.ends == 0) {
      if (!seen.open.empty()) {
        seen.open.begin()->second->Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "down"));
      } else {
        world.Next();
      }
    }
    attempts += seen.started;
    if (inferwire::InfoOf(seen.end).reason == CallInfo::Reason::kBudgetExhausted) ++out_of_budget;
    world.clock->Advance(absl::Milliseconds(1));
  }
  const double seconds =
      absl::ToDoubleSeconds(inferwire::Between(TimePoint() + std::chrono::hours(1), world.clock->Now()));
  CHECK(attempts <= 1.1 * kCalls + 2 * (seconds + 10));
  CHECK(attempts >= 1.05 * kCalls);
  CHECK(out_of_budget > kCalls / 2);
}

// ---- every interleaving

namespace {
enum Event : int { kOk, kUnavailable, kInvalid, kPushback, kPerAttempt, kTime = 100, kCancel, kShutdown };

// Every sequence of {an attempt ends, the next timer fires, cancel, shut down}, each from the start again.
class Walker {
 public:
  explicit Walker(ClientOptions options) : options_(std::move(options)) {}
  int Walk() {
    Explore();
    return courses_;
  }

 private:
  void Explore() {
    std::vector<int> next;
    {
      World world(options_);
      world.Start();
      for (const int event : path_) Apply(world, event);
      REQUIRE(world.seen.started <= 3);
      REQUIRE(world.client->retry_budget().available() >= 0);
      REQUIRE(world.client->hedge_budget().available() >= 0);
      if (world.seen.ends == 0) {
        for (const auto& [number, attempt] : world.seen.open) {
          if (world.seen.given_up.count(number) != 0) continue;
          for (const int kind : {kOk, kUnavailable, kInvalid, kPushback}) next.push_back(kind + kPerAttempt * number);
        }
        for (const int event : {kTime, kCancel, kShutdown}) next.push_back(event);
        world.call->Cancel(absl::CancelledError("the walk turns back"));
      } else {
        ++courses_;
        // Whatever else happens now changes nothing.
        const absl::Status end = world.seen.end;
        world.call->Cancel(absl::CancelledError("too late"));
        world.clock->Advance(absl::Hours(1));
        world.Turn();
        CHECK(world.seen.end == end);
      }
      world.FinishTheRest();
      REQUIRE(world.seen.ends == 1);
      REQUIRE(world.observer->counts.over == 1);
      REQUIRE(world.observer->counts.ends == world.observer->counts.starts);
      world.call = {};
      REQUIRE(world.seen.alive == 0);
      REQUIRE(world.observer->counts.alive == 0);
      REQUIRE(world.clock->UntilNext() == absl::InfiniteDuration());
    }
    for (const int event : next) {
      path_.push_back(event);
      Explore();
      path_.pop_back();
    }
  }
  static void Apply(World& world, int event) {
    switch (event) {
      case kTime:
        return world.Next();
      case kCancel:
        return world.call->Cancel(absl::CancelledError("by the caller"));
      case kShutdown:
        return world.client->Shutdown();
      default:
        break;
    }
    const int number = event / kPerAttempt;
    switch (event % kPerAttempt) {
      case kOk:
        return world.Finish(number, grpc::StatusCode::OK);
      case kUnavailable:
        return world.Finish(number, grpc::StatusCode::UNAVAILABLE, "down");
      case kInvalid:
        return world.Finish(number, grpc::StatusCode::INVALID_ARGUMENT, "wrong");
      default:
        // google.rpc.Status{details: [Any{RetryInfo{retry_delay: 1 h}}]}: more than there is time for.
        return world.Finish(
            number, grpc::StatusCode::UNAVAILABLE, "busy",
            std::string("\x1a\x31\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x05\x0a\x03\x08\x90\x1c", 51));
    }
  }

  const ClientOptions options_;
  std::vector<int> path_;
  int courses_ = 0;
};
}  // namespace

TEST_CASE("every interleaving of attempts, timers, cancellation and shutdown ends once and leaves nothing",
          "[engine]") {
  int courses = 0;
  for (const bool hedged : {true, false}) {
    for (const bool idempotent : {true, false}) {
      for (const bool budget : {true, false}) {
        ClientOptions options = Options();
        options.idempotent = idempotent;
        if (!hedged) options.hedge = std::nullopt;
        if (!hedged) options.retry.max_attempts = 3;
        if (!budget) options.retry_budget = {.ratio = 0, .min_per_second = 0};
        courses += Walker(std::move(options)).Walk();
      }
    }
  }
  INFO("courses: " << courses);
  CHECK(courses > 400);
}
