// SPDX-License-Identifier: Apache-2.0
//
// Calls that belong together go to one server, and tell gateways so.
#include <absl/status/status.h>
#include <absl/time/time.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/client.h"
#include "inferwire/inference.grpc.pb.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"

using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {
struct AffinityWorld {
  explicit AffinityWorld(inferwire::ClientOptions options = {}) : client(Make(std::move(options))) {}
  inferwire::Client Make(inferwire::ClientOptions options) {
    for (auto& server : servers) {
      server = std::make_unique<FakeServer>();
      server->On<&Inference::RunInference>().Reply(Response("x"));
      options.targets.push_back(server->target());
    }
    options.credentials = inferwire::Insecure();
    options.retry.initial_backoff = absl::Milliseconds(1);
    auto made = inferwire::Client::Create(std::move(options));
    REQUIRE(made.ok());
    return *std::move(made);
  }
  std::string Ask(const std::string& key) {
    inferwire::CallInfo info;
    const auto reply = client.Call<&Inference::RunInference>(Text("x"), {.info = &info, .affinity = key});
    INFO(reply.status());
    CHECK(reply.ok());
    return info.attempts.empty() ? "" : info.attempts.back().target;
  }
  std::unique_ptr<FakeServer> servers[3];
  inferwire::Client client;
};
}  // namespace

TEST_CASE("calls of one key go to one server, and elsewhere when it is gone", "[affinity]") {
  AffinityWorld world;
  std::map<std::string, std::string> owners;
  std::set<std::string> used;
  for (int i = 0; i < 20; ++i) {
    const std::string key = "session-" + std::to_string(i);
    owners[key] = world.Ask(key);
    used.insert(owners[key]);
    CHECK(world.Ask(key) == owners[key]);
  }
  CHECK(used.size() == 3);
  const std::string gone = world.servers[0]->target();
  world.servers[0].reset();
  for (const auto& [key, owner] : owners) {
    const std::string now = world.Ask(key);
    CHECK(now != gone);
    if (owner != gone) CHECK(now == owner);
    CHECK(world.Ask(key) == now);
  }
}

TEST_CASE("a gateway is told the key, and what it answers is sent from then on", "[affinity]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Header("x-session-token", "t-1").Reply(Response("x"));
  auto client = inferwire::Client::Create(
      {.targets = {fake.target()}, .credentials = inferwire::Insecure(), .affinity_header = "x-session-token"});
  REQUIRE(client.ok());
  const auto ask = [&](inferwire::CallOptions options) {
    return client->Call<&Inference::RunInference>(Text("x"), std::move(options)).status();
  };
  CHECK(ask({.affinity = "a"}).ok());
  CHECK(ask({.affinity = "a"}).ok());
  CHECK(ask({.affinity = "b"}).ok());
  CHECK(ask({}).ok());
  CHECK(ask({.metadata = {{"x-session-token", "own"}}, .affinity = "a"}).ok());
  std::vector<std::string> sent;
  for (const inferwire::Metadata& metadata : fake.metadata<&Inference::RunInference>()) {
    std::string all;
    for (const auto& [key, value] : metadata) all += key == "x-session-token" ? value + ";" : "";
    sent.push_back(all);
  }
  CHECK(sent == std::vector<std::string>{"a;", "t-1;", "b;", "", "own;"});
  const absl::Status wrong = ask({.affinity = "line\nbreak"});
  CHECK(wrong.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(wrong, "x-session-token"));
  CHECK(Contains(inferwire::Client::Create({.targets = {"a:1"}, .affinity_header = "Upper"}).status(),
                 "affinity_header"));
}
