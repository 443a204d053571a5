// SPDX-License-Identifier: Apache-2.0
#include "inferwire/executor.h"

#include <atomic>
#include <memory>
#include <thread>

#include "support/catch.h"
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
