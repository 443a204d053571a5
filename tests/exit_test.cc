// SPDX-License-Identifier: Apache-2.0
//
// Calls made while a thread or the process ends: from destructors of static and thread-local objects, and from atexit.
// They work, or are refused; nothing crashes and nothing hangs.
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/client.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"
#include "support/process.h"

using inferwire::Client;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {

bool Good(const absl::Status& status) { return status.ok() || status.code() == absl::StatusCode::kFailedPrecondition; }

// One call of a form.
bool CallAs(const std::string& form, const Client& client) {
  if (form == "Call") return Good(client.Call<&Inference::RunInference>(Text("x")).status());
  if (form == "Async") return Good(client.Async<&Inference::RunInference>(Text("x")).Get().status());
  if (form == "Then") {
    auto future = client.Async<&Inference::RunInference>(Text("x")).Then([](auto result) { return result.status(); });
    return Good(std::move(future).Get().status());
  }
  if (form == "Stream") {
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
    while (stream.Read().has_value()) {
    }
    return Good(stream.status());
  }
  if (form == "Upload") {
    auto upload = client.Upload<&Inference::UploadInference>();
    return Good(upload.Write(Text("x"))) && Good(upload.Finish().status());
  }
  if (form == "Open") {
    auto session = client.Open<&Inference::Converse>();
    return Good(session.Write(Text("x"))) && Good(session.Finish());
  }
  return Good(client.WaitUntilReady(absl::Seconds(10)));
}

std::string Given(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct CallsAtTheEnd {
  Client client;
  ~CallsAtTheEnd() {
    ::alarm(30);
    if (!CallAs(Given("INFERWIRE_TEST_FORM"), client)) ::_exit(3);
  }
};

}  // namespace

// In a process of its own, which then ends as programs do.
TEST_CASE("calls from static destructors", "[.exit-static]") {
  static std::optional<CallsAtTheEnd> at_end;
  const Client client = Connect(Given("INFERWIRE_TEST_TARGET"));
  at_end.emplace(client);
  REQUIRE(CallAs("Call", client));
  REQUIRE(CallAs(Given("INFERWIRE_TEST_FORM"), client));
}
TEST_CASE("calls from thread-local destructors", "[.exit-thread]") {
  const Client client = Connect(Given("INFERWIRE_TEST_TARGET"));
  const auto use = [&] {
    thread_local std::optional<CallsAtTheEnd> at_end;
    at_end.emplace(client);  // before its first call, so that it outlives whatever that keeps for the thread
    if (!CallAs("Call", client)) ::_exit(4);
  };
  std::thread(use).join();
  use();
}
TEST_CASE("calls from atexit", "[.exit-function]") {
  static Client* client = nullptr;
  std::atexit([] { const CallsAtTheEnd at_end{*client}; });
  client = new Client(Connect(Given("INFERWIRE_TEST_TARGET")));
  REQUIRE(CallAs("Call", *client));
  REQUIRE(CallAs(Given("INFERWIRE_TEST_FORM"), *client));
}

TEST_CASE("calls that are made as a process ends work or are refused", "[client][exit]") {
  RawServer server(Echo);
  ::setenv("INFERWIRE_TEST_TARGET", server.target().c_str(), 1);
  for (const char* const moment : {"[.exit-static]", "[.exit-thread]", "[.exit-function]"}) {
    for (const char* const form : {"Call", "Async", "Then", "Stream", "Upload", "Open", "WaitUntilReady"}) {
      INFO(moment << " " << form);
      ::setenv("INFERWIRE_TEST_FORM", form, 1);
      Process program({"/proc/self/exe", moment, "-o", "/dev/null"}, /*quiet=*/true);
      CHECK(program.ExitCode() == 0);
    }
  }
}

namespace {
std::size_t Threads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}
}  // namespace

TEST_CASE("threads that called a frozen server leave nothing behind when they exit", "[client][exit]") {
  // It takes a part of each call and then nothing more, so that no operation ends before the connection does.
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("ready"));
  std::weak_ptr<inferwire::detail::engine::Engine> engine;
  std::size_t before = 0;
  {
    const Client client = Connect(fake.target(), {.timeout = absl::Milliseconds(20), .pool = {.max_channels = 1}});
    engine = client.engine();
    REQUIRE(client.WaitUntilReady(absl::Seconds(10)).ok());
    REQUIRE(client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Seconds(10)}).ok());
    fake.StopReading();
    const std::string large(std::size_t{1} << 20, 'x');
    const auto call = [&] {
      std::thread([&] {
        const auto reply = client.Call<&Inference::RunInference>(Text(large));
        if (reply.status().code() != absl::StatusCode::kDeadlineExceeded) std::abort();
      }).join();
    };
    for (int i = 0; i < 20; ++i) call();
    before = Threads();
    for (int i = 0; i < 100; ++i) call();
    CHECK(Threads() <= before + 4);
  }
  fake.ResumeReading();
  // What was left is let go of, and whoever saw to that is gone.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!engine.expired() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(engine.expired());
}
