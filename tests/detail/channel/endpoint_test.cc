// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/channel/endpoint.h"

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.h"

using inferwire::PoolPolicy;
using inferwire::TimePoint;
using inferwire::detail::channel::Connector;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {
const TimePoint kStart = TimePoint() + std::chrono::hours(1);
}

TEST_CASE("a connection that comes to its age is replaced, and goes when its last call has", "[channel]") {
  const Connector connector({grpc::InsecureChannelCredentials(), "ages"}, {}, {.max_age = absl::Seconds(10)}, 1000);
  const auto endpoint = connector.Connect({"old:1"})[0];
  auto& first = endpoint->Enter(0, kStart, true);
  CHECK(first.expires() >= kStart + seconds(9));
  CHECK(first.expires() <= kStart + seconds(11));
  CHECK(&endpoint->Enter(0, kStart + seconds(8), true) == &first);
  auto& second = endpoint->Enter(0, kStart + seconds(12), true);
  CHECK(&second != &first);
  CHECK(first.in_flight() == 2);  // it is still there
  CHECK(&endpoint->Enter(0, kStart + seconds(13), true) == &second);
  endpoint->Leave(first, true);
  endpoint->Leave(first, true);
  CHECK(endpoint->connections().open == 1);
  CHECK(endpoint->load().in_flight() == 2);
}

TEST_CASE("connections age while threads use them", "[channel]") {
  const Connector connector({grpc::InsecureChannelCredentials(), "ages under load"}, {},
                            {.max_age = absl::Milliseconds(100)}, 1000);
  const auto endpoint = connector.Connect({"old:1"})[0];
  std::vector<std::thread> threads;
  std::atomic<int> time{0}, wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        auto& channel = endpoint->Enter(0, kStart + milliseconds(10 * time++), true);
        wrong += channel.target() == "old:1" ? 0 : 1;  // touches it
        std::this_thread::yield();
        endpoint->Leave(channel, true);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(endpoint->load().in_flight() == 0);
  CHECK(wrong == 0);
}

TEST_CASE("a pool policy that makes no sense is refused by name", "[channel]") {
  using inferwire::detail::channel::Validate;
  CHECK(Validate(PoolPolicy{}).ok());
  CHECK(std::string(Validate(PoolPolicy{.min_channels = 9}).message()).find("min_channels is 9") != std::string::npos);
  CHECK_FALSE(Validate(PoolPolicy{.max_channels = 65}).ok());
  CHECK_FALSE(Validate(PoolPolicy{.max_streams_per_channel = 0}).ok());
  CHECK_FALSE(Validate(PoolPolicy{.idle_timeout = absl::ZeroDuration()}).ok());
}
