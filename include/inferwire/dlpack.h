// SPDX-License-Identifier: Apache-2.0
//
// DLPack: tensors of other frameworks as inputs without a copy, and outputs as tensors that other frameworks take over.
#ifndef INFERWIRE_DLPACK_H_
#define INFERWIRE_DLPACK_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <dlpack/dlpack.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// DLPack's types by code and bits; BOOL's code has a name since DLPack 1.0 only.
struct DLPackRow {
  DataType type;
  std::uint8_t code;
  std::uint8_t bits;
};
inline constexpr std::uint8_t kDLPackBool = 6;
inline constexpr std::array<DLPackRow, 13> kDLPackTypes = {{
    {DataType::kBool, kDLPackBool, 8},
    {DataType::kUint8, kDLUInt, 8},
    {DataType::kUint16, kDLUInt, 16},
    {DataType::kUint32, kDLUInt, 32},
    {DataType::kUint64, kDLUInt, 64},
    {DataType::kInt8, kDLInt, 8},
    {DataType::kInt16, kDLInt, 16},
    {DataType::kInt32, kDLInt, 32},
    {DataType::kInt64, kDLInt, 64},
    {DataType::kFp16, kDLFloat, 16},
    {DataType::kBf16, kDLBfloat, 16},
    {DataType::kFp32, kDLFloat, 32},
    {DataType::kFp64, kDLFloat, 64},
}};

/// More dimensions than any framework has: what claims more is broken, and would be read beyond its end.
inline constexpr int kDLPackMostDimensions = 64;

/// Whether the elements lie one behind another, row-major. Strides, in elements, mean nothing where a dimension is 1.
inline bool IsCompact(const Shape& shape, const std::int64_t* strides) {
  if (strides == nullptr || std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
  std::int64_t expected = 1;
  for (std::size_t i = shape.rank(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

/// A tensor of DLPack as an input of `name`, or why it is none.
inline InferInput FromDLPack(std::string name, const DLTensor& tensor, std::shared_ptr<const void> owner) {
  const auto refuse = [&](std::string_view why) {
    return InferInput::Refused(std::move(name), Cat("the DLPack tensor ", why));
  };
  const auto device = static_cast<int>(tensor.device.device_type);
  if (device != kDLCPU && device != kDLCUDAHost && device != kDLROCMHost) {
    return refuse(Cat("lies on a device of type ", device, ", number ", tensor.device.device_id,
                      "; expected the CPU (1): copy it there"));
  }
  const auto row = std::find_if(kDLPackTypes.begin(), kDLPackTypes.end(), [&](const DLPackRow& r) {
    return r.code == tensor.dtype.code && r.bits == tensor.dtype.bits;
  });
  if (row == kDLPackTypes.end() || tensor.dtype.lanes != 1) {
    return refuse(Cat("has elements of type code ", int{tensor.dtype.code}, ", ", int{tensor.dtype.bits}, " bits, ",
                      tensor.dtype.lanes, " lanes, which no datatype is"));
  }
  if (tensor.ndim < 0 || tensor.ndim > kDLPackMostDimensions) {
    return refuse(Cat("has ", tensor.ndim, " dimensions; expected 0 to ", kDLPackMostDimensions));
  }
  if (tensor.ndim > 0 && tensor.shape == nullptr) return refuse(Cat("has ", tensor.ndim, " dimensions but no shape"));
  Shape shape(std::span<const std::int64_t>(tensor.shape, static_cast<std::size_t>(tensor.ndim)));
  const absl::StatusOr<std::int64_t> count = ElementCount(shape);
  if (!count.ok()) return refuse(Cat("is refused: ", ToStd(count.status().message())));
  if (!IsCompact(shape, tensor.strides)) {
    return refuse(Cat("of shape ", shape.ToString(), " has strides of ",
                      Shape(std::span<const std::int64_t>(tensor.strides, shape.rank())).ToString(),
                      " elements; expected a compact row-major one"));
  }
  const std::uint64_t width = ElementSize(row->type);
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.data);
  // As much as can lie behind the first element.
  const std::uint64_t room = (std::numeric_limits<std::uintptr_t>::max)() - address;
  if (tensor.byte_offset > room || static_cast<std::uint64_t>(*count) > (room - tensor.byte_offset) / width) {
    return refuse(Cat("of shape ", shape.ToString(), " at the offset ", tensor.byte_offset, " ends beyond all memory"));
  }
  if (*count == 0) return InferInput::FromBytes(std::move(name), row->type, {}, std::move(shape), std::move(owner));
  if (tensor.data == nullptr) return refuse(Cat("of shape ", shape.ToString(), " has no data"));
  if ((address + tensor.byte_offset) % width != 0) {
    return refuse(Cat("is not aligned to the ", width, " bytes of its elements"));
  }
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(tensor.data) + tensor.byte_offset,
                                         static_cast<std::size_t>(*count) * width);
  return InferInput::FromBytes(std::move(name), row->type, bytes, std::move(shape), std::move(owner));
}

struct DLPackDelete {
  void operator()(DLManagedTensor* tensor) const {
    if (tensor == nullptr || tensor->deleter == nullptr) return;
    InvokeUser("DLManagedTensor::deleter", [&] { tensor->deleter(tensor); }).IgnoreError();  // whoever frees it
  }
};

}  // namespace detail

/// Lends the memory of a compact, row-major tensor on the CPU, which must stay until the call has completed. Anything
/// else makes the call fail with INVALID_ARGUMENT, saying what was given.
inline InferInput Lend(std::string name, const DLTensor& tensor) {
  return detail::FromDLPack(std::move(name), tensor, nullptr);
}

/// The same for a tensor that is given away: its deleter runs once the last copy of the input has gone, on whichever
/// thread that is, also where the tensor is refused. Null is refused too.
inline InferInput Own(std::string name, DLManagedTensor* tensor) {
  if (tensor == nullptr) return InferInput::Refused(std::move(name), "the DLPack tensor is null");
  const std::shared_ptr<DLManagedTensor> owner(tensor, detail::DLPackDelete());
  return detail::FromDLPack(std::move(name), tensor->dl_tensor, owner);
}

/// A tensor to be handed on: `release()` it to who calls its deleter.
using DLPackTensor = std::unique_ptr<DLManagedTensor, detail::DLPackDelete>;

/// An output as a DLPack tensor that keeps the result alive. The memory is shared with the result and its copies, and
/// not to be written to, which DLPack before 1.0 has no word for. NOT_FOUND, or INVALID_ARGUMENT for BYTES.
inline absl::StatusOr<DLPackTensor> ToDLPack(const InferResult& result, std::string_view name) {
  struct Kept {
    InferResult result;
    std::vector<std::int64_t> shape;
    DLManagedTensor tensor;
  };
  const absl::StatusOr<const InferOutput*> output = result.Find(name);
  if (!output.ok()) return output.status();
  const auto row = std::find_if(detail::kDLPackTypes.begin(), detail::kDLPackTypes.end(),
                                [&](const detail::DLPackRow& r) { return r.type == (*output)->datatype(); });
  if (row == detail::kDLPackTypes.end()) {
    return detail::InvalidArgumentError(
        detail::Cat("output '", name, "' is ", DataTypeName((*output)->datatype()), ", which DLPack does not have"));
  }
  auto kept = std::make_unique<Kept>(Kept{result, {(*output)->shape().begin(), (*output)->shape().end()}, {}});
  DLTensor& tensor = kept->tensor.dl_tensor;
  tensor.data = const_cast<std::byte*>((*output)->bytes().data());
  tensor.device = {kDLCPU, 0};
  tensor.ndim = static_cast<int>(kept->shape.size());
  tensor.dtype = {row->code, row->bits, 1};
  tensor.shape = kept->shape.data();
  tensor.strides = nullptr;
  tensor.byte_offset = 0;
  kept->tensor.manager_ctx = kept.get();
  kept->tensor.deleter = [](DLManagedTensor* self) { delete static_cast<Kept*>(self->manager_ctx); };
  return DLPackTensor(&kept.release()->tensor);
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DLPACK_H_
