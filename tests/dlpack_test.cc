// SPDX-License-Identifier: Apache-2.0
#if __has_include(<dlpack/dlpack.h>)

#include "inferwire/dlpack.h"

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/catch.h"

using inferwire::DataType;
using inferwire::InferInput;
using inferwire::InferResult;
using inferwire::Lend;
using inferwire::Own;
using inferwire::Shape;
using inferwire::ToDLPack;

namespace {
std::string Message(const absl::Status& status) { return std::string(status.message()); }

// Six floats of the shape [2,3], to be changed by a test.
struct Sample {
  std::array<float, 6> data{0, 1, 2, 3, 4, 5};
  std::array<std::int64_t, 2> shape{2, 3};
  std::array<std::int64_t, 2> strides{3, 1};
  DLTensor tensor{data.data(), {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape.data(), nullptr, 0};
};

template <class Change>
std::string Refusal(Change change) {
  Sample sample;
  change(sample);
  const absl::Status status = Lend("x", sample.tensor).Validate();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  return Message(status);
}
}  // namespace

TEST_CASE("a compact DLPack tensor on the CPU is lent", "[dlpack]") {
  Sample sample;
  for (std::int64_t* strides : {static_cast<std::int64_t*>(nullptr), sample.strides.data()}) {
    sample.tensor.strides = strides;
    const InferInput input = Lend("x", sample.tensor);
    REQUIRE(input.Validate().ok());
    CHECK(static_cast<const void*>(input.bytes().data()) == sample.data.data());
    CHECK(input.bytes().size() == 24);
    CHECK(input.shape() == Shape{2, 3});
    CHECK(input.datatype() == DataType::kFp32);
  }
  sample.tensor.device = {kDLCUDAHost, 0};  // pinned memory is the CPU's
  CHECK(Lend("x", sample.tensor).Validate().ok());
}

TEST_CASE("DLPack's offsets, scalars, empty tensors and strides that mean nothing are understood", "[dlpack]") {
  Sample sample;
  sample.tensor.byte_offset = 12;
  sample.shape = {1, 3};
  sample.strides = {12345, 1};
  sample.tensor.strides = sample.strides.data();
  const InferInput input = Lend("x", sample.tensor);
  REQUIRE(input.Validate().ok());
  CHECK(static_cast<const void*>(input.bytes().data()) == sample.data.data() + 3);

  DLTensor scalar = sample.tensor;
  scalar.ndim = 0;
  scalar.shape = nullptr;
  scalar.strides = nullptr;
  CHECK(Lend("x", scalar).Validate().ok());
  CHECK(Lend("x", scalar).size() == 1);

  sample.shape = {0, 3};
  sample.tensor.data = nullptr;
  sample.tensor.byte_offset = 0;
  CHECK(Lend("x", sample.tensor).Validate().ok());
}

TEST_CASE("every datatype has its DLPack type, both ways", "[dlpack]") {
  for (const auto& row : inferwire::detail::kDLPackTypes) {
    CHECK(row.bits == 8 * inferwire::ElementSize(row.type));
    InferResult result;
    result.AddBytes("y", row.type, std::string(2 * inferwire::ElementSize(row.type), '\0'), {2});
    const auto tensor = ToDLPack(result, "y");
    REQUIRE(tensor.ok());
    const InferInput input = Lend("x", (*tensor)->dl_tensor);
    CHECK(input.Validate().ok());
    CHECK(input.datatype() == row.type);
  }
}

TEST_CASE("a DLPack tensor that cannot be sent says what it is", "[dlpack]") {
  CHECK(Refusal([](Sample& s) { s.tensor.device = {kDLCUDA, 1}; }) ==
        "input 'x': the DLPack tensor lies on a device of type 2, number 1; expected the CPU (1): copy it there");
  CHECK(Refusal([](Sample& s) { s.tensor.dtype = {kDLComplex, 64, 1}; }) ==
        "input 'x': the DLPack tensor has elements of type code 5, 64 bits, 1 lanes, which no datatype is");
  CHECK(Refusal([](Sample& s) { s.tensor.dtype = {kDLFloat, 32, 4}; }).find("4 lanes") != std::string::npos);
  CHECK(Refusal([](Sample& s) {
          s.tensor.strides = s.strides.data();
          s.strides = {1, 2};
        }) ==
        "input 'x': the DLPack tensor of shape [2,3] has strides of [1,2] elements; expected a compact row-major one");
}

TEST_CASE("a hostile DLPack tensor is refused before its memory is looked at", "[dlpack]") {
  CHECK(Refusal([](Sample& s) { s.tensor.ndim = -1; }) ==
        "input 'x': the DLPack tensor has -1 dimensions; expected 0 to 64");
  CHECK(Refusal([](Sample& s) { s.tensor.ndim = std::numeric_limits<int>::max(); }) ==
        "input 'x': the DLPack tensor has 2147483647 dimensions; expected 0 to 64");
  CHECK(Refusal([](Sample& s) { s.tensor.shape = nullptr; }) ==
        "input 'x': the DLPack tensor has 2 dimensions but no shape");
  CHECK(Refusal([](Sample& s) { s.shape = {2, -3}; }) ==
        "input 'x': the DLPack tensor is refused: shape [2,-3] has the negative dimension -3");
  CHECK(Refusal([](Sample& s) { s.shape = {1LL << 62, 4}; }) ==
        "input 'x': the DLPack tensor is refused: shape [4611686018427387904,4] has more than 2^63 - 1 elements");
  CHECK(Refusal([](Sample& s) { s.shape = {1LL << 62, 1}; }) ==
        "input 'x': the DLPack tensor of shape [4611686018427387904,1] at the offset 0 ends beyond all memory");
  CHECK(Refusal([](Sample& s) {
          s.tensor.byte_offset = std::numeric_limits<std::uint64_t>::max();
        }).find("ends beyond all memory") != std::string::npos);
  CHECK(Refusal([](Sample& s) { s.tensor.data = nullptr; }) ==
        "input 'x': the DLPack tensor of shape [2,3] has no data");
  CHECK(Refusal([](Sample& s) { s.tensor.byte_offset = 2; }) ==
        "input 'x': the DLPack tensor is not aligned to the 4 bytes of its elements");
}

TEST_CASE("a DLPack tensor that was given away is deleted once, with the last copy of the input", "[dlpack]") {
  Sample sample;
  int deleted = 0;
  DLManagedTensor managed{sample.tensor, &deleted,
                          [](DLManagedTensor* self) { ++*static_cast<int*>(self->manager_ctx); }};
  std::optional<InferInput> input = Own("x", &managed);
  CHECK(input->Validate().ok());
  std::optional<InferInput> copy = *input;
  input.reset();
  CHECK(deleted == 0);
  copy.reset();
  CHECK(deleted == 1);
  managed.dl_tensor.ndim = -1;
  CHECK_FALSE(Own("x", &managed).Validate().ok());
  CHECK(deleted == 2);
  managed.deleter = nullptr;  // as of a tensor that needs none
  CHECK_FALSE(Own("x", &managed).Validate().ok());
  CHECK(Message(Own("x", nullptr).Validate()) == "input 'x': the DLPack tensor is null");
}

TEST_CASE("an output as a DLPack tensor keeps its result alive", "[dlpack]") {
  std::optional<InferResult> result{std::in_place};
  result->Add("y", std::vector<std::int64_t>{1, 2, 3, 4}, {2, 2});
  result->Add("s", std::vector<std::string>{"text"}, {1});
  const void* const data = result->Get<std::int64_t>("y")->data();
  auto tensor = ToDLPack(*result, "y");
  REQUIRE(tensor.ok());
  CHECK(Message(ToDLPack(*result, "s").status()) == "output 's' is BYTES, which DLPack does not have");
  CHECK(ToDLPack(*result, "z").status().code() == absl::StatusCode::kNotFound);
  result.reset();
  const DLTensor& view = (*tensor)->dl_tensor;
  CHECK(view.data == data);
  CHECK(view.ndim == 2);
  CHECK(view.shape[1] == 2);
  CHECK(static_cast<const std::int64_t*>(view.data)[3] == 4);
  // Handed on, and given back as an input.
  const InferInput input = Own("x", tensor->release());
  CHECK(static_cast<const void*>(input.bytes().data()) == data);
}

#endif
