// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/open_inference_typed.h"

#include <cstdint>
#include <string>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "support/catch.h"

using namespace inferwire;  // NOLINT
using Typed = TypedContents<OpenInference>;

namespace {

template <class T>
open_inference::InferTensorContents Contents(std::vector<T> elements) {
  const auto n = static_cast<std::int64_t>(elements.size());
  const auto message = Typed::Encode({{"x", std::move(elements), {n}}});
  REQUIRE(message.ok());
  CHECK(message->raw_input_contents_size() == 0);
  REQUIRE(message->inputs(0).has_contents());
  return message->inputs(0).contents();
}

}  // namespace

TEST_CASE("typed requests say each datatype in its own field", "[contract]") {
  CHECK(Contents<bool>({true, false}).bool_contents(0));
  CHECK(Contents<std::int8_t>({-5}).int_contents(0) == -5);
  CHECK(Contents<std::int16_t>({-300}).int_contents(0) == -300);
  CHECK(Contents<std::int32_t>({-5, 70'000}).int_contents(1) == 70'000);
  CHECK(Contents<std::int64_t>({-1}).int64_contents(0) == -1);
  CHECK(Contents<std::uint8_t>({255}).uint_contents(0) == 255);
  CHECK(Contents<std::uint16_t>({65'535}).uint_contents(0) == 65'535);
  CHECK(Contents<std::uint32_t>({4'000'000'000}).uint_contents(0) == 4'000'000'000);
  CHECK(Contents<std::uint64_t>({~std::uint64_t{0}}).uint64_contents(0) == ~std::uint64_t{0});
  CHECK(Contents<float>({0.5f}).fp32_contents(0) == 0.5f);
  CHECK(Contents<double>({0.25}).fp64_contents(0) == 0.25);
  CHECK(Contents<std::string>({"a", std::string("\0b", 2)}).bytes_contents(1) == std::string("\0b", 2));
  CHECK(Contents<float>({}).fp32_contents_size() == 0);
}

TEST_CASE("16-bit floats have no typed form", "[contract][trap]") {
  const absl::Status status = Typed::Encode({{"h", std::vector<Float16>(2), {2}}}).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message() == "input 'h': FP16 exists only as raw contents, and typed ones are sent here");
  CHECK_FALSE(Typed::Encode({{"b", std::vector<BFloat16>(2), {2}}}).ok());
}

TEST_CASE("a typed dialect refuses what the dialect refuses", "[contract]") {
  InferRequest request = {{"x", std::vector<float>{1}, {1}}};
  request.set_parameter("ratio", 0.5);
  CHECK_FALSE(TypedContents<OpenInferenceKServe>::Encode(request).ok());
  CHECK(Typed::Encode(request).ok());
}

TEST_CASE("TorchServe's dialect sends typed contents by itself", "[contract]") {
  const auto message = OpenInferenceTorchServe::Encode({{"x", std::vector<float>{0.5f, 2}, {2}}});
  REQUIRE(message.ok());
  CHECK(message->raw_input_contents_size() == 0);
  CHECK(message->inputs(0).contents().fp32_contents_size() == 2);
  const absl::Status half = OpenInferenceTorchServe::Encode({{"h", std::vector<Float16>(2), {2}}}).status();
  CHECK(half.code() == absl::StatusCode::kInvalidArgument);
  InferRequest request = {{"x", std::vector<float>{1}, {1}}};
  request.set_parameter("ratio", 0.5);
  CHECK_FALSE(OpenInferenceTorchServe::Encode(request).ok());
}
