// SPDX-License-Identifier: Apache-2.0
#include "inferwire/executor.h"

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "support/catch.h"
#include "support/inference.h"
#include "support/raw_server.h"

using inferwire::InlineExecutor;
using inferwire::ThreadPool;

TEST_CASE("the inline executor runs work where it is handed over", "[executor]") {
  std::thread::id ran;
  InlineExecutor().Run([&] { ran = std::this_thread::get_id(); });
  CHECK(ran == std::this_thread::get_id());
}

TEST_CASE("a pool runs all that was queued before it ends", "[executor]") {
  std::atomic<int> ran{0};
  {
    ThreadPool pool(2);
    for (int i = 0; i < 1000; ++i) pool.Run([&] { ++ran; });
  }
  CHECK(ran == 1000);
}

TEST_CASE("a pool of no threads has one all the same", "[executor]") {
  inferwire_test::Event ran;
  ThreadPool pool(0);
  pool.Run([&] { ran.Set(); });
  CHECK(ran.Wait());
}

// A stack that fits nowhere: the system then refuses a thread, as it does at a container's limit.
TEST_CASE("where the system gives no thread, work runs where it is handed over", "[executor]") {
  pthread_attr_t usual, huge;
  REQUIRE(pthread_getattr_default_np(&usual) == 0);
  REQUIRE(pthread_attr_init(&huge) == 0);
  REQUIRE(pthread_attr_setstacksize(&huge, std::size_t{1} << 50) == 0);
  REQUIRE(pthread_setattr_default_np(&huge) == 0);
  std::thread::id ran;
  {
    ThreadPool pool(2);
    pool.Run([&] { ran = std::this_thread::get_id(); });
  }
  REQUIRE(pthread_setattr_default_np(&usual) == 0);
  pthread_attr_destroy(&huge);
  pthread_attr_destroy(&usual);
  CHECK(ran == std::this_thread::get_id());
}

TEST_CASE("work may hold the last reference to its own pool", "[executor]") {
  inferwire_test::Event gone;
  auto pool = std::make_shared<ThreadPool>(1);
  struct Notice {
    inferwire_test::Event& event;
    ~Notice() { event.Set(); }
  };
  ThreadPool* const raw = pool.get();
  auto notice = std::make_unique<Notice>(gone);
  raw->Run([pool = std::move(pool), notice = std::move(notice)]() mutable { pool.reset(); });
  CHECK(gone.Wait());
}

TEST_CASE("clients without an executor share one pool", "[executor]") {
  const auto first = ThreadPool::Shared();
  CHECK(first == ThreadPool::Shared());
}

TEST_CASE("an executor whose threads are all blocked stalls no call but what goes on there", "[executor]") {
  inferwire_test::RawServer server(inferwire_test::Echo);
  const auto pool = std::make_shared<ThreadPool>(2);
  const inferwire::Client blocked = inferwire_test::Connect(server.target(), {.executor = pool});
  const inferwire::Client other = inferwire_test::Connect(server.target());
  inferwire_test::Event first, second, go_on;
  const auto block = [&](inferwire_test::Event& running) {
    return blocked.Async<&inferwire_test::Inference::RunInference>(inferwire_test::Text("x")).Then([&](auto reply) {
      running.Set();
      go_on.Wait();
      return reply.status();
    });
  };
  auto one = block(first), two = block(second);
  REQUIRE(first.Wait());
  REQUIRE(second.Wait());

  CHECK(blocked.Call<&inferwire_test::Inference::RunInference>(inferwire_test::Text("a"))->text() == "a");
  CHECK(blocked.Async<&inferwire_test::Inference::RunInference>(inferwire_test::Text("b")).Get()->text() == "b");
  auto session = other.Open<&inferwire_test::Inference::Converse>();
  for (int turn = 0; turn < 100; ++turn) {
    REQUIRE(session.Write(inferwire_test::Text(std::to_string(turn))).ok());
    REQUIRE(session.Read()->text() == std::to_string(turn));
  }
  CHECK(session.Finish().ok());
  go_on.Set();
  CHECK(std::move(one).Get().ok());
  CHECK(std::move(two).Get().ok());
}
