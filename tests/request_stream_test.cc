// SPDX-License-Identifier: Apache-2.0
#include "inferwire/request_stream.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "inferwire/testing/fake_clock.h"
#include "support/inference.h"
#include "support/sockets.h"

using inferwire::Client;
using inferwire::SyncWait;
using inferwire::Task;
using namespace inferwire_test;  // NOLINT

namespace {
void CountRequests(RawCall& call) {
  int n = 0;
  while (call.Read()) ++n;
  call.Write(Answer(std::to_string(n)));
}
using Upload = inferwire::RequestStream<inference::Request, inference::Response>;
Task<absl::Status> WriteMany(Upload& upload, int n) {
  for (int i = 0; i < n; ++i) {
    if (absl::Status status = co_await upload.AsyncWrite(Text("x")); !status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}
}  // namespace

TEST_CASE("an upload is answered once all of it has arrived", "[stream]") {
  RawServer server(CountRequests);
  const Client client = Connect(server.target());
  auto upload = client.Upload<&Inference::UploadInference>();
  for (int i = 0; i < 500; ++i) REQUIRE(upload.Write(Text("x")).ok());
  CHECK(upload.status().ok());
  const auto summary = upload.Finish();
  REQUIRE(summary.ok());
  CHECK(summary->text() == "500");
  CHECK(upload.Finish().status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("a coroutine uploads without blocking", "[stream]") {
  RawServer server(CountRequests);
  const Client client = Connect(server.target());
  auto upload = client.Upload<&Inference::UploadInference>();
  CHECK(SyncWait(WriteMany(upload, 3000)).ok());
  CHECK(upload.Finish()->text() == "3000");
}

TEST_CASE("an upload of nothing is answered", "[stream]") {
  RawServer server(CountRequests);
  const Client client = Connect(server.target());
  CHECK(client.Upload<&Inference::UploadInference>().Finish()->text() == "0");
}

TEST_CASE("a write blocks while the server does not read, and ends with the deadline", "[stream]") {
  RawServer server([](RawCall& call) { call.WaitForCancel(); });
  const Client client = Connect(server.target());
  auto upload = client.Upload<&Inference::UploadInference>({.timeout = absl::Milliseconds(300)});
  absl::Status status;
  int written = 0;
  while (written < 1000 && (status = upload.Write(Text(std::string(1 << 20, 'x')))).ok()) ++written;
  CHECK(written < 100);
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("an upload whose server neither takes nor answers ends by default", "[stream]") {
  RawServer server([](RawCall& call) { call.WaitForCancel(); });
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const Client client = Connect(server.target(), {.clock = clock});
  for (const bool full : {true, false}) {
    auto upload = client.Upload<&Inference::UploadInference>();
    absl::Status written, finished;
    std::thread waiter([&] {
      const std::string megabyte(1 << 20, 'x');
      for (int i = 0; full && i < 1000 && written.ok(); ++i) written = upload.Write(Text(megabyte));
      finished = upload.Finish().status();
    });
    REQUIRE(clock->WaitUntilDueWithin(absl::Seconds(60)));
    std::atomic<bool> over{false};
    std::thread later([&] {
      while (!over) clock->Advance(absl::Seconds(30));
    });
    waiter.join();
    over = true;
    later.join();
    CHECK(written.ok() == !full);
    CHECK(finished.code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(Contains(finished, "within the idle_timeout of 1m"));
  }
}

TEST_CASE("a server that ends early tells the writer why", "[stream]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Finish(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "enough"));
  });
  const Client client = Connect(server.target());
  auto upload = client.Upload<&Inference::UploadInference>();
  absl::Status status;
  for (int i = 0; i < 100'000 && status.ok(); ++i) status = upload.Write(Text(std::string(1000, 'x')));
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(status.message() == "enough");
  CHECK(upload.Finish().status().message() == "enough");
}

TEST_CASE("a write after the server ended with OK is FAILED_PRECONDITION, and Finish has the response", "[stream]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer("early"));
  });
  const Client client = Connect(server.target());
  auto upload = client.Upload<&Inference::UploadInference>();
  absl::Status status;
  for (int i = 0; i < 100'000 && status.ok(); ++i) status = upload.Write(Text(std::string(1000, 'x')));
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(upload.Finish()->text() == "early");
}

TEST_CASE("no response, or more than one, is INTERNAL", "[stream][trap]") {
  RawServer none([](RawCall& call) {
    while (call.Read()) {
    }
  });
  const Client client = Connect(none.target());
  CHECK(Contains(client.Upload<&Inference::UploadInference>().Finish().status(), "sent no message"));
  RawServer two([](RawCall& call) {
    while (call.Read()) {
    }
    call.Write(Answer("1"));
    call.Write(Answer("2"));
  });
  const Client other = Connect(two.target());
  CHECK(Contains(other.Upload<&Inference::UploadInference>().Finish().status(), "more than one response"));
}

TEST_CASE("dropping an upload cancels it on the server", "[stream]") {
  Event arrived, cancelled;
  RawServer server([&](RawCall& call) {
    call.Read();
    arrived.Set();
    call.WaitForCancel();
    cancelled.Set();
  });
  const Client client = Connect(server.target());
  {
    auto upload = client.Upload<&Inference::UploadInference>();
    REQUIRE(upload.Write(Text("x")).ok());
    REQUIRE(arrived.Wait());
  }
  CHECK(cancelled.Wait());
}

TEST_CASE("an upload to a dead port is tried again, since nothing of it reached a server", "[stream][trap]") {
  const DeadPort dead;
  const Client client = Connect(dead.target());
  auto upload = client.Upload<&Inference::UploadInference>();
  const absl::Status status = upload.Finish().status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(inferwire::InfoOf(status).attempts.size() == 4);
}
