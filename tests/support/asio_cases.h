// SPDX-License-Identifier: Apache-2.0
//
// The cases of inferwire/asio.h, for the namespace `net` of an Asio that the including test has chosen; ASIO_NAME is
// its name.
#ifndef INFERWIRE_TESTS_SUPPORT_ASIO_CASES_H_
#define INFERWIRE_TESTS_SUPPORT_ASIO_CASES_H_

#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "inferwire/asio.h"
#include "support/catch.h"
#include "support/inference.h"
#include "support/raw_server.h"
#include "support/source.h"

// GCC mixes up the operators new and delete of Asio's coroutine frames once it inlines them.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

namespace {

using inferwire::AsyncNext;
using inferwire::AsyncWait;
using inferwire::AsyncWrite;
using inferwire::Future;
using inferwire::Task;
using inferwire_test::Connect;
using inferwire_test::Event;
using inferwire_test::FutureOf;
using inferwire_test::Inference;
using inferwire_test::MakeSource;
using inferwire_test::RawCall;
using inferwire_test::RawServer;
using inferwire_test::Text;

Task<absl::StatusOr<int>> Await(Future<int> future) { co_return co_await std::move(future); }

}  // namespace

TEST_CASE(ASIO_NAME ": a future's result goes to a handler, which runs in the loop", "[asio]") {
  net::io_context loop;
  const auto source = MakeSource();
  std::thread::id ran;
  int got = 0;
  AsyncWait(FutureOf(source), net::bind_executor(loop, [&, owned = std::make_unique<int>(1)](absl::StatusOr<int> n) {
              ran = std::this_thread::get_id();
              got = *n + *owned;
            }));
  std::thread completer([&] { source->Complete(4); });
  loop.run();  // the wait keeps it busy
  completer.join();
  CHECK(got == 5);
  CHECK(ran == std::this_thread::get_id());
}

TEST_CASE(ASIO_NAME ": a handler never runs within the call that begins the wait", "[asio]") {
  net::io_context loop;
  bool ran = false;
  AsyncWait(inferwire::MakeReadyFuture<int>(1), net::bind_executor(loop, [&](absl::StatusOr<int> n) { ran = n.ok(); }));
  CHECK_FALSE(ran);
  loop.run();
  CHECK(ran);
  absl::StatusCode code = absl::StatusCode::kOk;
  AsyncWait(Future<int>(), net::bind_executor(loop, [&](absl::StatusOr<int> n) { code = n.status().code(); }));
  loop.restart();
  loop.run();
  CHECK(code == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE(ASIO_NAME ": a future and a task become what Asio's tokens make of them", "[asio]") {
  const auto source = MakeSource();
  std::future<absl::StatusOr<int>> later = AsyncWait(Await(FutureOf(source)), net::use_future);
  source->Complete(7);
  CHECK(later.get().value() == 7);
  const auto throws = []() -> Task<int> {
    throw std::runtime_error("boom");
    co_return 1;
  };
  CHECK(AsyncWait(throws(), net::use_future).get().status().message() == "exception in a task: boom");
}

TEST_CASE(ASIO_NAME ": continuations and coroutines run in the loop that is a client's executor", "[asio]") {
  RawServer server(inferwire_test::Echo);
  net::io_context loop;
  auto busy = net::make_work_guard(loop);
  std::thread thread([&] { loop.run(); });
  {
    const inferwire::Client client =
        Connect(server.target(), {.executor = std::make_shared<inferwire::AsioExecutor>(loop.get_executor())});
    std::thread::id ran, resumed;
    CHECK(client.Async<&Inference::RunInference>(Text("x"))
              .Then([&](auto reply) {
                ran = std::this_thread::get_id();
                return reply;
              })
              .Get()
              ->text() == "x");
    const auto source = MakeSource(std::make_shared<inferwire::AsioExecutor>(loop.get_executor()));
    const auto ask = [&]() -> Task<> {
      CHECK((co_await FutureOf(source)).value() == 1);
      resumed = std::this_thread::get_id();
    };
    const auto complete = [&]() -> Task<> {
      source->Complete(1);
      co_return;
    };
    inferwire::SyncWait(inferwire::WhenAll(ask(), complete()));
    CHECK(ran == thread.get_id());
    CHECK(resumed == thread.get_id());
  }
  busy.reset();
  thread.join();
}

#if defined(BOOST_ASIO_HAS_CO_AWAIT) || defined(ASIO_HAS_CO_AWAIT)

TEST_CASE(ASIO_NAME ": calls, tasks and streams are awaited in its coroutines", "[asio]") {
  RawServer server(inferwire_test::Echo);
  const inferwire::Client client = Connect(server.target());
  net::io_context loop;
  const auto ask = [&]() -> Task<std::string> {
    co_return (co_await client.Async<&Inference::RunInference>(Text("task")))->text();
  };
  bool done = false;
  const auto body = [&]() -> net::awaitable<void> {
    const std::thread::id here = std::this_thread::get_id();
    absl::StatusOr<inference::Response> reply =
        co_await AsyncWait(client.Async<&Inference::RunInference>(Text("call")), net::use_awaitable);
    CHECK(reply->text() == "call");
    const absl::StatusOr<std::string> text = co_await AsyncWait(ask(), net::use_awaitable);
    CHECK(*text == "task");

    auto session = client.Open<&Inference::Converse>();
    for (int turn = 0; turn < 100; ++turn) {
      const absl::Status sent = co_await AsyncWrite(session, Text(std::to_string(turn)), net::use_awaitable);
      REQUIRE(sent.ok());
      std::optional<inference::Response> next = co_await AsyncNext(session.responses(), net::use_awaitable);
      REQUIRE(next.has_value());
      CHECK(next->text() == std::to_string(turn));
      CHECK(std::this_thread::get_id() == here);
    }
    CHECK(session.WritesDone().ok());
    const std::optional<inference::Response> end = co_await AsyncNext(session.responses(), net::use_awaitable);
    CHECK_FALSE(end.has_value());
    CHECK(session.status().ok());

    auto stream = client.Stream<&Inference::StreamInference>(Text("stream"));
    int messages = 0;
    while (std::optional<inference::Response> next = co_await AsyncNext(stream, net::use_awaitable)) ++messages;
    CHECK(messages == 1);
    done = stream.status().ok();
  };
  net::co_spawn(loop, body(), net::detached);
  loop.run();
  CHECK(done);
}

TEST_CASE(ASIO_NAME ": a server's error comes out as it is", "[asio]") {
  RawServer server([](RawCall& call) { call.Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such model")); });
  const inferwire::Client client = Connect(server.target());
  net::io_context loop;
  absl::Status unary, sent, streamed;
  const auto body = [&]() -> net::awaitable<void> {
    unary = (co_await AsyncWait(client.Async<&Inference::RunInference>(Text("x")), net::use_awaitable)).status();
    auto session = client.Open<&Inference::Converse>();
    while (sent.ok()) sent = co_await AsyncWrite(session, Text("x"), net::use_awaitable);
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    const auto next = co_await AsyncNext(stream, net::use_awaitable);
    CHECK_FALSE(next.has_value());
    streamed = stream.status();
  };
  net::co_spawn(loop, body(), net::detached);
  loop.run();
  for (const absl::Status& status : {unary, sent, streamed}) {
    CHECK(status.code() == absl::StatusCode::kNotFound);
    CHECK(inferwire_test::Contains(status, "no such model"));
  }
}

#endif

#endif  // INFERWIRE_TESTS_SUPPORT_ASIO_CASES_H_
