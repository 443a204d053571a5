// SPDX-License-Identifier: Apache-2.0
//
// Futures and tasks destroyed at every point of their lives: every shape, every deed of its owner, before, after and
// while the result comes. Nothing hangs, nothing runs late, and nothing that was captured is left; the sanitizers see
// the rest.
#include <array>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "inferwire/future.h"
#include "inferwire/start.h"
#include "inferwire/task.h"
#include "support/catch.h"
#include "support/source.h"

using inferwire::Future;
using inferwire::Task;
using inferwire_test::FutureOf;
using inferwire_test::MakeSource;
using inferwire_test::Source;

namespace {

using Held = std::shared_ptr<int>;
using Executor = std::shared_ptr<inferwire::Executor>;
using SourceRef = inferwire::detail::Ref<Source>;

Task<absl::StatusOr<int>> Await(Future<int> future, Held) { co_return co_await std::move(future); }
Task<int> AwaitOrThrow(Future<int> future, Held held) {
  const absl::StatusOr<int> result = co_await Await(std::move(future), held);
  if (!result.ok()) throw std::runtime_error(std::string(result.status().message()));
  co_return *result;
}
Task<absl::StatusOr<int>> AwaitBoth(Future<int> first, Future<int> second, Held held) {
  const auto [a, b] = co_await inferwire::WhenAll(Await(std::move(first), held), AwaitOrThrow(std::move(second), held));
  co_return a.ok() ? absl::StatusOr<int>(*a + b) : a;
}

// All that is made of two sources. `held` is what continuations and coroutines capture.
using Shape = Future<int> (*)(const SourceRef&, const SourceRef&, const Executor&, const Held&);
constexpr std::array kShapes = {
    Shape([](const SourceRef& source, const SourceRef&, const Executor&, const Held&) { return FutureOf(source); }),
    Shape([](const SourceRef& source, const SourceRef&, const Executor&, const Held& held) {
      return FutureOf(source).Then([held](absl::StatusOr<int> n) { return n; });
    }),
    Shape([](const SourceRef& source, const SourceRef&, const Executor& executor, const Held& held) {
      return FutureOf(source).Then(executor, [held](absl::StatusOr<int> n) -> int {
        if (!n.ok()) throw std::runtime_error("no number");
        return *n;
      });
    }),
    Shape([](const SourceRef& source, const SourceRef& other, const Executor&, const Held& held) {
      return FutureOf(source).Then([held, other](absl::StatusOr<int>) {
        return FutureOf(other).Then([held](absl::StatusOr<int> n) { return n; });
      });
    }),
    Shape([](const SourceRef& source, const SourceRef& other, const Executor&, const Held& held) {
      return inferwire::WhenAll(FutureOf(source), FutureOf(other)).Then([held](auto both) {
        return std::move(std::get<0>(*both));
      });
    }),
    Shape([](const SourceRef& source, const SourceRef& other, const Executor&, const Held& held) {
      std::vector<Future<int>> futures;
      futures.push_back(FutureOf(source));
      futures.push_back(FutureOf(other).Then([held](absl::StatusOr<int> n) { return n; }));
      return inferwire::WhenAny(std::move(futures)).Then([held](auto any) { return std::move(any->second); });
    }),
    Shape([](const SourceRef& source, const SourceRef&, const Executor& executor, const Held& held) {
      return inferwire::Start(Await(FutureOf(source), held), executor);
    }),
    Shape([](const SourceRef& source, const SourceRef&, const Executor& executor, const Held& held) {
      return inferwire::Start(AwaitOrThrow(FutureOf(source), held), executor).Then([held](absl::StatusOr<int> n) {
        return n;
      });
    }),
    Shape([](const SourceRef& source, const SourceRef& other, const Executor& executor, const Held& held) {
      return inferwire::Start(AwaitBoth(FutureOf(source), FutureOf(other), held), executor);
    }),
};

enum class Deed { kDrop, kReplace, kCancelThenGet, kGet, kDetach };
enum class Moment { kBefore, kMeanwhile, kAfter };

void Do(Deed deed, Future<int> future) {
  switch (deed) {
    case Deed::kDrop:
      return;
    case Deed::kReplace:
      future = inferwire::MakeReadyFuture<int>(0);
      return;
    case Deed::kCancelThenGet:
      future.Cancel();
      [[fallthrough]];
    case Deed::kGet: {
      const absl::StatusOr<int> result = std::move(future).Get();
      const absl::StatusCode code = result.status().code();
      CHECK((code == absl::StatusCode::kOk || code == absl::StatusCode::kCancelled ||
             code == absl::StatusCode::kInternal));
      if (deed == Deed::kGet) CHECK(result.ok());
      return;
    }
    case Deed::kDetach:
      std::move(future).Detach();
      return;
  }
}

// Until nobody but the test holds it: what was dropped may be about to end on another thread.
bool Alone(const Held& held) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (held.use_count() > 1) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

void Live(const Executor& executor, int rounds) {
  for (std::size_t shape = 0; shape < kShapes.size(); ++shape) {
    for (const Deed deed : {Deed::kDrop, Deed::kReplace, Deed::kCancelThenGet, Deed::kGet, Deed::kDetach}) {
      for (const Moment moment : {Moment::kBefore, Moment::kMeanwhile, Moment::kAfter}) {
        if (deed == Deed::kGet && moment == Moment::kBefore) continue;  // it would wait for what comes after it
        INFO("shape " << shape << ", deed " << static_cast<int>(deed) << ", moment " << static_cast<int>(moment));
        for (int round = 0; round < rounds; ++round) {
          const SourceRef source = MakeSource(executor), other = MakeSource(executor);
          const Held held = std::make_shared<int>(round);
          const auto complete = [&] {
            source->Complete(1);
            other->Complete(2);
          };
          Future<int> future = kShapes[shape](source, other, executor, held);
          if (moment == Moment::kMeanwhile) {
            std::thread completer(complete);
            // Not by yielding: on a busy machine each would take a time slice.
            const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(round * 5);
            while (std::chrono::steady_clock::now() < until) {
            }
            Do(deed, std::move(future));
            completer.join();
          } else {
            if (moment == Moment::kAfter) complete();
            Do(deed, std::move(future));
            complete();
          }
          REQUIRE(Alone(held));
        }
      }
    }
  }
}

// A task told to stop by one thread while another completes what it waits for.
void Stop(const Executor& executor, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    const SourceRef source = MakeSource(executor), other = MakeSource(executor);
    const Held held = std::make_shared<int>(round);
    std::stop_source stop;
    std::thread stopper([&] { stop.request_stop(); });
    std::thread completer([&] {
      source->Complete(1);
      other->Complete(2);
    });
    const auto both = [&]() -> Task<absl::StatusOr<int>> {
      try {
        co_return co_await AwaitBoth(FutureOf(source), FutureOf(other), held);
      } catch (const std::runtime_error& error) {
        co_return absl::CancelledError(error.what());
      }
    };
    const absl::StatusOr<int> result = inferwire::SyncWait(both(), stop.get_token());
    CHECK((result.ok() ? *result == 3 : result.status().code() == absl::StatusCode::kCancelled));
    stopper.join();
    completer.join();
    REQUIRE(Alone(held));
  }
}

}  // namespace

TEST_CASE("a stop meets the result at any moment, on a pool", "[lifetime]") {
  Stop(std::make_shared<inferwire::ThreadPool>(2), 1000);
}

TEST_CASE("a stop meets the result at any moment, inline", "[lifetime]") {
  Stop(std::make_shared<inferwire::InlineExecutor>(), 1000);
}

TEST_CASE("futures and tasks end well wherever they are destroyed, on a pool", "[lifetime]") {
  Live(std::make_shared<inferwire::ThreadPool>(2), 20);
}

TEST_CASE("futures and tasks end well wherever they are destroyed, inline", "[lifetime]") {
  Live(std::make_shared<inferwire::InlineExecutor>(), 20);
}

TEST_CASE("futures and tasks end well wherever they are destroyed, on one thread", "[lifetime]") {
  Live(std::make_shared<inferwire::ThreadPool>(1), 20);
}
