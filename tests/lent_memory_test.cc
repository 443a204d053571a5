// SPDX-License-Identifier: Apache-2.0
//
// Memory that is lent to a call is its owner's again when the call has ended, whatever became of the server.
#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/detail/testing/relay.h"
#include "inferwire/inference.h"
#include "server/server.h"
#include "support/inference.h"
#include "support/open_inference.h"
#include "support/process.h"

using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::Model;
using inferwire::OpenInference;
using namespace inferwire_test;  // NOLINT

namespace {

// Pages of the test's own, which end all access to them when they are given back.
class Pages {
 public:
  explicit Pages(std::size_t bytes) : bytes_(bytes) {
    data_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(data_ != MAP_FAILED);
    // Of one value, but not all of one page that the kernel shares.
    for (float& value : std::span(static_cast<float*>(data_), bytes / sizeof(float))) value = 1.5f;
  }
  ~Pages() { GiveBack(); }
  std::span<const float> floats() const { return {static_cast<const float*>(data_), bytes_ / sizeof(float)}; }
  void GiveBack() {
    if (std::exchange(bytes_, 0) > 0) ::munmap(data_, size_);
  }

 private:
  std::size_t bytes_;
  const std::size_t size_ = bytes_;
  void* data_;
};

constexpr std::size_t kLarge = std::size_t{256} << 20;

// The embedded server as a process, behind a relay that takes a part of the first large request and then nothing more.
// That the kernel takes little is what makes the call's rest wait for the socket, and not for HTTP/2's window.
struct HalfSent {
  explicit HalfSent(inferwire::ClientOptions options = {})
      : relay(Port()), client(Connect(Target(), Once(std::move(options)))) {
    relay.StopReadingAfter(std::uint64_t{32} << 20);
  }
  int Port() const { return std::stoi(server.line().substr(server.line().rfind(':') + 1)); }
  std::string Target() const { return "127.0.0.1:" + std::to_string(relay.port()); }
  static inferwire::ClientOptions Once(inferwire::ClientOptions options) {
    options.retry.max_attempts = 1;
    return options;
  }

  Process server{{std::getenv("INFERWIRE_SERVER"), "--listen", "127.0.0.1:0"}};
  inferwire::testing::Relay relay;
  InferenceClient<OpenInference> client;
  Model model = client.GetModel("identity", {.check = false});
  Pages pages{kLarge};

  InferRequest request() const {
    return {{"INPUT0", pages.floats(), {static_cast<std::int64_t>(pages.floats().size())}}};
  }
};

}  // namespace

TEST_CASE("lent memory is free when a call has come to its deadline on a server that stopped reading", "[lent]") {
  // More patient than the call, so that the deadline comes first.
  HalfSent half({.connection = {.lent_memory_timeout = absl::Seconds(6)}});
  absl::Status status;
  std::chrono::steady_clock::duration late{};
  std::thread caller([&] {
    const auto due = std::chrono::steady_clock::now() + std::chrono::seconds(4);
    status = half.model.Infer(half.request(), {.timeout = absl::Seconds(4)}).status();
    half.pages.GiveBack();
    late = std::chrono::steady_clock::now() - due;
  });
  half.relay.WaitUntilSated();
  caller.join();
  INFO(status.ToString());
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(Contains(status, "no end within the timeout of 4s"));
  CHECK(Contains(status, "; the transport held what it lent for another "));
  // The patience, and what the kernel's timer is late by; loosely, since machines differ.
  CHECK(late < std::chrono::seconds(20));
}

TEST_CASE("a connection whose peer takes nothing more of what was lent is given up", "[lent]") {
  HalfSent half;
  auto future = half.model.AsyncInfer(half.request(), {.timeout = absl::Minutes(5)});
  half.relay.WaitUntilSated();
  CHECK(std::move(future).Get().status().code() == absl::StatusCode::kUnavailable);
  half.pages.GiveBack();
}

TEST_CASE("keepalive does not make a loan longer", "[lent]") {
  // A PING may go unanswered for a minute, a loan may not.
  HalfSent half({.connection = {.keepalive_time = absl::Seconds(10), .keepalive_timeout = absl::Minutes(1)}});
  std::chrono::steady_clock::time_point from;
  absl::Status status;
  std::thread caller([&] {
    from = std::chrono::steady_clock::now();
    status = half.model.Infer(half.request(), {.timeout = absl::Seconds(2)}).status();
    half.pages.GiveBack();
  });
  half.relay.WaitUntilSated();
  caller.join();
  CHECK_FALSE(status.ok());
  CHECK(std::chrono::steady_clock::now() - from < std::chrono::seconds(20));
}

TEST_CASE("lent memory is free when a call has been cancelled on a server that stopped reading", "[lent]") {
  // More patient than a busy machine is slow, so that the cancellation comes first.
  HalfSent half({.connection = {.lent_memory_timeout = absl::Seconds(3)}});
  std::stop_source stop;
  absl::Status status;
  std::thread caller([&] {
    status = half.model.Infer(half.request(), {.timeout = absl::Minutes(1), .stop = stop.get_token()}).status();
    half.pages.GiveBack();
  });
  half.relay.WaitUntilSated();
  stop.request_stop();
  caller.join();
  CHECK(status.code() == absl::StatusCode::kCancelled);
}

TEST_CASE("lent memory is free when a future that lends it has been dropped", "[lent]") {
  HalfSent half;
  {
    auto future = half.model.AsyncInfer(half.request(), {.timeout = absl::Minutes(1)});
    auto chain = std::move(future).Then([](absl::StatusOr<inferwire::InferResult> result) { return result.status(); });
    half.relay.WaitUntilSated();
  }
  half.pages.GiveBack();
}

TEST_CASE("lent memory is free when the server has been killed", "[lent]") {
  HalfSent half;
  auto future = half.model.AsyncInfer(half.request(), {.timeout = absl::Minutes(1)});
  half.relay.WaitUntilSated();
  half.server.Kill();
  CHECK(std::move(future).Get().status().code() == absl::StatusCode::kUnavailable);
  half.pages.GiveBack();
}

TEST_CASE("the first of several is given when those that lost have let go of what they borrowed", "[lent]") {
  HalfSent half;
  std::vector<inferwire::Future<inferwire::InferResult>> futures;
  futures.push_back(half.model.AsyncInfer(half.request(), {.timeout = absl::Minutes(1)}));
  half.relay.WaitUntilSated();
  futures.push_back(inferwire::MakeReadyFuture<inferwire::InferResult>(absl::UnavailableError("the winner")));
  const auto first = WhenAny(std::move(futures)).Get();
  half.pages.GiveBack();
  REQUIRE(first.ok());
  CHECK(first->first == 1);
}

TEST_CASE("a call that lent memory ends at once where all went well, and sends the same bytes", "[lent]") {
  auto server = inferwire::examples::EmbeddedServer::Start({});
  REQUIRE(server.ok());
  const InferenceClient<OpenInference> client{Connect((*server)->target())};
  const Pages pages(std::size_t{8} << 20);
  std::vector<float> back(pages.floats().size());
  InferRequest request{{"INPUT0", pages.floats(), {static_cast<std::int64_t>(back.size())}}};
  request.set_output_buffer("OUTPUT0", std::span(back));
  const auto model = client.GetModel("identity", {.check = false});
  const auto result = model.Infer(request);
  REQUIRE(result.ok());
  CHECK(back == std::vector<float>(pages.floats().begin(), pages.floats().end()));
  CHECK(result->Get<float>("OUTPUT0")->data() == back.data());
  std::fill(back.begin(), back.end(), 0.0f);
  const auto later = model.AsyncInfer(request).Get();
  REQUIRE(later.ok());
  CHECK(back.back() == 1.5f);
  // Room for fewer is refused, naming both.
  std::vector<float> small(10);
  request = {{"INPUT0", pages.floats(), {static_cast<std::int64_t>(back.size())}}};
  request.set_output_buffer("OUTPUT0", std::span(small));
  const auto refused = model.Infer(request);
  CHECK(refused.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(refused.status(), "there is room for 10"));
  request = {{"INPUT0", pages.floats(), {static_cast<std::int64_t>(back.size())}}};
  request.set_output_buffer("nothing", std::span(back));
  CHECK(model.Infer(request).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("large tensors are sent from where they lie, small ones are copied", "[lent]") {
  const std::vector<float> large(16 << 10, 2.0f), small(16, 3.0f);
  const auto payload = OpenInference::Encode({{"large", std::span<const float>(large), {1 << 14}},
                                              {"small", std::span<const float>(small), {16}},
                                              {"owned", std::vector<float>(1 << 14, 4.0f), {1 << 14}}});
  REQUIRE(payload.ok());
  CHECK(payload->loan());
  REQUIRE(payload->slices().size() == 4);
  CHECK(static_cast<const void*>(payload->slices()[1].begin()) == large.data());
  const auto message = Encoded({{"large", std::span<const float>(large), {1 << 14}},
                                {"small", std::span<const float>(small), {16}},
                                {"owned", std::vector<float>(1 << 14, 4.0f), {1 << 14}}});
  REQUIRE(message.ok());
  REQUIRE(message->raw_input_contents_size() == 3);
  CHECK(message->raw_input_contents(0).size() == large.size() * 4);
  CHECK(message->raw_input_contents(1).size() == small.size() * 4);
  CHECK(std::memcmp(message->raw_input_contents(1).data(), small.data(), small.size() * 4) == 0);
  // What is owned is kept by the bytes, and nobody is waited for.
  const auto owned = OpenInference::Encode({{"owned", std::vector<float>(1 << 14, 4.0f), {1 << 14}}});
  CHECK_FALSE(owned->loan());
  // Strings too: each in its place behind its length.
  const auto strings = Encoded({{"s", std::vector<std::string>{std::string(100'000, 'x'), "short"}, {2}}});
  REQUIRE(strings.ok());
  CHECK(strings->raw_input_contents(0).size() == 4 + 100'000 + 4 + 5);
}
