// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/policy/plan.h"

#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "support/catch.h"

using inferwire::CallInfo;
using inferwire::RetryPolicy;
using inferwire::TimePoint;
using inferwire::detail::policy::Budget;
using inferwire::detail::policy::Failure;
using inferwire::detail::policy::Plan;
using std::chrono::milliseconds;
using Act = Plan::Act;

namespace {
const TimePoint kStart = TimePoint() + std::chrono::hours(1);

// A plan with room for everything: attempts of 100 ms, two of them, one hedge after 30 ms, a second in all.
struct Course {
  explicit Course(int max_attempts = 2, int max_hedges = 1, bool idempotent = true)
      : policy{.max_attempts = max_attempts, .initial_backoff = absl::Milliseconds(20)},
        plan({kStart + milliseconds(1000), absl::Milliseconds(100), idempotent, max_hedges, absl::Milliseconds(30)},
             policy, retries, hedges) {}
  const RetryPolicy policy;
  Budget retries{std::numeric_limits<double>::infinity(), 0, kStart};
  Budget hedges{std::numeric_limits<double>::infinity(), 0, kStart};
  Plan plan;
};
}  // namespace

TEST_CASE("a failed attempt is followed by another after its backoff", "[policy]") {
  Course course(2, 0);
  CHECK(course.plan.Start(kStart) == std::pair(0, kStart + milliseconds(100)));
  const Plan::Next next = course.plan.OnFailure(0, {}, 0.5, kStart + milliseconds(7));
  CHECK(next.act == Act::kRetry);
  CHECK(next.delay == absl::Milliseconds(10));
  CHECK(course.plan.due() == kStart + milliseconds(17));
  CHECK(course.plan.OnTime(kStart + milliseconds(16)).act == Act::kNothing);
  CHECK(course.plan.OnTime(kStart + milliseconds(17)).act == Act::kRetry);
  CHECK(course.plan.Start(kStart + milliseconds(17)).first == 1);
  const Plan::Next last = course.plan.OnFailure(1, {}, 0.5, kStart + milliseconds(20));
  CHECK(last.act == Act::kEnd);
  CHECK(last.reason == CallInfo::Reason::kAttemptsExhausted);
}

TEST_CASE("a slow attempt gets one beside it, and both get their full time", "[policy]") {
  Course course;
  course.plan.Start(kStart);
  CHECK(course.plan.due() == kStart + milliseconds(30));
  CHECK(course.plan.OnTime(kStart + milliseconds(30)).act == Act::kHedge);
  CHECK(course.plan.Start(kStart + milliseconds(30)).second == kStart + milliseconds(130));
  CHECK(course.plan.due() == kStart + milliseconds(100));
  const Plan::Next expired = course.plan.OnTime(kStart + milliseconds(100));
  CHECK(expired.act == Act::kExpire);
  CHECK(expired.attempt == 0);
}

TEST_CASE("the failure of one of two waits for the other while its own retry is on the way", "[policy]") {
  Course course(2, 1);
  course.plan.Start(kStart);
  course.plan.OnTime(kStart + milliseconds(30));
  course.plan.Start(kStart + milliseconds(30));
  CHECK(course.plan.OnFailure(0, {}, 0.5, kStart + milliseconds(40)).act == Act::kRetry);
  CHECK(course.plan.OnFailure(1, {}, 0.5, kStart + milliseconds(41)).act == Act::kNothing);  // the retry is to come
  CHECK(course.plan.OnTime(kStart + milliseconds(50)).act == Act::kRetry);
  course.plan.Start(kStart + milliseconds(50));
  CHECK(course.plan.OnFailure(2, {}, 0.5, kStart + milliseconds(51)).act == Act::kEnd);
}

TEST_CASE("a permanent error is the answer although another attempt runs", "[policy]") {
  Course course;
  course.plan.Start(kStart);
  course.plan.OnTime(kStart + milliseconds(30));
  course.plan.Start(kStart + milliseconds(30));
  const Plan::Next next = course.plan.OnFailure(1, {.retryable = false}, 0.5, kStart + milliseconds(40));
  CHECK(next.act == Act::kEnd);
  CHECK(next.reason == CallInfo::Reason::kPermanent);
}

TEST_CASE("a server that wants no retry gets no hedges either", "[policy]") {
  Course course(3, 2);
  course.plan.Start(kStart);
  course.plan.OnTime(kStart + milliseconds(30));
  course.plan.Start(kStart + milliseconds(30));
  CHECK(course.plan.OnFailure(0, {.pushback = absl::Milliseconds(-1)}, 0.5, kStart + milliseconds(31)).act ==
        Act::kNothing);
  CHECK(course.plan.due() == kStart + milliseconds(130));
}

TEST_CASE("what is not idempotent is never hedged", "[policy]") {
  Course course(2, 1, /*idempotent=*/false);
  course.plan.Start(kStart);
  CHECK(course.plan.due() == kStart + milliseconds(100));
}

TEST_CASE("hedges stop when their budget is used up", "[policy]") {
  Course course(1, 1);
  Budget empty(0.05, 0, kStart);
  Plan plan({kStart + milliseconds(1000), absl::InfiniteDuration(), true, 1, absl::Milliseconds(30)}, course.policy,
            course.retries, empty);
  plan.Start(kStart);
  CHECK(plan.OnTime(kStart + milliseconds(30)).act == Act::kNothing);
  CHECK(plan.due() == kStart + milliseconds(1000));
}

TEST_CASE("once a part of an answer was used, only its attempt counts", "[policy]") {
  Course course(3, 2);
  course.plan.Start(kStart);
  course.plan.OnTime(kStart + milliseconds(30));
  course.plan.Start(kStart + milliseconds(30));
  course.plan.Commit(1);
  CHECK(course.plan.due() == kStart + milliseconds(1000));  // no hedge, and neither one's expiry
  CHECK(course.plan.OnFailure(1, {.retryable = false}, 0.5, kStart + milliseconds(40)).act == Act::kEnd);
}

TEST_CASE("an attempt that goes forward has its time anew, but no more than the call", "[policy]") {
  Course course;
  course.plan.Start(kStart);
  CHECK(course.plan.Restart(0, kStart + milliseconds(80)) == kStart + milliseconds(180));
  CHECK(course.plan.due() <= kStart + milliseconds(180));
  CHECK(course.plan.OnTime(kStart + milliseconds(179)).act != Act::kExpire);
  CHECK(course.plan.Restart(0, kStart + milliseconds(950)) == kStart + milliseconds(1000));
}

TEST_CASE("the deadline ends everything", "[policy]") {
  Course course;
  course.plan.Start(kStart);
  const Plan::Next next = course.plan.OnTime(kStart + milliseconds(1000));
  CHECK(next.act == Act::kEnd);
  CHECK(next.reason == CallInfo::Reason::kDeadline);
}

// ---- every course that a call can take

namespace {
// Walks all sequences of events up to a bounded number of attempts, each from the start again: what a plan has seen is
// what was done to it. The walker plays the engine, and checks it after every step.
class Walker {
 public:
  struct Setting {
    int max_attempts, max_hedges;
    bool idempotent;
    double retry_tokens, hedge_tokens;
  };
  explicit Walker(Setting setting) : setting_(setting) {}

  long Walk() {
    Explore();
    return courses_;
  }

 private:
  enum Event : int { kOk, kFails, kFailsForGood, kFailsUnseen, kStopPushback, kNext, kEventKinds };
  // An event of an attempt is kind + kEventKinds * number.

  struct World {
    explicit World(const Setting& setting)
        : policy{.max_attempts = setting.max_attempts, .initial_backoff = absl::Milliseconds(20)},
          // What comes by time alone: exactly as many tokens as the setting says, since the clock stands for them.
          retries(0, setting.retry_tokens / 10, kStart),
          hedges(0, setting.hedge_tokens / 10, kStart),
          plan({kStart + milliseconds(400), absl::Milliseconds(100), setting.idempotent, setting.max_hedges,
                absl::Milliseconds(30)},
               policy, retries, hedges) {}
    const RetryPolicy policy;
    Budget retries, hedges;
    Plan plan;
    TimePoint now = kStart;
    std::set<int> running;
    int started = 0, ended = 0, retried = 0, hedged = 0;
    bool reached = false;  // a server saw a request that was not idempotent
    bool over = false;
  };

  void Start(World& world) {
    REQUIRE_FALSE(world.over);
    const auto [number, due] = world.plan.Start(world.now);
    REQUIRE(number == world.started);
    REQUIRE(due > world.now);
    REQUIRE(due <= kStart + milliseconds(400));
    world.running.insert(number);
    ++world.started;
  }
  void End(World& world) {
    REQUIRE_FALSE(world.over);  // a single end
    world.over = true;
    world.running.clear();
  }
  void Fail(World& world, int number, const Failure& failure) {
    world.running.erase(number);
    if (failure.reached_server) world.reached = true;
    const Plan::Next next = world.plan.OnFailure(number, failure, 0.5, world.now);
    if (next.act == Act::kEnd) {
      REQUIRE(next.reason != CallInfo::Reason::kNone);
      End(world);
    } else {
      // Somebody must be left to end the call, or something to come.
      REQUIRE((!world.running.empty() || world.plan.due() < kStart + milliseconds(400)));
    }
    if (!failure.retryable) REQUIRE(world.over);
  }
  void Advance(World& world) {
    const TimePoint due = world.plan.due();
    REQUIRE(due > world.now);  // time never stands still, so that every call ends
    world.now = due;
    while (!world.over) {
      const Plan::Next next = world.plan.OnTime(world.now);
      if (next.act == Act::kNothing) break;
      if (next.act == Act::kEnd) {
        REQUIRE(world.now == kStart + milliseconds(400));
        End(world);
      } else if (next.act == Act::kExpire) {
        REQUIRE(world.running.count(next.attempt) == 1);
        Fail(world, next.attempt, {});
      } else {
        if (next.act == Act::kHedge) {
          ++world.hedged;
          REQUIRE(setting_.idempotent);
          REQUIRE_FALSE(world.running.empty());
        } else {
          ++world.retried;
          if (!setting_.idempotent) REQUIRE_FALSE(world.reached);
        }
        Start(world);
      }
    }
  }

  void Check(const World& world) {
    REQUIRE(world.retried <= setting_.max_attempts - 1);
    REQUIRE(world.hedged <= setting_.max_hedges);
    REQUIRE(world.retried <= setting_.retry_tokens + 0.5);  // time brings less than half of one in the whole course
    REQUIRE(world.hedged <= setting_.hedge_tokens + 0.5);
    REQUIRE(world.started == 1 + world.retried + world.hedged);
    if (!world.over) REQUIRE(world.plan.due() > world.now);
  }

  void Explore() {
    World world(setting_);
    Start(world);
    for (const int event : path_) Apply(world, event);
    Check(world);
    if (world.over) {
      ++courses_;
      return;
    }
    for (const int number : world.running) {
      for (const int kind : {kOk, kFails, kFailsForGood, kFailsUnseen, kStopPushback})
        Step(kind + kEventKinds * number);
    }
    Step(kNext);
  }
  void Step(int event) {
    path_.push_back(event);
    Explore();
    path_.pop_back();
  }
  void Apply(World& world, int event) {
    const int number = event / kEventKinds;
    switch (event % kEventKinds) {
      case kOk:
        return End(world);
      case kFails:
        return Fail(world, number, {});
      case kFailsForGood:
        return Fail(world, number, {.retryable = false});
      case kFailsUnseen:
        return Fail(world, number, {.reached_server = false});
      case kStopPushback:
        return Fail(world, number, {.pushback = absl::Milliseconds(-1)});
      default:
        return Advance(world);
    }
  }

  const Setting setting_;
  std::vector<int> path_;
  long courses_ = 0;
};
}  // namespace

TEST_CASE("every course that a call can take ends once, within its bounds", "[policy]") {
  long courses = 0;
  for (const int max_attempts : {1, 2, 3}) {
    for (const int max_hedges : {0, 1, 2}) {
      if (max_attempts + max_hedges > 4) continue;
      for (const bool idempotent : {true, false}) {
        for (const double retry_tokens : {0.0, 1.0, 10.0}) {
          for (const double hedge_tokens : {0.0, 1.0, 10.0}) {
            courses += Walker({max_attempts, max_hedges, idempotent, retry_tokens, hedge_tokens}).Walk();
          }
        }
      }
    }
  }
  INFO("courses: " << courses);
  CHECK(courses > 10'000);
}

TEST_CASE("what has its answer does not expire, and nothing starts beside it until it fails", "[policy]") {
  Course course;
  course.plan.Start(kStart);
  CHECK(course.plan.OnTime(kStart + milliseconds(30)).act == Act::kHedge);
  course.plan.Start(kStart + milliseconds(30));
  course.plan.Answered(0);
  CHECK(course.plan.due() == TimePoint::max());
  CHECK(course.plan.OnTime(kStart + milliseconds(500)).act == Act::kNothing);
  CHECK(course.plan.OnTime(kStart + std::chrono::hours(1)).act == Act::kNothing);
  SECTION("and it cannot be understood: it may be tried again in what time is left") {
    CHECK(course.plan.OnFailure(0, {.retryable = true}, 0.5, kStart + milliseconds(500)).act == Act::kRetry);
    CHECK(course.plan.due() == kStart + milliseconds(510));
  }
  SECTION("or was the answer") {
    const Plan::Next next = course.plan.OnFailure(0, {.retryable = false}, 0.5, kStart + milliseconds(500));
    CHECK(next.act == Act::kEnd);
    CHECK(next.reason == CallInfo::Reason::kPermanent);
  }
}
