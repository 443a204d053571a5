// SPDX-License-Identifier: Apache-2.0
//
// Part of the tests where Torch is installed. REQUIRE throughout: CHECK is a word of the logging that Torch stands on.
#ifdef INFERWIRE_TESTS_TORCH

#include "inferwire/torch.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"

template <class T>
concept Lendable = requires(T&& tensor) { inferwire::Lend("x", std::forward<T>(tensor)); };
static_assert(Lendable<const at::Tensor&> && !Lendable<at::Tensor>);

using inferwire::DataType;
using inferwire::InferInput;
using inferwire::InferResult;
using inferwire::Lend;
using inferwire::Own;
using inferwire::Shape;
using inferwire::ToTorch;

namespace {
std::string Message(const absl::Status& status) { return std::string(status.message()); }
}  // namespace

TEST_CASE("a contiguous Torch tensor is lent with its shape", "[torch]") {
  const at::Tensor tensor = at::arange(6, at::kFloat).reshape({2, 3});
  const InferInput input = Lend("x", tensor);
  REQUIRE(input.Validate().ok());
  REQUIRE(static_cast<const void*>(input.bytes().data()) == tensor.data_ptr());
  REQUIRE(input.shape() == Shape{2, 3});
  REQUIRE(input.datatype() == DataType::kFp32);
}

TEST_CASE("a Torch tensor that is owned stays alive with the input", "[torch]") {
  std::optional<at::Tensor> tensor = at::ones({4}, at::kLong);
  const void* const data = tensor->data_ptr();
  std::optional<InferInput> input = Own("x", *tensor);
  REQUIRE(tensor->use_count() == 2);
  tensor.reset();
  REQUIRE(input->Validate().ok());
  REQUIRE(static_cast<const void*>(input->bytes().data()) == data);
  REQUIRE(reinterpret_cast<const std::int64_t*>(input->bytes().data())[3] == 1);
  const at::Tensor part = at::arange(6, at::kInt).reshape({3, 2});
  REQUIRE(reinterpret_cast<const std::int32_t*>(Own("x", part[1]).bytes().data())[0] == 2);
}

TEST_CASE("every datatype that Torch has goes both ways", "[torch]") {
  for (const auto& row : inferwire::detail::kTorchTypes) {
    InferResult result;
    result.AddBytes("y", row.type, std::string(6 * inferwire::ElementSize(row.type), '\1'), {3, 2});
    const auto tensor = ToTorch(result, "y");
    REQUIRE(tensor.ok());
    REQUIRE(tensor->scalar_type() == row.scalar);
    REQUIRE(tensor->size(0) == 3);
    const InferInput input = Lend("x", *tensor);
    REQUIRE(input.Validate().ok());
    REQUIRE(input.datatype() == row.type);
    REQUIRE(static_cast<const void*>(input.bytes().data()) == result.outputs()[0].bytes().data());
  }
}

TEST_CASE("a Torch tensor that cannot be sent says what to send", "[torch]") {
  const at::Tensor tensor = at::zeros({2, 3});
  REQUIRE(
      Message(Own("x", tensor.t()).Validate()) ==
      "input 'x': the Torch tensor of shape [3, 2] has strides of [1, 3] elements, which are not contiguous: send its "
      "contiguous()");
  REQUIRE(Own("x", tensor.t().contiguous()).Validate().ok());
  REQUIRE(Message(Own("x", at::Tensor()).Validate()) == "input 'x': the Torch tensor is undefined");
  REQUIRE(Message(Own("x", tensor.to_sparse()).Validate()) ==
          "input 'x': the Torch tensor has the layout Sparse; send its to_dense()");
  REQUIRE(Message(Own("x", at::zeros({1}, at::kComplexFloat)).Validate()) ==
          "input 'x': the Torch tensor has elements of ComplexFloat, which no datatype is");
  REQUIRE(Message(Own("x", at::zeros({1}, at::TensorOptions(at::kMeta))).Validate()) ==
          "input 'x': the Torch tensor lies on meta; expected the CPU: send its cpu()");
  REQUIRE(Own("x", at::zeros({0, 3})).Validate().ok());
  REQUIRE(Own("x", at::zeros({})).Validate().ok());
}

TEST_CASE("an output as a Torch tensor keeps its result alive", "[torch]") {
  std::optional<InferResult> result{std::in_place};
  result->Add("y", std::vector<float>{1, 2, 3, 4}, {2, 2});
  result->Add("s", std::vector<std::string>{"text"}, {1});
  result->Add("u", std::vector<std::uint32_t>{1}, {1});
  auto tensor = ToTorch(*result, "y");
  REQUIRE(tensor.ok());
  REQUIRE(Message(ToTorch(*result, "s").status()) == "output 's' is BYTES, which Torch does not have");
  REQUIRE(Message(ToTorch(*result, "u").status()) == "output 'u' is UINT32, which Torch does not have");
  REQUIRE(ToTorch(*result, "z").status().code() == absl::StatusCode::kNotFound);
  result.reset();
  REQUIRE(tensor->sum().item<float>() == 10);
}

#endif
