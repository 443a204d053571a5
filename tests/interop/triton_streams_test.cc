// SPDX-License-Identifier: Apache-2.0
//
// What travels on one stream to Triton: decoupled models' answers, errors among them, sequences, and unary calls.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/inference.h"
#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

namespace {

InferRequest Repeat(std::vector<std::int32_t> values, std::int32_t delay_ms = 0) {
  const auto size = static_cast<std::int64_t>(values.size());
  InferRequest request{{"IN", std::move(values), {size}}};
  if (delay_ms > 0) request.add_input({"DELAY_MS", std::vector<std::int32_t>{delay_ms}, {1}});
  return request;
}

std::vector<std::int32_t> Counted(int from, int count) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), from);
  return values;
}

InferRequest Add(std::int32_t value) { return {{"INPUT", std::vector<std::int32_t>{value}, {1, 1}}}; }

}  // namespace

TEST_CASE("Triton's decoupled model answers as often as it likes, or not at all", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto model = ConnectTo(*target).GetModel("repeat_decoupled");
  for (const int count : {0, 1, 2, 500}) {
    CAPTURE(count);
    InferRequest request = Repeat(Counted(7, count));
    request.set_id("mine");
    auto stream = model.StreamInfer(std::move(request));
    std::vector<std::int32_t> values, places;
    for (const InferResult& answer : stream) {
      CHECK(answer.id() == "mine");
      values.push_back(Values<std::int32_t>(answer, "OUT").at(0));
      places.push_back(Values<std::int32_t>(answer, "IDX").at(0));
    }
    CheckOk(stream.status());
    CHECK(values == Counted(7, count));
    CHECK(places == Counted(0, count));
  }
  const absl::Status unary = model.Infer(Repeat({1})).status();
  CHECK(unary.code() == absl::StatusCode::kUnimplemented);
}

// Each kind on a stream of its own: Triton 2.51 aborts ("ASSERTION FAILED: !byte_buffer->Valid()" in its log) where
// decoupled and ordinary models answer at once on one.
TEST_CASE("requests to decoupled and ordinary models go side by side", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const auto repeat = server.GetModel("repeat_decoupled");
  std::vector<ResponseStream<InferResult>> slow, sums;
  for (int i = 0; i < 20; ++i) slow.push_back(repeat.StreamInfer(Repeat(Counted(100 * i, 30), 5)));
  for (int i = 0; i < 20; ++i) sums.push_back(server.GetModel("add_sub").StreamInfer(AddSub(i)));
  const auto bytes =
      server.GetModel("identity_bytes").StreamInfer({{"INPUT0", std::vector<std::string>{"a", ""}, {1, 2}}}).Read();

  // The quick ones are not held up by those that go on for 150 ms.
  for (int i = 0; i < 20; ++i) {
    const auto sum = sums[static_cast<std::size_t>(i)].Read();
    REQUIRE(sum.has_value());
    CHECK(Values<std::int32_t>(*sum, "OUTPUT0").at(0) == i + 1);
    CHECK_FALSE(sums[static_cast<std::size_t>(i)].Read().has_value());
    CheckOk(sums[static_cast<std::size_t>(i)].status());
  }
  REQUIRE(bytes.has_value());
  CHECK(Values<std::string>(*bytes, "OUTPUT0") == std::vector<std::string>{"a", ""});
  for (int i = 0; i < 20; ++i) {
    std::vector<std::int32_t> values;
    auto& stream = slow[static_cast<std::size_t>(i)];
    for (const InferResult& answer : stream) values.push_back(Values<std::int32_t>(answer, "OUT").at(0));
    CheckOk(stream.status());
    CHECK(values == Counted(100 * i, 30));
  }
  CHECK(server.client().Stats().targets.at(0).channels == 1);
}

TEST_CASE("an error among Triton's answers ends its own request", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto model = ConnectTo(*target).GetModel("repeat_decoupled");
  auto other = model.StreamInfer(Repeat(Counted(0, 50), 5));
  auto poisoned = model.StreamInfer(Repeat({1, -999, 3}));
  const auto first = poisoned.Read();
  REQUIRE(first.has_value());
  CHECK(Values<std::int32_t>(*first, "OUT").at(0) == 1);
  CHECK_FALSE(poisoned.Read().has_value());
  const absl::Status status = poisoned.status();
  CHECK(status.code() == absl::StatusCode::kInternal);  // the protocol has a text for it, and no code
  CHECK(Contains(status, "poison value -999"));
  CHECK(InfoOf(status).attempts.size() == 1);
  int answers = 0;
  for ([[maybe_unused]] const InferResult& answer : other) ++answers;
  CheckOk(other.status());
  CHECK(answers == 50);
}

TEST_CASE("Triton stops generating when the reader of the answers has heard enough", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const auto model = server.GetModel("repeat_decoupled");
  constexpr int kTokens = 3000;  // 20 ms each: a minute
  auto tokens = model.StreamInfer(Repeat(Counted(1, kTokens), 20));
  int heard = 0;
  for (const InferResult& token : tokens) {
    ++heard;
    if (Values<std::int32_t>(token, "OUT").at(0) == 5) break;  // the stop word
  }
  CHECK(tokens.Finish().code() == absl::StatusCode::kCancelled);
  CHECK(heard == 5);
  const auto from = std::chrono::steady_clock::now();
  CHECK(Eventually([&] {
    auto other = model.StreamInfer(Repeat({1}));
    const auto answer = other.Read();
    CHECK_FALSE(other.Read().has_value());
    CheckOk(other.status());
    return answer.has_value() && Values<std::int32_t>(*answer, "RUNNING").at(0) == 1;  // the other itself
  }));
  CHECK(std::chrono::steady_clock::now() - from < std::chrono::seconds(30));

  // One model that takes one request at a time and heeds cancelling is free again long before the minute is over.
  auto sleeper = server.GetModel("slow").StreamInfer({{"SLEEP_S", std::vector<float>{60}, {1}}});
  std::thread reader([&] { static_cast<void>(sleeper.Read()); });
  sleeper.Cancel();
  reader.join();
  const auto awake = server.GetModel("slow").Infer(
      {{"SLEEP_S", std::vector<float>{0}, {1}}}, {.timeout = absl::Seconds(30), .attempt_timeout = absl::Seconds(30)});
  CheckOk(awake.status());
}

TEST_CASE("Triton keeps a sequence's state from step to step", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const auto model = server.GetModel("simple_sequence");
  const std::int64_t id = getpid();
  auto one = model.Sequence(id);
  auto two = model.Sequence(id + 1);
  CHECK(Values<std::int32_t>(one.Step(Add(1)), "OUTPUT").at(0) == 1);
  CHECK(Values<std::int32_t>(two.Step(Add(100)), "OUTPUT").at(0) == 100);
  CHECK(Values<std::int32_t>(one.Step(Add(2)), "OUTPUT").at(0) == 3);
  CHECK(Values<std::int32_t>(two.End(Add(10)), "OUTPUT").at(0) == 110);
  CHECK(Values<std::int32_t>(one.AsyncEnd(Add(3)).Get(), "OUTPUT").at(0) == 6);
  CHECK(one.Step(Add(1)).status().code() == absl::StatusCode::kFailedPrecondition);

  // The same by calls, which say the steps themselves.
  const auto step = [&](std::int32_t value, SequenceStep sequence) {
    InferRequest request = Add(value);
    request.set_sequence(std::move(sequence));
    return model.Infer(request);
  };
  CHECK(Values<std::int32_t>(step(1, {.id = id, .start = true}), "OUTPUT").at(0) == 1);
  CHECK(Values<std::int32_t>(step(2, {.id = id, .end = true}), "OUTPUT").at(0) == 3);
  CHECK(step(1, {.id = id}).status().code() == absl::StatusCode::kInvalidArgument);  // it has ended
  CHECK(step(1, {}).status().code() == absl::StatusCode::kInvalidArgument);
  // What the check refuses is not sent, and changes nothing; what the server refuses breaks the sequence.
  const InferRequest misfit = {{"INPUT", std::vector<std::int32_t>{1, 2}, {1, 2}}};
  auto held_back = model.Sequence(id + 2);
  CHECK_FALSE(held_back.Step(misfit).ok());
  CHECK(Values<std::int32_t>(held_back.Step(Add(1)), "OUTPUT").at(0) == 1);
  auto wrong = server.GetModel("simple_sequence", {.check = false}).Sequence(id + 3);
  CHECK_FALSE(wrong.Step(misfit).ok());
  CHECK(wrong.Step(Add(1)).status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("Triton takes sequences whose names are text", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  // It cannot hand the name to the model, which therefore adds up one sequence at a time.
  auto sequence = ConnectTo(*target).GetModel("string_sequence").Sequence("talk of " + std::to_string(getpid()));
  CHECK(Values<std::int32_t>(sequence.Step(Add(4)), "OUTPUT").at(0) == 4);
  CHECK(Values<std::int32_t>(sequence.Step(Add(5)), "OUTPUT").at(0) == 9);
  CHECK(Values<std::int32_t>(sequence.End(Add(6)), "OUTPUT").at(0) == 15);
}

TEST_CASE("calls to Triton travel on a stream as they do alone", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const auto model = server.GetModel("add_sub", {.over_stream = true});
  std::vector<Future<InferResult>> sums;
  for (int i = 0; i < 1000; ++i) sums.push_back(model.AsyncInfer(AddSub(i)));
  int right = 0;
  for (int i = 0; i < 1000; ++i) right += IsSum(std::move(sums[static_cast<std::size_t>(i)]).Get(), i) ? 1 : 0;
  CHECK(right == 1000);

  const auto slow = server.GetModel("slow", {.over_stream = true});
  const auto negative = slow.Infer({{"SLEEP_S", std::vector<float>{-1}, {1}}});
  CHECK(Contains(negative.status(), "negative sleep requested"));
  CallInfo info;
  const auto late =
      slow.Infer({{"SLEEP_S", std::vector<float>{30}, {1}}}, {.timeout = absl::Milliseconds(500), .info = &info});
  CHECK(late.status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(info.latency < absl::Seconds(5));
  // What came too late is called back: the model, which sleeps once at a time, is awake.
  CheckOk(slow.Infer({{"SLEEP_S", std::vector<float>{0}, {1}}}, {.timeout = absl::Seconds(20)}).status());
  CHECK(server.GetModel("nobody", {.check = false, .over_stream = true}).Infer(AddSub()).status().code() !=
        absl::StatusCode::kOk);
  CHECK(IsSum(model.Infer(AddSub())));
}

TEST_CASE("a request to Triton that does not fit the model is not sent", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  const auto model = server.GetModel("add_sub");
  const InferRequest wrong{{"INPUT0", std::vector<float>{1, 2, 3, 4}, {1, 4}},
                           {"INPUT1", std::vector<std::int32_t>{1, 2, 3, 4}, {1, 4}}};
  CallInfo info;
  const absl::Status here = model.Infer(wrong, {.info = &info}).status();
  CHECK(here.code() == absl::StatusCode::kInvalidArgument);
  CHECK(here.message() ==
        "input 'INPUT0' is FP32 [1,4]; model 'add_sub' expects INT32 [-1,4]; ModelOptions::check = false leaves it to "
        "the "
        "server");
  CHECK(info.attempts.empty());
  const absl::Status there = server.GetModel("add_sub", {.check = false}).Infer(wrong).status();
  CHECK(there.code() == absl::StatusCode::kInvalidArgument);
  CHECK(InfoOf(there).attempts.size() == 1);
}
