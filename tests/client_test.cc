// SPDX-License-Identifier: Apache-2.0
#include "inferwire/client.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "support/inference.h"
#include "support/sockets.h"

using inferwire::CallInfo;
using inferwire::CallOptions;
using inferwire::Client;
using inferwire::InfoOf;
using namespace inferwire_test;  // NOLINT

TEST_CASE("a call gives the server's reply", "[client]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  const auto reply = client.Call<&Inference::RunInference>(Text("hello"));
  REQUIRE(reply.ok());
  CHECK(reply->text() == "hello");
}

TEST_CASE("a call goes to the method's path, also under another public name", "[client]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer(call.method()));
  });
  const Client client = Connect(server.target());
  CHECK(client.Call<&Inference::RunInference>(Text(""))->text() == "/inference.Inference/RunInference");
  using Renamed = inferwire::Rpc<&Inference::RunInference, "acme.v1.Scorer">;
  CHECK(client.Call<Renamed>(Text(""))->text() == "/acme.v1.Scorer/RunInference");
}

TEST_CASE("a future's request may die before the call is answered", "[client]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  inferwire::Future<inference::Response> future;
  {
    const inference::Request request = Text(std::string(100'000, 'x'));
    future = client.Async<&Inference::RunInference>(request);
  }
  CHECK(std::move(future).Get()->text().size() == 100'000);
}

TEST_CASE("one client serves many threads, calls and futures mixed", "[client]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string text = std::to_string(t * 1000 + i);
        const auto reply = (t + i) % 2 == 0 ? client.Call<&Inference::RunInference>(Text(text))
                                            : client.Async<&Inference::RunInference>(Text(text)).Get();
        if (reply.ok() && reply->text() == text) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(good == 400);
}

TEST_CASE("calls in flight outlive their client", "[client]") {
  Event go_on;
  RawServer server([&](RawCall& call) {
    const auto bytes = call.Read();
    go_on.Wait();
    call.Write(Answer(TextOf(*bytes)));
  });
  inferwire::Future<inference::Response> future;
  {
    const Client client = Connect(server.target());
    future = client.Async<&Inference::RunInference>(Text("still here"));
  }
  go_on.Set();
  CHECK(std::move(future).Get()->text() == "still here");
}

// ---- what a server can do wrong

TEST_CASE("an OK without a message is INTERNAL", "[client][trap]") {
  RawServer server([](RawCall& call) { call.Read(); });
  const Client client = Connect(server.target());
  const absl::Status sync = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(sync.code() == absl::StatusCode::kInternal);
  CHECK(Contains(sync, "sent no message"));
  CHECK(client.Async<&Inference::RunInference>(Text("x")).Get().status().code() == absl::StatusCode::kInternal);
}

TEST_CASE("a reply that does not parse is INTERNAL and is not tried again", "[client][trap]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write("\xff\xff\xff\xff");
  });
  const Client client = Connect(server.target());
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(Contains(status, "the reply of 4 bytes does not parse as inference.Response"));
  CHECK(InfoOf(status).attempts.size() == 1);
  CHECK(client.Async<&Inference::RunInference>(Text("x")).Get().status().code() == absl::StatusCode::kInternal);
}

TEST_CASE("a reply over the limit is RESOURCE_EXHAUSTED and is not tried again", "[client][trap]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(std::string(2000, '\0'));
  });
  const Client client = Connect(server.target(), {.max_receive_message_bytes = 1000});
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(InfoOf(status).attempts.size() == 1);
  CHECK(server.calls() == 1);
}

TEST_CASE("a reply of more than gRPC's own 4 MiB is received by default", "[client][trap]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer(std::string(8 << 20, 'x')));
  });
  const Client client = Connect(server.target());
  CHECK(client.Call<&Inference::RunInference>(Text("x"))->text().size() == 8 << 20);
}

TEST_CASE("trailers far over the metadata limit end the call with a status", "[client][trap]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.context().AddTrailingMetadata("x-huge", std::string(9 << 20, 'x'));
    call.Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "no"));
  });
  const Client client = Connect(server.target(), {.retry = {.max_attempts = 1}});
  const auto reply = client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(60)});
  CHECK_FALSE(reply.ok());
  CHECK(reply.status().code() != absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("error details that fit in trailers arrive, though they exceed gRPC's default", "[client]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.context().AddTrailingMetadata("x-details", std::string(20'000, 'x'));
    call.Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such model"));
  });
  const Client client = Connect(server.target());
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kNotFound);
  CHECK(status.message() == "no such model");
  REQUIRE(InfoOf(status).trailing_metadata.size() == 1);
  CHECK(InfoOf(status).trailing_metadata[0].second.size() == 20'000);
}

TEST_CASE("errors of many times 64 KiB keep their code and text", "[client][trap]") {
  const std::size_t size = GENERATE(std::size_t{70'000}, std::size_t{1} << 20, std::size_t{5} << 20);
  RawServer server([&](RawCall& call) {
    call.Read();
    call.Finish(grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, std::string(size, 'x')));
  });
  const Client client = Connect(server.target());
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  // More may follow where it was tried again, as beside tests that take the processors.
  const bool whole = status.message().substr(0, size) == std::string(size, 'x');  // too long to be shown
  CHECK(whole);
}

TEST_CASE("a dead port is UNAVAILABLE after the attempts are used up, and says where", "[client][trap]") {
  const DeadPort dead;
  const Client client = Connect(dead.target());
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(Contains(status, "Connection refused"));
  CHECK(Contains(status, "(4 attempts to 1 target in "));
  CHECK(Contains(status, "gave up: attempts)"));
  const CallInfo info = InfoOf(status);
  CHECK(info.reason == CallInfo::Reason::kAttemptsExhausted);
  REQUIRE(info.attempts.size() == 4);
  CHECK(info.attempts[0].target == dead.target());
  CHECK(info.attempts[0].code == absl::StatusCode::kUnavailable);
}

TEST_CASE("the deadline holds while the connection is still being made", "[client][trap]") {
  const SilentServer silent;
  const Client client = Connect(silent.target());
  const auto before = std::chrono::steady_clock::now();
  const absl::Status status =
      client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(200)}).status();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(InfoOf(status).reason == CallInfo::Reason::kDeadline);
  // A bound, no measurement: gRPC alone would wait for twenty seconds.
  CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(5));
}

TEST_CASE("a connection that is not made within connect_timeout is UNAVAILABLE, and never reached a server",
          "[client]") {
  const SilentServer silent;
  const Client client = Connect(
      silent.target(),
      {.idempotent = false, .retry = {.max_attempts = 2}, .connection = {.connect_timeout = absl::Milliseconds(100)}});
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Minutes(1)}).status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(InfoOf(status).reason == CallInfo::Reason::kAttemptsExhausted);
  CHECK(InfoOf(status).attempts.size() == 2);
}

TEST_CASE("a server gone mid-call is UNAVAILABLE", "[client][trap]") {
  HangUpServer server;
  const Client client = Connect(server.target());
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(server.hung_up() >= 1);
}

TEST_CASE("a server stopped while it works ends the call", "[client][trap]") {
  Event arrived;
  RawServer server([&](RawCall& call) {
    call.Read();
    arrived.Set();
    call.WaitForCancel();
  });
  const Client client = Connect(server.target(), {.retry = {.max_attempts = 1}});
  auto future = client.Async<&Inference::RunInference>(Text("x"));
  REQUIRE(arrived.Wait());
  server.Stop();
  const absl::Status status = std::move(future).Get().status();
  CHECK_FALSE(status.ok());
  CHECK(status.code() != absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("the deadline holds against a server that stops reading a large request", "[client][trap]") {
  Event release;
  RawServer server([&](RawCall& call) { call.WaitForCancel(); });  // never reads: flow control stops the sender
  const Client client = Connect(server.target());
  const auto before = std::chrono::steady_clock::now();
  const absl::Status status =
      client.Call<&Inference::RunInference>(Text(std::string(64 << 20, 'x')), {.timeout = absl::Milliseconds(300)})
          .status();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(5));
}

// ---- deadlines, retries, cancellation

TEST_CASE("the deadline travels to the server and defaults to ten seconds", "[client]") {
  std::atomic<double> seconds{0};
  RawServer server([&](RawCall& call) {
    seconds = std::chrono::duration<double>(call.context().deadline() - std::chrono::system_clock::now()).count();
    Echo(call);
  });
  const Client client = Connect(server.target());
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(seconds > 8);
  CHECK(seconds < 11);
  REQUIRE(client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(100)}).ok());
  CHECK(seconds > 90);
  REQUIRE(client.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::InfiniteDuration()}).Get().ok());
  CHECK(seconds > 1e6);
}

TEST_CASE("no time at all is DEADLINE_EXCEEDED without an attempt", "[client]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  for (const absl::Duration timeout : {absl::ZeroDuration(), absl::Seconds(-1), -absl::InfiniteDuration()}) {
    const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.timeout = timeout}).status();
    CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(InfoOf(status).attempts.empty());
  }
  CHECK(server.calls() == 0);
}

TEST_CASE("UNAVAILABLE is tried again, and the call tells of every attempt", "[client]") {
  std::atomic<int> seen{0};
  RawServer server([&](RawCall& call) {
    call.Read();
    if (++seen < 3) return call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "warming up"));
    call.Write(Answer("ready"));
  });
  const Client client = Connect(server.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  CallInfo info;
  const auto reply = client.Call<&Inference::RunInference>(Text("x"), {.info = &info});
  REQUIRE(reply.ok());
  CHECK(reply->text() == "ready");
  REQUIRE(info.attempts.size() == 3);
  CHECK(info.attempts[0].message == "warming up");
  CHECK(info.attempts[2].code == absl::StatusCode::kOk);
  CHECK(info.attempts[2].peer.find("127.0.0.1") != std::string::npos);
  CHECK(info.reason == CallInfo::Reason::kNone);
}

TEST_CASE("requests of any size are tried again", "[client]") {
  std::atomic<int> seen{0};
  RawServer server([&](RawCall& call) {
    const auto bytes = call.Read();
    if (++seen == 1) return call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "not yet"));
    call.Write(Answer(std::to_string(TextOf(*bytes).size())));
  });
  const Client client = Connect(server.target());
  CHECK(client.Call<&Inference::RunInference>(Text(std::string(3 << 20, 'x')))->text() == std::to_string(3 << 20));
  CHECK(seen == 2);
}

TEST_CASE("a call that is not idempotent is not tried again", "[client]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "perhaps done"));
  });
  const Client client = Connect(server.target());
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.idempotent = false}).status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(InfoOf(status).reason == CallInfo::Reason::kNotIdempotent);
  CHECK(server.calls() == 1);
}

TEST_CASE("an attempt that takes too long is followed by another", "[client]") {
  std::atomic<int> seen{0};
  RawServer server([&](RawCall& call) {
    call.Read();
    if (++seen == 1) return call.WaitForCancel();
    call.Write(Answer("second"));
  });
  const Client client = Connect(server.target());
  CallInfo info;
  const auto reply =
      client.Call<&Inference::RunInference>(Text("x"), {.info = &info, .attempt_timeout = absl::Milliseconds(300)});
  CAPTURE(reply.status());
  REQUIRE(reply.ok());
  CHECK(reply->text() == "second");
  REQUIRE(info.attempts.size() >= 2);
  CHECK(info.attempts[0].code == absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("with several targets the attempt after a failure goes to another one", "[client]") {
  const DeadPort dead;
  RawServer server(Echo);
  inferwire::ClientOptions options{.targets = {dead.target(), server.target()}, .credentials = inferwire::Insecure()};
  const auto client = Client::Create(options);
  REQUIRE(client.ok());
  for (int i = 0; i < 10; ++i) {
    CallInfo info;
    REQUIRE(client->Call<&Inference::RunInference>(Text("x"), {.info = &info}).ok());
    CHECK(info.attempts.size() <= 2);
    CHECK(info.attempts.back().target == server.target());
  }
}

TEST_CASE("a stop token cancels a call that waits, and the server sees it", "[client]") {
  Event arrived, cancelled;
  RawServer server([&](RawCall& call) {
    call.Read();
    arrived.Set();
    call.WaitForCancel();
    cancelled.Set();
  });
  const Client client = Connect(server.target());
  std::stop_source source;
  std::thread stopper([&] {
    arrived.Wait();
    source.request_stop();
  });
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.stop = source.get_token()}).status();
  stopper.join();
  CHECK(status.code() == absl::StatusCode::kCancelled);
  CHECK(InfoOf(status).reason == CallInfo::Reason::kCancelled);
  CHECK(cancelled.Wait());
}

TEST_CASE("a stop requested beforehand means no attempt", "[client]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  std::stop_source source;
  source.request_stop();
  CHECK(client.Call<&Inference::RunInference>(Text("x"), {.stop = source.get_token()}).status().code() ==
        absl::StatusCode::kCancelled);
  CHECK(client.Async<&Inference::RunInference>(Text("x"), {.stop = source.get_token()}).Get().status().code() ==
        absl::StatusCode::kCancelled);
  CHECK(server.calls() == 0);
}

TEST_CASE("a stop token cuts the wait before a retry", "[client]") {
  const DeadPort dead;
  // The wait is up to an hour: nothing but the stop ends it.
  const Client client =
      Connect(dead.target(), {.timeout = absl::InfiniteDuration(),
                              .retry = {.initial_backoff = absl::Hours(1), .max_backoff = absl::Hours(1)}});
  std::stop_source source;
  std::thread stopper([&] { source.request_stop(); });
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.stop = source.get_token()}).status();
  stopper.join();
  CHECK(status.code() == absl::StatusCode::kCancelled);
}

TEST_CASE("dropping a future cancels its call on the server", "[client]") {
  Event arrived, cancelled;
  RawServer server([&](RawCall& call) {
    call.Read();
    arrived.Set();
    call.WaitForCancel();
    cancelled.Set();
  });
  const Client client = Connect(server.target());
  {
    const auto future = client.Async<&Inference::RunInference>(Text("x"));
    REQUIRE(arrived.Wait());
  }
  CHECK(cancelled.Wait());
}

TEST_CASE("shutting a client down ends what is in flight and refuses what comes", "[client]") {
  Event arrived;
  RawServer server([&](RawCall& call) {
    call.Read();
    arrived.Set();
    call.WaitForCancel();
  });
  const Client client = Connect(server.target());
  const Client copy = client;
  auto future = client.Async<&Inference::RunInference>(Text("x"));
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  REQUIRE(arrived.Wait());
  copy.Shutdown();
  CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kCancelled);
  CHECK(client.Call<&Inference::RunInference>(Text("x")).status().code() == absl::StatusCode::kFailedPrecondition);
  client.Shutdown();
}

TEST_CASE("thousands of futures dropped at any moment leave nothing behind", "[client]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  for (int i = 0; i < 2000; ++i) {
    auto future = client.Async<&Inference::RunInference>(Text("x"));
    if (i % 3 == 0) future.Wait(absl::Microseconds(i % 500));
    if (i % 5 == 0) future.Cancel();
  }
  CHECK(client.Call<&Inference::RunInference>(Text("still works")).ok());
}

// ---- what a caller can do wrong

TEST_CASE("metadata is sent, the client's and the call's", "[client]") {
  std::mutex mutex;
  std::string tenant, model;
  RawServer server([&](RawCall& call) {
    std::unique_lock lock(mutex);
    tenant = call.header("x-tenant");
    model = call.header("x-blob-bin");
    lock.unlock();
    Echo(call);
  });
  const Client client = Connect(server.target(), {.metadata = {{"x-tenant", "a"}}});
  REQUIRE(
      client.Call<&Inference::RunInference>(Text("x"), {.metadata = {{"x-blob-bin", std::string("\0\xff", 2)}}}).ok());
  const std::lock_guard lock(mutex);
  CHECK(tenant == "a");
  CHECK(model == std::string("\0\xff", 2));
}

TEST_CASE("a call's metadata stands in for the client's of the same key, and the observer's for both", "[client]") {
  using Lines = std::multimap<std::string, std::string>;
  std::mutex mutex;
  Lines lines;
  RawServer server([&](RawCall& call) {
    std::unique_lock lock(mutex);
    lines.clear();
    for (const auto& [key, value] : call.context().client_metadata()) {
      const std::string name(key.data(), key.size());
      if (name != "user-agent") lines.emplace(name, std::string(value.data(), value.size()));
    }
    lock.unlock();
    Echo(call);
  });
  struct Tracer : inferwire::Observer, inferwire::CallObserver {
    std::unique_ptr<inferwire::CallObserver> CallStarted(const CallStart&) override {
      return std::make_unique<Tracer>();
    }
    void AttemptStarted(const AttemptStart&, inferwire::Metadata& metadata) override {
      metadata = {{"traceparent", "observer"}};
    }
  };
  const bool observed = GENERATE(false, true);
  const Client client = Connect(
      server.target(), {.metadata = {{"application", "a"}, {"x-both", "1"}, {"x-both", "2"}, {"traceparent", "client"}},
                        .observer = observed ? std::make_shared<Tracer>() : nullptr});
  const CallOptions own{.metadata = {{"application", "b"}, {"x-own", "1"}, {"x-own", "2"}, {"traceparent", "call"}}};
  const Lines expected{{"application", "b"}, {"traceparent", observed ? "observer" : "call"},
                       {"x-both", "1"},      {"x-both", "2"},
                       {"x-own", "1"},       {"x-own", "2"}};
  const auto seen = [&] {
    const std::lock_guard lock(mutex);
    return lines;
  };
  REQUIRE(client.Call<&Inference::RunInference>(Text("x"), own).ok());
  CHECK(seen() == expected);
  REQUIRE(client.Async<&Inference::RunInference>(Text("x"), own).Get().ok());
  CHECK(seen() == expected);
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"), own);
  while (stream.Read().has_value()) {
  }
  CHECK(seen() == expected);
  auto upload = client.Upload<&Inference::UploadInference>(own);
  CHECK(upload.Finish().status().code() == absl::StatusCode::kInternal);  // the echo of nothing
  CHECK(seen() == expected);
  REQUIRE(client.Open<&Inference::Converse>(own).Finish().ok());
  CHECK(seen() == expected);
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(seen().count("application") == 1);
}

TEST_CASE("an authorization of the call's own stands in for the client's token, and the reverse", "[client][token]") {
  std::mutex mutex;
  std::vector<std::string> lines;
  RawServer server([&](RawCall& call) {
    std::unique_lock lock(mutex);
    lines.clear();
    const auto [begin, end] = call.context().client_metadata().equal_range("authorization");
    for (auto it = begin; it != end; ++it) lines.emplace_back(it->second.data(), it->second.size());
    lock.unlock();
    Echo(call);
  });
  using inferwire::BearerToken;
  const auto sent = [&](inferwire::ClientOptions options, CallOptions call) {
    REQUIRE(
        Connect(server.target(), std::move(options)).Call<&Inference::RunInference>(Text("x"), std::move(call)).ok());
    const std::lock_guard lock(mutex);
    return lines;
  };
  using Lines = std::vector<std::string>;
  const BearerToken token = BearerToken("t").EvenOverPlaintext();
  const BearerToken unavailable = BearerToken([]() -> absl::StatusOr<inferwire::AccessToken> {
                                    return absl::InternalError("not to be asked");
                                  }).EvenOverPlaintext();
  CHECK(sent({.metadata = {{"authorization", "Basic c"}}}, {}) == Lines{"Basic c"});
  CHECK(sent({.token = unavailable}, {.metadata = {{"authorization", "Basic o"}}}) == Lines{"Basic o"});
  CHECK(sent({.metadata = {{"authorization", "Basic c"}}}, {.token = token}) == Lines{"Bearer t"});
  const absl::Status create = Client::Create({.targets = {"a:1"},
                                              .credentials = inferwire::Insecure(),
                                              .metadata = {{"authorization", "x"}},
                                              .token = token})
                                  .status();
  CHECK(create.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(create, "expected one of the two"));
  const absl::Status call =
      Connect(server.target())
          .Call<&Inference::RunInference>(Text("x"), {.metadata = {{"authorization", "x"}}, .token = token})
          .status();
  CHECK(call.code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("keys that gRPC drops, dies of, or that kill connections are refused everywhere, with the reason",
          "[client][trap]") {
  const auto [key, why] = GENERATE(table<std::string, std::string>({
      {"grpclb_client_stats", "balancers"},
      {"lb-cost-bin", "balancers"},
      {"endpoint-load-metrics-bin", "balancers"},
      {"connection", "a single connection of HTTP/1"},
      {"keep-alive", "a single connection of HTTP/1"},
      {"proxy-connection", "a single connection of HTTP/1"},
      {"transfer-encoding", "a single connection of HTTP/1"},
      {"upgrade", "a single connection of HTTP/1"},
      {"http2-settings", "a single connection of HTTP/1"},
      {"te", "set by gRPC itself"},
      {"content-type", "set by gRPC itself"},
      {"content-length", "set by gRPC itself"},
      {"user-agent", "ConnectionOptions::user_agent"},
      {"host", "ConnectionOptions::authority"},
      {"grpc-timeout", "reserved"},
      {"grpc-anything", "reserved"},
      {":authority", "may hold only"},
      {":path", "may hold only"},
  }));
  CAPTURE(key);
  RawServer server(Echo);
  const inferwire::Metadata metadata{{"x-fine", "1"}, {key, "trailers"}};
  const auto refused = [&, &reason = why](const absl::Status& status) {
    return status.code() == absl::StatusCode::kInvalidArgument && Contains(status, "'" + key + "'") &&
           Contains(status, reason);
  };
  CHECK(refused(
      Client::Create({.targets = {"a:1"}, .credentials = inferwire::Insecure(), .metadata = metadata}).status()));
  const Client client = Connect(server.target());
  CHECK(refused(client.Call<&Inference::RunInference>(Text("x"), {.metadata = metadata}).status()));
  CHECK(refused(client.Open<&Inference::Converse>({.metadata = metadata}).Finish()));
  struct Adder : inferwire::Observer, inferwire::CallObserver {
    explicit Adder(inferwire::Metadata given) : added(std::move(given)) {}
    std::unique_ptr<inferwire::CallObserver> CallStarted(const CallStart&) override {
      return std::make_unique<Adder>(added);
    }
    void AttemptStarted(const AttemptStart&, inferwire::Metadata& to) override { to = added; }
    const inferwire::Metadata added;
  };
  const Client observed = Connect(server.target(), {.observer = std::make_shared<Adder>(metadata)});
  CHECK(refused(observed.Call<&Inference::RunInference>(Text("x")).status()));
  CHECK(server.calls() == 0);
}

TEST_CASE("illegal metadata is INVALID_ARGUMENT in every form of call", "[client]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  const CallOptions bad{.metadata = {{"X-Upper", "x"}}};
  CHECK(client.Call<&Inference::RunInference>(Text("x"), bad).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(client.Async<&Inference::RunInference>(Text("x"), bad).Get().status().code() ==
        absl::StatusCode::kInvalidArgument);
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"), bad);
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kInvalidArgument);
  auto upload = client.Upload<&Inference::UploadInference>(bad);
  CHECK(upload.Write(Text("x")).code() == absl::StatusCode::kInvalidArgument);
  auto session = client.Open<&Inference::Converse>(bad);
  CHECK(session.Finish().code() == absl::StatusCode::kInvalidArgument);
  CHECK(server.calls() == 0);
}

TEST_CASE("options that make no sense are refused at creation, by name", "[client]") {
  const auto create = [](inferwire::ClientOptions options) { return Client::Create(std::move(options)).status(); };
  const inferwire::Credentials plain = inferwire::Insecure();
  CHECK(Contains(create({.credentials = plain}), "targets is empty"));
  CHECK(Contains(create({.targets = {"http://x"}, .credentials = plain}), "target 'http://x'"));
  CHECK(Contains(create({.targets = {"a:1"}, .credentials = plain, .timeout = absl::ZeroDuration()}), "timeout is 0"));
  CHECK(Contains(create({.targets = {"a:1"}, .credentials = plain, .retry = {.max_attempts = 0}}), "max_attempts"));
  CHECK(Contains(create({.targets = {"a:1"}, .credentials = plain, .metadata = {{"A", ""}}}), "the key 'A'"));
  CHECK(Contains(create({.targets = {"a:1"}, .credentials = plain, .max_receive_message_bytes = std::int64_t{1} << 31}),
                 "max_receive_message_bytes is 2147483648"));
}

TEST_CASE("a failed call tells the reason, also through a future", "[client]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.context().AddInitialMetadata("x-server", "one");
    call.context().AddTrailingMetadata("x-trace", "t1");
    call.Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "bad shape"));
  });
  const Client client = Connect(server.target());
  CallInfo info;
  const absl::Status status = client.Async<&Inference::RunInference>(Text("x"), {.info = &info}).Get().status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message() == "bad shape");
  CHECK(InfoOf(status).reason == CallInfo::Reason::kPermanent);
  CHECK(InfoOf(status).trailing_metadata == inferwire::Metadata{{"x-trace", "t1"}});
  CHECK(info.trailing_metadata == inferwire::Metadata{{"x-trace", "t1"}});
  CHECK(info.latency > absl::ZeroDuration());
}

TEST_CASE("a printed status is one line that names the method and the target", "[client]") {
  const std::string text = GENERATE("", "no such model");
  RawServer server([&](RawCall& call) {
    call.Read();
    call.Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, text));
  });
  const Client client = Connect(server.target());
  const std::string call = "inference.Inference/RunInference at " + server.target();
  const auto printed = [](const absl::Status& status) {
    std::ostringstream out;
    out << status;
    CHECK(out.str() == status.ToString());
    return out.str();
  };
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.message() == (text.empty() ? call + ": the server gave no message" : text));
  CHECK(printed(status) == (text.empty() ? "UNIMPLEMENTED: " + call + ": the server gave no message [call='1 attempt']"
                                         : "UNIMPLEMENTED: no such model [call='" + call + "']"));
  CHECK(printed(client.Async<&Inference::RunInference>(Text("x")).Get().status()) == printed(status));
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  while (stream.Read().has_value()) {
  }
  CHECK(printed(stream.status()).find("inference.Inference/StreamInference at " + server.target()) !=
        std::string::npos);
  CHECK(printed(client.Open<&Inference::Converse>().Finish()).find("/Converse at ") != std::string::npos);
  CHECK(printed(client.Call<&Inference::RunInference>(Text("x"), {.metadata = {{"te", "x"}}}).status())
            .find("[call='inference.Inference/RunInference, not sent']") != std::string::npos);
}

TEST_CASE("a call that tried many targets names the first of them", "[client]") {
  std::vector<std::unique_ptr<DeadPort>> ports;
  inferwire::ClientOptions options{.credentials = inferwire::Insecure(), .retry = {.max_attempts = 12}};
  for (int i = 0; i < 20; ++i) options.targets.push_back(ports.emplace_back(std::make_unique<DeadPort>())->target());
  const Client client = *Client::Create(options);
  std::ostringstream out;
  out << client.Call<&Inference::RunInference>(Text("x")).status();
  INFO(out.str());
  CHECK(out.str().find("[call='inference.Inference/RunInference at ") != std::string::npos);
  CHECK(out.str().find(" more']") != std::string::npos);
  CHECK(out.str().find('\n') == std::string::npos);
}

TEST_CASE("text that is not UTF-8 is refused in every form of call before anything is sent", "[client]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  const auto refused = [](const absl::Status& status) {
    return status.code() == absl::StatusCode::kInvalidArgument && Contains(status, "the text of 'text' is not UTF-8");
  };
  const inference::Request bad = Text("caf\xe9");
  CHECK(refused(client.Call<&Inference::RunInference>(bad).status()));
  CHECK(refused(client.Async<&Inference::RunInference>(bad).Get().status()));
  auto stream = client.Stream<&Inference::StreamInference>(bad);
  CHECK_FALSE(stream.Read().has_value());
  CHECK(refused(stream.status()));
  CHECK(server.calls() == 0);
  auto upload = client.Upload<&Inference::UploadInference>();
  CHECK(refused(upload.Write(bad)));
  auto session = client.Open<&Inference::Converse>();
  CHECK(refused(session.Write(bad)));
}

TEST_CASE("what WaitUntilReady waits for in vain is said, and what it most probably means", "[client]") {
  const DeadPort dead;
  const absl::Status refused = Connect(dead.target()).WaitUntilReady(absl::Milliseconds(300));
  CHECK(refused.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(Contains(refused, "no connection within 300ms to " + dead.target() + " ("));
  CHECK(Contains(refused, "Connection refused"));
  CHECK(Contains(Connect("name.invalid:1").WaitUntilReady(absl::Milliseconds(500)), "DNS resolution failed"));

  const std::string hello = GENERATE("HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-server\r\n");
  const HangUpServer other(hello);
  const Client client = Connect(other.target(), {.retry = {.max_attempts = 1}});
  CHECK(Contains(client.WaitUntilReady(absl::Milliseconds(500)), "is it the port for gRPC?"));
  CHECK(Contains(client.Call<&Inference::RunInference>(Text("x")).status(), "is it the port for gRPC?"));
}

TEST_CASE("a proxy of the environment is named where no connection comes about, and can be turned off", "[client]") {
  const DeadPort proxy;
  RawServer server(Echo);
  ::setenv("http_proxy", ("http://user:secret@" + proxy.target()).c_str(), 1);
  // Loopback is reached without.
  const Client proxied = Connect("models.internal:1", {.retry = {.max_attempts = 1}});
  const absl::Status status = proxied.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(Contains(status,
                 "connections go by the proxy '" + proxy.target() + "', which the environment's http_proxy names"));
  CHECK_FALSE(std::string(status.message()).find("secret") != std::string::npos);
  const Client direct = Connect(server.target(), {.connection = {.use_proxy = false}});
  CHECK(direct.Call<&Inference::RunInference>(Text("x")).ok());
  ::setenv("no_proxy", "example.org, 127.0.0.1", 1);
  CHECK(inferwire::detail::channel::EnvironmentProxy("127.0.0.1:1").empty());
  CHECK_FALSE(inferwire::detail::channel::EnvironmentProxy("127.0.0.2:1").empty());
  CHECK(inferwire::detail::channel::EnvironmentProxy("unix:/tmp/x").empty());
  ::unsetenv("no_proxy");
  ::unsetenv("http_proxy");
  CHECK(inferwire::detail::channel::EnvironmentProxy("127.0.0.1:1").empty());
}

TEST_CASE("Get on a thread that serves gRPC is refused, and said so", "[client]") {
  RawServer server(Echo);
  const inferwire::Client client =
      Connect(server.target(), {.executor = std::make_shared<inferwire::InlineExecutor>()});
  absl::Status refused;
  auto future = client.Async<&Inference::RunInference>(Text("x")).Then([&](absl::StatusOr<inference::Response> reply) {
    refused = client.Async<&Inference::RunInference>(Text("y")).Get().status();
    return reply;
  });
  CHECK(std::move(future).Get()->text() == "x");
  // Where the reply came before the continuation was there it ran here, and could wait.
  if (!refused.ok()) CHECK(Contains(refused, "which serves gRPC"));
}
