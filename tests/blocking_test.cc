// SPDX-License-Identifier: Apache-2.0
//
// Waiting where others wait too: on threads that serve gRPC, and on an executor's only thread.
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/batcher.h"
#include "inferwire/contract/open_inference.h"
#include "inferwire/contract/simple.h"
#include "inferwire/inference.h"
#include "inferwire/sequence.h"
#include "inferwire/testing/fake_clock.h"
#include "support/inference.h"

using inferwire::AccessToken;
using inferwire::BearerToken;
using inferwire::Client;
using inferwire::Future;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::MakeReadyFuture;
using inferwire::OpenInference;
using inferwire::Task;
using inferwire::ThreadPool;
using namespace inferwire_test;  // NOLINT

namespace {

constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;

// Answers unary calls and uploads; says nothing on streams until they are cancelled.
void Serve(RawCall& call) {
  const std::string& method = call.method();
  if (method.ends_with("RunInference")) {
    call.Read();
    call.Write(Answer("a"));
  } else {
    call.WaitForCancel();
  }
}

// What `what` gives in a continuation on a thread that serves gRPC: where the answer was there first, once more.
absl::Status InContinuation(const Client& client, const std::function<absl::Status()>& what) {
  while (true) {
    bool there_first = false;
    auto future = client.Async<&Inference::RunInference>(Text("x")).Then([&](auto) {
      there_first = !inferwire::detail::CurrentThread().serves_grpc;
      return there_first ? absl::OkStatus() : what();
    });
    if (!future.Wait(absl::Seconds(10))) return absl::UnknownError("it hangs");
    absl::Status status = std::move(future).Get().status();
    if (!there_first) return status;
  }
}

BearerToken CountingToken(std::atomic<int>& fetched) {
  return BearerToken(
             [&fetched]() -> absl::StatusOr<AccessToken> { return AccessToken{"t" + std::to_string(++fetched)}; })
      .EvenOverPlaintext();
}

}  // namespace

TEST_CASE("whatever would wait on a thread that serves gRPC says FAILED_PRECONDITION", "[blocking]") {
  RawServer server(Serve);
  const Client client = Connect(server.target(), {.executor = std::make_shared<inferwire::InlineExecutor>()});
  const InferenceClient<OpenInference> tensors(client);
  const InferRequest request{{"x", std::vector<float>{1}, {1}}};
  const std::vector<std::pair<std::string, std::function<absl::Status()>>> waits = {
      {"Future::Get",
       [&] { return client.Async<&Inference::RunInference>(Text("y"), {.timeout = absl::Seconds(5)}).Get().status(); }},
      {"ResponseStream::Read",
       [&] {
         auto stream = client.Stream<&Inference::StreamInference>(Text("y"));
         CHECK_FALSE(stream.Read().has_value());
         return stream.status();
       }},
      {"a loop over a ResponseStream",
       [&] {
         auto stream = client.Stream<&Inference::StreamInference>(Text("y"));
         for (const inference::Response& response : stream) static_cast<void>(response);
         return stream.status();
       }},
      {"RequestStream::Finish", [&] { return client.Upload<&Inference::UploadInference>().Finish().status(); }},
      {"RequestStream::Write",
       [&] {
         auto upload = client.Upload<&Inference::UploadInference>();
         absl::Status status;
         for (int i = 0; i < 100 && status.ok(); ++i) status = upload.Write(Text(std::string(1 << 20, 'x')));
         return status;
       }},
      {"Session::Read",
       [&] {
         auto session = client.Open<&Inference::Converse>();
         CHECK_FALSE(session.Read().has_value());
         return session.status();
       }},
      {"Session::Write",
       [&] {
         auto session = client.Open<&Inference::Converse>();
         absl::Status status;
         for (int i = 0; i < 100 && status.ok(); ++i) status = session.Write(Text(std::string(1 << 20, 'x')));
         return status;
       }},
      {"Session::Finish", [&] { return client.Open<&Inference::Converse>().Finish(); }},
      {"SyncWait of a future",
       [&] {
         const auto task = [&]() -> Task<absl::Status> {
           co_return (co_await client.Async<&Inference::RunInference>(Text("y"))).status();
         };
         return inferwire::SyncWait(task());
       }},
      {"SyncWait of a stream",
       [&] {
         const auto task = [&]() -> Task<absl::Status> {
           auto stream = client.Stream<&Inference::StreamInference>(Text("y"));
           while (co_await stream.Next()) {
           }
           co_return stream.status();
         };
         return inferwire::SyncWait(task());
       }},
      {"SyncWait of writes",
       [&] {
         const auto task = [&]() -> Task<absl::Status> {
           auto session = client.Open<&Inference::Converse>();
           absl::Status status;
           for (int i = 0; i < 100 && status.ok(); ++i) {
             status = co_await session.AsyncWrite(Text(std::string(1 << 20, 'x')));
           }
           co_return status;
         };
         return inferwire::SyncWait(task());
       }},
      {"SyncWait of several tasks",
       [&] {
         const auto task = [&]() -> Task<absl::Status> {
           co_return (co_await client.Async<&Inference::RunInference>(Text("y"))).status();
         };
         std::vector<Task<absl::Status>> tasks;
         tasks.push_back(task());
         tasks.push_back(task());
         return inferwire::SyncWait(inferwire::WhenAll(std::move(tasks))).back();
       }},
      {"WhenAll",
       [&] {
         return inferwire::WhenAll(client.Async<&Inference::RunInference>(Text("y")), MakeReadyFuture<int>(1))
             .Get()
             .status();
       }},
      {"Infer over a shared stream",
       [&] { return tensors.GetModel("m", {.check = false, .over_stream = true}).Infer(request).status(); }},
      {"Sequence::Step", [&] { return tensors.GetModel("m", {.check = false}).Sequence(1).Step(request).status(); }},
      {"Batcher::Infer",
       [&] {
         const inferwire::Batcher batcher(tensors.GetModel("m", {.check = false}));
         return batcher.Infer({{"x", std::vector<float>{1}, {1, 1}}}).status();
       }},
  };
  for (const auto& [name, wait] : waits) {
    INFO(name);
    const absl::Status status = InContinuation(client, wait);
    CHECK(status.code() == kRefused);
    CHECK(Contains(status, "would wait for its own thread"));
    CHECK(client.Call<&Inference::RunInference>(Text("z")).ok());
  }
}

TEST_CASE("a blocking call on a thread that serves gRPC turns a loop of its own, and ends", "[blocking]") {
  RawServer server(Serve);
  std::atomic<int> fetched{0};
  const Client client = Connect(
      server.target(), {.token = CountingToken(fetched), .executor = std::make_shared<inferwire::InlineExecutor>()});
  CHECK(InContinuation(client, [&] { return client.Call<&Inference::RunInference>(Text("y")).status(); }).ok());
}

TEST_CASE("what lent memory may be dropped on a thread that serves gRPC", "[blocking]") {
  RawServer server([](RawCall& call) {
    call.method().ends_with("RunInference") ? Serve(call) : static_cast<void>(call.WaitForCancel());
  });
  const Client client = Connect(server.target(), {.executor = std::make_shared<inferwire::InlineExecutor>()});
  const InferenceClient<OpenInference> tensors(client);
  const auto model = tensors.GetModel("m", {.check = false});
  const std::vector<float> lent(1 << 20, 1.5f);
  const auto request = [&] { return InferRequest{{"x", std::span<const float>(lent), {1 << 20}}}; };
  CHECK(InContinuation(client, [&] {
          {
            const auto dropped = model.AsyncInfer(request());
          }
          return absl::OkStatus();
        }).ok());
  CHECK(InContinuation(client, [&] {
          {
            const auto dropped = model.AsyncInfer(request()).Then([](auto result) { return result; });
          }
          return absl::OkStatus();
        }).ok());
  CHECK(InContinuation(client, [&] {
          // With a header of its own it has a stream of its own, which lends.
          {
            const auto dropped = model.StreamInfer(request(), {.metadata = {{"x-own", "1"}}});
          }
          return absl::OkStatus();
        }).ok());
}

TEST_CASE("a call that waits on the executor's only thread fetches its token there", "[blocking][token]") {
  RawServer server([](RawCall& call) {
    if (call.method().ends_with("StreamInference") || call.method().ends_with("RunInference")) {
      call.Read();
      call.Write(Answer("a"));
    } else {
      while (call.Read()) {
      }
      call.Write(Answer("a"));
    }
  });
  const auto pool = std::make_shared<ThreadPool>(1);
  const std::vector<std::pair<std::string, std::function<absl::Status(const Client&)>>> forms = {
      {"Call", [](const Client& client) { return client.Call<&Inference::RunInference>(Text("x")).status(); }},
      {"Async", [](const Client& client) { return client.Async<&Inference::RunInference>(Text("x")).Get().status(); }},
      {"Wait",
       [](const Client& client) {
         auto future = client.Async<&Inference::RunInference>(Text("x"));
         return future.Wait(absl::Seconds(5)) ? std::move(future).Get().status() : absl::UnknownError("not ready");
       }},
      {"WhenAll",
       [](const Client& client) {
         return std::get<0>(*inferwire::WhenAll(client.Async<&Inference::RunInference>(Text("x"))).Get()).status();
       }},
      {"Stream",
       [](const Client& client) {
         auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = absl::Seconds(5)});
         while (stream.Read().has_value()) {
         }
         return stream.status();
       }},
      {"Upload",
       [](const Client& client) {
         auto upload = client.Upload<&Inference::UploadInference>({.timeout = absl::Seconds(5)});
         absl::Status status;
         for (int i = 0; i < 40 && status.ok(); ++i) status = upload.Write(Text(std::string(1 << 20, 'x')));
         return status.ok() ? upload.Finish().status() : status;
       }},
      {"Open",
       [](const Client& client) { return client.Open<&Inference::Converse>({.timeout = absl::Seconds(5)}).Finish(); }},
      {"SyncWait",
       [](const Client& client) {
         const auto task = [&]() -> Task<absl::Status> {
           absl::Status status = (co_await client.Async<&Inference::RunInference>(Text("x"))).status();
           auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = absl::Seconds(5)});
           while (co_await stream.Next()) {
           }
           co_return status.ok() ? stream.status() : status;
         };
         return inferwire::SyncWait(task());
       }},
  };
  for (const auto& [name, form] : forms) {
    INFO(name);
    std::atomic<int> fetched{0};
    const Client client =
        Connect(server.target(), {.timeout = absl::Seconds(5), .token = CountingToken(fetched), .executor = pool});
    auto future = MakeReadyFuture<int>(1).Then(pool, [&](absl::StatusOr<int>) { return form(client); });
    REQUIRE(future.Wait(absl::Seconds(10)));
    CHECK(std::move(future).Get().status() == absl::OkStatus());
    CHECK(fetched == 1);
  }
}

TEST_CASE("many continuations that wait for calls without a token on all threads share one fetch",
          "[blocking][token]") {
  RawServer server(Serve);
  const auto pool = std::make_shared<ThreadPool>(4);
  std::atomic<int> fetched{0};
  const Client client =
      Connect(server.target(), {.timeout = absl::Seconds(5), .token = CountingToken(fetched), .executor = pool});
  std::vector<Future<std::monostate>> futures;
  for (int i = 0; i < 16; ++i) {
    futures.push_back(MakeReadyFuture<int>(1).Then(
        pool, [&](absl::StatusOr<int>) { return client.Call<&Inference::RunInference>(Text("x")).status(); }));
  }
  for (auto& future : futures) CHECK(std::move(future).Get().status() == absl::OkStatus());
  CHECK(fetched == 1);
}

TEST_CASE("a function that fetches a token by calls that need it ends them", "[blocking][token]") {
  RawServer server(Serve);
  std::optional<Client> client;
  std::atomic<int> fetched{0};
  client = Connect(server.target(), {.timeout = absl::Seconds(5),
                                     .token = BearerToken([&]() -> absl::StatusOr<AccessToken> {
                                                ++fetched;
                                                auto reply = client->Call<&Inference::RunInference>(Text("x"));
                                                if (!reply.ok()) return reply.status();
                                                return AccessToken{"never"};
                                              }).EvenOverPlaintext()});
  const absl::Status status = client->Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kUnauthenticated);
  CHECK(Contains(status, "makes calls with it"));
  CHECK(fetched == 1);
}

TEST_CASE("a stream that is read on the executor's only thread goes on there where it broke", "[blocking][stream]") {
  std::atomic<int> calls{0};
  RawServer server([&](RawCall& call) {
    const auto request = call.Read();
    if (!request.has_value()) return;
    const int from = std::stoi(TextOf(*request));
    ++calls;
    call.Write(Answer(std::to_string(from)));
    if (from < 2) call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"));
  });
  const auto pool = std::make_shared<ThreadPool>(1);
  const auto resume = [](const inference::Request&, const inference::Response& last) {
    return Text(std::to_string(std::stoi(last.text()) + 1));
  };
  const auto connect = [&] {  // each with a budget of its own for retries
    return Connect(server.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}, .executor = pool});
  };
  const auto read = [&](absl::StatusOr<int>) -> absl::StatusOr<int> {
    const Client client = connect();
    auto stream = client.Stream<&Inference::StreamInference>(Text("0"), {.timeout = absl::Seconds(5)}, resume);
    int messages = 0;
    while (stream.Read().has_value()) ++messages;
    if (!stream.status().ok()) return stream.status();
    return messages;
  };
  const auto await = [&]() -> Task<absl::StatusOr<int>> {
    const Client client = connect();
    auto stream = client.Stream<&Inference::StreamInference>(Text("0"), {.timeout = absl::Seconds(5)}, resume);
    int messages = 0;
    while (co_await stream.Next()) ++messages;
    if (!stream.status().ok()) co_return stream.status();
    co_return messages;
  };
  for (int round = 0; round < 5; ++round) {
    auto blocks = MakeReadyFuture<int>(1).Then(pool, read);
    REQUIRE(blocks.Wait(absl::Seconds(10)));
    CHECK(std::move(blocks).Get().value() == 3);
    auto waits = MakeReadyFuture<int>(1).Then(pool, [&](absl::StatusOr<int>) { return inferwire::SyncWait(await()); });
    REQUIRE(waits.Wait(absl::Seconds(10)));
    CHECK(std::move(waits).Get().value() == 3);
  }
}

TEST_CASE("calls that have ended do not wait for a token that is not fetched, and keep nothing", "[blocking][token]") {
  RawServer server(Serve);
  Event go;
  const BearerToken token = BearerToken([&]() -> absl::StatusOr<AccessToken> {
                              go.Wait();
                              return AccessToken{"late"};
                            }).EvenOverPlaintext();
  const auto kept = std::make_shared<int>(1);
  {
    const Client client = Connect(server.target());
    inferwire::RetryPolicy retry;
    retry.retry_if = [kept](const absl::Status&) { return false; };
    for (int i = 0; i < 100; ++i) {
      auto future = client.Async<&Inference::RunInference>(Text("x"), {.token = token, .retry = retry});
      future.Cancel();
      CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
      {
        const auto dropped = client.Async<&Inference::RunInference>(Text("x"), {.token = token, .retry = retry});
      }
      auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.token = token, .retry = retry});
      CHECK(stream.Finish().code() == absl::StatusCode::kCancelled);
      CHECK(client
                .Call<&Inference::RunInference>(Text("x"),
                                                {.timeout = absl::Microseconds(1), .token = token, .retry = retry})
                .status()
                .code() == absl::StatusCode::kDeadlineExceeded);
    }
    retry = {};
    CHECK(kept.use_count() == 1);
  }
  go.Set();
}

TEST_CASE("first_message_timeout counts while a token is fetched", "[blocking][token][stream]") {
  RawServer server(Serve);
  Event go;
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const Client client = Connect(server.target(), {.token = BearerToken([&]() -> absl::StatusOr<AccessToken> {
                                                             go.Wait();
                                                             return AccessToken{"late"};
                                                           }).EvenOverPlaintext(),
                                                  .clock = clock});
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.first_message_timeout = absl::Seconds(3)});
  clock->Advance(absl::Seconds(3));
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(Contains(stream.status(), "first_message_timeout of 3s"));
  go.Set();
}
