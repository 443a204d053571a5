// SPDX-License-Identifier: Apache-2.0
//
// What a forked child may do, and that its parent does not notice.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/batcher.h"
#include "inferwire/client.h"
#include "inferwire/contract/open_inference.h"
#include "inferwire/contract/simple.h"
#include "inferwire/inference.h"
#include "inferwire/task.h"
#include "support/inference.h"
#include "support/process.h"

using inferwire::Client;
using inferwire::Future;
using inferwire::InferenceClient;
using inferwire::InferResult;
using namespace inferwire_test;  // NOLINT

namespace {

bool Refused(const absl::Status& status) {
  return status.code() == absl::StatusCode::kFailedPrecondition &&
         std::string(status.message()).find("fork") != std::string::npos;
}

// Runs `deed` in a forked child; its place among those that held (from 1), or 0 if all did. `exits`: the child ends
// with exit() and not with _exit().
int InChild(const std::function<int()>& deed, bool exits = false) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    const int failed = deed();
    if (exits) std::exit(failed);
    ::_exit(failed);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
int FirstThatFails(const std::vector<std::function<bool()>>& all) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto from = std::chrono::steady_clock::now();
    if (!all[i]()) return static_cast<int>(i) + 1;
    if (std::chrono::steady_clock::now() - from > std::chrono::seconds(5)) return static_cast<int>(i) + 101;
  }
  return 0;
}

inferwire::Task<absl::Status> Await(Client client) {
  const auto reply = co_await client.Async<&Inference::RunInference>(Text("x"));
  co_return reply.status();
}

}  // namespace

TEST_CASE("a child's calls on its parent's client are refused at once, and the parent's go on", "[client][fork]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  const auto model = InferenceClient<inferwire::Simple>(client).GetModel("m");
  const auto typed = InferenceClient<inferwire::OpenInference>(client).GetModel("m", {.over_stream = true});
  const inferwire::Batcher batcher(model);
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  REQUIRE(client.Async<&Inference::RunInference>(Text("x")).Get().ok());
  const int calls = server.calls();
  const std::vector<float> numbers{1, 2};
  const inferwire::InferRequest request{{"x", std::span<const float>(numbers), {1, 2}}};
  CHECK(InChild([&] {
          return FirstThatFails({
              [&] { return Refused(client.Call<&Inference::RunInference>(Text("x")).status()); },
              [&] { return Refused(client.Async<&Inference::RunInference>(Text("x")).Get().status()); },
              [&] {
                return Refused(client.Async<&Inference::RunInference>(Text("x"))
                                   .Then([](auto reply) { return reply.status(); })
                                   .Get()
                                   .status());
              },
              [&] { return Refused(inferwire::SyncWait(Await(client))); },
              [&] {
                auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
                return !stream.Read().has_value() && Refused(stream.status());
              },
              [&] {
                auto upload = client.Upload<&Inference::UploadInference>();
                return Refused(upload.Write(Text("x"))) && Refused(upload.Finish().status());
              },
              [&] {
                auto session = client.Open<&Inference::Converse>();
                return Refused(session.Write(Text("x"))) && !session.Read().has_value() && Refused(session.Finish());
              },
              [&] { return Refused(client.WaitUntilReady(absl::Seconds(20))); },
              [&] { return Refused(client.SetTargets({server.target()})); },
              [&] { return Refused(model.Infer(request).status()); },
              [&] { return Refused(model.AsyncInfer(request).Get().status()); },
              [&] {
                auto stream = model.StreamInfer(request);
                return !stream.Read().has_value() && Refused(stream.status());
              },
              [&] { return Refused(typed.Infer(request).status()); },
              [&] { return Refused(typed.Sequence(1).Step(request).status()); },
              [&] { return Refused(batcher.Infer(request).status()); },
              [&] { return Refused(Client::Create(client.engine()->options()).status()); },
              [&] { return client.Stats().calls == 0; },
              [&] {
                client.Shutdown();
                return true;
              },
          });
        }) == 0);
  CHECK(server.calls() == calls);
  CHECK(client.Call<&Inference::RunInference>(Text("x")).status() == absl::OkStatus());
  CHECK(client.Async<&Inference::RunInference>(Text("x")).Get().status() == absl::OkStatus());
  CHECK(client.Stats().attempts == 4);
}

TEST_CASE("what was under way when the process forked is the parent's alone", "[client][fork]") {
  Event answer;
  RawServer server([&](RawCall& call) {
    while (auto bytes = call.Read()) {
      if (TextOf(*bytes) == "later") answer.Wait();
      if (!call.Write(Answer(TextOf(*bytes)))) return;
    }
  });
  const Client client = Connect(server.target());
  std::optional<Future<inference::Response>> first = client.Async<&Inference::RunInference>(Text("later"));
  std::optional<Future<inference::Response>> second = client.Async<&Inference::RunInference>(Text("later"));
  std::optional<Future<absl::StatusCode>> third =
      client.Async<&Inference::RunInference>(Text("later")).Then([](auto r) { return r.status().code(); });
  auto stream = std::optional(client.Stream<&Inference::StreamInference>(Text("later")));
  auto session = std::optional(client.Open<&Inference::Converse>());
  REQUIRE(session->Write(Text("now")).ok());
  REQUIRE(session->Read().has_value());
  const auto deed = [&] {
    return FirstThatFails({
        [&] { return !first->Ready() && !first->Wait(absl::Seconds(20)); },
        [&] {
          first->Cancel();
          return Refused(std::move(*first).Get().status());
        },
        [&] { return Refused(std::move(*second).Then([](auto reply) { return reply.status(); }).Get().status()); },
        [&] { return Refused(std::move(*third).Get().status()); },
        [&] { return !stream->Read().has_value() && Refused(stream->status()); },
        [&] { return Refused(session->Write(Text("x"))) && !session->Read().has_value(); },
        [&] { return Refused(session->WritesDone()) && Refused(session->Finish()); },
        [&] {
          first.reset();
          second.reset();
          third.reset();
          stream.reset();
          session.reset();
          return true;
        },
    });
  };
  CHECK(InChild(deed) == 0);
  answer.Set();
  CHECK(std::move(*first).Get().status() == absl::OkStatus());
  CHECK(std::move(*second).Get().status() == absl::OkStatus());
  CHECK(*std::move(*third).Get() == absl::StatusCode::kOk);
  CHECK(stream->Read().has_value());
  REQUIRE(session->Write(Text("now")).ok());
  CHECK(session->Read().has_value());
  CHECK(session->Finish() == absl::OkStatus());
}

TEST_CASE("a process may fork while its other threads are told why their calls failed", "[client][fork]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  const absl::Status told =
      client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::ZeroDuration()}).status();
  REQUIRE(inferwire::InfoOf(told).reason == inferwire::CallInfo::Reason::kDeadline);
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!over) {
        absl::Status status = absl::UnavailableError("x");
        inferwire::detail::AttachCallInfo(status, {});
      }
    });
  }
  int failed = 0;
  for (int i = 0; i < 40 && failed == 0; ++i) {
    std::optional<absl::Status> copy = told;
    failed = InChild([&] {
      return FirstThatFails({
          [&] { return Refused(client.Stream<&Inference::StreamInference>(Text("x")).status()); },
          [&] { return Refused(client.Open<&Inference::Converse>().Finish()); },
          [&] { return inferwire::InfoOf(*copy).attempts.empty() && copy->code() == told.code(); },
          [&] {
            copy.reset();
            return true;
          },
      });
    });
  }
  CHECK(failed == 0);
  over = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(inferwire::InfoOf(told).reason == inferwire::CallInfo::Reason::kDeadline);
}

TEST_CASE("a process may fork while its other threads call", "[client][fork]") {
  RawServer server(Echo);
  const Client client = Connect(server.target());
  std::atomic<bool> over{false};
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      while (!over) {
        const auto reply = i % 2 == 0 ? client.Call<&Inference::RunInference>(Text("x"))
                                      : client.Async<&Inference::RunInference>(Text("x")).Get();
        if (!reply.ok()) ++failed;
      }
    });
  }
  for (int i = 0; i < 30; ++i) {
    CHECK(InChild([&] {
            return FirstThatFails({
                [&] { return Refused(client.Call<&Inference::RunInference>(Text("x")).status()); },
                [&] { return Refused(client.Async<&Inference::RunInference>(Text("x")).Get().status()); },
                [&] { return Refused(client.Stream<&Inference::StreamInference>(Text("x")).status()); },
                [&] { return Refused(client.WaitUntilReady(absl::Seconds(20))); },
            });
          }) == 0);
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
}

namespace {
std::string Target() { return std::getenv("INFERWIRE_TEST_TARGET"); }
Client NewClient() { return *Client::Create({.targets = {Target()}, .credentials = inferwire::Insecure()}); }
}  // namespace

// Processes of their own, since it counts what they did before.
TEST_CASE("a child of a process without a client makes one", "[.fork-first]") {
  REQUIRE(InChild(
              [] {
                const Client client = NewClient();
                return FirstThatFails({
                    [&] { return client.Call<&Inference::RunInference>(Text("x")).ok(); },
                    [&] { return client.Async<&Inference::RunInference>(Text("x")).Get().ok(); },
                });
              },
              /*exits=*/true) == 0);
  REQUIRE(NewClient().Call<&Inference::RunInference>(Text("x")).ok());  // the parent may too, afterwards
}
// What is made with a first call (descriptors, paths) may be half made when another thread forks.
TEST_CASE("a child is forked in the midst of its parent's first calls", "[.fork-midst]") {
  const Client client = NewClient();
  std::atomic<int> begun{0}, failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      ++begun;
      if (!client.Call<&Inference::RunInference>(Text("x")).ok()) ++failed;
    });
  }
  while (begun < 4) {
  }
  REQUIRE(InChild([&] {
            return FirstThatFails({
                [&] { return Refused(client.Call<&Inference::RunInference>(Text("x")).status()); },
                [&] { return Refused(client.Async<&Inference::RunInference>(Text("x")).Get().status()); },
                [&] { return Refused(client.Stream<&Inference::StreamInference>(Text("x")).status()); },
                [&] { return Refused(client.Open<&Inference::Converse>().Write(Text("x"))); },
            });
          }) == 0);
  for (std::thread& thread : threads) thread.join();
  REQUIRE(failed == 0);
}
TEST_CASE("a child ends with exit beside the static clients of its parent", "[.fork-exit]") {
  static const Client client = NewClient();
  static const auto executor = std::make_shared<inferwire::ThreadPool>(2);
  static inferwire::ThreadPool pool(2);
  static const auto other = *Client::Create({.targets = {Target()},
                                             .credentials = inferwire::Insecure(),
                                             .health = {.check_service = ""},
                                             .executor = executor});
  static const inferwire::Batcher batcher(InferenceClient<inferwire::Simple>(client).GetModel("m"),
                                          {.max_delay = absl::InfiniteDuration()});
  static auto session = client.Open<&Inference::Converse>();
  static auto future = client.Async<&Inference::RunInference>(Text("later"));
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  REQUIRE(session.Write(Text("x")).ok());
  REQUIRE(session.Read().has_value());
  REQUIRE(other.Async<&Inference::RunInference>(Text("x")).Then([](auto reply) { return reply.status(); }).Get().ok());
  for (int i = 0; i < 5; ++i) {
    REQUIRE(InChild([] { return 0; }, /*exits=*/true) == 0);
    REQUIRE(InChild([] { return Refused(client.Call<&Inference::RunInference>(Text("x")).status()) ? 0 : 1; },
                    /*exits=*/true) == 0);
  }
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  REQUIRE(session.Write(Text("x")).ok());
  REQUIRE(session.Read().has_value());
  future.Cancel();
}

TEST_CASE("a forked child makes its own client where gRPC allows, and ends in peace", "[client][fork]") {
  RawServer server([](RawCall& call) {
    while (auto bytes = call.Read()) {
      if (TextOf(*bytes) == "later") call.WaitForCancel();
      if (!call.Write(Answer(TextOf(*bytes)))) return;
    }
  });
  ::setenv("INFERWIRE_TEST_TARGET", server.target().c_str(), 1);
  for (const char* const name : {"[.fork-first]", "[.fork-exit]"}) {
    INFO(name);
    Process program({"/proc/self/exe", name, "-o", "/dev/null"}, /*quiet=*/true);
    CHECK(program.ExitCode() == 0);
  }
}
TEST_CASE("a process may fork in the midst of its first calls", "[client][fork]") {
  RawServer server(Echo);
  ::setenv("INFERWIRE_TEST_TARGET", server.target().c_str(), 1);
  for (int i = 0; i < 20; ++i) {
    Process program({"/proc/self/exe", "[.fork-midst]", "-o", "/dev/null"}, /*quiet=*/true);
    REQUIRE(program.ExitCode() == 0);
  }
}
