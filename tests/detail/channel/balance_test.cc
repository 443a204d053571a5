// SPDX-License-Identifier: Apache-2.0
//
// How calls are shared among targets, on a clock of the tests' own: no server is called.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/policy/affinity.h"
#include "support/catch.h"

using inferwire::OutlierPolicy;
using inferwire::TargetOrder;
using inferwire::TimePoint;
using inferwire::detail::channel::Connector;
using inferwire::detail::channel::Lease;
using inferwire::detail::channel::LeaseKind;
using inferwire::detail::channel::Outcome;
using inferwire::detail::channel::Pool;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {
const TimePoint kStart = TimePoint() + std::chrono::hours(1);

// A pool whose connections nobody uses, under a policy of its own so that no other test shares them.
struct Bench {
  explicit Bench(std::size_t targets, OutlierPolicy outliers = {})
      : connector({grpc::InsecureChannelCredentials(), "balance " + std::to_string(++count)}, {}, {}, 1000),
        pool(connector.Connect(Targets(targets)), TargetOrder::kBalanced, outliers) {}
  static std::vector<std::string> Targets(std::size_t count) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < count; ++i) out.push_back("target" + std::to_string(i) + ":1");
    return out;
  }
  Lease Pick(TimePoint now, const inferwire::detail::channel::Target* avoid = nullptr, bool timed = true,
             LeaseKind use = LeaseKind::kCall) {
    return pool.Pick(avoid, now, [this] { return unit(generator); }, timed, use);
  }
  static inline int count = 0;
  std::mt19937 generator{1};
  std::uniform_real_distribution<double> unit{0, 1};
  Connector connector;
  Pool pool;
};

// What servers make of calls, on a clock of its own: `latency` tells how many milliseconds a call to a target takes.
using Latency = std::function<double(std::size_t target, std::mt19937& generator)>;

// How many of `calls` each target got, by its number. `in_flight` calls at a time; a target's first call connects,
// which takes 3 ms more.
std::vector<int> Shares(std::size_t targets, int in_flight, int calls, unsigned seed, const Latency& latency) {
  Bench bench(targets);
  bench.generator.seed(seed);
  std::mt19937 generator(seed + 1000);
  const auto known = bench.pool.targets();
  std::vector<int> shares(targets);
  std::multimap<TimePoint, std::pair<Lease, TimePoint>> ends;  // and begins
  TimePoint now = kStart;
  for (int made = 0; made < calls || !ends.empty();) {
    if (made < calls && ends.size() < static_cast<std::size_t>(in_flight)) {
      ++made;
      Lease lease = bench.Pick(now);
      std::size_t number = 0;
      while (known[number].get() != lease.id()) ++number;
      ++shares[number];
      const double takes = latency(number, generator) + (lease.channel().warm() ? 0 : 3);
      const auto until = now + std::chrono::nanoseconds(static_cast<std::int64_t>(takes * 1e6));
      ends.emplace(until, std::pair(std::move(lease), now));
    } else {
      auto& [lease, began] = ends.begin()->second;
      now = std::max(now, ends.begin()->first) + std::chrono::microseconds(10);
      lease.Release(Outcome::kAnswered, absl::FromChrono(now - began), now);
      ends.erase(ends.begin());
    }
  }
  return shares;
}

double Uniform(std::mt19937& generator) { return std::uniform_real_distribution<double>(0, 1)(generator); }
// A loopback server's, by the tenth of a millisecond, where now and then somebody else has the processor.
double Loopback(std::mt19937& generator) {
  return 0.1 + 0.1 * Uniform(generator) + (Uniform(generator) < 0.01 ? 5 * Uniform(generator) : 0);
}
}  // namespace

TEST_CASE("equal targets share evenly, one call at a time and many, however their answers vary", "[channel]") {
  const std::pair<const char*, Latency> servers[] = {
      {"the same", [](std::size_t, std::mt19937&) { return 1.0; }},
      {"a hair apart", [](std::size_t target, std::mt19937&) { return 1 + 0.01 * static_cast<double>(target); }},
      {"half as long again", [](std::size_t, std::mt19937& generator) { return 1 + 0.5 * Uniform(generator); }},
      {"loopback", [](std::size_t, std::mt19937& generator) { return Loopback(generator); }}};
  for (const auto& [name, latency] : servers) {
    for (const std::size_t targets : {2, 3, 5, 8}) {
      for (const int in_flight : {1, 64}) {
        int uneven = 0;
        for (unsigned seed = 0; seed < 40; ++seed) {
          const double even = 400.0 / static_cast<double>(targets);
          const std::vector<int> shares = Shares(targets, in_flight, 400, seed, latency);
          uneven += std::any_of(shares.begin(), shares.end(), [&](int n) { return std::abs(n - even) > 0.2 * even; });
        }
        INFO(name << ", " << targets << " targets, " << in_flight << " at a time");
        CHECK(uneven <= 1);
      }
    }
  }
}

TEST_CASE("a target twice as slow gets clearly less, one twenty times as slow next to nothing", "[channel]") {
  for (const bool noisy : {false, true}) {
    const auto share = [&](double slower, int in_flight) {
      const std::vector<int> shares = Shares(2, in_flight, 4000, 3, [&](std::size_t target, std::mt19937& generator) {
        return (noisy ? 10 * Loopback(generator) : 1.5) * (target == 1 ? slower : 1);
      });
      return shares[1] / 4000.0;
    };
    INFO("noisy: " << noisy);
    for (const int in_flight : {1, 8, 64}) {
      CHECK(share(2, in_flight) < 0.36);
      CHECK(share(20, in_flight) < 0.05);
      CHECK(share(20, in_flight) > 0);  // so that it is noticed when it is quick again
    }
  }
}

TEST_CASE("targets that were slow or down share evenly again when they are not", "[channel]") {
  int slow_until = 500, made = 0;
  const std::vector<int> shares = Shares(2, 1, 4000, 1, [&](std::size_t target, std::mt19937&) {
    return ++made < slow_until && target == 1 ? 20.0 : 1.0;
  });
  CHECK(shares[1] > 1400);

  Bench bench(2, {.slow_start = absl::Seconds(1)});
  TimePoint now = kStart;
  const auto calls = [&](int count, bool down) {
    int first = 0;
    for (int i = 0; i < count; ++i) {
      now += milliseconds(1);
      Lease lease = bench.Pick(now);
      const bool is_first = lease.target() == "target0:1";
      first += is_first ? 1 : 0;
      if (is_first && down) {
        lease.Release(Outcome::kUnreached, std::nullopt, now);
      } else {
        lease.Release(Outcome::kAnswered, absl::Milliseconds(1), now);
      }
    }
    return first;
  };
  CHECK(calls(400, false) == Approx(200).margin(40));
  CHECK(calls(5000, true) < 50);
  calls(2000, false);  // it is noticed, and starts slowly
  CHECK(calls(400, false) == Approx(200).margin(40));
}

TEST_CASE("streams and messages on shared streams are shared evenly too", "[channel]") {
  for (const auto use : {LeaseKind::kCall, LeaseKind::kMessage}) {
    for (const bool timed : {false, true}) {
      Bench bench(4);
      std::map<std::string, int> shares;
      std::deque<Lease> open;
      for (int i = 0; i < 400; ++i) {
        const TimePoint now = kStart + milliseconds(i);
        Lease lease = bench.Pick(now, nullptr, timed, use);
        ++shares[lease.target()];
        open.push_back(std::move(lease));
        if (open.size() < 32) continue;
        open.front().Release(Outcome::kAnswered, timed ? std::optional(absl::Milliseconds(1)) : std::nullopt, now);
        open.pop_front();
      }
      for (const auto& [target, share] : shares) CHECK(share == Approx(100).margin(20));
    }
  }
}

TEST_CASE("calls that failed with one that did tell nothing new, nor do those of before a recovery", "[channel]") {
  Bench bench(2, {.consecutive_failures = 5, .slow_start = absl::Seconds(10)});
  const auto target = bench.pool.targets()[0];
  const auto other = bench.pool.targets()[1].get();
  std::vector<Lease> older;
  for (int i = 0; i < 30; ++i) older.push_back(bench.Pick(kStart, other));
  const auto fail = [&](int count, TimePoint now) {
    for (; count > 0; --count) {
      older.back().Release(Outcome::kFailed, absl::Milliseconds(1), now);
      older.pop_back();
    }
  };
  fail(4, kStart);
  CHECK_FALSE(target->endpoint->load().Avoided(kStart + milliseconds(50)));  // one event, not four
  fail(1, kStart);
  REQUIRE(target->outlier.ejected());
  TimePoint now = kStart + seconds(2);
  Lease probe = bench.Pick(now);
  REQUIRE(probe.id() == target.get());
  fail(5, now);
  probe.Release(Outcome::kAnswered, absl::Milliseconds(1), now);
  CHECK_FALSE(target->outlier.ejected());
  CHECK(target->cold_since.load() == now);
  now += seconds(1);
  fail(20, now);
  CHECK_FALSE(target->outlier.ejected());
  CHECK_FALSE(target->endpoint->load().Avoided(now));
  CHECK(target->ejections.load() == 1);
  bench.Pick(now, other).Release(Outcome::kAnswered, absl::Milliseconds(1), now);
  CHECK(target->cold_since.load() == now - seconds(1));  // the slow start goes on where it was
}

TEST_CASE("calls of one key go to one target, and when that cannot serve to the same next one", "[affinity]") {
  Bench bench(4);
  const auto pick = [&](const std::string& key, const inferwire::detail::channel::Target* avoid = nullptr) {
    Lease lease = bench.pool.PickFor(inferwire::detail::policy::HashOf(key), avoid, kStart, [] { return 0.5; });
    return std::pair(lease.target(), lease.id());
  };
  for (int i = 0; i < 40; ++i) {
    const std::string key = "session-" + std::to_string(i);
    const auto [owner, id] = pick(key);
    for (int again = 0; again < 5; ++again) CHECK(pick(key).first == owner);
    const std::string next = pick(key, id).first;
    CHECK(next != owner);
    CHECK(pick(key, id).first == next);
    bench.pool.SetHealth(*bench.pool.targets()[0], false, kStart);  // the others' keys stay where they are
    const std::string without = pick(key).first;
    CHECK(without == (owner == "target0:1" ? next : owner));
    bench.pool.SetHealth(*bench.pool.targets()[0], true, kStart);
    CHECK(pick(key).first == owner);
  }
}

TEST_CASE("no target is given much more than its share of the calls of a few keys", "[affinity]") {
  Bench bench(4);
  const std::uint64_t key = inferwire::detail::policy::HashOf("everybody's");
  std::vector<Lease> held;
  std::map<std::string, int> calls;
  for (int i = 0; i < 100; ++i) {
    held.push_back(bench.pool.PickFor(key, nullptr, kStart, [] { return 0.5; }));
    ++calls[held.back().target()];
  }
  REQUIRE(calls.size() == 4);
  for (const auto& [target, count] : calls) {
    INFO(target);
    CHECK(count <= 32);
    CHECK(count >= 4);
  }
}
