// SPDX-License-Identifier: Apache-2.0
//
// Tensors of every datatype go to Triton and come back as they were; large ones without copies of ours.
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

namespace {

/// `elements`, and none, there and back.
template <class T>
void Echo(const InferenceClient<OpenInference>& server, const std::string& name, const std::vector<T>& elements) {
  CAPTURE(name);
  const auto count = static_cast<std::int64_t>(elements.size());
  const auto model = server.GetModel("identity_" + name);
  const ModelMetadata metadata = Answered(model.Metadata());
  REQUIRE(metadata.inputs.size() == 1);
  CHECK(metadata.inputs[0].datatype == DataTypeOf<T>);
  for (const Shape& shape : {Shape{1, count}, Shape{count, 1}}) {
    const InferResult result = Answered(model.Infer({{"INPUT0", std::vector<T>(elements), shape}}));
    REQUIRE(result.outputs().size() == 1);
    CHECK(result.outputs()[0].datatype() == DataTypeOf<T>);
    CHECK(result.outputs()[0].shape() == shape);
    CHECK((Values<T>(result, "OUTPUT0") == elements));
  }
  const InferResult streamed = Answered(server.GetModel("identity_" + name, {.over_stream = true})
                                            .Infer({{"INPUT0", std::vector<T>(elements), {1, count}}}));
  CHECK((Values<T>(streamed, "OUTPUT0") == elements));
  const InferResult none = Answered(model.Infer({{"INPUT0", std::vector<T>(), {3, 0}}}));
  REQUIRE(none.outputs().size() == 1);
  CHECK(none.outputs()[0].shape() == Shape{3, 0});
  CHECK(Values<T>(none, "OUTPUT0").empty());
}

template <class T>
std::vector<T> Ends() {
  using Limits = std::numeric_limits<T>;
  return {Limits::lowest(), T{0}, T{1}, (Limits::max)(), static_cast<T>(42)};
}

constexpr std::size_t kLarge = 67'000'000;  // elements: 268 MB

}  // namespace

TEST_CASE("every datatype goes to Triton and comes back as it was, empty ones too", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  Echo<bool>(server, "bool", {true, false, false, true});
  Echo(server, "uint8", Ends<std::uint8_t>());
  Echo(server, "uint16", Ends<std::uint16_t>());
  Echo(server, "uint32", Ends<std::uint32_t>());
  Echo(server, "uint64", Ends<std::uint64_t>());
  Echo(server, "int8", Ends<std::int8_t>());
  Echo(server, "int16", Ends<std::int16_t>());
  Echo(server, "int32", Ends<std::int32_t>());
  Echo(server, "int64", Ends<std::int64_t>());
  Echo<float>(server, "fp32", {0.5f, -0.0f, 1e30f, 1e-45f, std::numeric_limits<float>::infinity()});
  Echo<double>(server, "fp64", {0.1, -1e300, 5e-324});
  Echo<Float16>(server, "fp16", {Float16(0.5f), Float16(-65504), Float16::FromBits(1)});
  Echo<BFloat16>(server, "bf16", {BFloat16(0.5f), BFloat16(-3e38f), BFloat16::FromBits(1)});
  Echo<std::string>(server, "bytes", {"Tom", "", std::string("\0\xff\0", 3), std::string(100'000, 'x'), "größe"});
}

TEST_CASE("268 MB are lent to a call to Triton, and come back into the caller's memory", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto model = ConnectTo(*target).GetModel("identity_fp32");
  std::vector<float> there(kLarge);
  std::iota(there.begin(), there.end(), 0.0f);
  std::vector<float> back(kLarge);
  InferRequest request{{"INPUT0", std::span<const float>(there), {1, kLarge}}};
  request.set_output_buffer("OUTPUT0", std::span(back));
  const InferResult result = Answered(model.Infer(request));
  CHECK((there == back));
  const auto view = Answered(result.Get<float>("OUTPUT0"));
  CHECK(view.data() == back.data());

  // And as a future; what is too small for it is told, and nothing written beyond.
  std::vector<float> small(kLarge - 1);
  InferRequest mistaken{{"INPUT0", std::span<const float>(there), {1, kLarge}}};
  mistaken.set_output_buffer("OUTPUT0", std::span(small));
  CHECK(model.AsyncInfer(mistaken).Get().status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("an answer of 268 MB is refused by a client that allows 1 MB", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto model = ConnectTo({*target}, {.max_receive_message_bytes = 1 << 20}).GetModel("identity_uint8");
  const std::vector<std::uint8_t> bytes(4 * kLarge);
  const absl::Status status = model.Infer({{"INPUT0", std::span<const std::uint8_t>(bytes), {1, 4 * kLarge}}}).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(InfoOf(status).attempts.size() == 1);
}
