// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/channel/channel.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/distance.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"
#include "support/sockets.h"

using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::Compression;
using inferwire::ConnectionOptions;
using inferwire::detail::channel::Validate;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

TEST_CASE("connection options that make no sense are refused by name", "[channel]") {
  CHECK(Validate(ConnectionOptions{}).ok());
  CHECK(Contains(Validate(ConnectionOptions{.keepalive_time = absl::Seconds(1)}), "keepalive_time is 1s; expected at"));
  CHECK(Contains(Validate(ConnectionOptions{.keepalive_timeout = absl::ZeroDuration()}), "keepalive_timeout is 0"));
  CHECK(Contains(Validate(ConnectionOptions{.max_age = absl::ZeroDuration()}), "max_age is 0"));
  CHECK(Contains(Validate(ConnectionOptions{.connect_timeout = absl::Milliseconds(1)}), "connect_timeout is 1ms"));
  CHECK(Contains(Validate(ConnectionOptions{.max_reconnect_backoff = absl::ZeroDuration()}), "max_reconnect_backoff"));
  CHECK(Contains(Validate(ConnectionOptions{.user_agent = "a\nb"}), "user_agent"));
  CHECK(Contains(Validate(ConnectionOptions{.max_send_message_bytes = 0}), "max_send_message_bytes is 0"));
  for (const char* const authority : {"a b", "http://a", "a/b", "u@a", "a\n"}) {
    CHECK(Contains(Validate(ConnectionOptions{.authority = authority}), "connection.authority is '"));
  }
  CHECK(Validate(ConnectionOptions{.receive_window_bytes = 65536}).ok());
  CHECK(Contains(Validate(ConnectionOptions{.receive_window_bytes = 1}), "receive_window_bytes is 1; expected 0, or"));
  CHECK(Contains(Validate(ConnectionOptions{.receive_window_bytes = std::int64_t{1} << 31}), "receive_window_bytes"));
}

TEST_CASE("a large answer over a long path takes few round trips, and a large request too", "[channel][client]") {
  constexpr std::size_t kLarge = std::size_t{8} << 20;
  RawServer server([](RawCall& call) {
    const auto request = call.Read();
    call.Write(Answer(std::string(request->size() > kLarge ? 1 : kLarge, 'x')));
  });
  constexpr auto kRoundTrip = std::chrono::milliseconds(150);
  const bench::Listener distant = bench::Distance(server.target(), kRoundTrip);
  const Client client = Connect("127.0.0.1:" + std::to_string(distant.port()));
  for (const std::string& text : {std::string("x"), std::string(kLarge, 'x')}) {
    auto least = std::chrono::steady_clock::duration::max();
    // The window has grown once some have come. One that were fixed would let in a MiB a round trip.
    for (int i = 0; i < 6; ++i) {
      const auto from = std::chrono::steady_clock::now();
      REQUIRE(client.Call<&Inference::RunInference>(Text(text)).ok());
      least = std::min(least, std::chrono::steady_clock::now() - from);
    }
    CHECK(least < 5 * kRoundTrip);
  }
}

TEST_CASE("the user agent names the application, the library and gRPC", "[channel][client]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer(call.header("user-agent")));
  });
  const auto agent = [&](const ClientOptions& options) {
    return Connect(server.target(), options).Call<&Inference::RunInference>(Text("x"))->text();
  };
  CHECK(agent({}).starts_with("inferwire/" INFERWIRE_VERSION " grpc-c++/"));
  CHECK(agent({.connection = {.user_agent = "robot/7"}}).starts_with("robot/7 inferwire/"));
}

TEST_CASE("another :authority can be sent, and clients that differ by it share no connection", "[channel][client]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer(call.context().host()));
  });
  const auto host = [&](const ClientOptions& options) {
    return Connect(server.target(), options).Call<&Inference::RunInference>(Text("x"))->text();
  };
  CHECK(host({}) == server.target());
  CHECK(host({.connection = {.authority = "models.example.org"}}) == "models.example.org");
  CHECK(host({.connection = {.authority = "sklearn.default.svc:8080"}}) == "sklearn.default.svc:8080");
}

TEST_CASE("a target that gRPC can make no channel to is UNAVAILABLE, and left for others", "[channel]") {
  RawServer server(Echo);
  // Past what Create checks.
  ClientOptions options{.targets = {"dns://nowhere:1", server.target()}};
  inferwire::detail::channel::Connector connector({grpc::InsecureChannelCredentials(), "insecure"}, {}, {}, 1 << 20);
  const auto engine = inferwire::detail::engine::Engine::Make(options, connector);
  const auto call = [](const std::shared_ptr<inferwire::detail::engine::Engine>& on) {
    using inferwire::Rpc;
    return inferwire::detail::StartFuture<inference::Response>(
               on, {Rpc<&Inference::RunInference>::path(), inferwire::detail::wire::Encode(Text("x"))},
               {.timeout = absl::Seconds(5)}, inferwire::detail::wire::DecodeInto<inference::Response>)
        .Get()
        .status();
  };
  for (int i = 0; i < 50; ++i) CHECK(call(engine).ok());
  const auto targets = engine->pool().targets();
  CHECK(targets[0]->attempts < 10);

  options.targets = {"dns://nowhere:1"};
  const absl::Status status = call(inferwire::detail::engine::Engine::Make(options, connector));
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(Contains(status, "gRPC cannot make a channel to 'dns://nowhere:1'"));
  CHECK(Contains(status, "(4 attempts to 1 target"));
}

TEST_CASE("requests are compressed per client or per call", "[channel][client]") {
  std::atomic<std::size_t> last{0};
  RawServer server([&](RawCall& call) {
    const auto bytes = call.Read();
    last = bytes.has_value() ? bytes->size() : 0;
    call.Write(Answer(call.header("grpc-encoding")));
  });
  const std::string text(10'000, 'a');
  const auto encoding = [&](const Client& client, std::optional<Compression> compression) {
    const auto reply = client.Call<&Inference::RunInference>(Text(text), {.compression = compression});
    REQUIRE(reply.ok());
    CHECK(last > 10'000);  // decompressed on the way
    return reply->text();
  };
  const Client plain = Connect(server.target());
  CHECK(encoding(plain, std::nullopt).empty());
  // gRPC tells the server by a header of its own in older versions; what matters here is that the server understood.
  CHECK_NOTHROW(encoding(plain, Compression::kGzip));
  const Client squeezed = Connect(server.target(), {.compression = Compression::kDeflate});
  CHECK_NOTHROW(encoding(squeezed, std::nullopt));
  CHECK_NOTHROW(encoding(squeezed, Compression::kNone));
}

TEST_CASE("what is compressed is smaller on the wire", "[channel][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  const std::string text(1'000'000, 'a');
  CHECK(Connect(fake.target(), {.compression = Compression::kGzip}).Call<&Inference::RunInference>(Text(text)).ok());
  CHECK(fake.requests<&Inference::RunInference>().at(0).text().size() == text.size());
}

TEST_CASE("a request over the limit is refused before it is sent, and not tried again", "[channel][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  const Client client = Connect(fake.target(), {.connection = {.max_send_message_bytes = 1000}});
  inferwire::CallInfo info;
  const absl::Status status =
      client.Call<&Inference::RunInference>(Text(std::string(2000, 'x')), {.info = &info}).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(info.attempts.size() == 1);
  CHECK(fake.requests<&Inference::RunInference>().empty());
  CHECK(client.Call<&Inference::RunInference>(Text("small")).ok());
}

TEST_CASE("unix sockets work, of calls of either kind", "[channel][client]") {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("inferwire-" + std::to_string(::getpid()))).string();
  {
    RawServer server(Echo, "unix:" + path);
    for (const std::string& target : {"unix:" + path, "unix://" + path}) {
      for (const bool idempotent : {true, false}) {
        CAPTURE(target, idempotent);
        const Client client = Connect(target, {.idempotent = idempotent});
        const auto reply = client.Call<&Inference::RunInference>(Text("over a socket"));
        INFO(reply.status());
        REQUIRE(reply.ok());
        CHECK(reply->text() == "over a socket");
      }
    }
  }
  std::filesystem::remove(path);
  const absl::Status gone =
      Connect("unix:" + path, {.retry = {.max_attempts = 1}}).Call<&Inference::RunInference>(Text("x")).status();
  CHECK(gone.code() == absl::StatusCode::kUnavailable);
}

TEST_CASE("gRPC balances the addresses of one target where its service config says so", "[channel][client]") {
  FakeServer one, other;
  one.On<&Inference::RunInference>().Reply(Response("one"));
  other.On<&Inference::RunInference>().Reply(Response("other"));
  const std::string both = "ipv4:" + one.target() + "," + other.target();
  const auto shares = [&](const Client& client) {
    std::map<std::string, int> out;
    for (int i = 0; i < 100; ++i) ++out[client.Call<&Inference::RunInference>(Text("x"))->text()];
    return out;
  };
  CHECK(shares(Connect(both)).size() == 1);  // the first that answers
  const Client balanced =
      Connect(both, {.connection = {.service_config = R"({"loadBalancingConfig": [{"round_robin": {}}]})"}});
  REQUIRE(balanced.WaitUntilReady(absl::Seconds(10)).ok());
  shares(balanced);  // gRPC begins with whichever is connected first
  const auto found = shares(balanced);
  CHECK(found.size() == 2);
  for (const auto& [name, share] : found) CHECK(share == Approx(50).margin(2));
}

TEST_CASE("a service config that gRPC does not understand is refused", "[channel][client]") {
  for (const std::string config : {"{not json", "[]", R"({"loadBalancingConfig": [{"no_such_policy": {}}]})"}) {
    CAPTURE(config);
    const absl::Status status = Validate(ConnectionOptions{.service_config = config});
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(Contains(status, "round_robin"));
  }
}

TEST_CASE("what a service config says of methods holds, and what it cannot say is refused", "[channel][client]") {
  const auto with = [](const std::string& what) {
    return inferwire::ConnectionOptions{.service_config = R"({"methodConfig": [{"name": [{}], )" + what + "}]}"};
  };
  RawServer silent([](RawCall& call) { call.WaitForCancel(); });
  const Client timed =
      Connect(silent.target(), {.timeout = absl::Minutes(1), .connection = with(R"("timeout": "0.2s")")});
  const absl::Status late = timed.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(inferwire::InfoOf(late).latency < absl::Seconds(30));

  RawServer echo(Echo);
  const Client sends = Connect(echo.target(), {.connection = with(R"("maxRequestMessageBytes": 100)")});
  const Client takes = Connect(echo.target(), {.connection = with(R"("maxResponseMessageBytes": 100)")});
  for (const Client& client : {sends, takes}) {
    CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
    CHECK(client.Call<&Inference::RunInference>(Text(std::string(200, 'x'))).status().code() ==
          absl::StatusCode::kResourceExhausted);
  }

  const DeadPort dead;
  const Client waits =
      Connect(dead.target(), {.timeout = absl::Milliseconds(300), .connection = with(R"("waitForReady": true)")});
  CHECK(waits.Call<&Inference::RunInference>(Text("x")).status().code() == absl::StatusCode::kDeadlineExceeded);

  const std::string retry =
      R"("retryPolicy": {"maxAttempts": 3, "initialBackoff": "1s", "maxBackoff": "1s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]})";
  const absl::Status refused = inferwire::detail::channel::Validate(with(retry));
  CHECK(refused.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(
      refused, "connection.service_config has a retryPolicy, which has no effect here; expected ClientOptions::retry"));
}

TEST_CASE("calls go on while the server ends connections by their age", "[channel][client]") {
  std::atomic<int> calls{0};
  RawServer server(
      [&](RawCall& call) {
        ++calls;
        Echo(call);
      },
      "127.0.0.1:0", grpc::InsecureServerCredentials(),
      [](grpc::ServerBuilder& builder) {
        builder.AddChannelArgument("grpc.max_connection_age_ms", 100);
        builder.AddChannelArgument("grpc.max_connection_age_grace_ms", 5000);
      });
  for (const bool idempotent : {true, false}) {
    CAPTURE(idempotent);
    calls = 0;
    const Client client = Connect(server.target(), {.idempotent = idempotent});
    std::vector<std::thread> threads;
    std::atomic<int> answered{0};
    // Several ages of a connection, and calls enough.
    const auto least = std::chrono::steady_clock::now() + std::chrono::milliseconds(800);
    std::atomic<int> made{0};
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        while (made < 200 || std::chrono::steady_clock::now() < least) {
          ++made;
          const auto reply = client.Call<&Inference::RunInference>(Text("x"));
          answered += reply.ok() ? 1 : 0;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(answered == made);
    if (!idempotent) CHECK(calls == made);
  }
}

TEST_CASE("calls go on while the client ends connections by their age", "[channel][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  const Client client = Connect(fake.target(), {.connection = {.max_age = absl::Milliseconds(100)}});
  std::vector<std::thread> threads;
  std::atomic<int> failed{0};
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (fake.connections() < 6 && std::chrono::steady_clock::now() < patience) {
        failed += client.Call<&Inference::RunInference>(Text("x")).ok() ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
  CHECK(fake.connections() >= 6);
  CHECK(fake.open_connections() <= 3);  // the last to be replaced may be closing
}

TEST_CASE("who waits until a client is ready keeps the connection, though calls replace it meanwhile",
          "[channel][client]") {
  const SilentServer silent;
  const Client client = Connect(silent.target(), {.connection = {.max_age = absl::Milliseconds(100)}});
  std::atomic<bool> over{false};
  std::thread calls([&] {
    while (!over) {
      client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(20)}).IgnoreError();
      client.Stats();
    }
  });
  std::vector<std::thread> waiters;
  for (int t = 0; t < 3; ++t) {
    waiters.emplace_back([&] {
      for (int i = 0; i < 4; ++i) CHECK_FALSE(client.WaitUntilReady(absl::Milliseconds(250)).ok());
    });
  }
  for (std::thread& thread : waiters) thread.join();
  over = true;
  calls.join();
}

TEST_CASE("beyond a server's limit of streams calls do not wait for one another", "[channel][client]") {
  std::atomic<int> arrived{0};
  Event go;
  RawServer server(
      [&](RawCall& call) {
        if (++arrived == 250) go.Set();
        go.Wait();
        Echo(call);
      },
      "127.0.0.1:0", grpc::InsecureServerCredentials(),
      [](grpc::ServerBuilder& builder) { builder.AddChannelArgument("grpc.max_concurrent_streams", 100); });
  const Client client = Connect(server.target());
  std::vector<inferwire::Future<inference::Response>> futures;
  for (int i = 0; i < 250; ++i) futures.push_back(client.Async<&Inference::RunInference>(Text("x")));
  // They answer only once all are there.
  for (auto& future : futures) CHECK(std::move(future).Get().ok());
  CHECK(arrived == 250);
  CHECK(client.Stats().targets.at(0).channels == 3);
}

TEST_CASE("PINGs find a peer that is gone without a word", "[.slow][channel][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Never();
  const Client client =
      Connect(fake.target(),
              {.timeout = absl::Seconds(60),
               .retry = {.max_attempts = 1},
               .connection = {.keepalive_time = absl::Seconds(10), .keepalive_timeout = absl::Milliseconds(500)}});
  auto future = client.Async<&Inference::RunInference>(Text("x"));
  REQUIRE(fake.WaitForCalls<&Inference::RunInference>(1));
  fake.StopReading();
  const auto from = std::chrono::steady_clock::now();
  const absl::Status status = std::move(future).Get().status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(std::chrono::steady_clock::now() - from < std::chrono::seconds(20));
}

TEST_CASE("a restarted server is used within a second", "[channel][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  const Client client = Connect(fake.target(), {.retry_budget = {.ratio = 100, .min_per_second = 1000}});
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  fake.Stop();
  // Long enough for gRPC's own backoff to have grown.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(4);
  while (std::chrono::steady_clock::now() < until) {
    const auto reply = client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(50)});
    CHECK_FALSE(reply.ok());
  }
  fake.Start();
  const auto from = std::chrono::steady_clock::now();
  while (!client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(50)}).ok()) {
    REQUIRE(std::chrono::steady_clock::now() - from < std::chrono::seconds(20));
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
  UNSCOPED_INFO("used again after " << seconds << " s");
  CHECK(seconds < 2);  // 1 s and what a busy machine adds
}

TEST_CASE("Stats tells what was done, and how the targets are", "[client]") {
  FakeServer good, bad;
  good.On<&Inference::RunInference>().Reply(Response("a"));
  ClientOptions options;
  options.targets = {good.target(), bad.target()};
  options.credentials = inferwire::Insecure();
  options.outliers = {.consecutive_failures = 1};
  options.retry.initial_backoff = absl::Milliseconds(1);
  bad.On<&Inference::RunInference>().Fail(absl::UnavailableError("broken"));
  const Client client = *Client::Create(options);
  const auto before = client.Stats();
  CHECK(before.calls == 0);
  CHECK_FALSE(before.targets.at(0).p50.has_value());
  for (int i = 0; i < 100; ++i) CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
  const auto stats = client.Stats();
  CHECK(stats.calls == 100);
  CHECK(stats.failed == 0);
  CHECK(stats.in_flight == 0);
  CHECK(stats.attempts == 100 + stats.retries);
  CHECK(stats.retries >= 1);
  CHECK(stats.hedges == 0);
  REQUIRE(stats.targets.size() == 2);
  const auto& [first, second] = std::pair(stats.targets[0], stats.targets[1]);
  CHECK(first.target == good.target());
  CHECK(first.channels == 1);
  CHECK(first.ready == 1);
  CHECK(first.attempts == 100);
  CHECK(first.failures == 0);
  CHECK(first.in_flight == 0);
  CHECK(first.healthy);
  CHECK_FALSE(first.ejected);
  CHECK(*first.p50 > absl::ZeroDuration());
  CHECK(*first.p50 <= *first.p90);
  CHECK(*first.p90 <= *first.p99);
  CHECK(second.failures == stats.retries);
  CHECK(second.ejected);
  CHECK(second.ejections == 1);
  good.On<&Inference::RunInference>().Never();
  auto future = client.Async<&Inference::RunInference>(Text("x"));
  CHECK(client.Stats().in_flight == 1);
  CHECK(client.Stats().targets[0].in_flight == 1);
}
