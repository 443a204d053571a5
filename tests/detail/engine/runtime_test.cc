// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/engine/runtime.h"

#include <grpcpp/alarm.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>

#include "support/catch.h"
#include "support/raw_server.h"

namespace engine = inferwire::detail::engine;
using engine::Runtime;

TEST_CASE("all clients share one runtime", "[engine]") {
  const auto first = Runtime::Shared();
  CHECK(first == Runtime::Shared());
}

TEST_CASE("loops are handed out in turn and turned by threads of their own", "[engine]") {
  Runtime runtime;
  std::set<engine::Loop*> loops;
  for (int i = 0; i < 64; ++i) loops.insert(&runtime.NextLoop());
  CHECK(!loops.empty());
  struct Told final : engine::Tag {
    void Proceed(bool) override { event.Set(); }
    inferwire_test::Event event;
  } tag;
  engine::Loop& loop = **loops.begin();
  loop.Wake();  // takes the loop's lock, which shows the tag to its thread as starting a call does
  grpc::Alarm alarm;
  alarm.Set(loop.queue(), gpr_timespec{0, 0, GPR_TIMESPAN}, static_cast<engine::Tag*>(&tag));
  CHECK(tag.event.Wait());
}

TEST_CASE("a runtime may end on one of its own threads", "[engine]") {
  struct Last final : engine::Tag {
    void Proceed(bool) override {
      runtime.reset();
      ended.Set();
    }
    std::shared_ptr<Runtime> runtime = std::make_shared<Runtime>();
    inferwire_test::Event ended;
  } tag;
  engine::Loop& loop = tag.runtime->NextLoop();
  loop.Wake();
  grpc::Alarm alarm;
  alarm.Set(loop.queue(), gpr_timespec{0, 0, GPR_TIMESPAN}, static_cast<engine::Tag*>(&tag));
  CHECK(tag.ended.Wait());
}
