// SPDX-License-Identifier: Apache-2.0
#include "inferwire/task.h"

#include <atomic>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/future.h"
#include "support/catch.h"
#include "support/source.h"

using inferwire::SyncWait;
using inferwire::Task;
using inferwire::ThisTask;
using inferwire::WhenAll;
using inferwire_test::FutureOf;
using inferwire_test::MakeSource;

namespace {
Task<int> Value(int value) { co_return value; }
Task<int> Sum(int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await Value(1);
  co_return sum;
}
Task<> Note(bool& ran) {
  ran = true;
  co_return;
}
Task<std::unique_ptr<int>> MoveOnly() { co_return std::make_unique<int>(7); }
Task<int> Throws() {
  throw std::runtime_error("boom");
  co_return 0;
}
Task<std::string> Catches() {
  try {
    co_await Throws();
  } catch (const std::runtime_error& error) {
    co_return error.what();
  }
  co_return "nothing";
}
Task<int> AwaitsReady() {
  const absl::StatusOr<int> result = co_await inferwire::MakeReadyFuture<int>(3);
  co_return *result;
}
Task<absl::StatusOr<int>> Await(inferwire::Future<int> future) { co_return co_await std::move(future); }
Task<absl::StatusOr<int>> AwaitTwoDeep(inferwire::Future<int> future) { co_return co_await Await(std::move(future)); }
Task<bool> Stopped() {
  const std::stop_token stop = co_await ThisTask::StopToken();
  co_return stop.stop_requested();
}
Task<int> Gather(int rounds) {
  int sum = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto [a, b] = co_await WhenAll(Value(1), Value(2));
    sum += a + b;
  }
  co_return sum;
}
// A coroutine as another library might have it: begins at once, knows no stop token, and nobody waits for it.
struct Foreign {
  struct promise_type {
    Foreign get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};
Foreign AwaitAsForeign(inferwire::Future<int> first, inferwire::Future<int> second, std::atomic<int>& sum) {
  const int a = (co_await std::move(first)).value();
  sum = a + (co_await Await(std::move(second))).value();
}
template <class T>
std::vector<Task<T>> Both(Task<T> first, Task<T> second) {
  std::vector<Task<T>> tasks;
  tasks.push_back(std::move(first));
  tasks.push_back(std::move(second));
  return tasks;
}
}  // namespace

TEST_CASE("a task gives its value to whoever waits", "[task]") {
  CHECK(SyncWait(Value(42)) == 42);
  CHECK(*SyncWait(MoveOnly()) == 7);
}

TEST_CASE("a task does nothing until it is awaited", "[task]") {
  bool ran = false;
  {
    const Task<> never = Note(ran);
  }
  CHECK_FALSE(ran);
  SyncWait(Note(ran));
  CHECK(ran);
}

TEST_CASE("long chains of tasks take no stack", "[task]") { CHECK(SyncWait(Sum(1'000'000)) == 1'000'000); }

TEST_CASE("an exception comes out where the task is awaited", "[task]") {
  CHECK(SyncWait(Catches()) == "boom");
  CHECK_THROWS_AS(SyncWait(Throws()), std::runtime_error);
}

TEST_CASE("a ready future is awaited without suspending", "[task]") { CHECK(SyncWait(AwaitsReady()) == 3); }

TEST_CASE("a task that is told to stop cancels what it awaits, however deep", "[task]") {
  const auto source = MakeSource();
  std::stop_source stop;
  std::thread stopper([&] { stop.request_stop(); });
  CHECK(SyncWait(AwaitTwoDeep(FutureOf(source)), stop.get_token()).status().code() == absl::StatusCode::kCancelled);
  stopper.join();
  CHECK(source->cancels >= 1);
}

TEST_CASE("a task that was told to stop before it began cancels each call that it makes", "[task]") {
  const auto source = MakeSource();
  std::stop_source stop;
  stop.request_stop();
  CHECK(SyncWait(Await(FutureOf(source)), stop.get_token()).status().code() == absl::StatusCode::kCancelled);
  CHECK(source->cancels >= 1);
}

TEST_CASE("a task knows its own stop token, and has one that never stops where nobody gave any", "[task]") {
  std::stop_source stop;
  CHECK_FALSE(SyncWait(Stopped()));
  CHECK_FALSE(SyncWait(Stopped(), stop.get_token()));
  stop.request_stop();
  CHECK(SyncWait(Stopped(), stop.get_token()));
}

TEST_CASE("a stop that comes after the end finds nothing to cancel", "[task]") {
  const auto source = MakeSource();
  std::stop_source stop;
  std::thread completer([&] { source->Complete(4); });
  CHECK(SyncWait(Await(FutureOf(source)), stop.get_token()).value() == 4);
  stop.request_stop();
  CHECK(source->cancels == 0);
  completer.join();
}

TEST_CASE("all of several tasks run at once, and their results come in order", "[task]") {
  const auto first = MakeSource(), second = MakeSource();
  std::thread completer([&] {
    second->Complete(2);
    first->Complete(1);
  });
  const auto results = SyncWait(WhenAll(Both(Await(FutureOf(first)), Await(FutureOf(second)))));
  completer.join();
  REQUIRE(results.size() == 2);
  CHECK(results[0].value() == 1);
  CHECK(results[1].value() == 2);
  CHECK(SyncWait(WhenAll(std::vector<Task<int>>())).empty());
}

TEST_CASE("tasks of different types are gathered in a tuple, also of none and what only moves", "[task]") {
  bool ran = false;
  auto [number, nothing, owned] = SyncWait(WhenAll(Value(1), Note(ran), MoveOnly()));
  static_assert(std::is_same_v<decltype(nothing), std::monostate>);
  CHECK(number == 1);
  CHECK(ran);
  CHECK(*owned == 7);
}

TEST_CASE("tasks of nothing are gathered into nothing", "[task]") {
  bool first = false, second = false;
  static_assert(std::is_void_v<decltype(SyncWait(WhenAll(Both(Note(first), Note(second)))))>);
  SyncWait(WhenAll(Both(Note(first), Note(second))));
  CHECK(first);
  CHECK(second);
}

TEST_CASE("gathering again and again takes no stack", "[task]") { CHECK(SyncWait(Gather(100'000)) == 300'000); }

TEST_CASE("the first exception of several tasks comes out when the others, told to stop, have ended", "[task]") {
  auto source = MakeSource();
  bool ended = false;
  const auto waits = [&]() -> Task<int> {
    const absl::StatusOr<int> result = co_await FutureOf(source);
    ended = result.status().code() == absl::StatusCode::kCancelled;
    throw std::logic_error("second");
  };
  CHECK_THROWS_AS(SyncWait(WhenAll(Both(waits(), Throws()))), std::runtime_error);
  CHECK(ended);
  CHECK(source->cancels >= 1);
  ended = false;
  source = MakeSource();
  CHECK_THROWS_AS(SyncWait(WhenAll(Both(Throws(), waits()))), std::runtime_error);
  CHECK(ended);
}

TEST_CASE("tasks that are gathered are told to stop with the one that gathers them", "[task]") {
  const auto first = MakeSource(), second = MakeSource();
  std::stop_source stop;
  std::thread stopper([&] { stop.request_stop(); });
  const auto [a, b] = SyncWait(WhenAll(Await(FutureOf(first)), Await(FutureOf(second))), stop.get_token());
  stopper.join();
  CHECK(a.status().code() == absl::StatusCode::kCancelled);
  CHECK(b.status().code() == absl::StatusCode::kCancelled);
}

TEST_CASE("a stop where continuations run inline ends the tasks in the midst of it", "[task]") {
  const auto inline_executor = std::make_shared<inferwire::InlineExecutor>();
  for (int round = 0; round < 1000; ++round) {
    const auto first = MakeSource(inline_executor), second = MakeSource(inline_executor);
    std::stop_source stop;
    std::thread stopper([&] { stop.request_stop(); });
    const auto [a, b] = SyncWait(WhenAll(AwaitTwoDeep(FutureOf(first)), Await(FutureOf(second))), stop.get_token());
    CHECK_FALSE(a.ok());
    CHECK_FALSE(b.ok());
    stopper.join();
  }
}

TEST_CASE("an exception in a task drops, and so cancels, what it still holds", "[task]") {
  const auto source = MakeSource();
  const auto held = std::make_shared<int>(1);
  const auto fails = [](inferwire::Future<int>, std::shared_ptr<int>) -> Task<> {
    throw std::runtime_error("boom");
    co_return;
  };
  CHECK_THROWS_AS(SyncWait(fails(FutureOf(source), held)), std::runtime_error);
  CHECK(source->cancels == 1);
  CHECK(held.use_count() == 1);
}

TEST_CASE("a task destroyed while it waits drops what it waits for, in a gathering too", "[task]") {
  const auto first = MakeSource(), second = MakeSource();
  const auto held = std::make_shared<int>(1);
  struct Owner final : inferwire::detail::RootOwner {
    void Threw() noexcept override {}
    void Ended() noexcept override { ended = true; }
    bool ended = false;
  } owner;
  const auto waits = [](std::shared_ptr<int>, Task<std::vector<absl::StatusOr<int>>> all) -> Task<> {
    co_await std::move(all);
  };
  std::stop_source stop;
  {
    std::optional<std::monostate> slot;
    inferwire::detail::RootTask root = inferwire::detail::RunRoot(
        waits(held, WhenAll(Both(AwaitTwoDeep(FutureOf(first)), Await(FutureOf(second))))), slot);
    root.Start(owner, stop.get_token());
  }
  CHECK_FALSE(owner.ended);
  CHECK(first->cancels == 1);
  CHECK(second->cancels == 1);
  CHECK(held.use_count() == 1);
  stop.request_stop();  // nothing of it is left to be told
}

TEST_CASE("a coroutine of another library awaits futures and tasks", "[task]") {
  const auto executor = std::make_shared<inferwire::InlineExecutor>();
  const auto first = MakeSource(executor), second = MakeSource(executor);
  std::atomic<int> sum{0};
  AwaitAsForeign(FutureOf(first), FutureOf(second), sum);
  first->Complete(1);
  CHECK(sum == 0);
  second->Complete(2);
  CHECK(sum == 3);
}
