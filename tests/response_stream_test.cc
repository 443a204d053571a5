// SPDX-License-Identifier: Apache-2.0
#include "inferwire/response_stream.h"

#include <grpcpp/version_info.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/testing/fake_clock.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"
#include "support/sockets.h"

using inferwire::Client;
using inferwire::InfoOf;
using inferwire::SyncWait;
using inferwire::Task;
using namespace inferwire_test;  // NOLINT

static_assert(std::ranges::input_range<inferwire::ResponseStream<inference::Response>>);
static_assert(!std::is_copy_constructible_v<inferwire::ResponseStream<inference::Response>>);

namespace {

// Streams the numbers from 0 up to the one in the request.
void CountUp(RawCall& call) {
  const auto bytes = call.Read();
  if (!bytes.has_value()) return;
  const int n = std::stoi(TextOf(*bytes));
  for (int i = 0; i < n; ++i) {
    if (!call.Write(Answer(std::to_string(i)))) return;
  }
}

Task<int> Count(inferwire::ResponseStream<inference::Response>& stream, int stop_at = -1) {
  int seen = 0;
  while (const std::optional<inference::Response> message = co_await stream.Next()) {
    if (message->text() != std::to_string(seen)) co_return -1;
    if (++seen == stop_at) break;
  }
  co_return seen;
}

}  // namespace

TEST_CASE("a stream gives every message in order and ends with OK", "[stream]") {
  RawServer server(CountUp);
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("1000"));
  int next = 0;
  for (inference::Response& message : stream) REQUIRE(message.text() == std::to_string(next++));
  CHECK(next == 1000);
  CHECK(stream.status().ok());
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.Finish().ok());
}

TEST_CASE("after a break a second loop goes on behind the message it stopped at", "[stream]") {
  RawServer server(CountUp);
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("10"));
  for (const inference::Response& message : stream) {
    if (message.text() == "3") break;
  }
  CHECK(stream.status().ok());
  int next = 4;
  for (const inference::Response& message : stream) CHECK(message.text() == std::to_string(next++));
  CHECK(next == 10);
}

TEST_CASE("a coroutine reads a stream, also one that a loop has begun", "[stream]") {
  RawServer server(CountUp);
  const Client client = Connect(server.target());
  auto whole = client.Stream<&Inference::StreamInference>(Text("20000"));
  CHECK(SyncWait(Count(whole)) == 20000);
  CHECK(whole.status().ok());
  auto mixed = client.Stream<&Inference::StreamInference>(Text("10"));
  CHECK(SyncWait(Count(mixed, 5)) == 5);
  CHECK(mixed.Read()->text() == "5");
}

TEST_CASE("an empty stream is a stream", "[stream]") {
  RawServer server(CountUp);
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("0"));
  CHECK(stream.begin() == stream.end());
  CHECK(stream.status().ok());
}

TEST_CASE("the server's error comes after its messages and is not lost", "[stream]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer("one"));
    call.Write(Answer("two"));
    call.Finish(grpc::Status(grpc::StatusCode::DATA_LOSS, "disk on fire"));
  });
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  int seen = 0;
  for ([[maybe_unused]] const inference::Response& message : stream) ++seen;
  CHECK(seen == 2);
  CHECK(stream.status().code() == absl::StatusCode::kDataLoss);
  CHECK(stream.status().message() == "disk on fire");
  CHECK(InfoOf(stream.status()).attempts.size() == 1);
}

TEST_CASE("dropping a stream cancels the call on the server", "[stream]") {
  Event cancelled;
  RawServer server([&](RawCall& call) {
    call.Read();
    call.Write(Answer("first"));
    call.WaitForCancel();
    cancelled.Set();
  });
  const Client client = Connect(server.target());
  {
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    CHECK(stream.Read()->text() == "first");
  }
  CHECK(cancelled.Wait());
}

TEST_CASE("cancelling ends a stream with CANCELLED, also under a reader that waits", "[stream]") {
  Event arrived;
  RawServer server([&](RawCall& call) {
    call.Read();
    arrived.Set();
    call.WaitForCancel();
  });
  const Client client = Connect(server.target());
  std::stop_source source;
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.stop = source.get_token()});
  std::thread stopper([&] {
    arrived.Wait();
    source.request_stop();
  });
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kCancelled);
  stopper.join();
  auto finished = client.Stream<&Inference::StreamInference>(Text("x"));
  CHECK(finished.Finish().code() == absl::StatusCode::kCancelled);
}

TEST_CASE("a slow reader holds the server back", "[stream]") {
  std::atomic<int> written{0};
  RawServer server([&](RawCall& call) {
    call.Read();
    for (; written < 1000; ++written) {
      if (!call.Write(Answer(std::string(1 << 20, 'x')))) return;
    }
  });
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  REQUIRE(stream.Read().has_value());
  // What is read ahead is at most 4 MiB in whole messages, and what HTTP/2 lets lie in between is a few more.
  for (int i = 0; i < 20; ++i) REQUIRE(stream.Read().has_value());
  CHECK(written < 100);
}

TEST_CASE("what a stream that nobody reads holds is bounded, also after large answers, and more so if asked for",
          "[stream]") {
  constexpr std::size_t kMessage = std::size_t{1} << 20;
  std::atomic<int> written{0};
  RawServer server([&](RawCall& call) {
    const auto request = call.Read();
    if (TextOf(*request) == "large") {
      call.Write(Answer(std::string(32 * kMessage, 'x')));
      return;
    }
    for (written = 0; call.Write(Answer(std::string(kMessage, 'x')));) ++written;
  });
  // What it has written when it has written nothing more for a while.
  const auto settled = [&] {
    int before = -1;
    while (written != std::exchange(before, written.load()))
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return before;
  };
  // Beside the window there is what is read ahead, and what the sockets hold.
  constexpr int kAhead = 4 + 1 + 24;
  for (const auto& [window, most] : {std::pair{0, 32}, std::pair{1 << 20, 1}}) {
    const Client client = Connect(server.target(), {.connection = {.receive_window_bytes = window}});
    for (int i = 0; i < 4; ++i) REQUIRE(client.Call<&Inference::RunInference>(Text("large")).ok());
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    REQUIRE(stream.Read().has_value());
    CHECK(settled() <= most + kAhead);
  }
}

TEST_CASE("a message that does not parse ends the stream with INTERNAL and the server sees it", "[stream][trap]") {
  Event cancelled;
  RawServer server([&](RawCall& call) {
    call.Read();
    call.Write(Answer("good"));
    call.Write("\xff\xff\xff");
    call.WaitForCancel();
    cancelled.Set();
  });
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  CHECK(stream.Read()->text() == "good");
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kInternal);
  CHECK(Contains(stream.status(), "does not parse"));
  CHECK(cancelled.Wait());
}

TEST_CASE("a message that does not parse is INTERNAL although the server had ended with OK", "[stream][trap]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write("\xff\xff\xff");
  });
  const Client client = Connect(server.target());
  for (int i = 0; i < 50; ++i) {
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    CHECK_FALSE(stream.Read().has_value());
    CHECK(stream.status().code() == absl::StatusCode::kInternal);
  }
}

TEST_CASE("a message over the limit ends the stream with RESOURCE_EXHAUSTED", "[stream][trap]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer("small"));
    call.Write(std::string(5000, '\0'));
    call.WaitForCancel();
  });
  const Client client = Connect(server.target(), {.max_receive_message_bytes = 1000});
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  CHECK(stream.Read().has_value());
  CHECK_FALSE(stream.Read().has_value());
  // Newer versions of gRPC say CANCELLED here, to their own stubs too.
  const bool newer = GRPC_CPP_VERSION_MAJOR > 1 || GRPC_CPP_VERSION_MINOR > 51;
  if (!newer) CHECK(stream.status().code() == absl::StatusCode::kResourceExhausted);
  CHECK_FALSE(stream.status().ok());
}

TEST_CASE("a stream is tried again as long as nothing of it was seen", "[stream]") {
  std::atomic<int> seen{0};
  RawServer server([&](RawCall& call) {
    if (++seen < 3) return call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "warming up"));
    CountUp(call);
  });
  const Client client = Connect(server.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  auto stream = client.Stream<&Inference::StreamInference>(Text("5"));
  CHECK(SyncWait(Count(stream)) == 5);
  CHECK(stream.status().ok());
  CHECK(seen == 3);
}

TEST_CASE("a stream that broke after a message is not begun again", "[stream]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer("0"));
    call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"));
  });
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  CHECK(SyncWait(Count(stream)) == 1);
  CHECK(stream.status().code() == absl::StatusCode::kUnavailable);
  CHECK(server.calls() == 1);
}

TEST_CASE("a stream's total time and its idle time end it with DEADLINE_EXCEEDED", "[stream]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer("0"));
    call.WaitForCancel();
  });
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const Client client = Connect(server.target(), {.clock = clock});
  auto total = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = absl::Seconds(30)});
  CHECK(total.Read().has_value());
  clock->Advance(absl::Seconds(30));
  CHECK_FALSE(total.Read().has_value());
  CHECK(total.status().code() == absl::StatusCode::kDeadlineExceeded);

  auto idle = client.Stream<&Inference::StreamInference>(Text("x"), {.idle_timeout = absl::Seconds(20)});
  CHECK(idle.Read().has_value());
  std::atomic<bool> over{false};
  std::thread later([&] {
    while (!over) clock->Advance(absl::Seconds(20));  // again, since time counts only while the reader waits
  });
  CHECK_FALSE(idle.Read().has_value());
  over = true;
  later.join();
  CHECK(idle.status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(Contains(idle.status(), "no message within the idle_timeout of 20s"));
}

namespace {
// A thread that is not scheduled for a while.
class Hold {
 public:
  Hold() {
    REQUIRE(::pipe(held_) == 0);
    REQUIRE(::pipe(go_) == 0);
    struct sigaction act{};
    act.sa_handler = [](int) {
      char byte = 0;
      (void)!::write(held_[1], &byte, 1);
      (void)!::read(go_[0], &byte, 1);
    };
    ::sigaction(SIGUSR1, &act, &old_);
  }
  ~Hold() {
    ::sigaction(SIGUSR1, &old_, nullptr);
    for (const int fd : {held_[0], held_[1], go_[0], go_[1]}) ::close(fd);
  }
  void Stop(std::thread& thread) {
    ::pthread_kill(thread.native_handle(), SIGUSR1);
    char byte = 0;
    REQUIRE(::read(held_[0], &byte, 1) == 1);
  }
  void Go() { REQUIRE(::write(go_[1], "", 1) == 1); }

 private:
  static inline int held_[2], go_[2];
  struct sigaction old_{};
};
}  // namespace

TEST_CASE("a message that came in time is not too late since its reader has not woken yet", "[stream]") {
  Event go;
  RawServer server([&](RawCall& call) {
    call.Read();
    go.Wait();
    call.Write(Answer("0"));
    call.WaitForCancel();
  });
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const Client client = Connect(server.target(), {.clock = clock});
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.idle_timeout = absl::Seconds(20)});
  std::optional<inference::Response> read;
  std::thread reader([&] { read = stream.Read(); });
  REQUIRE(clock->WaitUntilDueWithin(absl::Seconds(20)));  // it waits soon
  CHECK(stream.stats().messages == 0);                    // and does, with the lock open
  Hold hold;
  hold.Stop(reader);
  go.Set();
  while (stream.stats().messages == 0) std::this_thread::yield();
  clock->Advance(absl::Seconds(20));
  // The loop comes to the timer long before this.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  while (std::chrono::steady_clock::now() < until && stream.status().ok()) std::this_thread::yield();
  CHECK(stream.status().ok());
  hold.Go();
  reader.join();
  CHECK(read.has_value());
}

TEST_CASE("a dead port ends a stream with UNAVAILABLE", "[stream][trap]") {
  const DeadPort dead;
  const Client client = Connect(dead.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  CHECK(SyncWait(Count(stream)) == 0);
  CHECK(stream.status().code() == absl::StatusCode::kUnavailable);
  CHECK(InfoOf(stream.status()).attempts.size() == 4);
}

TEST_CASE("a server stopped mid-stream ends the stream with an error", "[stream][trap]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write(Answer("0"));
    call.WaitForCancel();
  });
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  CHECK(stream.Read().has_value());
  server.Stop();
  CHECK_FALSE(stream.Read().has_value());
  CHECK_FALSE(stream.status().ok());
}

TEST_CASE("a moved-from stream is empty and says so", "[stream]") {
  RawServer server(CountUp);
  const Client client = Connect(server.target());
  auto stream = client.Stream<&Inference::StreamInference>(Text("3"));
  auto moved = std::move(stream);
  CHECK(SyncWait(Count(moved)) == 3);
  CHECK_FALSE(stream.Read().has_value());                                  // NOLINT: what it is about
  CHECK(stream.status().code() == absl::StatusCode::kFailedPrecondition);  // NOLINT
  moved = client.Stream<&Inference::StreamInference>(Text("4"));
  CHECK(SyncWait(Count(moved)) == 4);
}

TEST_CASE("an exception thrown in a loop cancels the call", "[stream]") {
  Event cancelled;
  RawServer server([&](RawCall& call) {
    call.Read();
    call.Write(Answer("0"));
    call.WaitForCancel();
    cancelled.Set();
  });
  const Client client = Connect(server.target());
  CHECK_THROWS_AS(
      [&] {
        auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
        for ([[maybe_unused]] const inference::Response& message : stream) throw std::runtime_error("stop");
      }(),
      std::runtime_error);
  CHECK(cancelled.Wait());
}

TEST_CASE("streams dropped at any moment of their life leave nothing behind", "[stream]") {
  RawServer server(CountUp);
  const Client client = Connect(server.target());
  for (int i = 0; i < 2000; ++i) {
    auto stream = client.Stream<&Inference::StreamInference>(Text("40"));
    for (int read = 0; read < i % 45; ++read) {
      if (!stream.Read().has_value()) break;
    }
    if (i % 7 == 0) stream.Cancel();
  }
  auto stream = client.Stream<&Inference::StreamInference>(Text("7"));
  CHECK(SyncWait(Count(stream)) == 7);
}

TEST_CASE("many streams run at once", "[stream]") {
  RawServer server(CountUp);
  const Client client = Connect(server.target());
  std::vector<inferwire::ResponseStream<inference::Response>> streams;
  for (int i = 0; i < 60; ++i) streams.push_back(client.Stream<&Inference::StreamInference>(Text("30")));
  for (auto& stream : streams) CHECK(SyncWait(Count(stream)) == 30);
}

TEST_CASE("a stream tells when its messages came", "[stream]") {
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  inferwire::testing::FakeServer fake;
  Event go[3];
  fake.On<&Inference::StreamInference>().Header("x-model", "tiny").Do([&](inferwire::testing::Call& call) {
    for (Event& event : go) {
      event.Wait();
      call.Write(Response("token"));
    }
    return grpc::Status();
  });
  auto stream = Connect(fake.target(), {.clock = clock}).Stream<&Inference::StreamInference>(Text("x"));
  CHECK(stream.stats().messages == 0);
  CHECK_FALSE(stream.stats().first_message.has_value());
  CHECK(stream.initial_metadata().empty());
  for (Event& event : go) {
    clock->Advance(absl::Milliseconds(100));
    event.Set();
    REQUIRE(stream.Read().has_value());
  }
  CHECK_FALSE(stream.Read().has_value());
  const inferwire::StreamStats stats = stream.stats();
  CHECK(stats.messages == 3);
  CHECK(*stats.first_message == absl::Milliseconds(100));
  CHECK(*stats.gap_p50 >= absl::Milliseconds(100));
  CHECK(*stats.gap_p99 <= absl::Milliseconds(113));
  CHECK(stats.messages_per_second == Approx(10));
  const inferwire::Metadata metadata = stream.initial_metadata();
  CHECK(std::find(metadata.begin(), metadata.end(), std::pair<std::string, std::string>("x-model", "tiny")) !=
        metadata.end());
}

TEST_CASE("a stream whose first message does not come in its time ends, and one that has begun goes on", "[stream]") {
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  inferwire::testing::FakeServer fake;
  fake.On<&Inference::StreamInference>().Never().Times(1).Then().Send(Response("first")).Never();
  const inferwire::Client client =
      Connect(fake.target(),
              {.idle_timeout = absl::InfiniteDuration(), .first_message_timeout = absl::Seconds(5), .clock = clock});
  auto late = client.Stream<&Inference::StreamInference>(Text("x"));
  REQUIRE(fake.WaitForCalls<&Inference::StreamInference>(1));
  clock->Advance(absl::Seconds(5));
  CHECK_FALSE(late.Read().has_value());
  CHECK(late.status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(Contains(late.status(), "no message within the first_message_timeout of 5s"));
  auto begun = client.Stream<&Inference::StreamInference>(Text("x"));
  REQUIRE(begun.Read().has_value());
  clock->Advance(absl::Seconds(50));
  CHECK(begun.status().ok());
  CHECK(
      Contains(inferwire::Client::Create({.targets = {"a:1"}, .first_message_timeout = absl::ZeroDuration()}).status(),
               "first_message_timeout is 0"));
}

// ---- streams that go on where they broke

namespace {

// Streams the numbers from the one in the request up to 100, and breaks when the script says so.
std::function<grpc::Status(inferwire::testing::Call&)> From(int at_most, const grpc::Status& then) {
  return [at_most, then](inferwire::testing::Call& call) {
    const auto bytes = call.Read();
    if (!bytes.has_value()) return grpc::Status();
    const int from = std::stoi(TextOf(*bytes));
    for (int n = from; n < 100; ++n) {
      if (n == from + at_most) return then;
      if (!call.Write(Response(std::to_string(n)))) return grpc::Status();
    }
    return grpc::Status();
  };
}
const grpc::Status kGone(grpc::StatusCode::UNAVAILABLE, "gone");

inference::Request Behind(const inference::Request& request, const inference::Response& last) {
  inference::Request next = request;
  next.set_text(std::to_string(std::stoi(last.text()) + 1));
  return next;
}

}  // namespace

TEST_CASE("a stream that broke goes on behind its last message, on another target, each message once", "[stream]") {
  inferwire::testing::FakeServer one, two;
  one.On<&Inference::StreamInference>().Do(From(7, kGone));
  two.On<&Inference::StreamInference>().Do(From(11, kGone));
  inferwire::ClientOptions options{.targets = {one.target(), two.target()}, .credentials = inferwire::Insecure()};
  options.retry.max_attempts = 2;  // in a row: each message begins the count anew
  options.retry.initial_backoff = absl::ZeroDuration();
  options.retry_budget = {.ratio = 1, .min_per_second = 100};
  const auto client = Client::Create(options);
  REQUIRE(client.ok());
  inferwire::CallInfo info;
  auto stream = client->Stream<&Inference::StreamInference>(Text("0"), {.info = &info}, Behind);
  int next = 0;
  for (const inference::Response& message : stream) REQUIRE(message.text() == std::to_string(next++));
  CHECK(next == 100);
  CHECK(stream.status().ok());
  CHECK(info.attempts.size() > 8);
  CHECK(one.calls<&Inference::StreamInference>() > 3);
  CHECK(two.calls<&Inference::StreamInference>() > 3);
  REQUIRE(info.stream.has_value());
  CHECK(info.stream->messages == 100);
}

TEST_CASE("servers killed in the middle of a stream cost no message and double none", "[stream]") {
  inferwire::testing::FakeServer one, two;
  std::atomic<int> drops{0};
  for (auto* fake : {&one, &two}) {
    fake->On<&Inference::StreamInference>().Do([&](inferwire::testing::Call& call) {
      const auto bytes = call.Read();
      if (!bytes.has_value()) return grpc::Status();
      const int from = std::stoi(TextOf(*bytes));
      for (int n = from; n < 100; ++n) {
        if (n == from + 13 && ++drops < 6) {
          call.Drop();
          return grpc::Status();
        }
        if (!call.Write(Response(std::to_string(n)))) return grpc::Status();
      }
      return grpc::Status();
    });
  }
  inferwire::ClientOptions options{.targets = {one.target(), two.target()}, .credentials = inferwire::Insecure()};
  options.retry.max_attempts = 10;
  options.retry_budget = {.ratio = 1, .min_per_second = 100};
  const auto client = Client::Create(options);
  REQUIRE(client.ok());
  auto stream = client->Stream<&Inference::StreamInference>(Text("0"), {}, Behind);
  int next = 0;
  for (const inference::Response& message : stream) REQUIRE(message.text() == std::to_string(next++));
  INFO(stream.status().ToString());
  CHECK(next == 100);
  CHECK(stream.status().ok());
  CHECK(drops >= 5);
}

TEST_CASE("a stream goes on only for errors that are tried again, and as often as the policy allows", "[stream]") {
  inferwire::testing::FakeServer fake;
  fake.On<&Inference::StreamInference>()
      .Do(From(3, grpc::Status(grpc::StatusCode::DATA_LOSS, "broken")))
      .Times(1)
      .Then()
      .Do(From(3, kGone))
      .Times(1)
      .Then()
      .Fail(absl::UnavailableError("still gone"));
  inferwire::ClientOptions options;
  options.retry = {.max_attempts = 3, .initial_backoff = absl::ZeroDuration()};
  const Client client = Connect(fake.target(), options);
  auto lost = client.Stream<&Inference::StreamInference>(Text("0"), {}, Behind);
  int seen = 0;
  for ([[maybe_unused]] const inference::Response& message : lost) ++seen;
  CHECK(seen == 3);
  CHECK(lost.status().code() == absl::StatusCode::kDataLoss);
  auto gone = client.Stream<&Inference::StreamInference>(Text("0"), {}, Behind);
  seen = 0;
  for ([[maybe_unused]] const inference::Response& message : gone) ++seen;
  CHECK(seen == 3);
  CHECK(gone.status().code() == absl::StatusCode::kUnavailable);
  // The one that began and broke, and two more.
  CHECK(InfoOf(gone.status()).attempts.size() == 3);
  CHECK(InfoOf(gone.status()).reason == inferwire::CallInfo::Reason::kAttemptsExhausted);
  auto once = client.Stream<&Inference::StreamInference>(Text("0"), {.idempotent = false}, Behind);
  CHECK_FALSE(once.Read().has_value());
}

TEST_CASE("what goes wrong while a stream is to go on is the stream's end", "[stream]") {
  inferwire::testing::FakeServer fake;
  fake.On<&Inference::StreamInference>().Do(From(3, kGone));
  const Client client = Connect(fake.target());
  auto thrown = client.Stream<&Inference::StreamInference>(
      Text("0"), {}, [](const inference::Request&, const inference::Response&) -> inference::Request {
        throw std::runtime_error("no idea");
      });
  while (thrown.Read().has_value()) {
  }
  CHECK(thrown.status().code() == absl::StatusCode::kInternal);
  CHECK(Contains(thrown.status(), "no idea"));
  auto refused = client.Stream<&Inference::StreamInference>(
      Text("0"), {},
      [](const inference::Request&, const inference::Response& last) -> absl::StatusOr<inference::Request> {
        return absl::NotFoundError("nothing is behind " + last.text());
      });
  while (refused.Read().has_value()) {
  }
  CHECK(refused.status().code() == absl::StatusCode::kNotFound);
  CHECK(Contains(refused.status(), "nothing is behind 2"));
  // Dropped while its function runs: when the destructor has returned, nothing of it runs any more.
  Event running, go;
  std::atomic<bool> left{false};
  std::thread opener;
  {
    auto dropped = client.Stream<&Inference::StreamInference>(
        Text("0"), {}, [&](const inference::Request& request, const inference::Response& last) {
          running.Set();
          go.Wait();
          left = true;
          return Behind(request, last);
        });
    REQUIRE(running.Wait());
    opener = std::thread([&] { go.Set(); });
  }
  CHECK(left);
  opener.join();
}

TEST_CASE("a million messages take no more memory than a few", "[stream]") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr std::int64_t kMessages = 50'000;
#else
  constexpr std::int64_t kMessages = 1'000'000;
#endif
  // Writes as fast as it is let, from gRPC's own threads.
  class Flood final : public grpc::CallbackGenericService {
   public:
    struct Reactor final : grpc::ServerGenericBidiReactor {
      Reactor() { StartRead(&request); }
      void OnReadDone(bool) override { Next(); }
      void OnWriteDone(bool ok) override { ok ? Next() : Finish(grpc::Status::CANCELLED); }
      void Next() {
        if (left-- == 0) return Finish(grpc::Status());
        StartWrite(&message);
      }
      void OnDone() override { delete this; }
      grpc::ByteBuffer request;
      const grpc::Slice slice{Answer("token")};
      grpc::ByteBuffer message{&slice, 1};
      std::int64_t left = kMessages;
    };
    grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override { return new Reactor; }
  } flood;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&flood);
  const auto server = builder.BuildAndStart();
  const Client client = Connect("127.0.0.1:" + std::to_string(port));
  const auto resident = [] {
    std::ifstream statm("/proc/self/statm");
    std::size_t total = 0, pages = 0;
    statm >> total >> pages;
    return pages * 4096;
  };
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  std::int64_t seen = 0;
  std::size_t early = 0;
  for ([[maybe_unused]] const inference::Response& message : stream) {
    if (++seen == 10'000) early = resident();
  }
  CHECK(stream.status().ok());
  CHECK(seen == kMessages);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)  // which keep what was given back
  CHECK(resident() < early + (std::size_t{16} << 20));
#else
  CHECK(early > 0);
#endif
}

TEST_CASE("a thousand streams at once, each whole", "[stream]") {
  RawServer server([](RawCall& call) {
    const auto bytes = call.Read();
    if (!bytes.has_value()) return;
    for (int i = 0; i < 5; ++i) {
      if (!call.Write(Answer(std::to_string(i)))) return;
    }
  });
  const Client client = Connect(server.target());
  std::vector<inferwire::ResponseStream<inference::Response>> streams;
  for (int i = 0; i < 1000; ++i) streams.push_back(client.Stream<&Inference::StreamInference>(Text("x")));
  for (auto& stream : streams) REQUIRE(SyncWait(Count(stream)) == 5);
  for (auto& stream : streams) REQUIRE(stream.status().ok());
}

TEST_CASE("a connection that goes away in the middle lets its streams end, and takes no new ones", "[stream][trap]") {
  inferwire::testing::FakeServer fake;
  Event first;
  fake.On<&Inference::StreamInference>().Do([&](inferwire::testing::Call& call) {
    call.Read();
    call.Write(Response("0"));
    call.GoAway(/*processed=*/true);
    for (int i = 1; i < 50; ++i) {
      if (!call.Write(Response(std::to_string(i)))) return grpc::Status();
    }
    return grpc::Status();
  });
  const Client client = Connect(fake.target());
  for (int round = 0; round < 5; ++round) {
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    CHECK(SyncWait(Count(stream)) == 50);
    CHECK(stream.status().ok());
  }
}
