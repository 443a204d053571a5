// SPDX-License-Identifier: Apache-2.0
//
// Several servers under load, of which some die, come back, are slow, fail, or move.
#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/client.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"
#include "support/slow.h"
#include "support/sockets.h"

using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {

#if defined(__SANITIZE_THREAD__)
constexpr int kSoakSeconds = 60;
#else
constexpr int kSoakSeconds = 3;
#endif

// Three servers; the first may be asked to behave differently.
struct Three {
  explicit Three(const std::function<void(FakeServer&)>& odd = nullptr) {
    for (FakeServer& server : servers) server.On<&Inference::RunInference>().Reply(Response("a"));
    if (odd) odd(servers[0]);
  }
  ClientOptions options() const {
    ClientOptions out;
    for (const FakeServer& server : servers) out.targets.push_back(server.target());
    out.credentials = inferwire::Insecure();
    out.timeout = absl::Seconds(20);
    return out;
  }
  double Share(std::size_t which) const {
    double all = 0;
    for (const FakeServer& server : servers) all += server.calls<&Inference::RunInference>();
    return servers[which].calls<&Inference::RunInference>() / all;
  }
  std::array<FakeServer, 3> servers;
};

// So many calls from eight threads, half of them as futures; `at` is told each call's number before it is made. Gives
// what went wrong.
std::vector<absl::Status> Load(const Client& client, int calls, const std::function<void(int)>& at = nullptr) {
  std::vector<absl::Status> wrong;
  std::mutex mutex;
  std::atomic<int> next{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&] {
      for (int i = next++; i < calls; i = next++) {
        if (at) at(i);
        const absl::Status status = i % 2 == 0 ? client.Call<&Inference::RunInference>(Text("x")).status()
                                               : client.Async<&Inference::RunInference>(Text("x")).Get().status();
        if (status.ok()) continue;
        std::lock_guard lock(mutex);
        wrong.push_back(status);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  return wrong;
}

void CheckNone(const std::vector<absl::Status>& wrong) {
  CHECK(wrong.size() == 0);
  if (!wrong.empty()) FAIL_CHECK(wrong.front());
}

constexpr int kCalls = kSlow ? 2000 : 10'000;

}  // namespace

TEST_CASE("10000 calls while one of three servers dies: all answered", "[chaos]") {
  Three three;
  const Client client = *Client::Create(three.options());
  CheckNone(Load(client, kCalls, [&](int i) {
    if (i == kCalls / 3) three.servers[1].Stop();
  }));
  CHECK(three.Share(1) < 0.4);
  const auto stats = client.Stats();
  CHECK(stats.calls == kCalls);
  CHECK(stats.retries < 200);  // by default a tenth of the calls may be made again
}

TEST_CASE("10000 calls while all servers die and come back: all answered", "[chaos]") {
  Three three;
  ClientOptions options = three.options();
  options.retry = {
      .max_attempts = 50, .initial_backoff = absl::Milliseconds(20), .max_backoff = absl::Milliseconds(500)};
  options.retry_budget = {.ratio = 10, .min_per_second = 1000};
  const Client client = *Client::Create(options);
  std::thread chaos;
  CheckNone(Load(client, kCalls, [&](int i) {
    if (i != kCalls / 3) return;
    chaos = std::thread([&] {
      for (FakeServer& server : three.servers) server.Stop();
      std::this_thread::sleep_for(std::chrono::milliseconds(200));  // how long they are down
      for (FakeServer& server : three.servers) server.Start();
    });
  }));
  chaos.join();
}

TEST_CASE("10000 calls over a rolling restart of three servers: all answered", "[chaos]") {
  Three three;
  const Client client = *Client::Create(three.options());
  CheckNone(Load(client, kCalls, [&](int i) {
    for (int k = 0; k < 3; ++k) {
      if (i == kCalls * (2 * k + 1) / 8) three.servers[static_cast<std::size_t>(k)].Stop();
      if (i == kCalls * (2 * k + 2) / 8) three.servers[static_cast<std::size_t>(k)].Start();
    }
  }));
}

TEST_CASE("of three servers one that is twenty times as slow gets little", "[chaos]") {
  Three three;
  for (FakeServer& server : three.servers) {
    server.On<&Inference::RunInference>()
        .Delay(absl::Milliseconds(&server == &three.servers[0] ? 40 : 2))
        .Reply(Response("a"));
  }
  CheckNone(Load(*Client::Create(three.options()), kCalls / 5));
  CHECK(three.Share(0) < (kSlow ? 0.25 : 0.05));
  CHECK(three.Share(0) > 0);  // it is looked at, now and then
}

TEST_CASE("of three servers one that fails fast attracts nothing", "[chaos]") {
  Three three([](FakeServer& odd) { odd.On<&Inference::RunInference>().Fail(absl::UnavailableError("broken")); });
  CheckNone(Load(*Client::Create(three.options()), kCalls));
  CHECK(three.Share(0) < (kSlow ? 0.1 : 0.02));
}

TEST_CASE("of three servers one that flaps costs no call", "[chaos]") {
  Three three;
  const Client client = *Client::Create(three.options());
  CheckNone(Load(client, kCalls, [&](int i) {
    if (i % (kCalls / 10) == kCalls / 20) three.servers[2].Stop();
    if (i % (kCalls / 10) == kCalls / 10 - 1) three.servers[2].Start();
  }));
}

TEST_CASE("targets are swapped under load and no call is lost", "[chaos]") {
  Three three;
  const Client client = *Client::Create(three.options());
  const std::vector<std::string> targets = three.options().targets;
  std::atomic<int> refused{0};
  CheckNone(Load(client, kCalls, [&](int i) {
    if (i % 50 != 0) return;
    const std::string& a = targets[static_cast<std::size_t>(i / 50 % 3)];
    const std::string& b = targets[static_cast<std::size_t>((i / 50 + 1) % 3)];
    if (!client.SetTargets(i % 100 == 0 ? std::vector<std::string>{a} : std::vector<std::string>{a, b}).ok()) ++refused;
  }));
  CHECK(refused == 0);
  for (const FakeServer& server : three.servers) CHECK(server.calls<&Inference::RunInference>() > kCalls / 20);
}

namespace {
// A name server on loopback that knows one IPv4 address for every name (RFC 1035).
class NameServer : public BoundSocket {
 public:
  NameServer() : BoundSocket(SOCK_DGRAM) {
    thread_ = std::thread([this] { Serve(); });
  }
  ~NameServer() {
    ::shutdown(fd(), SHUT_RDWR);
    thread_.join();
  }
  void Answer(std::uint8_t last_byte) { last_byte_ = last_byte; }

 private:
  void Serve() {
    std::array<char, 512> bytes;
    while (true) {
      sockaddr_in peer{};
      socklen_t size = sizeof(peer);
      const ssize_t got = ::recvfrom(fd(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&peer), &size);
      if (got <= 0) return;
      if (got < 17) continue;
      // The question, without what may follow it, comes back; for an A record with an answer.
      std::size_t end = 12;
      while (end < static_cast<std::size_t>(got) && bytes[end] != 0) end += static_cast<unsigned char>(bytes[end]) + 1U;
      end += 5;
      if (end > static_cast<std::size_t>(got)) continue;
      const bool a_record = bytes[end - 3] == 1;
      std::string reply(bytes.data(), end);
      reply[2] = static_cast<char>(0x81);  // an answer
      reply[3] = static_cast<char>(0x80);
      reply[7] = a_record ? 1 : 0;
      reply[9] = reply[11] = 0;
      if (a_record) {
        const std::array<char, 16> record = {
            static_cast<char>(0xc0), 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, static_cast<char>(last_byte_.load())};
        reply.append(record.data(), record.size());
      }
      ::sendto(fd(), reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
    }
  }

  std::atomic<std::uint8_t> last_byte_{1};
  std::thread thread_;
};
}  // namespace

TEST_CASE("a server that moves to another address under its name is found there", "[chaos]") {
  NameServer names;
  const int port = BoundSocket().port();
  const std::string at = ":" + std::to_string(port);
  auto first = std::make_unique<RawServer>([](RawCall& call) { call.Write(Answer("first")); }, "127.0.0.1" + at);
  const Client client = Connect("dns://127.0.0.1:" + std::to_string(names.port()) + "/models.test" + at,
                                {.timeout = absl::Seconds(20),
                                 .retry = {.max_attempts = 100, .initial_backoff = absl::Milliseconds(50)},
                                 .retry_budget = {.ratio = 100, .min_per_second = 1000}});
  const auto before = client.Call<&Inference::RunInference>(Text("x"));
  INFO(before.status());
  REQUIRE(before.ok());
  CHECK(before->text() == "first");
  const RawServer second([](RawCall& call) { call.Write(Answer("second")); }, "127.0.0.2" + at);
  names.Answer(2);
  first.reset();
  const auto from = std::chrono::steady_clock::now();
  const auto after = client.Call<&Inference::RunInference>(Text("x"));
  INFO(after.status());
  REQUIRE(after.ok());
  CHECK(after->text() == "second");
  CHECK(std::chrono::steady_clock::now() - from < std::chrono::seconds(10));
}

namespace {
// Answers at once, on gRPC's own threads; comes and goes on one port.
class QuickServer {
 public:
  QuickServer() { Start(); }
  ~QuickServer() { Stop(); }
  std::string target() const { return "127.0.0.1:" + std::to_string(port_); }
  void Start() {
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
    server_.reset();
  }

 private:
  struct Service : inference::Inference::CallbackService {
    grpc::ServerUnaryReactor* RunInference(grpc::CallbackServerContext* context, const inference::Request* request,
                                           inference::Response* response) override {
      response->set_id(request->id());
      auto* const reactor = context->DefaultReactor();
      reactor->Finish(grpc::Status());
      return reactor;
    }
  };
  Service service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};
}  // namespace

// For as many seconds as INFERWIRE_SOAK_SECONDS says; for a minute where data races are looked for.
TEST_CASE("1000 calls at a time while targets come and go: each ends once, with its own answer", "[chaos]") {
  const char* const given = std::getenv("INFERWIRE_SOAK_SECONDS");
  const int seconds = given != nullptr ? std::atoi(given) : kSoakSeconds;
  std::array<QuickServer, 3> servers;
  std::vector<std::string> targets;
  for (const QuickServer& server : servers) targets.push_back(server.target());
  const Client client = *Client::Create(
      {.targets = targets,
       .credentials = inferwire::Insecure(),
       // A server of gRPC's that shuts down resets what it has not begun with CANCELLED.
       .retry = {.max_attempts = 20, .retryable_codes = {absl::StatusCode::kUnavailable, absl::StatusCode::kCancelled}},
       .retry_budget = {.ratio = 10, .min_per_second = 1000}});
  std::atomic<bool> over{false};
  std::thread chaos([&] {
    std::mt19937 generator(1);
    while (!over) {
      QuickServer& server = servers[generator() % 3];
      server.Stop();
      std::vector<std::string> some = targets;
      std::shuffle(some.begin(), some.end(), generator);
      some.resize(1 + generator() % 3);
      static_cast<void>(client.SetTargets(some));
      std::this_thread::sleep_for(std::chrono::milliseconds(generator() % 50));
      server.Start();
      static_cast<void>(client.SetTargets(targets));
      std::this_thread::sleep_for(std::chrono::milliseconds(generator() % 50));
    }
  });
  struct One {
    std::string id;
    inferwire::Future<inference::Response> future;
  };
  int made = 0, answered = 0, failed = 0, wrong = 0;
  std::vector<One> flying;
  std::vector<absl::Status> reasons;
  std::size_t oldest = 0;
  const auto start = [&](std::string id) {
    inference::Request request;
    request.set_id(id);
    ++made;
    return One{std::move(id), client.Async<&Inference::RunInference>(request)};
  };
  for (int i = 0; i < 1000; ++i) flying.push_back(start(std::to_string(i)));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (std::chrono::steady_clock::now() < until) {
    One& one = flying[oldest++ % flying.size()];
    const auto reply = std::move(one.future).Get();
    ++(reply.ok() ? answered : failed);
    if (!reply.ok()) reasons.push_back(reply.status());
    if (reply.ok() && reply->id() != one.id) ++wrong;
    one = start(std::to_string(made));
  }
  for (One& one : flying) {
    const auto reply = std::move(one.future).Get();
    ++(reply.ok() ? answered : failed);
  }
  over = true;
  chaos.join();
  CHECK(answered + failed == made);
  CHECK(wrong == 0);
  CHECK(made > 1000);
  const auto stats = client.Stats();
  CHECK(stats.calls == static_cast<std::uint64_t>(made));
  CHECK(stats.in_flight == 0);
  if (!reasons.empty()) UNSCOPED_INFO("such as " << reasons.front());
  UNSCOPED_INFO(made << " calls, " << failed << " failed, " << stats.retries << " retries");
  CHECK(failed <= made / 100);
}
