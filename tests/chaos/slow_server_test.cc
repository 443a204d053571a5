// SPDX-License-Identifier: Apache-2.0
//
// Servers that are slow on connections that live: nobody is to think otherwise, nor to leave them.
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/detail/testing/relay.h"
#include "support/inference.h"
#include "support/slow.h"

using inferwire::Client;
using inferwire::testing::Relay;
using namespace inferwire_test;  // NOLINT

namespace {

constexpr absl::Duration kTime = absl::Seconds(kSlow ? 4 : 1);

using Form = std::function<absl::Status(const Client&)>;

std::vector<std::pair<std::string, Form>> Forms() {
  return {
      {"Call",
       [](const Client& client) {
         return client.Call<&Inference::RunInference>(Text("x"), {.timeout = kTime}).status();
       }},
      {"Call, once",
       [](const Client& client) {
         return client.Call<&Inference::RunInference>(Text("x"), {.timeout = kTime, .idempotent = false}).status();
       }},
      {"Async",
       [](const Client& client) {
         return client.Async<&Inference::RunInference>(Text("x"), {.timeout = kTime}).Get().status();
       }},
      {"Stream",
       [](const Client& client) {
         auto responses = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = kTime});
         while (responses.Read()) {
         }
         return responses.status();
       }},
      {"Stream, idle",
       [](const Client& client) {
         auto responses = client.Stream<&Inference::StreamInference>(Text("x"), {.idle_timeout = kTime});
         while (responses.Read()) {
         }
         return responses.status();
       }},
      {"Open",
       [](const Client& client) {
         auto session = client.Open<&Inference::Converse>({.idle_timeout = kTime});
         session.Write(Text("x")).IgnoreError();
         session.Read();
         return session.Finish();
       }},
      {"Upload",
       [](const Client& client) {
         auto upload = client.Upload<&Inference::UploadInference>({.idle_timeout = kTime});
         upload.Write(Text("x")).IgnoreError();
         return upload.Finish().status();
       }},
  };
}

// A server behind a relay: the connections that calls came by are told apart by the relay's own.
class Server {
 public:
  // `single`: it answers health checks only when no call is in its way, as a server with one thread does.
  explicit Server(bool single) : single_(single) {}

  Relay& relay() { return relay_; }
  std::string target() const { return "127.0.0.1:" + std::to_string(relay_.port()); }
  // While it is, calls are not answered.
  void set_slow(bool slow) {
    std::lock_guard lock(mutex_);
    slow_ = slow;
    changed_.notify_all();
  }
  std::vector<std::string> peers() {
    std::lock_guard lock(mutex_);
    return peers_;
  }

 private:
  void Serve(RawCall& call) {
    const bool health = call.method().find("grpc.health") != std::string::npos;
    std::unique_lock lock(mutex_);
    if (!health) peers_.emplace_back(call.context().peer());
    if (!health || single_) changed_.wait(lock, [&] { return !slow_; });
    lock.unlock();
    if (health) return call.Finish({grpc::StatusCode::UNIMPLEMENTED, "no health service"});
    Echo(call);
  }

  const bool single_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool slow_ = false;
  std::vector<std::string> peers_;
  RawServer server_{RawServer::WithChecks{}, [this](RawCall& call) { Serve(call); }};
  Relay relay_{std::stoi(server_.target().substr(server_.target().rfind(':') + 1))};
};

// So that the connection is not a new one, which nobody doubts.
void Age() { std::this_thread::sleep_for(std::chrono::milliseconds(600)); }

// Of each form, a call that is answered, one that is late while the server is slow, and one that is answered again, all
// by one connection. `check` has what was said of the late one, once all are over.
template <class Check>
void EachLateCallKeepsItsConnection(bool single, Check check) {
  for (const auto& [name, form] : Forms()) {
    CAPTURE(name);
    Server server(single);
    const Client client = Connect(server.target());
    REQUIRE(form(client).ok());
    Age();
    server.set_slow(true);
    const absl::Status late = form(client);
    INFO(late.ToString());
    CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(late.message().find("replaced") == std::string::npos);
    server.set_slow(false);
    CHECK(form(client).ok());
    CHECK(server.peers() == std::vector<std::string>(3, server.peers().front()));
    check(server, late);
  }
}

}  // namespace

TEST_CASE("a call that a slow model does not answer in time doubts no connection", "[silent]") {
  EachLateCallKeepsItsConnection(/*single=*/false, [](Server& server, const absl::Status& late) {
    CHECK(late.message().find("nothing was received") == std::string::npos);  // the answer to a question was
    CHECK(server.relay().accepted() == 1);
  });
}

TEST_CASE("a server that answers nobody while its model runs keeps its connection", "[silent]") {
  EachLateCallKeepsItsConnection(/*single=*/true, [](Server& server, const absl::Status& late) {
    // On a busy machine the server may come to the deadline first, and say so.
    if (late.message().find("; the server said") == std::string::npos) {
      CHECK(Contains(late, "; nothing was received from " + server.target() + " for "));
    }
  });
}

TEST_CASE("calls with little time, one after another, find out together that their connection is dead", "[silent]") {
  Server server(/*single=*/false);
  const Client client = Connect(server.target(), {.idempotent = false});
  const auto call = [&](absl::Duration timeout) {
    return client.Call<&Inference::RunInference>(Text("x"), {.timeout = timeout}).status();
  };
  REQUIRE(call(absl::Seconds(10)).ok());
  Age();
  server.relay().Forget();
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(kSlow ? 60 : 20);
  int calls = 0;
  while (!call(absl::Milliseconds(kSlow ? 900 : 90)).ok() && std::chrono::steady_clock::now() < patience) ++calls;
  INFO(calls);
  CHECK(call(absl::Seconds(10)).ok());
  CHECK(server.relay().accepted() == 2);
}
