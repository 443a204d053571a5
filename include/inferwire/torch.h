// SPDX-License-Identifier: Apache-2.0
//
// PyTorch's at::Tensor as inputs without a copy, and outputs as tensors. Needs libtorch.
#ifndef INFERWIRE_TORCH_H_
#define INFERWIRE_TORCH_H_

#include <ATen/ATen.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Torch's scalar types; the wider unsigned ones came later than others, and are left out.
struct TorchRow {
  DataType type;
  at::ScalarType scalar;
};
inline constexpr std::array<TorchRow, 10> kTorchTypes = {{
    {DataType::kBool, at::kBool},
    {DataType::kUint8, at::kByte},
    {DataType::kInt8, at::kChar},
    {DataType::kInt16, at::kShort},
    {DataType::kInt32, at::kInt},
    {DataType::kInt64, at::kLong},
    {DataType::kFp16, at::kHalf},
    {DataType::kBf16, at::kBFloat16},
    {DataType::kFp32, at::kFloat},
    {DataType::kFp64, at::kDouble},
}};

/// A tensor of Torch's as an input of `name`, or why it is none.
inline InferInput FromTorch(std::string name, const at::Tensor& tensor, std::shared_ptr<const void> owner) {
  const auto refuse = [&](const auto&... why) {
    std::ostringstream text;
    ((text << "the Torch tensor ") << ... << why);
    return InferInput::Refused(std::move(name), text.str());
  };
  if (!tensor.defined()) return refuse("is undefined");
  if (!tensor.device().is_cpu()) return refuse("lies on ", tensor.device(), "; expected the CPU: send its cpu()");
  if (tensor.layout() != at::kStrided) return refuse("has the layout ", tensor.layout(), "; send its to_dense()");
  if (!tensor.is_contiguous()) {
    return refuse("of shape ", tensor.sizes(), " has strides of ", tensor.strides(),
                  " elements, which are not contiguous: send its contiguous()");
  }
  if (tensor.is_conj() || tensor.is_neg()) return refuse("is a lazy view: send its resolve_neg()");
  for (const TorchRow& row : kTorchTypes) {
    if (row.scalar != tensor.scalar_type()) continue;
    const std::span<const std::byte> bytes(static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes());
    return InferInput::FromBytes(std::move(name), row.type, bytes,
                                 Shape(std::span<const std::int64_t>(tensor.sizes().data(), tensor.sizes().size())),
                                 std::move(owner));
  }
  return refuse("has elements of ", tensor.scalar_type(), ", which no datatype is");
}

}  // namespace detail

/// Lends the memory of a contiguous tensor on the CPU, which must stay until the call has completed. Anything else
/// makes the call fail with INVALID_ARGUMENT, saying what was given.
inline InferInput Lend(std::string name, const at::Tensor& tensor) {
  return detail::FromTorch(std::move(name), tensor, nullptr);
}
/// What nobody holds cannot be lent.
InferInput Lend(std::string name, at::Tensor&& tensor) = delete;

/// The same, holding a reference to the tensor: it stays alive as long as the input and its copies.
inline InferInput Own(std::string name, at::Tensor tensor) {
  const auto kept = std::make_shared<const at::Tensor>(std::move(tensor));
  return detail::FromTorch(std::move(name), *kept, kept);
}

/// An output as a tensor over the result's memory, which it keeps alive. The memory is shared with the result and its
/// copies: clone() it before changing it. NOT_FOUND, or INVALID_ARGUMENT for a datatype that Torch does not have.
inline absl::StatusOr<at::Tensor> ToTorch(const InferResult& result, std::string_view name) {
  const absl::StatusOr<const InferOutput*> output = result.Find(name);
  if (!output.ok()) return output.status();
  for (const detail::TorchRow& row : detail::kTorchTypes) {
    if (row.type != (*output)->datatype()) continue;
    const Shape& shape = (*output)->shape();
    return at::from_blob(
        const_cast<std::byte*>((*output)->bytes().data()), at::IntArrayRef(shape.begin(), shape.rank()),
        [kept = result](void*) {}, at::TensorOptions(row.scalar));
  }
  return detail::InvalidArgumentError(
      detail::Cat("output '", name, "' is ", DataTypeName((*output)->datatype()), ", which Torch does not have"));
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_TORCH_H_
