// SPDX-License-Identifier: Apache-2.0
//
// Servers that send without end what means nothing, beside good ones.
#include <dirent.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "support/inference.h"
#include "support/raw_http2.h"
#include "support/slow.h"

using inferwire::CallOptions;
using inferwire::Client;
using namespace inferwire_test;  // NOLINT

namespace {

using Clock = std::chrono::steady_clock;

struct Flood {
  std::string name;
  std::string frame(std::uint32_t stream) const {
    if (name == "empty DATA" || name == "empty DATA of a stream that has ended") {
      return FrameOf(FrameType::kData, 0, stream);
    }
    if (name == "PING") return FrameOf(FrameType::kPing, 0, 0, "12345678");
    if (name == "PING that answers none") return FrameOf(FrameType::kPing, kAck, 0, "12345678");
    if (name == "RST_STREAM") return FrameOf(FrameType::kRstStream, 0, stream + 2, Big32(8));
    if (name == "PRIORITY") return FrameOf(FrameType::kPriority, 0, stream, std::string(5, '\0'));
    if (name == "WINDOW_UPDATE") return FrameOf(FrameType::kWindowUpdate, 0, 0, Big32(1));
    if (name == "SETTINGS") return FrameOf(FrameType::kSettings, 0, 0);
    if (name == "unknown frames") return FrameOf(FrameType::kUnknown, 0, 0, "x");
    return FrameOf(FrameType::kUnknown, 0, 0, std::string(16 << 10, 'x'));
  }
  void Run(RawHttp2Stream& stream) const {
    if (name.starts_with("empty DATA")) stream.SendHeaders(OkHeaders());
    if (name.ends_with("has ended")) stream.SendTrailers();
    stream.Flood(Repeated(frame(stream.id())));
  }
};
const std::vector<Flood> kFloods = {{"empty DATA"},     {"empty DATA of a stream that has ended"},
                                    {"PING"},           {"PING that answers none"},
                                    {"RST_STREAM"},     {"PRIORITY"},
                                    {"WINDOW_UPDATE"},  {"SETTINGS"},
                                    {"unknown frames"}, {"large unknown frames"}};

std::chrono::milliseconds Since(Clock::time_point from) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - from);
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

}  // namespace

TEST_CASE("no flood holds the calls to other servers, nor its own beyond their time", "[hostile]") {
  RawHttp2Server good([](RawHttp2Stream& stream) { stream.Answer(Answer("x")); });
  const Client client = Connect(good.target());
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  REQUIRE(client.Async<&Inference::RunInference>(Text("x")).Get().ok());
  const int threads = Threads();
  for (const Flood& flood : kFloods) {
    INFO(flood.name);
    RawHttp2Server bad([&](RawHttp2Stream& stream) { flood.Run(stream); });
    const Client victim = Connect(bad.target());
    std::atomic<bool> done{false};
    long long sync = 0, async = 0;
    const CallOptions patient{.timeout = absl::Seconds(20)};
    std::thread calls([&] {
      sync = Latest(done, [&] { return client.Call<&Inference::RunInference>(Text("x"), patient).status(); });
    });
    std::thread futures([&] {
      async = Latest(done, [&] { return client.Async<&Inference::RunInference>(Text("x"), patient).Get().status(); });
    });
    const auto from = Clock::now();
    auto future = victim.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(700)});
    const auto blocking = victim.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(700)});
    const auto waited = std::move(future).Get();
    CHECK_FALSE(blocking.ok());
    CHECK_FALSE(waited.ok());
    CHECK(Since(from).count() < (kSlow ? 6'000 : 2'200));
    // Also while new calls come to it all the time.
    for (const auto until = Clock::now() + std::chrono::milliseconds(400); Clock::now() < until;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      auto another = victim.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(200)});
      std::move(another).Detach();
    }
    done = true;
    calls.join();
    futures.join();
    // A few tens of milliseconds where the processors are free.
    CHECK(sync < (kSlow ? 4'000 : 1'000));
    CHECK(async < (kSlow ? 4'000 : 1'000));
    CHECK(bad.accepted() <= 60);  // within a second or two
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
  RawHttp2Server bad([](RawHttp2Stream& stream) {
    stream.SendHeaders(OkHeaders());
    stream.SendMessage(Answer("x"));
    stream.Flood(Repeated(FrameOf(FrameType::kData, 0, stream.id())));
  });
  const Client client = Connect(good.target()), victim = Connect(bad.target());
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
  for (const Flood& flood : kFloods) {
    INFO(flood.name);
    std::atomic<int> floods{0};
    RawHttp2Server bad([&](RawHttp2Stream& stream) {
      ++floods;
      flood.Run(stream);
      --floods;
    });
    for (int i = 0; i < 3; ++i) {
      const Client victim = Connect(bad.target());
      auto future = victim.Async<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(10 + 5 * i)});
      static_cast<void>(std::move(future).Get());
    }
    for (const auto until = Clock::now() + std::chrono::seconds(kSlow ? 20 : 5); floods != 0 && Clock::now() < until;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    CHECK(floods == 0);
  }
}
