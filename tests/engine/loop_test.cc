// SPDX-License-Identifier: Apache-2.0
#include "inferwire/engine/loop.h"

#include <grpcpp/alarm.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "support/catch.h"

namespace engine = inferwire::engine;
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
  while (loop.Turn()) {
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
  loop.Turn(now);
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
  loop.Turn(Now());
  CHECK(fired.size() == 1);
  CHECK(gone);
  End(loop);
}

TEST_CASE("a waiting turn is woken by another thread and by an earlier timer", "[engine]") {
  Loop loop;
  std::vector<int> fired;
  std::thread waker([&] { loop.Wake(); });
  CHECK(loop.Turn());  // would wait for ever
  waker.join();
  const auto owner = inferwire::detail::MakeRef<Owner>(fired, 1);
  std::thread armer([&] { loop.Arm(owner->timer, Now()); });
  while (fired.empty()) loop.Turn();
  armer.join();
  End(loop);
}

TEST_CASE("a tag's operation is run when it comes out", "[engine]") {
  Loop loop;
  struct Counting final : engine::Tag {
    void Proceed(bool ok) override { oks += ok ? 1 : 0; }
    int oks = 0;
  } tag;
  grpc::Alarm alarm;
  alarm.Set(loop.queue(), gpr_timespec{0, 0, GPR_TIMESPAN}, static_cast<engine::Tag*>(&tag));
  while (tag.oks == 0) REQUIRE(loop.Turn());
  End(loop);
}

TEST_CASE("a loop that is retired with an operation in it is turned to its end elsewhere", "[engine]") {
  struct Told final : engine::Tag {
    void Proceed(bool) override { told = true; }
    std::atomic<bool> told{false};
  } tag;
  auto loop = std::make_unique<Loop>();
  grpc::Alarm alarm;
  alarm.Set(loop->queue(), gpr_timespec{3600, 0, GPR_TIMESPAN}, static_cast<engine::Tag*>(&tag));
  engine::Retire(std::move(loop));
  CHECK_FALSE(tag.told);
  alarm.Cancel();
  while (!tag.told) std::this_thread::yield();
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
