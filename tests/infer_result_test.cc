// SPDX-License-Identifier: Apache-2.0
#include "inferwire/infer_result.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "support/catch.h"

using inferwire::DataType;
using inferwire::InferResult;

namespace {
std::string Message(const absl::Status& status) { return std::string(status.message()); }
InferResult Sample() {
  InferResult result;
  result.Add("score", std::vector<float>{0.5f, 0.25f}, {1, 2});
  result.Add("text", std::vector<std::string>{"one", "a longer one, beyond any small buffer"}, {2});
  result.Add("mask", std::vector<bool>{true, false}, {2});
  return result;
}
}  // namespace

TEST_CASE("outputs are read by name and type", "[tensor]") {
  const InferResult result = Sample();
  REQUIRE(result.status().ok());
  CHECK((*result.Get<float>("score"))[1] == 0.25f);
  CHECK(result.Get<std::string_view>("text")->front() == "one");
  CHECK((*result.Get<bool>("mask"))[0]);
  CHECK((*result.Find("score"))->shape() == inferwire::Shape{1, 2});
  CHECK(result.outputs().size() == 3);
}

TEST_CASE("what was read stays while a copy of the result lives", "[tensor]") {
  std::span<const std::string_view> text;
  std::span<const float> score;
  InferResult copy;
  {
    InferResult result = Sample();
    text = *result.Get<std::string_view>("text");
    score = *result.Get<float>("score");
    copy = result;
    result = InferResult();
  }
  CHECK(text[0] == "one");
  CHECK(score[0] == 0.5f);
}

TEST_CASE("a wrong name or type says what there is", "[tensor]") {
  const InferResult result = Sample();
  CHECK(result.Get<float>("scores").status().code() == absl::StatusCode::kNotFound);
  CHECK(Message(result.Get<float>("scores").status()) == "no output 'scores'; there is 'score', 'text', 'mask'");
  CHECK(result.Get<double>("score").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Message(result.Get<double>("score").status()) == "output 'score' is FP32; expected FP64");
  CHECK(Message(result.Get<std::string_view>("score").status()) == "output 'score' is FP32; expected BYTES");
}

TEST_CASE("outputs are copied into a buffer of their size, and no other", "[tensor]") {
  const InferResult result = Sample();
  std::vector<float> buffer(2);
  CHECK(result.CopyTo("score", std::span<float>(buffer)).ok());
  CHECK(buffer == std::vector<float>{0.5f, 0.25f});
  buffer.resize(3);
  CHECK(Message(result.CopyTo("score", std::span<float>(buffer))) ==
        "output 'score' has 2 elements, but there is room for 3");
}

TEST_CASE("bytes become elements, aligned for their type", "[tensor]") {
  for (std::size_t n = 0; n < 20; ++n) {
    InferResult result;
    result.AddBytes("x", DataType::kFp64, std::string(8 * n, '\0'), {static_cast<std::int64_t>(n)});
    REQUIRE(result.status().ok());
    const auto elements = result.Get<double>("x");
    REQUIRE(elements.ok());
    CHECK(elements->size() == n);
    CHECK(reinterpret_cast<std::uintptr_t>(elements->data()) % 8 == 0);
  }
}

TEST_CASE("an output that is not well formed is kept out and remembered", "[tensor]") {
  const auto refused = [](auto add) {
    InferResult result;
    add(result);
    CHECK(result.outputs().size() <= 1);
    return Message(result.status());
  };
  CHECK(refused([](InferResult& r) { r.Add("x", std::vector<float>{1}, {2}); }) ==
        "output 'x': shape [2] holds 2 elements, but 1 were given");
  CHECK(refused([](InferResult& r) { r.Add("x", std::vector<float>{1}, {-1}); }) ==
        "output 'x': shape [-1] has the negative dimension -1");
  CHECK(refused([](InferResult& r) { r.AddBytes("x", DataType::kFp32, "abcde", {1}); }) ==
        "output 'x': 5 bytes are no whole number of FP32 elements");
  CHECK(refused([](InferResult& r) { r.AddBytes("x", DataType::kBytes, "abcd", {1}); }) ==
        "output 'x': 4 bytes are no whole number of BYTES elements");
  CHECK(refused([](InferResult& r) { r.AddBytes("x", DataType::kBool, "\x02", {1}); }) ==
        "output 'x': a BOOL element is neither 0 nor 1");
  CHECK(refused([](InferResult& r) {
          r.Add("x", std::vector<float>{1}, {1});
          r.Add("x", std::vector<float>{1}, {1});
        }) == "output 'x' was given twice");
}
