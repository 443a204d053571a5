// SPDX-License-Identifier: Apache-2.0
//
// Tritons that go and come back while calls are made: asked to end, killed, or ending connections by their age; alone,
// side by side, and behind Envoy.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/inference.h"
#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

namespace {

/// Calls add_sub from eight threads until it is told to end, and knows what became of each call.
class Load {
 public:
  explicit Load(Model model, CallOptions options = {}) {
    for (int i = 0; i < 8; ++i) {
      threads_.emplace_back([this, model, options] {
        while (!over_) {
          const std::int32_t number = ++made_;
          const auto result = model.Infer(AddSub(number), options);
          const std::lock_guard lock(mutex_);
          if (!result.ok()) {
            failures_.push_back(result.status());
          } else {
            ++(IsSum(result, number) ? answered_ : wrong_);
          }
        }
      });
    }
  }
  ~Load() { End(); }
  /// Every call that was made has ended when this returns.
  void End() {
    over_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  /// Until so many more have been answered.
  bool Goes(int more) {
    const int until = answered() + more;
    return Eventually([&] { return answered() >= until; });
  }
  int made() const { return made_; }
  int answered() const {
    const std::lock_guard lock(mutex_);
    return answered_;
  }
  int wrong() const { return wrong_; }
  const std::vector<absl::Status>& failures() const { return failures_; }
  /// With the failures, if there are any.
  void CheckAllAnswered() {
    End();
    for (std::size_t i = 0; i < failures_.size() && i < 5; ++i) UNSCOPED_INFO(failures_[i]);
    CHECK(failures_.empty());
    CHECK(wrong_ == 0);
    CHECK(answered_ == made_);
    WARN(made_ << " calls, " << answered_ << " answered");
  }

 private:
  std::atomic<bool> over_{false};
  std::atomic<int> made_{0};
  mutable std::mutex mutex_;
  int answered_ = 0;
  int wrong_ = 0;
  std::vector<absl::Status> failures_;
  std::vector<std::thread> threads_;
};

ClientOptions Patient() { return {.retry = {.max_attempts = 50}, .retry_budget = {.ratio = 1, .min_per_second = 100}}; }

}  // namespace

TEST_CASE("no call is lost while one of two Tritons is asked to end, and comes back", "[.][interop][triton]") {
  const auto first = Told("INFERWIRE_TRITON_FIRST"), second = Told("INFERWIRE_TRITON_SECOND");
  if (!first || !second) return;
  for (const bool over_stream : {false, true}) {
    CAPTURE(over_stream);
    Instance instance("triton-first", *first);
    const auto server = ConnectTo({*first, *second}, Patient());
    Load load(server.GetModel("add_sub", {.over_stream = over_stream}));
    REQUIRE(load.Goes(500));
    instance.Stop();
    CHECK(load.Goes(500));
    const auto before = server.client().Stats().targets.at(0).attempts;
    instance.Start();
    CHECK(Eventually([&] { return server.client().Stats().targets.at(0).attempts > before + 200; }));
    load.CheckAllAnswered();
  }
}

TEST_CASE("calls that may not run twice are not lost either while a Triton is asked to end", "[.][interop][triton]") {
  const auto first = Told("INFERWIRE_TRITON_FIRST"), second = Told("INFERWIRE_TRITON_SECOND");
  if (!first || !second) return;
  Instance instance("triton-first", *first);
  Load load(ConnectTo({*first, *second}, Patient()).GetModel("add_sub"), {.idempotent = false});
  REQUIRE(load.Goes(500));
  instance.Stop();  // which lets running calls end
  CHECK(load.Goes(500));
  load.CheckAllAnswered();
}

TEST_CASE("each call is accounted for while the only Triton is killed and comes back", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON_FIRST");
  if (!target) return;
  Instance instance("triton-first", *target);
  Load load(ConnectTo(*target).GetModel("add_sub"));
  REQUIRE(load.Goes(500));
  instance.Kill();
  instance.Start();
  CHECK(load.Goes(500));
  load.End();
  CHECK(load.wrong() == 0);
  CHECK(load.answered() + static_cast<int>(load.failures().size()) == load.made());
  std::map<absl::StatusCode, int> codes;
  int told = 0;
  for (const absl::Status& failure : load.failures()) {
    ++codes[failure.code()];
    told += InfoOf(failure).attempts.empty() ? 0 : 1;
  }
  // There was nobody else to ask.
  CHECK(codes.size() == 1);
  CHECK(codes[absl::StatusCode::kUnavailable] == static_cast<int>(load.failures().size()));
  CHECK(told == static_cast<int>(load.failures().size()));
  WARN(load.made() << " calls, " << load.answered() << " answered, " << load.failures().size() << " UNAVAILABLE");
}

TEST_CASE("patient calls outlast a restart of the only Triton", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON_FIRST");
  if (!target) return;
  Instance instance("triton-first", *target);
  ClientOptions options = Patient();
  options.retry.max_attempts = 1000;
  Load load(ConnectTo({*target}, options).GetModel("add_sub"), {.timeout = absl::Minutes(3)});
  REQUIRE(load.Goes(500));
  instance.Kill();
  instance.Start();
  CHECK(load.Goes(500));
  load.CheckAllAnswered();
}

TEST_CASE("a killed Triton ends the streams on it, and a sequence is not begun anew", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON_FIRST");
  if (!target) return;
  Instance instance("triton-first", *target);
  const auto server = ConnectTo({*target}, Patient());
  auto tokens = server.GetModel("repeat_decoupled")
                    .StreamInfer({{"IN", std::vector<std::int32_t>(3000, 1), {3000}},
                                  {"DELAY_MS", std::vector<std::int32_t>{20}, {1}}});
  const auto add = [](std::int32_t value) { return InferRequest{{"INPUT", std::vector<std::int32_t>{value}, {1, 1}}}; };
  auto sequence = server.GetModel("simple_sequence").Sequence(99);
  CHECK(Values<std::int32_t>(sequence.Step(add(1)), "OUTPUT").at(0) == 1);
  REQUIRE(tokens.Read().has_value());
  instance.Kill();
  while (tokens.Read().has_value()) continue;
  CHECK(tokens.status().code() == absl::StatusCode::kUnavailable);
  CHECK(sequence.Step(add(2)).status().code() == absl::StatusCode::kUnavailable);
  instance.Start();
  CHECK(sequence.Step(add(2)).status().code() == absl::StatusCode::kFailedPrecondition);
  auto next = server.GetModel("simple_sequence").Sequence(99);
  CHECK(Values<std::int32_t>(next.End(add(5)), "OUTPUT").at(0) == 5);
}

TEST_CASE("calls go on while a Triton ends connections by their age", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON_AGE");
  if (!target) return;
  for (const bool idempotent : {true, false}) {
    for (const bool over_stream : {true, false}) {
      CAPTURE(idempotent, over_stream);
      const auto server = ConnectTo(*target);
      Load load(server.GetModel("add_sub", {.over_stream = over_stream}), {.idempotent = idempotent});
      // It ends connections after 2 s, by its own clock: this goes through two or three of them.
      const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(6);
      while (std::chrono::steady_clock::now() < until) REQUIRE(load.Goes(10));
      // A stream with calls on it does not end by itself, and is cut 0.5 s later, with what is on it.
      if (idempotent || !over_stream) {
        load.CheckAllAnswered();
        continue;
      }
      load.End();
      for (const absl::Status& failure : load.failures()) {
        INFO(failure);
        CHECK(failure.code() == absl::StatusCode::kUnavailable);
        CHECK(InfoOf(failure).reason == CallInfo::Reason::kNotIdempotent);
      }
    }
  }
}

TEST_CASE("a call that outlives the connection's age is cut off, and told so", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON_AGE");
  if (!target) return;
  const auto result =
      ConnectTo(*target).GetModel("slow").Infer({{"SLEEP_S", std::vector<float>{10}, {1}}}, {.idempotent = false});
  INFO(result.status());
  CHECK(result.status().code() == absl::StatusCode::kUnavailable);
  CHECK(InfoOf(result.status()).reason == CallInfo::Reason::kNotIdempotent);
}

TEST_CASE("calls through Envoy are all answered while one of two Tritons behind it is killed, and comes back",
          "[.][interop][envoy]") {
  const auto envoy = Told("INFERWIRE_ENVOY"), first = Told("INFERWIRE_TRITON_FIRST");
  if (!envoy || !first) return;
  Instance instance("triton-first", *first);
  Load load(ConnectTo({*envoy}, Patient()).GetModel("add_sub"));
  REQUIRE(load.Goes(500));
  instance.Kill();
  CHECK(load.Goes(500));
  instance.Start();
  CHECK(load.Goes(500));
  load.CheckAllAnswered();
}
