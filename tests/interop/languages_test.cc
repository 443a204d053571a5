// SPDX-License-Identifier: Apache-2.0
//
// The contract that servers in other languages keep, and what the client sees of them. Run by
// tests/interop/servers/run, which names a server's program by INFERWIRE_LANGUAGE_SERVER.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/client.h"
#include "inferwire/detail/testing/relay.h"
#include "support/inference.h"
#include "support/process.h"

using inferwire::CallInfo;
using inferwire::Client;
using inferwire::InfoOf;
using inferwire::testing::Socket;
using namespace inferwire_test;  // NOLINT

namespace {

/// None where no server is named: then there is nothing to test.
const char* Program() {
  const char* const program = std::getenv("INFERWIRE_LANGUAGE_SERVER");
  if (program == nullptr) WARN("skipped: INFERWIRE_LANGUAGE_SERVER names no program; tests/interop/servers/run does");
  return program;
}

/// For calls while a server comes up, however long that takes.
inferwire::ClientOptions Patient() {
  return {.timeout = absl::Seconds(60),
          .retry = {.max_attempts = 1000,
                    .max_backoff = absl::Milliseconds(200),
                    // gRPC's C core says CANCELLED of calls that a server had not begun when it was asked to end.
                    .retryable_codes = {absl::StatusCode::kUnavailable, absl::StatusCode::kCancelled}},
          .retry_budget = {.ratio = 100, .min_per_second = 1000}};
}

/// A server's process, on a port of its choice or the one named, once it answers: a cold one may listen and yet take
/// longer to greet than one attempt to connect lasts, a second.
class Server : public Process {
 public:
  explicit Server(const std::string& program, int port = 0) : Process({program, std::to_string(port)}) {
    REQUIRE(line().starts_with("127.0.0.1:"));
    REQUIRE(Connect(target(), Patient()).Call<&Inference::RunInference>(Text("")).ok());
  }
  const std::string& target() const { return line(); }
  int port() const { return std::stoi(line().substr(line().find(':') + 1)); }
};

inference::Request Ask(const std::string& model, const std::string& text = "", std::vector<float> input = {}) {
  inference::Request request = Text(text);
  request.set_model(model);
  request.set_id("id of " + model);
  request.mutable_input()->Assign(input.begin(), input.end());
  return request;
}

std::vector<float> Output(const inference::Response& response) {
  return {response.output().begin(), response.output().end()};
}

/// The detail of this type: libraries send them in an order of their own.
template <class T>
T Detail(const CallInfo& info) {
  for (const inferwire::ErrorDetail& detail : info.details) {
    if (const T* found = std::get_if<T>(&detail)) return *found;
  }
  FAIL_CHECK("a detail is missing");
  return {};
}

/// What every "fail" attaches.
void CheckFailure(const absl::Status& status, const std::string& text) {
  INFO(status);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(status, text));
  const CallInfo info = InfoOf(status);
  REQUIRE(info.details.size() == 3);
  const auto bad = Detail<inferwire::BadRequest>(info);
  REQUIRE(bad.field_violations.size() == 1);
  CHECK(bad.field_violations[0].field == "text");
  CHECK(bad.field_violations[0].description == "asks for a failure");
  const auto error = Detail<inferwire::ErrorInfo>(info);
  CHECK(error.reason == "ASKED");
  CHECK(error.domain == "inference");
  CHECK(error.metadata.contains("by"));
  CHECK(Detail<inferwire::RetryInfo>(info).retry_delay == absl::Milliseconds(1500));
  // Attempts to connect on a busy machine may fail; the server's own word is taken once.
  CHECK(std::count_if(info.attempts.begin(), info.attempts.end(), [](const CallInfo::Attempt& attempt) {
          return attempt.code == absl::StatusCode::kInvalidArgument;
        }) == 1);
}

/// Passes one connection on to `port`, and counts its bytes.
class Counter {
 public:
  explicit Counter(int port) : listener_(Socket::Bound(0)), server_(Socket::Connected(port)) {
    REQUIRE(server_.open());
    REQUIRE(::listen(listener_.fd(), 1) == 0);
    thread_ = std::thread([this] {
      pollfd caller{listener_.fd(), POLLIN, 0};
      ::poll(&caller, 1, -1);
      const Socket client(::accept(listener_.fd(), nullptr, nullptr));
      std::array<pollfd, 2> ends = {{{client.fd(), POLLIN, 0}, {server_.fd(), POLLIN, 0}}};
      while (::poll(ends.data(), 2, -1) > 0) {
        if (ends[0].revents != 0 && !Pass(client.fd(), server_.fd(), to_server_)) return;
        if (ends[1].revents != 0 && !Pass(server_.fd(), client.fd(), to_client_)) return;
      }
    });
  }
  /// The client has hung up by now.
  ~Counter() {
    ::shutdown(listener_.fd(), SHUT_RDWR);
    ::shutdown(server_.fd(), SHUT_RDWR);
    thread_.join();
  }
  std::string target() const { return "127.0.0.1:" + std::to_string(listener_.port()); }
  std::size_t to_server() const { return to_server_; }
  std::size_t to_client() const { return to_client_; }

 private:
  static bool Pass(int from, int to, std::atomic<std::size_t>& count) {
    std::array<char, 65536> bytes;
    const ssize_t got = ::recv(from, bytes.data(), bytes.size(), 0);
    if (got <= 0) return false;
    count += static_cast<std::size_t>(got);
    for (ssize_t gone = 0; gone < got;) {
      pollfd room{to, POLLOUT, 0};
      ::poll(&room, 1, -1);
      const ssize_t sent =
          ::send(to, bytes.data() + gone, static_cast<std::size_t>(got - gone), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent > 0) gone += sent;
    }
    return true;
  }

  Socket listener_;
  Socket server_;
  std::atomic<std::size_t> to_server_{0}, to_client_{0};
  std::thread thread_;
};

}  // namespace

TEST_CASE("a server in another language answers a call", "[.][interop][languages]") {
  const char* const program = Program();
  if (program == nullptr) return;
  const Server server(program);
  const Client client = Connect(server.target());
  inference::Request request = Ask("", "größe", {1.5f, -2, 0});
  request.add_shape(1);
  request.add_shape(3);
  const auto reply = client.Call<&Inference::RunInference>(request);
  INFO(reply.status());
  REQUIRE(reply.ok());
  CHECK(Output(*reply) == std::vector<float>{1.5f, -2, 0});
  CHECK(std::vector<std::int64_t>(reply->shape().begin(), reply->shape().end()) == std::vector<std::int64_t>{1, 3});
  CHECK(std::string(reply->text()) == "größe");
  CHECK(std::string(reply->model()) == "echo");
  CHECK(std::string(reply->id()) == "id of ");
}

TEST_CASE("a server in another language streams, takes a stream, and converses", "[.][interop][languages]") {
  const char* const program = Program();
  if (program == nullptr) return;
  const Server server(program);
  const Client client = Connect(server.target());
  std::vector<float> numbers(1000);
  std::iota(numbers.begin(), numbers.end(), 0.0f);

  auto stream = client.Stream<&Inference::StreamInference>(Ask("echo", "a", numbers));
  std::vector<float> pieces;
  std::optional<inference::Response> whole;
  for (inference::Response& piece : stream) {
    if (piece.output_size() == 1) pieces.push_back(piece.output(0));
    whole = std::move(piece);
  }
  INFO(stream.status());
  CHECK(stream.status().ok());
  CHECK(pieces == numbers);
  REQUIRE(whole.has_value());
  CHECK(Output(*whole) == numbers);

  auto upload = client.Upload<&Inference::UploadInference>();
  for (const float number : numbers) REQUIRE(upload.Write(Ask("echo", std::to_string(number), {number})).ok());
  const auto merged = upload.Finish();
  INFO(merged.status());
  REQUIRE(merged.ok());
  CHECK(Output(*merged) == numbers);
  CHECK(std::string(merged->text()) == std::to_string(999.0f));

  auto session = client.Open<&Inference::Converse>();
  for (const float number : {1.0f, 2.0f, 3.0f}) {  // in turns
    REQUIRE(session.Write(Ask("echo", "", {number})).ok());
    const auto turn = session.Read();
    REQUIRE(turn.has_value());
    CHECK(Output(*turn) == std::vector<float>{number});
  }
  std::thread writer([&] {  // and both at once
    for (const float number : numbers) static_cast<void>(session.Write(Ask("echo", "", {number})));
    static_cast<void>(session.WritesDone());
  });
  std::vector<float> turns;
  for (const inference::Response& turn : session.responses()) turns.push_back(turn.output(0));
  writer.join();
  CHECK(turns == numbers);
  CHECK(session.Finish().ok());
}

TEST_CASE("an error of a server in another language is told with its details", "[.][interop][languages]") {
  const char* const program = Program();
  if (program == nullptr) return;
  const Server server(program);
  const Client client = Connect(server.target());
  const std::string text = "no model 'größe': 100% of \"it\"";
  CheckFailure(client.Call<&Inference::RunInference>(Ask("fail", text)).status(), text);

  auto stream = client.Stream<&Inference::StreamInference>(Ask("fail", text, {1, 2}));
  int pieces = 0;
  for ([[maybe_unused]] const inference::Response& piece : stream) ++pieces;
  CHECK(pieces == 2);
  CheckFailure(stream.status(), text);

  auto upload = client.Upload<&Inference::UploadInference>();
  REQUIRE(upload.Write(Ask("fail", text)).ok());
  CheckFailure(upload.Finish().status(), text);

  auto session = client.Open<&Inference::Converse>();
  REQUIRE(session.Write(Ask("echo", "first")).ok());
  REQUIRE(session.Read().has_value());
  REQUIRE(session.Write(Ask("fail", text)).ok());
  CHECK_FALSE(session.Read().has_value());
  CheckFailure(session.Finish(), text);
}

TEST_CASE("a server in another language sees the deadline, and that it passes", "[.][interop][languages]") {
  const char* const program = Program();
  if (program == nullptr) return;
  const Server server(program);
  const Client client = Connect(server.target(), {.timeout = absl::Seconds(30)});
  const auto left = [&](absl::Duration timeout) {
    inference::Request slow = Ask("slow", "", {});
    slow.set_id("of " + absl::FormatDuration(timeout));
    auto stream = client.Stream<&Inference::StreamInference>(slow, {.timeout = timeout});
    const auto first = stream.Read();
    INFO(stream.status());
    REQUIRE(first.has_value());
    return first->output(0);
  };
  CHECK(left(absl::Seconds(100)) == Approx(96).margin(6));  // gRPC rounds it up on the wire, by a hundredth at most
  CHECK(left(absl::InfiniteDuration()) < 0);

  for (const std::string way : {"unary", "stream"}) {
    CAPTURE(way);
    inference::Request slow = Ask("slow");
    slow.set_id(way);
    const inferwire::CallOptions soon = {.timeout = absl::Milliseconds(500)};
    absl::Status status;
    if (way == "unary") {
      status = client.Call<&Inference::RunInference>(slow, soon).status();
    } else {
      auto stream = client.Stream<&Inference::StreamInference>(slow, soon);
      while (stream.Read().has_value()) continue;
      status = stream.status();
    }
    CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
    const auto seen = client.Call<&Inference::RunInference>(Ask("seen", way));
    INFO(seen.status());
    CHECK(seen.ok());
  }
}

TEST_CASE("a server in another language sees that a call is cancelled", "[.][interop][languages]") {
  const char* const program = Program();
  if (program == nullptr) return;
  const Server server(program);
  const Client client = Connect(server.target(), {.timeout = absl::Seconds(30)});
  const auto seen = [&](const std::string& id) {
    const auto reply = client.Call<&Inference::RunInference>(Ask("seen", id));
    INFO(reply.status());
    CHECK(reply.ok());
  };
  inference::Request slow = Ask("slow");

  slow.set_id("a stream, by its token");
  std::stop_source stop;
  auto stream = client.Stream<&Inference::StreamInference>(slow, {.stop = stop.get_token()});
  REQUIRE(stream.Read().has_value());
  stop.request_stop();
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kCancelled);
  seen("a stream, by its token");

  slow.set_id("a stream, dropped");
  {
    auto dropped = client.Stream<&Inference::StreamInference>(slow);
    REQUIRE(dropped.Read().has_value());
  }
  seen("a stream, dropped");

  slow.set_id("a session, dropped");
  {
    auto session = client.Open<&Inference::Converse>();
    REQUIRE(session.Write(slow).ok());
    REQUIRE(session.Read().has_value());
  }
  seen("a session, dropped");
}

TEST_CASE("a server in another language takes compressed requests and compresses answers", "[.][interop][languages]") {
  const char* const program = Program();
  if (program == nullptr) return;
  const Server server(program);
  const std::string text(1'000'000, 'a');
  const auto call = [&](const std::string& model, inferwire::Compression compression) {
    const Counter counter(server.port());
    const Client client = Connect(counter.target());
    auto reply = client.Call<&Inference::RunInference>(Ask(model, text), {.compression = compression});
    client.Shutdown();
    if (reply.ok()) CHECK(std::string(reply->text()) == text);
    return std::make_tuple(reply.status(), counter.to_server(), counter.to_client());
  };
  const auto [plain, plain_out, plain_in] = call("echo", inferwire::Compression::kNone);
  INFO(plain);
  CHECK(plain.ok());
  CHECK(plain_out > text.size());

  const auto [squeezed, out, in] = call("echo", inferwire::Compression::kGzip);
  INFO(squeezed);
  CHECK(squeezed.ok());
  CHECK(out < text.size() / 10);

  const auto [both, both_out, both_in] = call("gzip", inferwire::Compression::kGzip);
  INFO(both);
  CHECK(both_out < text.size() / 10);
  if (both.code() == absl::StatusCode::kUnimplemented) {
    WARN("compresses no answers");
  } else {
    CHECK(both.ok());
    CHECK(both_in < text.size() / 10);
  }
}

TEST_CASE("8 MiB go to a server in another language and come back", "[.][interop][languages]") {
  const char* const program = Program();
  if (program == nullptr) return;
  const Server server(program);
  const Client client = Connect(server.target(), {.timeout = absl::Seconds(60)});
  std::vector<float> numbers(2 << 20);
  std::iota(numbers.begin(), numbers.end(), 0.0f);
  const inference::Request large = Ask("echo", "", numbers);
  const auto reply = client.Call<&Inference::RunInference>(large);
  INFO(reply.status());
  REQUIRE(reply.ok());
  CHECK((Output(*reply) == numbers));  // not printed where it fails

  auto session = client.Open<&Inference::Converse>();
  for (int turn = 0; turn < 2; ++turn) {
    REQUIRE(session.Write(large).ok());
    const auto answer = session.Read();
    REQUIRE(answer.has_value());
    CHECK((Output(*answer) == numbers));
  }
  CHECK(session.Finish().ok());
}

TEST_CASE("a server in another language that is asked to end answers what it has begun", "[.][interop][languages]") {
  const char* const program = Program();
  if (program == nullptr) return;
  Server server(program);
  const Client client = Connect(server.target());
  auto session = client.Open<&Inference::Converse>();
  for (int turn = 0; turn < 100; ++turn) {
    if (turn == 1) server.Terminate();
    REQUIRE(session.Write(Ask("echo", std::to_string(turn))).ok());
    const auto answer = session.Read();
    INFO(turn);
    REQUIRE(answer.has_value());
    CHECK(std::string(answer->text()) == std::to_string(turn));
  }
  REQUIRE(session.WritesDone().ok());
  CHECK_FALSE(session.Read().has_value());
  CHECK(session.Finish().ok());
  CHECK(server.Ended());
}

TEST_CASE("a server in another language is restarted under load, and no call is lost", "[.][interop][languages]") {
  const char* const program = Program();
  if (program == nullptr) return;
  auto server = std::make_unique<Server>(program);
  const int port = server->port();
  const Client client = Connect(server->target(), Patient());
  std::atomic<int> made{0}, answered{0};
  std::mutex mutex;
  std::vector<absl::Status> wrong;
  std::vector<std::jthread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&](const std::stop_token& over) {
      while (!over.stop_requested()) {
        const std::string text = std::to_string(made++);
        const auto reply = client.Call<&Inference::RunInference>(Ask("echo", text));
        if (reply.ok() && std::string(reply->text()) == text) {
          ++answered;
          answered.notify_all();
          continue;
        }
        std::lock_guard lock(mutex);
        wrong.push_back(reply.status());
      }
    });
  }
  const auto answer_more = [&] {
    for (int now = answered, until = now + 300; now < until; now = answered) answered.wait(now);
  };
  for (int restart = 0; restart < 3; ++restart) {
    answer_more();
    server->Terminate();
    CHECK(server->Ended());
    server.reset();
    server = std::make_unique<Server>(program, port);
  }
  answer_more();
  callers.clear();
  for (const absl::Status& status : wrong) UNSCOPED_INFO(status);
  CHECK(answered == made);
  CHECK(client.Stats().retries > 0);
}
