// SPDX-License-Identifier: Apache-2.0
#include "inferwire/session.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "inferwire/testing/fake_clock.h"
#include "support/inference.h"

using inferwire::Client;
using inferwire::SyncWait;
using inferwire::Task;
using namespace inferwire_test;  // NOLINT

namespace {
using Talk = inferwire::Session<inference::Request, inference::Response>;
Task<int> PingPong(Talk& session, int turns) {
  int good = 0;
  for (int i = 0; i < turns; ++i) {
    if (!(co_await session.AsyncWrite(Text(std::to_string(i)))).ok()) break;
    const std::optional<inference::Response> answer = co_await session.Next();
    if (answer.has_value() && answer->text() == std::to_string(i)) ++good;
  }
  co_return good;
}
}  // namespace

TEST_CASE("a session answers turn by turn", "[stream]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  auto session = client.Open<&Inference::Converse>();
  for (int i = 0; i < 100; ++i) {
    REQUIRE(session.Write(Text(std::to_string(i))).ok());
    REQUIRE(session.Read()->text() == std::to_string(i));
  }
  REQUIRE(session.WritesDone().ok());
  CHECK_FALSE(session.Read().has_value());
  CHECK(session.Finish().ok());
}

TEST_CASE("a coroutine holds a session", "[stream]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  auto session = client.Open<&Inference::Converse>();
  CHECK(SyncWait(PingPong(session, 500)) == 500);
  CHECK(session.Finish().ok());
}

TEST_CASE("writes and reads run on two threads", "[stream]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  auto session = client.Open<&Inference::Converse>();
  std::thread writer([&] {
    for (int i = 0; i < 5000; ++i) {
      if (!session.Write(Text(std::to_string(i))).ok()) return;
    }
    session.WritesDone().IgnoreError();
  });
  int next = 0;
  for (const inference::Response& turn : session.responses()) {
    if (turn.text() == std::to_string(next)) ++next;
  }
  writer.join();
  CHECK(next == 5000);
  CHECK(session.Finish().ok());
}

TEST_CASE("leaving the loop over the responses keeps the session", "[stream]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  auto session = client.Open<&Inference::Converse>();
  for (const char* text : {"a", "b", "c"}) REQUIRE(session.Write(Text(text)).ok());
  for (const inference::Response& turn : session.responses()) {
    if (turn.text() == "b") break;
  }
  REQUIRE(session.Write(Text("d")).ok());
  REQUIRE(session.WritesDone().ok());
  std::string rest;
  for (const inference::Response& turn : session.responses()) rest += turn.text();
  CHECK(rest == "cd");
}

TEST_CASE("finish discards what was not read and gives the server's status", "[stream]") {
  RawServer server([](RawCall& call) {
    while (call.Read()) {
      for (int i = 0; i < 100; ++i) call.Write(Answer(std::string(100'000, 'x')));
    }
    call.Finish(grpc::Status(grpc::StatusCode::ABORTED, "as asked"));
  });
  const Client client = Connect(server.target());
  auto session = client.Open<&Inference::Converse>();
  REQUIRE(session.Write(Text("x")).ok());
  const absl::Status status = session.Finish();
  CHECK(status.code() == absl::StatusCode::kAborted);
  CHECK(session.status().code() == absl::StatusCode::kAborted);
  CHECK_FALSE(session.Read().has_value());
}

TEST_CASE("nothing is written after WritesDone", "[stream]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  auto session = client.Open<&Inference::Converse>();
  REQUIRE(session.WritesDone().ok());
  CHECK(session.WritesDone().ok());
  const absl::Status late = session.Write(Text("x"));
  CHECK(late.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(session.Finish().ok());
}

TEST_CASE("a session that the server ends early gives its status to writer and reader", "[stream]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Finish(grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "out"));
  });
  const Client client = Connect(server.target());
  auto session = client.Open<&Inference::Converse>();
  REQUIRE(session.Write(Text("x")).ok());
  CHECK_FALSE(session.Read().has_value());
  CHECK(session.status().message() == "out");
  CHECK(session.Write(Text("y")).message() == "out");
  CHECK(session.WritesDone().message() == "out");
  CHECK(session.Finish().message() == "out");
}

TEST_CASE("a server that ends early under a writer who never reads is still heard", "[stream]") {
  RawServer server([](RawCall& call) {
    // More than is read ahead, so that the status waits behind unread messages.
    for (int i = 0; i < 40; ++i) call.Write(Answer("unread"));
    call.Finish(grpc::Status(grpc::StatusCode::ABORTED, "enough"));
  });
  const Client client = Connect(server.target());
  auto session = client.Open<&Inference::Converse>();
  absl::Status status;
  for (int i = 0; i < 100'000 && status.ok(); ++i) status = session.Write(Text(std::string(1000, 'x')));
  CHECK(status.message() == "enough");
}

TEST_CASE("sessions dropped at any moment leave nothing behind", "[stream]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  for (int i = 0; i < 300; ++i) {
    auto session = client.Open<&Inference::Converse>();
    for (int step = 0; step < i % 6; ++step) {
      if (step % 2 == 0) REQUIRE(session.Write(Text("x")).ok());
      if (step % 2 == 1) REQUIRE(session.Read().has_value());
    }
    if (i % 4 == 0) session.WritesDone().IgnoreError();
    if (i % 9 == 0) session.Cancel();
  }
  auto session = client.Open<&Inference::Converse>();
  CHECK(SyncWait(PingPong(session, 3)) == 3);
}

TEST_CASE("half-closes that race with the server's end give one status, and hang nobody", "[stream]") {
  RawServer server([](RawCall& call) {
    call.context().AddTrailingMetadata("x-end", "here");
    if (call.Read().has_value()) call.Write(Answer("last"));
    // Ends here, whether or not the client has more to say.
  });
  const Client client = Connect(server.target());
  for (int i = 0; i < 1000; ++i) {
    auto session = client.Open<&Inference::Converse>();
    REQUIRE(session.Write(Text("x")).ok());
    std::thread writer([&] {
      for (int more = 0; more < i % 4; ++more) session.Write(Text("y")).IgnoreError();
      session.WritesDone().IgnoreError();
    });
    int seen = 0;
    while (session.Read().has_value()) ++seen;
    writer.join();
    REQUIRE(seen == 1);
    REQUIRE(session.status().ok());
    REQUIRE(session.Finish().ok());
    if (i > 0) continue;
    CHECK(session.stats().messages == 1);
    const inferwire::Metadata trailers = session.trailing_metadata();
    CHECK(std::find(trailers.begin(), trailers.end(), std::pair<std::string, std::string>("x-end", "here")) !=
          trailers.end());
  }
}

namespace {
// The server neither reads nor writes, and the write window fills.
absl::Status WriteOn(inferwire::Session<inference::Request, inference::Response>& session) {
  absl::Status status;
  const std::string megabyte(1 << 20, 'x');
  for (int i = 0; i < 1000 && status.ok(); ++i) status = session.Write(Text(megabyte));
  return status;
}
Task<absl::Status> AsyncWriteOn(inferwire::Session<inference::Request, inference::Response>& session) {
  absl::Status status;
  const std::string megabyte(1 << 20, 'x');
  for (int i = 0; i < 1000 && status.ok(); ++i) status = co_await session.AsyncWrite(Text(megabyte));
  co_return status;
}
}  // namespace

TEST_CASE("a session whose server neither takes nor sends anything ends by default, written to or finished",
          "[stream]") {
  RawServer server([](RawCall& call) { call.WaitForCancel(); });
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const Client client = Connect(server.target(), {.clock = clock});
  const auto end = [&](auto wait) {
    auto session = client.Open<&Inference::Converse>();
    absl::Status status;
    std::thread waiter([&] { status = wait(session); });
    REQUIRE(clock->WaitUntilDueWithin(absl::Seconds(60)));
    std::atomic<bool> over{false};
    std::thread later([&] {
      while (!over) clock->Advance(absl::Seconds(30));  // also what it writes into the window takes its time
    });
    waiter.join();
    over = true;
    later.join();
    CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(Contains(status, "within the idle_timeout of 1m"));
    CHECK(inferwire::InfoOf(status).reason == inferwire::CallInfo::Reason::kDeadline);
  };
  end([](auto& session) { return WriteOn(session); });
  end([](auto& session) { return SyncWait(AsyncWriteOn(session)); });
  end([](auto& session) { return session.Finish(); });
}

TEST_CASE("a session that is finished goes on as long as its server sends", "[stream]") {
  Event go;
  std::array<Event, 5> sent;
  RawServer server([&](RawCall& call) {
    while (call.Read()) {
    }
    for (Event& next : sent) {
      next.Wait();
      call.Write(Answer("x"));
    }
    go.Wait();
  });
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const Client client = Connect(server.target(), {.clock = clock});
  auto session = client.Open<&Inference::Converse>();
  absl::Status status;
  std::thread waiter([&] { status = session.Finish(); });
  REQUIRE(clock->WaitUntilDueWithin(absl::Seconds(60)));
  for (int i = 0; i < 5; ++i) {
    sent[i].Set();
    while (session.stats().messages <= i) std::this_thread::yield();
    clock->Advance(absl::Seconds(40));
  }
  go.Set();
  waiter.join();
  CHECK(status.ok());
}
