// SPDX-License-Identifier: Apache-2.0
//
// When a future's destructor returns, nothing of any continuation that led to it runs.
#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/future.h"
#include "support/catch.h"
#include "support/raw_server.h"
#include "support/source.h"

using inferwire::Future;
using inferwire::MakeReadyFuture;
using inferwire_test::Event;
using inferwire_test::FutureOf;
using inferwire_test::MakeSource;

namespace {

// A continuation that runs until it is let go, and says that it has finished.
struct Slow {
  Event running, go_on;
  std::atomic<bool> finished{false};
  void operator()() {
    running.Set();
    go_on.Wait();
    finished = true;
  }
};

// Drops the future while `slow` runs, and lets that go on meanwhile.
template <class T>
void DropWhile(Slow& slow, Future<T> future) {
  REQUIRE(slow.running.Wait());
  std::thread opener([&] { slow.go_on.Set(); });
  {
    const Future<T> dropped = std::move(future);
  }
  CHECK(slow.finished);
  opener.join();
}

}  // namespace

TEST_CASE("dropping a chain waits for whichever of its continuations runs", "[future][drop]") {
  Slow slow;
  const auto source = MakeSource();
  auto future = FutureOf(source)
                    .Then([&](absl::StatusOr<int> n) {
                      slow();
                      return n;
                    })
                    .Then([](absl::StatusOr<int> n) { return n; });
  source->Complete(1);
  DropWhile(slow, std::move(future));
}

TEST_CASE("dropping a future waits for the continuation of the future that it follows", "[future][drop]") {
  Slow slow;
  const auto source = MakeSource();
  auto future = MakeReadyFuture<int>(1).Then([&](absl::StatusOr<int>) {
    return FutureOf(source).Then([&](absl::StatusOr<int> n) {
      slow();
      return n;
    });
  });
  source->Complete(1);
  DropWhile(slow, std::move(future));
}

TEST_CASE("dropping a loop by Then waits for its present turn, and drops what that returns", "[future][drop]") {
  Slow slow;
  const auto first = MakeSource(), second = MakeSource(), last = MakeSource();
  bool ran = false;
  auto future = FutureOf(first).Then([&](absl::StatusOr<int>) {
    return FutureOf(second).Then([&](absl::StatusOr<int>) {
      slow();
      return FutureOf(last).Then([&](absl::StatusOr<int> n) {
        ran = true;
        return n;
      });
    });
  });
  first->Complete(1);
  second->Complete(1);
  DropWhile(slow, std::move(future));
  CHECK(last->cancels == 1);
  CHECK_FALSE(ran);
}

TEST_CASE("dropping several futures as one waits for the continuations of all", "[future][drop]") {
  Slow slow;
  const auto source = MakeSource(), never = MakeSource();
  std::vector<Future<int>> futures;
  futures.push_back(FutureOf(never));
  futures.push_back(FutureOf(source).Then([&](absl::StatusOr<int> n) {
    slow();
    return n;
  }));
  source->Complete(1);
  SECTION("all") { DropWhile(slow, inferwire::WhenAll(std::move(futures))); }
  SECTION("any") { DropWhile(slow, inferwire::WhenAny(std::move(futures))); }
  CHECK(never->cancels >= 1);
}

TEST_CASE("a dropped loop by Then leaves nothing behind", "[future][drop]") {
  const auto held = std::make_shared<int>(1);
  for (int round = 0; round < 200; ++round) {
    const auto first = MakeSource(), second = MakeSource(), third = MakeSource();
    auto future = FutureOf(first).Then([&, held](absl::StatusOr<int>) {
      return FutureOf(second).Then(
          [&, held](absl::StatusOr<int>) { return FutureOf(third).Then([held](absl::StatusOr<int> n) { return n; }); });
    });
    if (round % 4 > 0) first->Complete(1);
    if (round % 4 > 1) second->Complete(1);
    if (round % 4 > 2) third->Complete(1);
    future.Wait(absl::Microseconds(round));
  }
  CHECK(held.use_count() == 1);
}
