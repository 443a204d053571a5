// SPDX-License-Identifier: Apache-2.0
#include "inferwire/future.h"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "inferwire/task.h"
#include "support/catch.h"
#include "support/raw_server.h"
#include "support/source.h"

using inferwire::Future;
using inferwire::MakeReadyFuture;
using inferwire::WhenAll;
using inferwire::WhenAny;
using inferwire_test::Event;
using inferwire_test::FutureOf;
using inferwire_test::MakeSource;

TEST_CASE("a future is ready once its source has completed", "[future]") {
  const auto source = MakeSource();
  Future<int> future = FutureOf(source);
  CHECK_FALSE(future.Ready());
  CHECK_FALSE(future.Wait(absl::ZeroDuration()));
  CHECK_FALSE(future.Wait(absl::Milliseconds(-5)));
  source->Complete(5);
  CHECK(future.Ready());
  CHECK(future.Wait(absl::InfiniteDuration()));
  CHECK(std::move(future).Get().value() == 5);
  CHECK_FALSE(future.valid());
}

TEST_CASE("an empty future says so instead of waiting for ever", "[future]") {
  CHECK(Future<int>().Get().status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK_FALSE(Future<int>().Ready());
  CHECK_FALSE(Future<int>().Wait(absl::InfiniteDuration()));
  CHECK(Future<int>().Then([](absl::StatusOr<int> r) { return r; }).Get().status().code() ==
        absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("dropping a future cancels its source, once", "[future]") {
  const auto source = MakeSource();
  {
    const Future<int> future = FutureOf(source);
  }
  CHECK(source->cancels == 1);
}

TEST_CASE("assigning over a future cancels what it held", "[future]") {
  const auto source = MakeSource();
  Future<int> future = FutureOf(source);
  future = MakeReadyFuture<int>(1);
  CHECK(source->cancels == 1);
  CHECK(std::move(future).Get().value() == 1);
}

TEST_CASE("a detached future lets its source run on", "[future]") {
  const auto source = MakeSource();
  FutureOf(source).Detach();
  CHECK(source->cancels == 0);
  source->Complete(1);
}

TEST_CASE("cancel makes CANCELLED the result", "[future]") {
  const auto source = MakeSource();
  Future<int> future = FutureOf(source);
  future.Cancel();
  CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
}

TEST_CASE("a continuation runs on the executor and its value is the new future's", "[future]") {
  const auto source = MakeSource();
  std::thread::id ran;
  Future<std::string> future = FutureOf(source).Then([&](absl::StatusOr<int> result) {
    ran = std::this_thread::get_id();
    return std::to_string(*result);
  });
  source->Complete(7);
  CHECK(std::move(future).Get().value() == "7");
  CHECK(ran != std::this_thread::get_id());
}

TEST_CASE("a continuation runs on the executor that was given, and so does what follows it", "[future]") {
  const auto source = MakeSource();
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  Event told;
  std::thread::id expected, first, second;
  pool->Run([&] {
    expected = std::this_thread::get_id();
    told.Set();
  });
  REQUIRE(told.Wait());
  Future<int> future = FutureOf(source)
                           .Then(pool,
                                 [&](absl::StatusOr<int> n) {
                                   first = std::this_thread::get_id();
                                   return n;
                                 })
                           .Then([&](absl::StatusOr<int> n) {
                             second = std::this_thread::get_id();
                             return *n + 1;
                           });
  source->Complete(1);
  CHECK(std::move(future).Get().value() == 2);
  CHECK(first == expected);
  CHECK(second == expected);
  CHECK(MakeReadyFuture<int>(1).Then(pool, [](absl::StatusOr<int> n) { return n; }).Get().value() == 1);
}

TEST_CASE("a continuation's StatusOr, Status, Future or nothing is flattened", "[future]") {
  CHECK(MakeReadyFuture<int>(1)
            .Then([](absl::StatusOr<int>) { return absl::StatusOr<int>(absl::NotFoundError("x")); })
            .Get()
            .status()
            .code() == absl::StatusCode::kNotFound);
  CHECK(
      MakeReadyFuture<int>(1).Then([](absl::StatusOr<int>) { return absl::AbortedError("x"); }).Get().status().code() ==
      absl::StatusCode::kAborted);
  CHECK(MakeReadyFuture<int>(1).Then([](absl::StatusOr<int>) { return absl::OkStatus(); }).Get().ok());
  CHECK(MakeReadyFuture<int>(1).Then([](absl::StatusOr<int>) {}).Get().ok());
  CHECK(MakeReadyFuture<int>(1).Then([](absl::StatusOr<int>) { return MakeReadyFuture<int>(2); }).Get().value() == 2);
  CHECK(MakeReadyFuture<int>(1).Then([](absl::StatusOr<int>) { return Future<int>(); }).Get().status().code() ==
        absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("an exception in a continuation becomes the new future's status", "[future]") {
  Future<int> future =
      MakeReadyFuture<int>(1).Then([](absl::StatusOr<int>) -> int { throw std::runtime_error("boom"); });
  const absl::Status status = std::move(future).Get().status();
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(std::string(status.message()).find("boom") != std::string::npos);
}

TEST_CASE("dropping a chain cancels its source and never runs the continuation", "[future]") {
  const auto source = MakeSource();
  std::atomic<bool> ran{false};
  {
    Future<int> chained = FutureOf(source).Then([&](absl::StatusOr<int> result) {
      ran = true;
      return result;
    });
  }
  CHECK(source->cancels == 1);
  CHECK_FALSE(ran);
}

TEST_CASE("dropping a chain ends what its continuation captured", "[future]") {
  const auto source = MakeSource();
  const auto captured = std::make_shared<int>(1);
  {
    Future<int> chained = FutureOf(source).Then([captured](absl::StatusOr<int>) { return *captured; });
    CHECK(captured.use_count() == 2);
  }
  CHECK(captured.use_count() == 1);
}

TEST_CASE("dropping a chain waits for a continuation that is running", "[future]") {
  const auto source = MakeSource();
  Event running, go_on;
  std::atomic<bool> finished{false};
  std::thread opener;
  {
    Future<int> chained = FutureOf(source).Then([&](absl::StatusOr<int>) {
      running.Set();
      go_on.Wait();
      finished = true;
      return 1;
    });
    source->Complete(1);
    REQUIRE(running.Wait());
    opener = std::thread([&] { go_on.Set(); });
  }
  CHECK(finished);
  opener.join();
}

TEST_CASE("dropping a chain cancels the future its continuation returned", "[future]") {
  const auto source = MakeSource();
  const auto inner = MakeSource();
  Event returned;
  {
    Future<int> chained = FutureOf(source).Then([&](absl::StatusOr<int>) {
      returned.Set();
      return FutureOf(inner);
    });
    source->Complete(1);
    REQUIRE(returned.Wait());
  }
  // The continuation may hand the inner future over just after the drop; either way it is cancelled.
  while (inner->cancels == 0) std::this_thread::yield();
}

TEST_CASE("a thousand chains dropped while they complete neither hang nor run late", "[future]") {
  auto pool = std::make_shared<inferwire::ThreadPool>(2);
  for (int round = 0; round < 1000; ++round) {
    const auto source = MakeSource(pool);
    auto alive = std::make_unique<std::atomic<bool>>(true);
    std::thread completer([&] { source->Complete(round); });
    {
      Future<int> chained = FutureOf(source).Then([&](absl::StatusOr<int>) { return alive->load() ? 1 : 0; });
      if (round % 2 == 0) chained.Wait(absl::Microseconds(round % 50));
    }
    alive.reset();  // a continuation that runs late is caught by the sanitizers
    completer.join();
  }
}

TEST_CASE("when all are ready, each has its own status", "[future]") {
  const auto first = MakeSource(), second = MakeSource();
  std::vector<Future<int>> futures;
  futures.push_back(FutureOf(first));
  futures.push_back(FutureOf(second));
  futures.push_back(Future<int>());
  auto all = WhenAll(std::move(futures));
  second->Complete(absl::NotFoundError("x"));
  CHECK_FALSE(all.Ready());
  first->Complete(1);
  const auto results = std::move(all).Get();
  REQUIRE(results.ok());
  CHECK((*results)[0].value() == 1);
  CHECK((*results)[1].status().code() == absl::StatusCode::kNotFound);
  CHECK((*results)[2].status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(WhenAll(std::vector<Future<int>>()).Get()->empty());
}

TEST_CASE("futures of different types are gathered in a tuple", "[future]") {
  const auto both = WhenAll(MakeReadyFuture<int>(1), MakeReadyFuture<std::string>(std::string("two"))).Get();
  REQUIRE(both.ok());
  CHECK(std::get<0>(*both).value() == 1);
  CHECK(std::get<1>(*both).value() == "two");
}

TEST_CASE("dropping the gathering of futures cancels them all", "[future]") {
  const auto first = MakeSource(), second = MakeSource();
  {
    auto all = WhenAll(FutureOf(first), FutureOf(second));
  }
  CHECK(first->cancels == 1);
  CHECK(second->cancels == 1);
}

TEST_CASE("the first that is ready wins and the others are cancelled", "[future]") {
  const auto slow = MakeSource(), fast = MakeSource();
  std::vector<Future<int>> futures;
  futures.push_back(FutureOf(slow));
  futures.push_back(FutureOf(fast));
  auto any = WhenAny(std::move(futures));
  fast->Complete(9);
  const auto winner = std::move(any).Get();
  REQUIRE(winner.ok());
  CHECK(winner->first == 1);
  CHECK(winner->second.value() == 9);
  CHECK(slow->cancels >= 1);
  CHECK(WhenAny(std::vector<Future<int>>()).Get().status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a coroutine awaits a future and goes on where the executor says", "[future]") {
  const auto source = MakeSource();
  std::thread::id resumed;
  const auto wait = [&]() -> inferwire::Task<int> {
    const absl::StatusOr<int> result = co_await FutureOf(source);
    resumed = std::this_thread::get_id();
    co_return result.value();
  };
  std::thread completer([&] { source->Complete(3); });
  CHECK(inferwire::SyncWait(wait()) == 3);
  completer.join();
}

TEST_CASE("a future becomes a std::future, whenever its result comes", "[future]") {
  const auto source = MakeSource();
  std::future<absl::StatusOr<int>> later = FutureOf(source).ToStd();
  CHECK(later.wait_for(std::chrono::seconds(0)) == std::future_status::timeout);
  source->Complete(5);
  CHECK(later.get().value() == 5);
  CHECK(MakeReadyFuture<int>(7).ToStd().get().value() == 7);
  CHECK(Future<int>().ToStd().get().status().code() == absl::StatusCode::kFailedPrecondition);
  const auto dropped = MakeSource();
  {
    const auto unused = FutureOf(dropped).ToStd();
  }
  CHECK(dropped->cancels == 0);
  dropped->Complete(1);
}

TEST_CASE("Get on the executor that the result needs is refused, and said so", "[future]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  const auto first = MakeSource(pool), second = MakeSource(pool);
  absl::Status refused;
  Future<int> outer = FutureOf(first).Then([&](absl::StatusOr<int>) {
    Future<int> inner = FutureOf(second).Then([](absl::StatusOr<int> n) { return n; });
    refused = std::move(inner).Get().status();
    return 1;
  });
  first->Complete(1);
  CHECK(std::move(outer).Get().value() == 1);
  CHECK(refused.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(std::string(refused.message()).find("in a continuation") != std::string::npos);
  CHECK(second->cancels == 1);
}

TEST_CASE("Get in a continuation is taken where nothing of it needs the executor, or it is there already", "[future]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  const auto first = MakeSource(pool), second = MakeSource(pool);
  const auto third = MakeSource(pool);
  std::thread completer;
  Future<int> outer = FutureOf(first).Then([&](absl::StatusOr<int>) {
    completer = std::thread([&] { second->Complete(2); });
    const int plain = std::move(FutureOf(second)).Get().value();
    third->Complete(3);
    std::vector<Future<int>> all;
    all.push_back(FutureOf(third));
    return plain + WhenAll(std::move(all)).Get().value()[0].value();
  });
  first->Complete(1);
  CHECK(std::move(outer).Get().value() == 5);
  completer.join();
}

TEST_CASE("a gathering of continuations needs their executor", "[future]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  const auto first = MakeSource(pool), second = MakeSource(pool);
  std::vector<absl::StatusCode> codes;
  Future<int> outer = FutureOf(first).Then([&](absl::StatusOr<int>) {
    std::vector<Future<int>> all, any;
    all.push_back(FutureOf(second).Then([](absl::StatusOr<int> n) { return n; }));
    codes.push_back(WhenAll(std::move(all)).Get().status().code());
    any.push_back(FutureOf(MakeSource(pool)).Then([](absl::StatusOr<int> n) { return n; }));
    codes.push_back(WhenAny(std::move(any)).Get().status().code());
    return 0;
  });
  first->Complete(1);
  CHECK(std::move(outer).Get().ok());
  CHECK(codes == std::vector<absl::StatusCode>(2, absl::StatusCode::kFailedPrecondition));
}
