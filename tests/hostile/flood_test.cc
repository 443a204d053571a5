// SPDX-License-Identifier: Apache-2.0
//
// Servers that send without end what means nothing, beside good ones. Certificates are those of the directory
// INFERWIRE_CERTIFICATES.
#include <dirent.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/certificates.h"
#include "support/eventually.h"
#include "support/floods.h"
#include "support/inference.h"
#include "support/memory.h"
#include "support/raw_server.h"
#include "support/slow.h"

using inferwire::CallOptions;
using inferwire::Client;
using inferwire::ClientOptions;
using namespace inferwire_test;  // NOLINT

namespace {

using Clock = std::chrono::steady_clock;

// A server of floods, over TLS or not, and a client of such a server.
std::unique_ptr<RawHttp2Server> Server(bool tls, RawHttp2Script script) {
  RawHttp2Server::Terms terms;
  if (tls) terms.tls = std::make_shared<TlsTerms>(Certificate("server.pem"), Certificate("server.key"));
  return std::make_unique<RawHttp2Server>(std::move(script), std::move(terms));
}
Client ConnectTo(const RawHttp2Server& server, bool tls, ClientOptions options = {}) {
  options.targets = {server.target()};
  options.credentials = inferwire::Insecure();
  if (tls) options.credentials = inferwire::Tls({.root_certificates_file = Certificate("ca.pem")});
  auto client = Client::Create(std::move(options));
  REQUIRE(client.ok());
  return *std::move(client);
}

std::chrono::nanoseconds ProcessTime() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

int Threads() {
  int count = 0;
  if (DIR* const all = ::opendir("/proc/self/task")) {
    while (::readdir(all) != nullptr) ++count;
    ::closedir(all);
  }
  return count;
}

// How late the latest of the calls to a good server was, one after the other until `done`; in milliseconds.
template <class Call>
long long Latest(const std::atomic<bool>& done, Call call) {
  std::chrono::milliseconds latest{0};
  while (!done) {
    const auto from = Clock::now();
    const absl::Status status = call();
    latest = (std::max)(latest, Since(from));
    if (!status.ok()) latest = std::chrono::hours(1);
  }
  return latest.count();
}

// Calls to a good server, blocking ones and futures, one after the other each, until it is told to end.
class CallsBeside {
 public:
  explicit CallsBeside(const Client& client)
      : calls_([this, &client] {
          sync_ = Latest(done_, [&] { return client.Call<&Inference::RunInference>(Text("x"), Patient()).status(); });
        }),
        futures_([this, &client] {
          async_ = Latest(done_,
                          [&] { return client.Async<&Inference::RunInference>(Text("x"), Patient()).Get().status(); });
        }) {}
  CallsBeside(const CallsBeside&) = delete;
  CallsBeside& operator=(const CallsBeside&) = delete;
  ~CallsBeside() { End(); }

  void End() {
    done_ = true;
    if (calls_.joinable()) calls_.join();
    if (futures_.joinable()) futures_.join();
  }
  // Of the latest, in milliseconds; after End.
  long long sync() const { return sync_; }
  long long async() const { return async_; }

 private:
  static CallOptions Patient() { return {.timeout = absl::Seconds(20)}; }

  std::atomic<bool> done_{false};
  long long sync_ = 0, async_ = 0;
  std::thread calls_, futures_;  // last: they use the others
};

}  // namespace

TEST_CASE("no flood holds the calls to other servers, nor its own beyond their time", "[hostile]") {
  RawHttp2Server good([](RawHttp2Stream& stream) { stream.Answer(Answer("x")); });
  const Client client = Connect(good.target());
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  REQUIRE(client.Async<&Inference::RunInference>(Text("x")).Get().ok());
  const bool tls = GENERATE(false, true);
  CAPTURE(tls);
  const int threads = Threads();
  for (const Flood& flood : kFloods) {
    INFO(flood.name);
    const auto bad = Server(tls, [&](RawHttp2Stream& stream) { flood.Run(stream); });
    const Client victim = ConnectTo(*bad, tls);
    CallsBeside beside(client);
    const auto from = Clock::now();
    auto future = victim.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(700)});
    const auto blocking = victim.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(700)});
    const auto waited = std::move(future).Get();
    CHECK_FALSE(blocking.ok());
    CHECK_FALSE(waited.ok());
    CHECK(Since(from).count() < (kSlow ? 6'000 : 3'500));
    // Also while new calls come to it all the time.
    for (const auto until = Clock::now() + std::chrono::milliseconds(400); Clock::now() < until;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      auto another = victim.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(200)});
      std::move(another).Detach();
    }
    beside.End();
    // A few tens of milliseconds where the processors are free; other tests take them here.
    CHECK(beside.sync() < (kSlow ? 5'000 : 2'500));
    CHECK(beside.async() < (kSlow ? 5'000 : 2'500));
    CHECK(bad->accepted() <= 60);  // within a second or two
  }
  // Those of the servers aside, which have a few for each flood.
  CHECK(Threads() <= threads + 30);
}

TEST_CASE("a stream whose server floods it ends, and others go on", "[hostile]") {
  RawHttp2Server good([](RawHttp2Stream& stream) {
    stream.SendHeaders(OkHeaders());
    for (int i = 0; i < 100 && stream.SendMessage(Answer("x")); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    stream.SendTrailers();
  });
  const bool tls = GENERATE(false, true);
  CAPTURE(tls);
  const auto bad = Server(tls, [](RawHttp2Stream& stream) {
    stream.SendHeaders(OkHeaders());
    stream.SendMessage(Answer("x"));
    stream.Flood(Repeated(FrameOf(FrameType::kData, 0, stream.id())));
  });
  const Client client = Connect(good.target()), victim = ConnectTo(*bad, tls);
  auto responses = client.Stream<&Inference::StreamInference>(Text("x"));
  auto flooded = victim.Stream<&Inference::StreamInference>(Text("x"));  // of any length
  std::thread reader([&] {
    while (flooded.Read()) {
    }
  });
  int messages = 0;
  std::chrono::milliseconds latest{0};
  for (auto from = Clock::now(); responses.Read(); from = Clock::now()) {
    ++messages;
    latest = (std::max)(latest, Since(from));
  }
  CHECK(messages == 100);
  CHECK(responses.status().ok());
  CHECK(latest.count() < (kSlow ? 4'000 : 1'000));
  reader.join();
  CHECK(flooded.status().code() == absl::StatusCode::kUnavailable);
  CHECK(Contains(flooded.status(), "sent without end what means nothing"));
}

TEST_CASE("answers that are only large are no flood", "[hostile]") {
  const std::string large = Answer(std::string(48 << 20, 'x'));
  RawServer server([&](RawCall& call) {
    while (call.Read()) {
      if (!call.Write(large)) return;
    }
  });
  const Client client = Connect(server.target());
  for (int i = 0; i < 6; ++i) {
    const auto reply = client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(60)});
    INFO(reply.status().ToString());
    CHECK(reply.ok());
  }
  CHECK(server.calls() == 6);
}

TEST_CASE("a flood ends with the client that it came to", "[hostile]") {
  const bool tls = GENERATE(false, true);
  CAPTURE(tls);
  for (const Flood& flood : kFloods) {
    INFO(flood.name);
    const auto bad = Server(tls, [&](RawHttp2Stream& stream) { flood.Run(stream); });
    for (int i = 0; i < 3; ++i) {
      const Client victim = ConnectTo(*bad, tls);
      auto future = victim.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(10 + 5 * i)});
      static_cast<void>(std::move(future).Get());
    }
    // The system of the server may hope for long that somebody reads what it has sent; nobody does.
    CHECK(Eventually(
        [&] {
          const std::uint64_t before = bad->sent();
          std::this_thread::sleep_for(std::chrono::milliseconds(200));
          return bad->sent() == before;
        },
        std::chrono::seconds(kSlow ? 20 : 5)));
  }
}

TEST_CASE("a health service that floods holds nobody, and is not asked for ever faster", "[hostile]") {
  RawHttp2Server good([](RawHttp2Stream& stream) { stream.Answer(Answer("x")); });
  const Client client = Connect(good.target());
  REQUIRE(client.Async<&Inference::RunInference>(Text("x")).Get().ok());
  for (const Flood& flood : kFloods) {
    INFO(flood.name);
    const auto bad = Server(/*tls=*/false, [&](RawHttp2Stream& stream) {
      if (stream.Asks("grpc.health.v1.Health")) return flood.Run(stream);
      stream.Answer(Answer("x"));
    });
    const Client victim = ConnectTo(*bad, /*tls=*/false, {.health = {.check_service = ""}});
    std::atomic<bool> done{false};
    long long async = 0;
    std::thread futures([&] {
      const CallOptions patient{.timeout = absl::Seconds(20)};
      async = Latest(done, [&] { return client.Async<&Inference::RunInference>(Text("x"), patient).Get().status(); });
    });
    // Its calls are cut off with the connection that they share with the flood, and each ends within its time.
    const auto from = Clock::now();
    for (int i = 0; i < 3; ++i) {
      static_cast<void>(victim.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(400)}).Get());
    }
    CHECK(Since(from).count() < (kSlow ? 9'000 : 3'000));
    done = true;
    futures.join();
    CHECK(async < (kSlow ? 4'000 : 1'000));
    CHECK(bad->accepted() <= 60);
  }
}

TEST_CASE("a server that floods each connection costs its client little work and little memory", "[hostile]") {
  for (const Flood& flood : kFloods) {
    INFO(flood.name);
    const auto bad = Server(/*tls=*/false, [&](RawHttp2Stream& stream) { flood.Run(stream); });
    const PeakGrowth memory;
    const auto from = Clock::now();
    const std::chrono::nanoseconds before = ProcessTime();
    {
      const Client victim = ConnectTo(*bad, /*tls=*/false);
      while (Since(from) < std::chrono::milliseconds(700)) {
        static_cast<void>(
            victim.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(100)}).Get());
      }
    }
    bad->Stop();
    const std::chrono::nanoseconds worked = ProcessTime() - before - bad->worked();
    // A connection costs some 50 ms until it is closed.
    CHECK(worked < bad->accepted() * std::chrono::milliseconds(kSlow ? 1'000 : 200));
    CHECK(bad->accepted() <= 60);
    CHECK(memory.bytes() < (kSlow ? 800 : 400) << 20);
  }
}

TEST_CASE("small messages among a flood do not make it less of one", "[hostile]") {
  RawHttp2Server good([](RawHttp2Stream& stream) { stream.Answer(Answer("x")); });
  const Client client = Connect(good.target());
  REQUIRE(client.Async<&Inference::RunInference>(Text("x")).Get().ok());
  for (const std::size_t each : {30 << 10, 60 << 10, 120 << 10}) {
    for (const Flood& flood : kFloods) {
      if (flood.name != "PRIORITY" && flood.name != "empty DATA" && flood.name != "large unknown frames") continue;
      CAPTURE(flood.name, each);
      const auto bad = Server(/*tls=*/false, [&](RawHttp2Stream& stream) {
        stream.SendHeaders(OkHeaders());
        stream.Flood(Repeated(flood.frame(stream.id()), each) +
                     FrameOf(FrameType::kData, 0, stream.id(), LengthPrefixed("")));
      });
      const Client victim = ConnectTo(*bad, /*tls=*/false);
      CallsBeside beside(client);
      auto stream = victim.Stream<&Inference::StreamInference>(Text("x"), {.timeout = absl::Seconds(4)});
      while (stream.Read()) {
      }
      beside.End();
      // By then it is closed, or has held nobody.
      CHECK_FALSE(stream.status().ok());
      CHECK(beside.sync() < (kSlow ? 4'000 : 1'000));
      CHECK(beside.async() < (kSlow ? 4'000 : 1'000));
    }
  }
}

TEST_CASE("who waits for a server that floods from the beginning waits no longer than told", "[hostile]") {
  for (const Flood& flood : kFloods) {
    INFO(flood.name);
    RawHttp2Server::Terms terms;
    terms.flood = Repeated(flood.frame(1));
    RawHttp2Server bad([](RawHttp2Stream& stream) { stream.Wait(); }, terms);
    const Client victim = Connect(bad.target());
    for (int i = 0; i < 3; ++i) {
      const auto from = Clock::now();
      static_cast<void>(victim.WaitUntilReady(absl::Milliseconds(300)));
      CHECK(Since(from).count() < (kSlow ? 6'000 : 1'500));
    }
  }
}

TEST_CASE("large answers come whole beside floods", "[hostile]") {
  const std::string large = Answer(std::string(8 << 20, 'x'));
  RawServer good([&](RawCall& call) {
    while (call.Read()) {
      if (!call.Write(large)) return;
    }
  });
  const Client client = Connect(good.target());
  for (const Flood& flood : kFloods) {
    INFO(flood.name);
    const auto bad = Server(/*tls=*/false, [&](RawHttp2Stream& stream) { flood.Run(stream); });
    const Client victim = ConnectTo(*bad, /*tls=*/false);
    std::atomic<bool> done{false};
    std::thread calls([&] {
      while (!done) {
        static_cast<void>(victim.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(50)}).Get());
      }
    });
    for (int i = 0; i < 6; ++i) {
      inferwire::CallInfo info;
      const CallOptions options{.timeout = absl::Seconds(60), .info = &info};
      const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), options).status();
      INFO(status.ToString());
      CHECK(status.ok());
      CHECK(info.attempts.size() == 1);
    }
    done = true;
    calls.join();
  }
}
