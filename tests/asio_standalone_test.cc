// SPDX-License-Identifier: Apache-2.0
#if __has_include(<asio.hpp>)

#ifndef INFERWIRE_STANDALONE_ASIO
#define INFERWIRE_STANDALONE_ASIO
#endif
#include <asio.hpp>
#include <atomic>

#include "inferwire/asio.h"

namespace {
namespace net = asio;
}  // namespace
#define ASIO_NAME "Asio"

#include "support/asio_cases.h"

#if __has_include(<asio/cancellation_signal.hpp>)

TEST_CASE("Asio: cancelling the operation cancels the call, and the handler has its end", "[asio]") {
  net::io_context loop;
  const auto source = MakeSource();
  net::cancellation_signal signal;
  absl::StatusCode code = absl::StatusCode::kOk;
  AsyncWait(FutureOf(source),
            net::bind_cancellation_slot(
                signal.slot(), net::bind_executor(loop, [&](absl::StatusOr<int> n) { code = n.status().code(); })));
  net::post(loop, [&] { signal.emit(net::cancellation_type::terminal); });
  loop.run();
  CHECK(code == absl::StatusCode::kCancelled);
  CHECK(source->cancels == 1);
  signal.emit(net::cancellation_type::terminal);  // nobody is left to hear it
  CHECK(source->cancels == 1);
}

#ifdef ASIO_HAS_CO_AWAIT
TEST_CASE("Asio: cancelling a coroutine cancels its calls, its tasks' calls and its streams", "[asio]") {
  net::io_context loop;
  net::cancellation_signal signal;
  Event cancelled[3];
  std::atomic<int> calls{0};
  RawServer server([&](RawCall& call) {
    Event& mine = cancelled[calls++];
    net::post(loop, [&] { signal.emit(net::cancellation_type::terminal); });
    call.WaitForCancel();
    mine.Set();
  });
  const inferwire::Client client = Connect(server.target());
  const auto ask = [&]() -> Task<absl::Status> {
    co_return (co_await client.Async<&Inference::RunInference>(Text("x"))).status();
  };
  absl::Status ends[3];
  const auto body = [&]() -> net::awaitable<void> {
    co_await net::this_coro::throw_if_cancelled(false);
    ends[0] = (co_await AsyncWait(client.Async<&Inference::RunInference>(Text("x")), net::use_awaitable)).status();
    co_await net::this_coro::reset_cancellation_state();
    ends[1] = (co_await AsyncWait(ask(), net::use_awaitable)).status();
    co_await net::this_coro::reset_cancellation_state();
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    const auto next = co_await AsyncNext(stream, net::use_awaitable);
    CHECK_FALSE(next.has_value());
    ends[2] = stream.status();
  };
  net::co_spawn(loop, body(), net::bind_cancellation_slot(signal.slot(), net::detached));
  loop.run();
  for (int i = 0; i < 3; ++i) {
    CHECK(ends[i].code() == absl::StatusCode::kCancelled);
    CHECK(cancelled[i].Wait());
  }
}
#endif

#endif

#endif
