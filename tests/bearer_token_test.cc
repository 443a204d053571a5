// SPDX-License-Identifier: Apache-2.0
#include "inferwire/bearer_token.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "inferwire/testing/fake_server.h"
#include "support/inference.h"

using inferwire::AccessToken;
using inferwire::BearerToken;
using inferwire::CallInfo;
using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::InfoOf;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {
// The header "authorization" of each call.
std::vector<std::string> Sent(const FakeServer& fake) {
  std::vector<std::string> out;
  for (const inferwire::Metadata& metadata : fake.metadata<&Inference::RunInference>()) {
    std::string value;
    for (const auto& [key, text] : metadata) {
      if (key == "authorization") value += text;
    }
    out.push_back(value);
  }
  return out;
}
}  // namespace

TEST_CASE("a token goes with every attempt, and is fetched once", "[token]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::UnavailableError("warming up")).Times(1).Then().Reply(Response("a"));
  std::atomic<int> fetched{0};
  const Client client = Connect(fake.target(), {.token = BearerToken([&]() -> absl::StatusOr<AccessToken> {
                                                           return AccessToken{"secret-" + std::to_string(++fetched)};
                                                         }).EvenOverPlaintext()});
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(client.Async<&Inference::RunInference>(Text("x")).Get().ok());
  CHECK(Sent(fake) == std::vector<std::string>(3, "Bearer secret-1"));
  CHECK(fetched == 1);
}

TEST_CASE("a call's own token stands in for the client's", "[token]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  const Client client = Connect(fake.target(), {.token = BearerToken("common").EvenOverPlaintext()});
  CHECK(client.Call<&Inference::RunInference>(Text("x"), {.token = BearerToken("own").EvenOverPlaintext()}).ok());
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(Sent(fake) == std::vector<std::string>{"Bearer own", "Bearer common"});
}

TEST_CASE("a token that can never be sent ends its calls, which say what is wrong with it", "[token]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  const Client client = Connect(fake.target());
  for (const auto& [value, why] : {std::pair{"secret\n", "ends with a line break"},
                                   {"secret\r\n", "ends with a line break"},
                                   {"sec\nret", "printable ASCII"},
                                   {"", "is empty"}}) {
    const BearerToken token = BearerToken(value).EvenOverPlaintext();
    const absl::Status status = client.Call<&Inference::RunInference>(Text("x"), {.token = token}).status();
    CHECK(status.code() == absl::StatusCode::kUnauthenticated);
    CHECK(Contains(status, why));
    CHECK_FALSE(Contains(status, "-bin"));
    CHECK(status.ToString().find("secret") == std::string::npos);
  }
  CHECK(fake.calls<&Inference::RunInference>() == 0);
}

TEST_CASE("a token does not go over plaintext unless that is forced by name", "[token]") {
  const absl::Status status =
      Client::Create({.targets = {"localhost:1"}, .credentials = inferwire::Insecure(), .token = BearerToken("secret")})
          .status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(status, "EvenOverPlaintext"));
  CHECK_FALSE(Client::Create({.targets = {"localhost:1"}, .token = BearerToken("secret")}).status().code() ==
              absl::StatusCode::kInvalidArgument);
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  const Client client = Connect(fake.target());
  const absl::Status call = client.Call<&Inference::RunInference>(Text("x"), {.token = BearerToken("secret")}).status();
  CHECK(call.code() == absl::StatusCode::kInvalidArgument);
  CHECK(fake.calls<&Inference::RunInference>() == 0);
}

TEST_CASE("a token that is about to expire is fetched anew while calls go on with it", "[token]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  Event go;
  std::atomic<int> fetched{0};
  const Client client = Connect(
      fake.target(), {.token = BearerToken([&]() -> absl::StatusOr<AccessToken> {
                                 const int number = ++fetched;
                                 if (number > 1) go.Wait();
                                 // Within the last fifth of its life soon.
                                 return AccessToken{"t" + std::to_string(number),
                                                    absl::Now() + (number == 1 ? absl::Seconds(5) : absl::Hours(1))};
                               }).EvenOverPlaintext()});
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
  // The second fetch is stuck, and nobody waits for it.
  while (fetched < 2) REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(Sent(fake).back() == "Bearer t1");
  go.Set();
  while (Sent(fake).back() != "Bearer t2") REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(fetched == 2);
}

TEST_CASE("where no token can be had, calls end with UNAUTHENTICATED and the reason", "[token]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  std::atomic<int> fetched{0};
  const Client client = Connect(fake.target(), {.token = BearerToken([&]() -> absl::StatusOr<AccessToken> {
                                                           if (++fetched == 1) return absl::UnavailableError("no line");
                                                           return AccessToken{"later"};
                                                         }).EvenOverPlaintext()});
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kUnauthenticated);
  CHECK(Contains(status, "no bearer token: no line"));
  CHECK(fake.calls<&Inference::RunInference>() == 0);
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
}

TEST_CASE("a call that waits for its token ends at its deadline, or when it is cancelled", "[token]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  auto go = std::make_shared<Event>();
  const Client client = Connect(fake.target(), {.token = BearerToken([go]() -> absl::StatusOr<AccessToken> {
                                                           go->Wait();
                                                           return AccessToken{"late"};
                                                         }).EvenOverPlaintext()});
  const absl::Status late =
      client.Call<&Inference::RunInference>(Text("x"), {.timeout = absl::Milliseconds(50)}).status();
  CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
  auto future = client.Async<&Inference::RunInference>(Text("x"));
  future.Cancel();
  CHECK(std::move(future).Get().status().code() == absl::StatusCode::kCancelled);
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  CHECK(stream.Finish().code() == absl::StatusCode::kCancelled);
  go->Set();
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(fake.calls<&Inference::RunInference>() == 1);
}

TEST_CASE("a server's UNAUTHENTICATED has the next call fetch a new token", "[token]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::UnauthenticatedError("revoked")).Times(1).Then().Reply(Response("a"));
  std::atomic<int> fetched{0};
  const Client client = Connect(fake.target(), {.token = BearerToken([&]() -> absl::StatusOr<AccessToken> {
                                                           return AccessToken{"t" + std::to_string(++fetched)};
                                                         }).EvenOverPlaintext()});
  CHECK(client.Call<&Inference::RunInference>(Text("x")).status().code() == absl::StatusCode::kUnauthenticated);
  CHECK(client.Call<&Inference::RunInference>(Text("x")).ok());
  CHECK(Sent(fake) == std::vector<std::string>{"Bearer t1", "Bearer t2"});
}

TEST_CASE("many calls share one fetch", "[token]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  std::atomic<int> fetched{0};
  Event go;
  const Client client = Connect(fake.target(), {.token = BearerToken([&]() -> absl::StatusOr<AccessToken> {
                                                           ++fetched;
                                                           go.Wait();
                                                           return AccessToken{"one"};
                                                         }).EvenOverPlaintext()});
  std::vector<inferwire::Future<inference::Response>> futures;
  for (int i = 0; i < 100; ++i) futures.push_back(client.Async<&Inference::RunInference>(Text("x")));
  go.Set();
  for (auto& future : futures) CHECK(std::move(future).Get().ok());
  CHECK(fetched == 1);
}

TEST_CASE("a token is in no status and in nothing that an observer sees", "[token]") {
  struct Watcher : inferwire::Observer, std::enable_shared_from_this<Watcher> {
    struct One : inferwire::CallObserver {
      explicit One(Watcher& all) : watcher(all) {}
      void AttemptStarted(const AttemptStart& start, inferwire::Metadata& metadata) override {
        watcher.Note(std::string(start.target));
        for (const auto& [key, value] : metadata) watcher.Note(key + value);
      }
      void AttemptEnded(int, const CallInfo::Attempt& attempt) override {
        watcher.Note(attempt.message + attempt.peer + attempt.target);
      }
      void Ended(const absl::Status& status, const CallInfo& info) override {
        watcher.Note(status.ToString());
        for (const auto& [key, value] : info.trailing_metadata) watcher.Note(key + value);
        for (const auto& [key, value] : info.initial_metadata) watcher.Note(key + value);
      }
      Watcher& watcher;
    };
    std::unique_ptr<inferwire::CallObserver> CallStarted(const CallStart& start) override {
      Note(std::string(start.method));
      return std::make_unique<One>(*this);
    }
    void Note(const std::string& text) {
      std::lock_guard lock(mutex);
      seen += text;
    }
    std::mutex mutex;
    std::string seen;
  };
  FakeServer fake;
  fake.On<&Inference::RunInference>().Fail(absl::UnavailableError("busy"));
  for (const std::string& value : {std::string("SECRET"), std::string("SECRET\nwith a line feed"), std::string()}) {
    const auto watcher = std::make_shared<Watcher>();
    const Client client = Connect(fake.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)},
                                                  .token = BearerToken(value).EvenOverPlaintext(),
                                                  .observer = watcher});
    const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
    CHECK_FALSE(status.ok());
    if (value != "SECRET") CHECK(status.code() == absl::StatusCode::kUnauthenticated);
    CHECK(status.ToString().find("SECRET") == std::string::npos);
    for (const CallInfo::Attempt& attempt : InfoOf(status).attempts) {
      CHECK(attempt.message.find("SECRET") == std::string::npos);
    }
    CHECK(watcher->seen.find("SECRET") == std::string::npos);
    CHECK_FALSE(watcher->seen.empty());
  }
}

TEST_CASE("an expired token is as good as none", "[token]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Reply(Response("a"));
  const Client client = Connect(fake.target(), {.token = BearerToken([]() -> absl::StatusOr<AccessToken> {
                                                           return AccessToken{"old", absl::Now() - absl::Seconds(1)};
                                                         }).EvenOverPlaintext()});
  CHECK(Contains(client.Call<&Inference::RunInference>(Text("x")).status(), "expired already"));
}
