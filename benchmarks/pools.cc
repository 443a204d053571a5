// SPDX-License-Identifier: Apache-2.0
//
// Which connection a call takes, and how soon a server that was away is used again.
#include <inferwire/detail/channel/pool.h>
#include <inferwire/testing/fake_server.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "simple.h"

namespace bench {
namespace {

// A pick and its verdict, without a call: from as many targets as that.
struct OursPick final : Way {
  explicit OursPick(int targets)
      : connector({grpc::InsecureChannelCredentials(), "picks"}, {}, {}, 1000),
        pool(connector.Connect(Targets(targets)), inferwire::TargetOrder::kBalanced, {}) {}
  static std::vector<std::string> Targets(int count) {
    std::vector<std::string> out;
    for (int i = 0; i < count; ++i) out.push_back("target" + std::to_string(i) + ":1");
    return out;
  }
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      std::uint64_t state = 1;
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        auto lease = pool.Pick(nullptr, from, [&] {
          state = state * 6364136223846793005U + 1442695040888963407U;
          return static_cast<double>(state >> 11) * 0x1p-53;
        });
        lease.Release(inferwire::detail::channel::Outcome::kAnswered, absl::Microseconds(100), from);
        latencies.Add(from);
      }
    });
  }
  inferwire::detail::channel::Connector connector;
  inferwire::detail::channel::Pool pool;
};

// How long after a server listens again a call is answered: it dies and comes back on the benchmarks' own server's
// port, which its relay closes and opens. Each "call" is one such time.
struct OursRecovery final : Way {
  explicit OursRecovery(const Aim&) {}
  void Make(int calls, int, Latencies& latencies) override {
    for (int i = 0; i < calls; ++i) {
      inferwire::testing::FakeServer server;
      server.On<&Stub::RunInference>().Reply(inference::Response());
      const auto client = *inferwire::Client::Create(
          {.targets = {server.target()}, .credentials = inferwire::Insecure(), .retry = {.max_attempts = 1}});
      Expect(client.Call<&Stub::RunInference>(SmallRequest()).status());
      server.Stop();
      const auto down = Clock::now() + std::chrono::seconds(3);  // so that gRPC's own backoff has grown
      while (Clock::now() < down) {
        if (client.Call<&Stub::RunInference>(SmallRequest()).ok()) Give("a server that is down has answered");
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      server.Start();
      const auto from = Clock::now();
      while (!client.Call<&Stub::RunInference>(SmallRequest()).ok()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      latencies.Add(from);
    }
  }
};

}  // namespace

void AddPools(Ways& ways) {
  for (const int targets : {1, 3, 100}) {
    ways["ours_pick" + std::to_string(targets)] = [targets](const Aim&) { return std::make_unique<OursPick>(targets); };
  }
  ways["ours_recovery"] = Make<OursRecovery>();
}

}  // namespace bench
