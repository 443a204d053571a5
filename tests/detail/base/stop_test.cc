// SPDX-License-Identifier: Apache-2.0
//
// A task that is told to stop ends its calls: as futures, as streams that are read, as streams that are written.
#include "inferwire/detail/base/stop.h"

#include <atomic>
#include <coroutine>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "inferwire/start.h"
#include "inferwire/task.h"
#include "support/catch.h"
#include "support/inference.h"
#include "support/raw_server.h"

using inferwire::SyncWait;
using inferwire::Task;
using inferwire_test::Connect;
using inferwire_test::Event;
using inferwire_test::Inference;
using inferwire_test::RawCall;
using inferwire_test::RawServer;
using inferwire_test::Text;

TEST_CASE("a coroutine whose promise knows no stop token never stops", "[stop]") {
  CHECK_FALSE(inferwire::detail::StopTokenOf(std::coroutine_handle<>()).stop_possible());
  CHECK_FALSE(inferwire::detail::StopTokenOf(std::noop_coroutine()).stop_possible());
}

TEST_CASE("a stopped task's call is cancelled, and the server sees it", "[stop]") {
  Event called, cancelled;
  RawServer server([&](RawCall& call) {
    called.Set();
    call.WaitForCancel();
    cancelled.Set();
  });
  const inferwire::Client client = Connect(server.target());
  const auto ask = [&]() -> Task<absl::Status> {
    co_return (co_await client.Async<&Inference::RunInference>(Text("x"))).status();
  };
  std::stop_source stop;
  std::thread stopper([&] {
    called.Wait();
    stop.request_stop();
  });
  CHECK(SyncWait(ask(), stop.get_token()).code() == absl::StatusCode::kCancelled);
  CHECK(cancelled.Wait());
  stopper.join();
}

TEST_CASE("a stopped task's wait for a message ends the stream", "[stop]") {
  Event cancelled;
  RawServer server([&](RawCall& call) {
    call.Write(inferwire_test::Answer("first"));
    call.WaitForCancel();
    cancelled.Set();
  });
  const inferwire::Client client = Connect(server.target());
  std::stop_source stop;
  Event first;
  const auto read = [&]() -> Task<absl::Status> {
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    int messages = 0;
    while (co_await stream.Next()) {
      ++messages;
      first.Set();
    }
    CHECK(messages == 1);
    co_return stream.status();
  };
  std::thread stopper([&] {
    first.Wait();
    stop.request_stop();
  });
  const absl::Status end = SyncWait(read(), stop.get_token());
  stopper.join();
  CHECK(end.code() == absl::StatusCode::kCancelled);
  CHECK(inferwire_test::Contains(end, "the task"));
  CHECK(cancelled.Wait());
}

TEST_CASE("messages at hand do not keep a stopped task reading", "[stop]") {
  RawServer server([&](RawCall& call) {
    while (call.Write(inferwire_test::Answer("more"))) {
    }
  });
  const inferwire::Client client = Connect(server.target());
  std::stop_source stop;
  const auto read = [&]() -> Task<absl::Status> {
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    int messages = 0;
    while (co_await stream.Next()) {
      if (++messages == 3) stop.request_stop();
    }
    CHECK(messages == 3);
    co_return stream.status();
  };
  CHECK(SyncWait(read(), stop.get_token()).code() == absl::StatusCode::kCancelled);
}

TEST_CASE("a stopped task's write into a full window ends the session", "[stop]") {
  Event called;
  RawServer server([&](RawCall& call) {
    called.Set();
    call.WaitForCancel();  // reads nothing
  });
  const inferwire::Client client = Connect(server.target());
  std::stop_source stop;
  const auto write = [&]() -> Task<absl::Status> {
    auto session = client.Open<&Inference::Converse>();
    absl::Status sent;
    while (sent.ok()) sent = co_await session.AsyncWrite(Text(std::string(1 << 20, 'x')));
    CHECK(session.status() == sent);
    co_return sent;
  };
  std::thread stopper([&] {
    called.Wait();
    stop.request_stop();
  });
  CHECK(SyncWait(write(), stop.get_token()).code() == absl::StatusCode::kCancelled);
  stopper.join();
}

TEST_CASE("a task that throws in the midst of a stream cancels it", "[stop]") {
  Event cancelled;
  RawServer server([&](RawCall& call) {
    call.Write(inferwire_test::Answer("first"));
    call.WaitForCancel();
    cancelled.Set();
  });
  const inferwire::Client client = Connect(server.target());
  const auto read = [&]() -> Task<> {
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    while (co_await stream.Next()) throw std::runtime_error("boom");
  };
  CHECK_THROWS_AS(SyncWait(read()), std::runtime_error);
  CHECK(cancelled.Wait());
}

TEST_CASE("reading is stopped at any moment, hundreds of times", "[stop]") {
  RawServer server([&](RawCall& call) {
    while (call.Write(inferwire_test::Answer("more"))) {
    }
  });
  const inferwire::Client client = Connect(server.target());
  for (int round = 0; round < 200; ++round) {
    Event begun;
    std::atomic<int> read{0};
    const auto task = [&]() -> Task<absl::Status> {
      auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
      while (co_await stream.Next()) {
        if (++read > round % 7) begun.Set();
      }
      co_return stream.status();
    };
    auto future = inferwire::Start(task());
    REQUIRE(begun.Wait());
    future.Cancel();
    CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
  }
}
