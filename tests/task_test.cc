// SPDX-License-Identifier: Apache-2.0
#include "inferwire/task.h"

#include <memory>
#include <stdexcept>
#include <string>

#include "inferwire/future.h"
#include "support/catch.h"

using inferwire::SyncWait;
using inferwire::Task;

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
