// SPDX-License-Identifier: Apache-2.0
#include "inferwire/future.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "inferwire/start.h"
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

namespace {

// Counts those that live at a time.
struct Alive {
  std::shared_ptr<std::atomic<int>> count;
  explicit Alive(std::shared_ptr<std::atomic<int>> counter) : count(std::move(counter)) { ++*count; }
  Alive(const Alive& other) : Alive(other.count) {}
  Alive& operator=(const Alive&) = delete;
  ~Alive() { --*count; }
};

// A loop of turns: each waits for what another thread completes, and returns the future of the next.
struct TurnLoop {
  std::shared_ptr<inferwire::ThreadPool> pool = std::make_shared<inferwire::ThreadPool>(1);
  std::shared_ptr<inferwire::ThreadPool> completer = std::make_shared<inferwire::ThreadPool>(1);
  std::shared_ptr<std::atomic<int>> alive = std::make_shared<std::atomic<int>>(0);
  std::atomic<int> most{0};

  Future<int> Turn(int left) {
    const auto source = MakeSource(pool);
    completer->Run([source, left] { source->Complete(left); });
    return FutureOf(source).Then([this, held = Alive(alive)](absl::StatusOr<int> now) -> Future<int> {
      most = (std::max)(most.load(), alive->load());
      if (!now.ok() || *now == 0) return MakeReadyFuture<int>(now);
      return Turn(*now - 1);
    });
  }
};

struct RefusingExecutor final : inferwire::Executor {
  void Run(absl::AnyInvocable<void()>) override { throw std::runtime_error("no room"); }
};
struct LosingExecutor final : inferwire::Executor {
  void Run(absl::AnyInvocable<void()>) override {}
};
struct KeepingExecutor final : inferwire::Executor {
  void Run(absl::AnyInvocable<void()> work) override {
    std::lock_guard lock(mutex);
    kept.push_back(std::move(work));
    arrived.Set();
  }
  std::mutex mutex;
  std::vector<absl::AnyInvocable<void()>> kept;
  Event arrived;
};
// Does the work, and throws all the same; and does it twice.
struct ConfusedExecutor final : inferwire::Executor {
  void Run(absl::AnyInvocable<void()> work) override {
    work();
    work();
    throw 42;
  }
};

void CheckRefused(const absl::Status& status, const std::string& why) {
  INFO(status.ToString());
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(std::string(status.message()).find(why) != std::string::npos);
}

}  // namespace

TEST_CASE("a loop by Then takes no stack, and no memory for the turns behind it", "[future][loop]") {
  for (const int turns : {20'000, 100'000}) {
    TurnLoop loop;
    CHECK(loop.Turn(turns).Get().value() == 0);
    CHECK(loop.most < 10);
  }
}

TEST_CASE("a loop by Then over results that are there takes no stack", "[future][loop]") {
  struct Ready {
    static Future<int> Turn(int left) {
      return MakeReadyFuture<int>(left).Then([](absl::StatusOr<int> now) -> Future<int> {
        if (*now == 0) return MakeReadyFuture<int>(7);
        return Turn(*now - 1);
      });
    }
  };
  CHECK(Ready::Turn(100'000).Get().value() == 7);
}

TEST_CASE("a loop by Then is cancelled and dropped as one future", "[future][loop]") {
  const auto never = MakeSource();
  TurnLoop loop;
  Event reached;
  std::function<Future<int>(int)> turn = [&](int left) -> Future<int> {
    if (left == 0) {
      reached.Set();
      return FutureOf(never);
    }
    return loop.Turn(0).Then([&turn, left](absl::StatusOr<int>) { return turn(left - 1); });
  };
  Future<int> future = turn(1000);
  REQUIRE(reached.Wait());
  SECTION("cancelled") {
    future.Cancel();
    CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
  }
  SECTION("dropped") { future = Future<int>(); }
  CHECK(never->cancels == 1);
}

TEST_CASE("the end of a loop by Then may meet its beginning anywhere", "[future][loop]") {
  TurnLoop loop;
  for (int round = 0; round < 2000; ++round) {
    Future<int> future = loop.Turn(round % 7).Then([&](absl::StatusOr<int>) { return loop.Turn(round % 3); });
    if (round % 5 == 0) continue;  // dropped somewhere on its way
    if (round % 5 == 1) future.Cancel();
    const absl::StatusOr<int> result = std::move(future).Get();
    if (round % 5 != 1) CHECK(result.value() == 0);
  }
}

TEST_CASE("a long chain of Thens takes no stack: to run, to cancel, or to drop", "[future]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  const auto executor =
      GENERATE_COPY(std::shared_ptr<inferwire::Executor>(pool),
                    std::shared_ptr<inferwire::Executor>(std::make_shared<inferwire::InlineExecutor>()));
  const auto source = MakeSource(executor);
  Future<int> future = FutureOf(source);
  for (int i = 0; i < 50'000; ++i) {
    future = std::move(future).Then([](absl::StatusOr<int> n) -> absl::StatusOr<int> {
      if (!n.ok()) return n;
      return *n + 1;
    });
  }
  SECTION("run") {
    source->Complete(0);
    CHECK(std::move(future).Get().value() == 50'000);
  }
  SECTION("cancelled") {
    future.Cancel();
    CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
  }
  SECTION("dropped") {
    future = Future<int>();
    CHECK(source->cancels == 1);
  }
  SECTION("detached") {
    std::move(future).Detach();
    source->Complete(0);
  }
}

TEST_CASE("a long chain of WhenAll and WhenAny takes no stack: to run, to wait for, to cancel, or to drop",
          "[future]") {
  constexpr int kRounds = 30'000;
  const auto executor = GENERATE(std::shared_ptr<inferwire::Executor>(std::make_shared<inferwire::ThreadPool>(1)),
                                 std::shared_ptr<inferwire::Executor>(std::make_shared<inferwire::InlineExecutor>()));
  const auto source = MakeSource(executor);
  Future<int> future = FutureOf(source);
  for (int i = 0; i < kRounds; ++i) {
    std::vector<Future<int>> one;
    one.push_back(std::move(future));
    if (i % 2 == 0) {
      future = WhenAll(std::move(one)).Then([](absl::StatusOr<std::vector<absl::StatusOr<int>>> all) {
        return all->front().ok() ? absl::StatusOr<int>(*all->front() + 1) : all->front();
      });
    } else {
      future =
          inferwire::WhenAny(std::move(one)).Then([](absl::StatusOr<std::pair<std::size_t, absl::StatusOr<int>>> any) {
            return any->second.ok() ? absl::StatusOr<int>(*any->second + 1) : any->second;
          });
    }
  }
  SECTION("run") {
    source->Complete(0);
    CHECK(std::move(future).Get().value() == kRounds);
  }
  SECTION("waited for") {
    CHECK_FALSE(future.Wait(absl::Milliseconds(1)));
    source->Complete(0);
    CHECK(future.Wait(absl::InfiniteDuration()));
  }
  SECTION("waited for where it cannot be") {
    const auto status = MakeReadyFuture<int>(1)
                            .Then(executor, [&](absl::StatusOr<int>) { return std::move(future).Get(); })
                            .Get()
                            .status();
    CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
    CHECK(source->cancels == 1);
  }
  SECTION("cancelled") {
    future.Cancel();
    CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
  }
  SECTION("dropped") {
    future = Future<int>();
    CHECK(source->cancels == 1);
  }
}

TEST_CASE("two continuations that drop each other's futures both end", "[future]") {
  for (int round = 0; round < 100; ++round) {
    const auto a_source = MakeSource(), b_source = MakeSource();
    Future<int> a, b;
    Event a_runs, b_runs, a_done, b_done;
    a = FutureOf(a_source).Then([&](absl::StatusOr<int>) {
      a_runs.Set();
      b_runs.Wait();
      b = Future<int>();
      a_done.Set();
      return 1;
    });
    b = FutureOf(b_source).Then([&](absl::StatusOr<int>) {
      b_runs.Set();
      a_runs.Wait();
      a = Future<int>();
      b_done.Set();
      return 1;
    });
    a_source->Complete(1);
    b_source->Complete(1);
    REQUIRE(a_done.Wait());
    REQUIRE(b_done.Wait());
  }
}

TEST_CASE("what throws no std::exception is told as well", "[future]") {
  const absl::Status status = MakeReadyFuture<int>(1).Then([](absl::StatusOr<int>) -> int { throw 42; }).Get().status();
  CheckRefused(status, "exception in a continuation, which is no std::exception");
}

TEST_CASE("a result whose move throws ends its future with INTERNAL", "[future]") {
  struct Bomb {
    explicit Bomb(bool armed) : throws(armed) {}
    Bomb(Bomb&& other) noexcept(false) : throws(other.throws) {
      if (throws) throw std::runtime_error("boom");
    }
    bool throws;
  };
  CheckRefused(MakeReadyFuture<int>(1).Then([](absl::StatusOr<int>) { return Bomb(true); }).Get().status(), "boom");
}

TEST_CASE("a continuation that its executor does not take is not called, and its future says so", "[future]") {
  bool called = false;
  const auto continuation = [&](absl::StatusOr<int>) { return called = true; };
  const auto refusing = std::make_shared<RefusingExecutor>();
  const auto losing = std::make_shared<LosingExecutor>();
  SECTION("since it throws") {
    const auto source = MakeSource(refusing);
    auto future = FutureOf(source).Then(continuation);
    source->Complete(1);
    CheckRefused(std::move(future).Get().status(), "exception in Executor::Run: no room");
    CheckRefused(MakeReadyFuture<int>(1).Then(refusing, continuation).Get().status(), "no room");
  }
  SECTION("since it loses work") {
    const auto source = MakeSource(losing);
    auto future = FutureOf(source).Then(continuation);
    source->Complete(1);
    CheckRefused(std::move(future).Get().status(), "the executor lost work");
    CheckRefused(MakeReadyFuture<int>(1).Then(losing, continuation).Get().status(), "the executor lost work");
  }
  SECTION("since it ends first") {
    auto keeping = std::make_shared<KeepingExecutor>();
    auto future = MakeReadyFuture<int>(1).Then(keeping, continuation);
    REQUIRE(keeping->arrived.Wait());
    CHECK_FALSE(future.Ready());
    keeping->kept.clear();
    CheckRefused(std::move(future).Get().status(), "the executor lost work");
  }
  CHECK_FALSE(called);
}

TEST_CASE("an executor that does its work, and throws, and does it again, has done it once", "[future]") {
  int calls = 0;
  CHECK(MakeReadyFuture<int>(1)
            .Then(std::make_shared<ConfusedExecutor>(), [&](absl::StatusOr<int>) { return ++calls; })
            .Get()
            .value() == 1);
  CHECK(calls == 1);
}

TEST_CASE("a coroutine whose executor does not take it goes on with INTERNAL", "[future]") {
  const auto wait = [](inferwire::detail::Ref<inferwire_test::Source> source) -> inferwire::Task<absl::Status> {
    co_return (co_await FutureOf(source)).status();
  };
  for (const auto& executor : std::vector<std::shared_ptr<inferwire::Executor>>{std::make_shared<RefusingExecutor>(),
                                                                                std::make_shared<LosingExecutor>()}) {
    const auto source = MakeSource(executor);
    std::thread completer([&] { source->Complete(1); });
    const absl::Status status = inferwire::SyncWait(wait(source));
    completer.join();
    if (!status.ok()) CHECK(status.code() == absl::StatusCode::kInternal);  // else it had not waited yet
  }
  CheckRefused(inferwire::Start([]() -> inferwire::Task<int> { co_return 1; }(), std::make_shared<RefusingExecutor>())
                   .Get()
                   .status(),
               "no room");
}

TEST_CASE("SyncWait in a continuation goes on by itself what its only thread should", "[future]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  const auto source = MakeSource(pool);
  const auto wait = [&]() -> inferwire::Task<absl::StatusOr<int>> {
    const std::thread::id before = std::this_thread::get_id();
    absl::StatusOr<int> result = co_await FutureOf(source);
    CHECK(std::this_thread::get_id() == before);
    co_return result;
  };
  Event waits;
  Future<int> future = MakeReadyFuture<int>(1).Then(pool, [&](absl::StatusOr<int>) {
    waits.Set();
    return inferwire::SyncWait(wait());
  });
  REQUIRE(waits.Wait());
  source->Complete(5);
  REQUIRE(future.Wait(absl::Seconds(10)));
  CHECK(std::move(future).Get().value() == 5);
}

TEST_CASE("SyncWait in a continuation gives FAILED_PRECONDITION for what needs its thread", "[future]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  const auto source = MakeSource(pool);
  const auto wait = [&]() -> inferwire::Task<absl::StatusOr<int>> {
    co_return co_await FutureOf(source).Then([](absl::StatusOr<int> n) { return n; });
  };
  Future<int> future =
      MakeReadyFuture<int>(1).Then(pool, [&](absl::StatusOr<int>) { return inferwire::SyncWait(wait()); });
  REQUIRE(future.Wait(absl::Seconds(10)));
  CHECK(std::move(future).Get().status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("Get sees the work around it, and what a chain waits for on other executors", "[future]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  const auto other = std::make_shared<inferwire::ThreadPool>(1);
  const auto source = MakeSource(pool);
  const auto same = [](absl::StatusOr<int> n) { return n; };
  Future<int> future = MakeReadyFuture<int>(1).Then(pool, [&](absl::StatusOr<int>) {
    // In the midst of another executor's work, which runs where it is handed over.
    return MakeReadyFuture<int>(1)
        .Then([&](absl::StatusOr<int>) { return FutureOf(source).Then(same).Then(other, same).Get(); })
        .Get();
  });
  REQUIRE(future.Wait(absl::Seconds(10)));
  CHECK(std::move(future).Get().status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("Wait in a continuation says no at once where Get would not wait", "[future]") {
  const auto pool = std::make_shared<inferwire::ThreadPool>(1);
  const auto source = MakeSource(pool);
  Future<bool> future = MakeReadyFuture<int>(1).Then(pool, [&](absl::StatusOr<int>) {
    Future<int> inner = FutureOf(source).Then([](absl::StatusOr<int> n) { return n; });
    return inner.Wait(absl::InfiniteDuration());
  });
  REQUIRE(future.Wait(absl::Seconds(10)));
  CHECK_FALSE(std::move(future).Get().value());
}
