// SPDX-License-Identifier: Apache-2.0
#include "inferwire/start.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "support/catch.h"
#include "support/raw_server.h"
#include "support/source.h"

using inferwire::Future;
using inferwire::Start;
using inferwire::Task;
using inferwire_test::Event;
using inferwire_test::FutureOf;
using inferwire_test::MakeSource;

namespace {

Task<int> Value(int value) { co_return value; }
Task<absl::StatusOr<int>> Await(Future<int> future) { co_return co_await std::move(future); }
Task<absl::Status> Fails() { co_return absl::NotFoundError("x"); }
Task<absl::Status> Succeeds() { co_return absl::OkStatus(); }
Task<> Throws(std::shared_ptr<int>) {
  throw std::runtime_error("boom");
  co_return;
}
Task<> Holds(std::shared_ptr<int>, Future<int> future) { (co_await std::move(future)).IgnoreError(); }

}  // namespace

TEST_CASE("a started task runs on the executor, and its future has the result", "[start]") {
  std::thread::id ran;
  const auto where = [&]() -> Task<int> {
    ran = std::this_thread::get_id();
    co_return 5;
  };
  CHECK(Start(where()).Get().value() == 5);
  CHECK(ran != std::this_thread::get_id());
  CHECK(Start(where(), std::make_shared<inferwire::InlineExecutor>()).Get().value() == 5);
  CHECK(ran == std::this_thread::get_id());
}

TEST_CASE("a started task's StatusOr, Status or nothing is flattened", "[start]") {
  const auto source = MakeSource();
  source->Complete(absl::AbortedError("x"));
  CHECK(Start(Await(FutureOf(source))).Get().status().code() == absl::StatusCode::kAborted);
  CHECK(Start(Await(inferwire::MakeReadyFuture<int>(3))).Get().value() == 3);
  CHECK(Start(Fails()).Get().status().code() == absl::StatusCode::kNotFound);
  CHECK(Start(Succeeds()).Get().ok());
  const absl::StatusOr<std::monostate> nothing = Start(Holds(nullptr, inferwire::MakeReadyFuture<int>(1))).Get();
  CHECK(nothing.ok());
}

TEST_CASE("an exception in a started task becomes INTERNAL with its text", "[start]") {
  const auto held = std::make_shared<int>(1);
  const absl::Status status = Start(Throws(held)).Get().status();
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(status.message() == "exception in a task: boom");
  CHECK(held.use_count() == 1);
}

TEST_CASE("cancelling a started task cancels what it awaits", "[start]") {
  const auto source = MakeSource();
  Event waits;
  const auto task = [&]() -> Task<absl::StatusOr<int>> {
    Future<int> future = FutureOf(source);
    waits.Set();
    co_return co_await future;
  };
  Future<int> future = Start(task());
  REQUIRE(waits.Wait());
  future.Cancel();
  CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
  CHECK(source->cancels >= 1);
}

TEST_CASE("dropping a started task's future cancels what it awaits, and the task ends", "[start]") {
  const auto source = MakeSource();
  Event waits, ended;
  absl::StatusCode code = absl::StatusCode::kOk;
  const auto task = [&]() -> Task<> {
    Future<int> future = FutureOf(source);
    waits.Set();
    code = (co_await future).status().code();
    ended.Set();
  };
  {
    auto future = Start(task());
    REQUIRE(waits.Wait());
  }
  REQUIRE(ended.Wait());
  CHECK(code == absl::StatusCode::kCancelled);
}

TEST_CASE("a task that is dropped or cancelled before it began never does", "[start]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  Event busy, go_on;
  pool->Run([&] {
    busy.Set();
    go_on.Wait();
  });
  REQUIRE(busy.Wait());
  std::atomic<bool> ran{false};
  const auto task = [&](std::shared_ptr<int>) -> Task<int> {
    ran = true;
    co_return 1;
  };
  const auto held = std::make_shared<int>(1);
  Future<int> cancelled = Start(task(held), pool);
  {
    const auto dropped = Start(task(held), pool);
  }
  cancelled.Cancel();
  CHECK_FALSE(cancelled.Ready());
  go_on.Set();
  CHECK(std::move(cancelled).Get().status().code() == absl::StatusCode::kCancelled);
  CHECK(Start(Value(1), pool).Get().ok());  // the only thread has come past both
  CHECK_FALSE(ran);
  CHECK(held.use_count() == 1);
}

TEST_CASE("what a task held is gone before its result is seen", "[start]") {
  for (int round = 0; round < 1000; ++round) {
    const auto source = MakeSource(inferwire::ThreadPool::Shared());
    const auto held = std::make_shared<int>(round);
    auto future = Start(Holds(held, FutureOf(source)));
    std::thread completer([&] { source->Complete(1); });
    if (round % 2 == 0) future.Cancel();
    const absl::Status end = std::move(future).Get().status();
    CHECK(held.use_count() == 1);
    // Cancelled in time, it never began.
    CHECK((end.ok() || (round % 2 == 0 && end.code() == absl::StatusCode::kCancelled)));
    completer.join();
  }
}

TEST_CASE("a started task is continued, gathered and awaited as any future", "[start]") {
  CHECK(Start(Value(1)).Then([](absl::StatusOr<int> n) { return *n + 1; }).Get().value() == 2);
  const auto both = inferwire::WhenAll(Start(Value(1)), Start(Succeeds())).Get();
  REQUIRE(both.ok());
  CHECK(std::get<0>(*both).value() == 1);
  CHECK(inferwire::SyncWait(Await(Start(Value(9)))).value() == 9);
}

TEST_CASE("Get of a started task on its own executor is refused", "[start]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  const auto task = [&]() -> Task<absl::StatusCode> { co_return Start(Value(1), pool).Get().status().code(); };
  CHECK(Start(task(), pool).Get().value() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("a task is not started on no executor", "[start]") {
  CHECK(Start(Value(1), nullptr).Get().status().code() == absl::StatusCode::kInvalidArgument);
}
