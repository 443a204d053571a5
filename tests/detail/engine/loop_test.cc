// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/engine/loop.h"

#include <grpcpp/alarm.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "support/catch.h"

namespace engine = inferwire::detail::engine;
using engine::Loop;
using engine::Now;
using std::chrono::hours;
using std::chrono::milliseconds;

namespace {
class Owner final : public engine::TimerOwner {
 public:
  explicit Owner(std::vector<int>& fired, int name, bool* gone = nullptr) : fired_(fired), name_(name), gone_(gone) {}
  ~Owner() override {
    if (gone_ != nullptr) *gone_ = true;
  }
  void OnTimer(engine::Timer&) override { fired_.push_back(name_); }
  engine::Timer timer{*this};

 private:
  std::vector<int>& fired_;
  const int name_;
  bool* const gone_;
};
void End(Loop& loop) {
  loop.Shutdown();
  while (loop.RunOne()) {
  }
}
}  // namespace

TEST_CASE("timers fire in the order of their times, and moved ones at the new time", "[engine]") {
  Loop loop;
  std::vector<int> fired;
  const auto now = Now();
  std::vector<inferwire::detail::Ref<Owner>> owners;
  for (int i = 0; i < 20; ++i) {
    owners.push_back(inferwire::detail::MakeRef<Owner>(fired, i));
    loop.Arm(owners.back()->timer, now + hours(1));
  }
  for (int i = 0; i < 20; ++i) loop.Arm(owners[static_cast<std::size_t>(i)]->timer, now - milliseconds((i * 7) % 20));
  loop.Disarm(owners[3]->timer);
  loop.RunOne(now);
  REQUIRE(fired.size() == 19);
  for (std::size_t i = 1; i < fired.size(); ++i) CHECK((fired[i - 1] * 7) % 20 > (fired[i] * 7) % 20);
  End(loop);
}

TEST_CASE("an armed timer keeps its owner, a disarmed one does not", "[engine]") {
  Loop loop;
  std::vector<int> fired;
  bool gone = false;
  engine::Timer* timer = nullptr;
  {
    const auto owner = inferwire::detail::MakeRef<Owner>(fired, 1, &gone);
    timer = &owner->timer;
    loop.Arm(*timer, Now() + hours(1));
  }
  CHECK_FALSE(gone);
  loop.Disarm(*timer);
  CHECK(gone);
  End(loop);
}

TEST_CASE("a fired timer lets go of its owner", "[engine]") {
  Loop loop;
  std::vector<int> fired;
  bool gone = false;
  {
    const auto owner = inferwire::detail::MakeRef<Owner>(fired, 1, &gone);
    loop.Arm(owner->timer, Now());
  }
  loop.RunOne(Now());
  CHECK(fired.size() == 1);
  CHECK(gone);
  End(loop);
}

TEST_CASE("a waiting turn is woken by another thread and by an earlier timer", "[engine]") {
  Loop loop;
  std::vector<int> fired;
  std::thread waker([&] { loop.Wake(); });
  CHECK(loop.RunOne());  // would wait for ever
  waker.join();
  const auto owner = inferwire::detail::MakeRef<Owner>(fired, 1);
  std::thread armer([&] { loop.Arm(owner->timer, Now()); });
  while (fired.empty()) loop.RunOne();
  armer.join();
  End(loop);
}

TEST_CASE("who turns a loop beside its thread and leaves takes no wake-up along", "[engine]") {
  struct Firing final : engine::TimerOwner {
    explicit Firing(std::atomic<bool>& fired) : fired_(fired) {}
    void OnTimer(engine::Timer&) override { fired_ = true; }
    engine::Timer timer{*this};
    std::atomic<bool>& fired_;
  };
  Loop loop;
  std::thread as_a_rule([&] {
    while (loop.RunOne()) {
    }
  });
  for (int i = 0; i < 60; ++i) {
    // It leaves with whatever comes out first, be that meant for it or not.
    const auto visits = std::make_shared<inferwire::detail::Visits>();
    int looks = 0;
    std::thread assistant([&] { loop.Assist(*visits, milliseconds(60), [&] { return looks++ == 0; }); });
    std::this_thread::sleep_for(milliseconds(2));  // both wait, as a rule
    std::atomic<bool> fired{false};
    const auto owner = inferwire::detail::MakeRef<Firing>(fired);
    const auto armed = Now();
    loop.Arm(owner->timer, armed + milliseconds(20));
    assistant.join();
    while (!fired && Now() < armed + std::chrono::seconds(5)) std::this_thread::sleep_for(milliseconds(1));
    REQUIRE(fired);
  }
  loop.Shutdown();
  as_a_rule.join();
}

TEST_CASE("a tag's operation is run when it comes out", "[engine]") {
  Loop loop;
  struct Counting final : engine::Tag {
    void Proceed(bool ok) override { oks += ok ? 1 : 0; }
    int oks = 0;
  } tag;
  grpc::Alarm alarm;
  alarm.Set(loop.queue(), gpr_timespec{0, 0, GPR_TIMESPAN}, static_cast<engine::Tag*>(&tag));
  while (tag.oks == 0) REQUIRE(loop.RunOne());
  End(loop);
}

namespace {
// Writes down when it came out, after a handler that takes `busy`.
class Event final : public engine::Tag {
 public:
  Event(Loop& loop, std::vector<int>& seen, int name, milliseconds after, milliseconds busy = milliseconds(0))
      : seen_(seen), name_(name), busy_(busy) {
    alarm_.Set(loop.queue(), engine::ToTimespec(inferwire::TimePoint(), inferwire::TimePoint() + after),
               static_cast<engine::Tag*>(this));
  }
  void Proceed(bool) override {
    seen_.push_back(name_);
    std::this_thread::sleep_for(busy_);
  }

 private:
  std::vector<int>& seen_;
  const int name_;
  const milliseconds busy_;
  grpc::Alarm alarm_;
};
}  // namespace

TEST_CASE("what came while the loop was held up counts before what expired meanwhile", "[engine]") {
  Loop loop;
  std::vector<int> seen;
  std::vector<inferwire::detail::Ref<Owner>> owners;
  std::vector<std::unique_ptr<Event>> events;
  for (int i = 0; i < 30; ++i) {
    owners.push_back(inferwire::detail::MakeRef<Owner>(seen, -1));
    loop.Arm(owners.back()->timer, Now() + milliseconds(100));
    events.push_back(std::make_unique<Event>(loop, seen, i, milliseconds(10)));
  }
  std::this_thread::sleep_for(milliseconds(300));  // a throttled container, a lid
  while (seen.size() < 60) REQUIRE(loop.RunOne());
  for (int i = 0; i < 60; ++i) CHECK((seen[static_cast<std::size_t>(i)] == -1) == (i >= 30));
  End(loop);
}

TEST_CASE("what came during a long handler counts before what expired meanwhile", "[engine]") {
  Loop loop;
  std::vector<int> seen;
  const auto owner = inferwire::detail::MakeRef<Owner>(seen, -1);
  loop.Arm(owner->timer, Now() + milliseconds(100));
  Event longest(loop, seen, 0, milliseconds(0), milliseconds(300));
  Event second(loop, seen, 1, milliseconds(30));
  Event third(loop, seen, 2, milliseconds(60));
  while (seen.size() < 4) REQUIRE(loop.RunOne());
  CHECK(seen == std::vector<int>{0, 1, 2, -1});
  End(loop);
}

TEST_CASE("timers are kept under a flood of events", "[engine]") {
  Loop loop;
  struct Flood final : engine::Tag {
    explicit Flood(Loop& l) : loop(l) { Proceed(true); }
    void Proceed(bool) override {
      if (!over) alarm.Set(loop.queue(), gpr_timespec{0, 0, GPR_TIMESPAN}, static_cast<engine::Tag*>(this));
      ++count;
    }
    Loop& loop;
    grpc::Alarm alarm;
    int count = 0;
    bool over = false;
  } flood(loop), more(loop);
  std::vector<int> fired;
  // The best of several, since the machine has other things to do as well.
  auto best = hours(1) + milliseconds(0);
  for (int i = 0; i < 10; ++i) {
    const auto owner = inferwire::detail::MakeRef<Owner>(fired, i);
    const auto due = Now() + milliseconds(20);
    loop.Arm(owner->timer, due);
    while (fired.size() == static_cast<std::size_t>(i)) REQUIRE(loop.RunOne());
    best = (std::min)(best, std::chrono::duration_cast<milliseconds>(Now() - due));
  }
  CHECK(best < milliseconds(10));
  CHECK(flood.count > 100);
  flood.over = more.over = true;
  loop.RunOne();
  loop.RunOne();
  End(loop);
}

TEST_CASE("a loop that is retired with operations in it is turned to its end elsewhere, all of them by one thread",
          "[engine]") {
  struct Told final : engine::Tag {
    explicit Told(Loop& loop) {
      alarm.Set(loop.queue(), gpr_timespec{3600, 0, GPR_TIMESPAN}, static_cast<engine::Tag*>(this));
    }
    void Proceed(bool) override {
      thread = std::this_thread::get_id();
      told = true;
    }
    grpc::Alarm alarm;
    std::thread::id thread;
    std::atomic<bool> told{false};
  };
  std::vector<std::unique_ptr<Told>> all;
  for (int i = 0; i < 50; ++i) {
    auto loop = std::make_unique<Loop>();
    all.push_back(std::make_unique<Told>(*loop));
    engine::Retire(std::move(loop));
  }
  for (const auto& one : all) {
    CHECK_FALSE(one->told);
    one->alarm.Cancel();
    while (!one->told) std::this_thread::sleep_for(milliseconds(1));
    CHECK(one->thread == all.front()->thread);
  }
}

TEST_CASE("callers that block have a loop each, and the next one has it again", "[engine]") {
  const engine::CallerLoop outer;
  Loop* used = nullptr;
  {
    const engine::CallerLoop inner;
    used = &*inner;
    CHECK(used != &*outer);
  }
  std::atomic<bool> ended{false};
  struct Operation final : engine::Tag {
    explicit Operation(std::atomic<bool>& e) : ended(e) {}
    void Proceed(bool) override { ended = true; }
    std::atomic<bool>& ended;
  } operation(ended);
  grpc::Alarm alarm;
  {
    const engine::CallerLoop again;
    CHECK(&*again == used);
    (*again).Began();
    alarm.Set((*again).queue(), gpr_timespec{3600, 0, GPR_TIMESPAN}, static_cast<engine::Tag*>(&operation));
  }
  // With an operation in it that does not end, it is nobody's any more.
  const engine::CallerLoop another;
  CHECK(&*another != used);
  alarm.Cancel();
  while (!ended) std::this_thread::sleep_for(milliseconds(1));
}

TEST_CASE("gRPC gets spans, never negative, and its own infinity", "[engine]") {
  const inferwire::TimePoint now = engine::Now();
  const gpr_timespec span = engine::ToTimespec(now, now + std::chrono::milliseconds(1500));
  CHECK(span.clock_type == GPR_TIMESPAN);
  CHECK(span.tv_sec == 1);
  CHECK(span.tv_nsec == 500'000'000);
  CHECK(engine::ToTimespec(now, now - std::chrono::seconds(5)).tv_sec == 0);
  CHECK(engine::ToTimespec(now, inferwire::TimePoint::max()).tv_sec == INT64_MAX);
}
