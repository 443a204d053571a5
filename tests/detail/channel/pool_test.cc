// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/channel/pool.h"

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "inferwire/client.h"
#include "inferwire/testing/fake_clock.h"
#include "inferwire/testing/fake_server.h"
#include "support/inference.h"
#include "support/sockets.h"

using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::OutlierPolicy;
using inferwire::PoolPolicy;
using inferwire::TargetOrder;
using inferwire::TimePoint;
using inferwire::detail::channel::Connector;
using inferwire::detail::channel::Lease;
using inferwire::detail::channel::Outcome;
using inferwire::detail::channel::Pool;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {
const TimePoint kStart = TimePoint() + std::chrono::hours(1);

// A pool whose connections nobody uses, under a policy of its own so that no other test shares them.
struct Bench {
  explicit Bench(std::vector<std::string> targets, TargetOrder order = TargetOrder::kBalanced, PoolPolicy policy = {},
                 OutlierPolicy outliers = {})
      : connector({grpc::InsecureChannelCredentials(), "test " + std::to_string(++count)}, policy, {}, 1000),
        pool(connector.Connect(targets), order, outliers) {}
  Lease Pick(TimePoint now = kStart, const inferwire::detail::channel::Target* avoid = nullptr) {
    return pool.Pick(avoid, now, [this] { return unit(generator); });
  }
  static inline int count = 0;
  std::mt19937 generator{1};
  std::uniform_real_distribution<double> unit{0, 1};
  Connector connector;
  Pool pool;
};
std::vector<std::string> Targets(int count) {
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) out.push_back("target" + std::to_string(i) + ":1");
  return out;
}
}  // namespace

TEST_CASE("a slow target gets little, a failing one nothing while it fails", "[channel]") {
  Bench bench(Targets(3), TargetOrder::kBalanced, {}, {.consecutive_failures = 0, .failure_rate = 1});
  std::map<std::string, int> shares;
  TimePoint now = kStart;
  for (int i = 0; i < 3000; ++i) {
    now += milliseconds(1);
    Lease lease = bench.Pick(now);
    ++shares[lease.target()];
    if (lease.target() == "target0:1") {
      lease.Release(Outcome::kAnswered, absl::Milliseconds(50), now);
    } else if (lease.target() == "target1:1") {
      lease.Release(Outcome::kFailed, absl::Microseconds(10), now);  // fast at failing
    } else {
      lease.Release(Outcome::kAnswered, absl::Milliseconds(1), now);
    }
  }
  CHECK(shares["target2:1"] > 1500);
  CHECK(shares["target1:1"] < 40);
}

TEST_CASE("a target in a row of failures is ejected, probed, and used again", "[channel]") {
  Bench bench(Targets(4));
  TimePoint now = kStart;
  int bad = 0;
  for (int i = 0; i < 1000; ++i) {
    now += milliseconds(100);
    Lease lease = bench.Pick(now);
    const bool failing = lease.target() == "target0:1";
    bad += failing ? 1 : 0;
    lease.Release(failing ? Outcome::kFailed : Outcome::kAnswered, absl::Milliseconds(1), now);
  }
  CHECK(bad < 40);
  CHECK(bad >= 8);  // the probes
  now += seconds(31);
  int good = 0;
  for (int i = 0; i < 1000; ++i) {
    now += milliseconds(100);
    Lease lease = bench.Pick(now);
    good += lease.target() == "target0:1" ? 1 : 0;
    lease.Release(Outcome::kAnswered, absl::Milliseconds(1), now);
  }
  CHECK(good > 100);
}

TEST_CASE("no more than a share of the targets is ejected, and somebody is always picked", "[channel]") {
  Bench bench(Targets(4));
  TimePoint now = kStart;
  for (int i = 0; i < 500; ++i) {
    now += milliseconds(1);
    bench.Pick(now).Release(Outcome::kFailed, absl::Milliseconds(1), now);
    int ejected = 0;
    for (const auto& target : bench.pool.targets()) ejected += target->outlier.ejected() ? 1 : 0;
    REQUIRE(ejected <= 2);
  }
  Bench one(Targets(1));
  for (int i = 0; i < 50; ++i) one.Pick().Release(Outcome::kFailed, std::nullopt, kStart);
  CHECK_FALSE(one.pool.targets()[0]->outlier.ejected());
}

TEST_CASE("in order of priority the first good target gets everything", "[channel]") {
  Bench bench(Targets(3), TargetOrder::kPriority);
  for (int i = 0; i < 20; ++i) {
    Lease lease = bench.Pick();
    CHECK(lease.target() == "target0:1");
    lease.Release(Outcome::kAnswered, absl::Milliseconds(1), kStart);
  }
  bench.Pick().Release(Outcome::kUnreached, std::nullopt, kStart);
  CHECK(bench.Pick(kStart + milliseconds(10)).target() == "target1:1");
  CHECK(bench.Pick(kStart + milliseconds(600)).target() == "target0:1");  // and back
  CHECK(bench.Pick(kStart + milliseconds(600), bench.pool.targets()[0].get()).target() == "target1:1");
}

TEST_CASE("a connection is added when all are full, up to the maximum, and taken back when it is not needed",
          "[channel]") {
  Bench bench(Targets(1), TargetOrder::kBalanced,
              {.min_channels = 1, .max_channels = 3, .max_streams_per_channel = 10, .idle_timeout = absl::Seconds(5)});
  const auto endpoint = bench.pool.targets()[0]->endpoint;
  std::vector<Lease> leases;
  for (int i = 0; i < 10; ++i) leases.push_back(bench.Pick());
  CHECK(endpoint->active() == 1);
  leases.push_back(bench.Pick());
  CHECK(endpoint->active() == 2);
  for (int i = 0; i < 29; ++i) leases.push_back(bench.Pick());
  CHECK(endpoint->active() == 3);  // full, and beyond
  std::map<const void*, int> loads;
  for (const Lease& lease : leases) ++loads[&lease.channel()];
  for (const auto& [channel, load] : loads) CHECK(load >= 10);
  leases.clear();
  CHECK(endpoint->load().in_flight() == 0);
  bench.Pick(kStart + seconds(6));
  CHECK(endpoint->active() == 2);
  bench.Pick(kStart + seconds(12));
  CHECK(endpoint->active() == 1);
  for (int i = 0; i < 10; ++i) bench.Pick(kStart + seconds(20 * i));
  CHECK(endpoint->active() == 1);
}

TEST_CASE("targets are replaced while threads pick", "[channel]") {
  Bench bench(Targets(3));
  std::atomic<bool> over{false};
  std::atomic<int> picks{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 generator(static_cast<unsigned>(t));
      std::uniform_real_distribution<double> unit(0, 1);
      while (!over) {
        Lease lease = bench.pool.Pick(nullptr, kStart, [&] { return unit(generator); });
        lease.Release(Outcome::kAnswered, absl::Milliseconds(1), kStart);
        ++picks;
      }
    });
  }
  for (int i = 0; i < 200; ++i) bench.pool.Replace(bench.connector.Connect(Targets(1 + i % 5)), kStart);
  while (picks < 1000) std::this_thread::yield();
  over = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(bench.pool.size() == 5);
}

TEST_CASE("a target that stays keeps what is known of it", "[channel]") {
  Bench bench(Targets(2));
  const auto before = bench.pool.targets();
  bench.pool.Replace(bench.connector.Connect({"target1:1", "target7:1", "target1:1"}), kStart);
  const auto after = bench.pool.targets();
  REQUIRE(after.size() == 2);
  CHECK(after[0] == before[1]);
}

TEST_CASE("a target that comes back takes its share by and by", "[channel]") {
  Bench bench(Targets(2), TargetOrder::kBalanced, {}, {.slow_start = absl::Seconds(10)});
  const auto back = bench.pool.targets()[0];
  bench.pool.SetHealth(*back, false, kStart);
  for (int i = 0; i < 100; ++i) CHECK(bench.Pick(kStart).target() == "target1:1");
  bench.pool.SetHealth(*back, true, kStart);
  const auto share = [&](TimePoint now) {
    int out = 0;
    for (int i = 0; i < 1000; ++i) {
      Lease lease = bench.Pick(now);
      out += lease.target() == "target0:1" ? 1 : 0;
    }
    return out / 1000.0;
  };
  // Of two alike each has its turn: half of the time, times the share that it is given.
  CHECK(share(kStart + milliseconds(1)) == Approx(0.05).margin(0.03));
  CHECK(share(kStart + seconds(5)) == Approx(0.25).margin(0.06));
  CHECK(share(kStart + seconds(10)) == Approx(0.5).margin(0.08));
  CHECK(share(kStart + seconds(100)) == Approx(0.5).margin(0.08));
}

TEST_CASE("the slow start holds for what was down or ejected or is new, and for no client's first targets",
          "[channel]") {
  Bench bench(Targets(2), TargetOrder::kBalanced, {}, {.slow_start = absl::Seconds(10)});
  constexpr TimePoint kWarm = TimePoint::min();
  for (const auto& target : bench.pool.targets()) CHECK(target->cold_since.load() == kWarm);
  const auto down = bench.pool.targets()[0];
  const auto fail = [&](int times) {
    for (int i = 0; i < times;) {
      Lease lease = bench.Pick(kStart, bench.pool.targets()[1].get());
      if (lease.id() != down.get()) continue;
      lease.Release(Outcome::kUnreached, std::nullopt, kStart);
      ++i;
    }
    bench.Pick(kStart, bench.pool.targets()[1].get()).Release(Outcome::kAnswered, std::nullopt, kStart);
  };
  fail(1);
  CHECK(down->cold_since.load() == kWarm);  // a stumble
  fail(4);
  CHECK(down->cold_since.load() == kStart);
  bench.pool.Replace(bench.connector.Connect({"target1:1", "new:1"}), kStart);
  CHECK(bench.pool.targets()[0]->cold_since.load() == kWarm);
  CHECK(bench.pool.targets()[1]->cold_since.load() == kStart);
  bench.pool.Replace(bench.connector.Connect({"another:1", "newer:1"}), kStart + seconds(1));
  for (const auto& target : bench.pool.targets()) CHECK(target->cold_since.load() == kWarm);
}

TEST_CASE("with too few targets left all are used", "[channel]") {
  Bench bench(Targets(4), TargetOrder::kBalanced, {}, {.panic_threshold = 0.5, .slow_start = absl::ZeroDuration()});
  const auto used = [&] {
    std::map<std::string, int> out;
    for (int i = 0; i < 400; ++i) ++out[bench.Pick().target()];
    return out.size();
  };
  const auto targets = bench.pool.targets();
  CHECK(used() == 4);
  bench.pool.SetHealth(*targets[0], false, kStart);
  CHECK(used() == 3);
  bench.pool.SetHealth(*targets[1], false, kStart);
  CHECK(used() == 2);
  bench.pool.SetHealth(*targets[2], false, kStart);  // one of four is left: less than half
  CHECK(used() == 4);
  bench.pool.SetHealth(*targets[1], true, kStart);
  CHECK(used() == 2);
}

TEST_CASE("an unhealthy primary is passed over, and probes do not go to it", "[channel]") {
  Bench bench(Targets(2), TargetOrder::kPriority, {}, {.consecutive_failures = 1, .slow_start = absl::ZeroDuration()});
  const auto primary = bench.pool.targets()[0];
  bench.pool.SetHealth(*primary, false, kStart);
  for (int i = 0; i < 20; ++i) CHECK(bench.Pick().target() == "target1:1");
  bench.pool.SetHealth(*primary, true, kStart);
  bench.Pick().Release(Outcome::kFailed, std::nullopt, kStart);  // ejected for a second
  CHECK(primary->outlier.ejected());
  bench.pool.SetHealth(*primary, false, kStart);
  for (int i = 0; i < 20; ++i) CHECK(bench.Pick(kStart + seconds(2)).target() == "target1:1");
  bench.pool.SetHealth(*primary, true, kStart);
  CHECK(bench.Pick(kStart + seconds(2)).target() == "target0:1");
}

// ---- against real connections

TEST_CASE("as many connections are opened as the pool says, and clients that agree share them", "[channel][client]") {
  FakeServer fake;
  fake.On<&Inference::RunInference>().Never();
  const ClientOptions options{.pool = {.min_channels = 2, .max_channels = 4, .max_streams_per_channel = 3}};
  const Client client = Connect(fake.target(), options);
  REQUIRE(client.WaitUntilReady(absl::Seconds(10)).ok());
  CHECK(fake.connections() == 2);
  std::vector<inferwire::Future<inference::Response>> futures;
  for (int i = 0; i < 12; ++i) futures.push_back(client.Async<&Inference::RunInference>(Text("x")));
  REQUIRE(fake.WaitForCalls<&Inference::RunInference>(12));
  CHECK(fake.connections() == 4);
  const Client alike = Connect(fake.target(), options);
  REQUIRE(alike.WaitUntilReady(absl::Seconds(10)).ok());
  CHECK(fake.connections() == 4);
  const Client other = Connect(fake.target(), {.pool = {.min_channels = 1}});
  REQUIRE(other.WaitUntilReady(absl::Seconds(10)).ok());
  CHECK(fake.connections() == 5);
}

TEST_CASE("waiting for a connection that cannot be made names the target", "[channel][client]") {
  const DeadPort dead;
  FakeServer fake;
  ClientOptions options;
  options.credentials = inferwire::Insecure();
  // Whichever comes first: the dead one does not take the other's time.
  for (const auto& targets : {std::vector{fake.target(), dead.target()}, std::vector{dead.target(), fake.target()}}) {
    options.targets = targets;
    const absl::Status status = Client::Create(options)->WaitUntilReady(absl::Milliseconds(200));
    CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(std::string(status.message()).starts_with("no connection within 200ms to " + dead.target()));
  }
}

TEST_CASE("calls go to new targets, and those in flight end where they are", "[channel][client]") {
  FakeServer first, second;
  first.On<&Inference::RunInference>().Delay(absl::Milliseconds(100)).Reply(Response("first"));
  second.On<&Inference::RunInference>().Reply(Response("second"));
  const Client client = Connect(first.target());
  auto future = client.Async<&Inference::RunInference>(Text("x"));
  REQUIRE(first.WaitForCalls<&Inference::RunInference>(1));
  REQUIRE(client.SetTargets({second.target()}).ok());
  for (int i = 0; i < 5; ++i) CHECK(client.Call<&Inference::RunInference>(Text("x"))->text() == "second");
  CHECK(std::move(future).Get()->text() == "first");
  CHECK(first.calls<&Inference::RunInference>() == 1);
  CHECK(client.SetTargets({"http://nowhere"}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(client.Call<&Inference::RunInference>(Text("x"))->text() == "second");
}

TEST_CASE("a dead target costs no call, and is used again once it is back", "[channel][client]") {
  FakeServer steady, shaky;
  steady.On<&Inference::RunInference>().Reply(Response("steady"));
  shaky.On<&Inference::RunInference>().Reply(Response("shaky"));
  ClientOptions options;
  options.targets = {steady.target(), shaky.target()};
  options.credentials = inferwire::Insecure();
  const Client client = *Client::Create(options);
  shaky.Stop();
  for (int i = 0; i < 300; ++i) REQUIRE(client.Call<&Inference::RunInference>(Text("x")).ok());
  shaky.Start();
  bool back = false;
  for (const auto until = std::chrono::steady_clock::now() + seconds(5);
       !back && std::chrono::steady_clock::now() < until;) {
    back = client.Call<&Inference::RunInference>(Text("x"))->text() == "shaky";
  }
  CHECK(back);
}

TEST_CASE("equal servers share evenly, one call at a time and many", "[channel][client]") {
  for (const int in_flight : {1, 64}) {
    std::vector<std::unique_ptr<FakeServer>> servers;
    ClientOptions options;
    options.credentials = inferwire::Insecure();
    for (int i = 0; i < 3; ++i) {
      servers.push_back(std::make_unique<FakeServer>());
      servers.back()->On<&Inference::RunInference>().Reply(Response("x"));
      options.targets.push_back(servers.back()->target());
    }
    const Client client = *Client::Create(options);
    std::vector<std::thread> threads;
    std::atomic<int> left{600};
    for (int t = 0; t < in_flight; ++t) {
      threads.emplace_back([&] {
        while (left-- > 0) client.Call<&Inference::RunInference>(Text("x")).IgnoreError();
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& server : servers) CHECK(server->calls<&Inference::RunInference>() == Approx(200).margin(40));
  }
}
