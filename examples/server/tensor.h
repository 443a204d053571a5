// SPDX-License-Identifier: Apache-2.0
//
// Named tensors as bytes, and the checks that make them safe to read: plain C++, no gRPC.
#ifndef INFERWIRE_EXAMPLES_SERVER_TENSOR_H_
#define INFERWIRE_EXAMPLES_SERVER_TENSOR_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace inferwire::examples {

static_assert(std::endian::native == std::endian::little, "tensors travel little-endian and are used as they came");

using Shape = std::vector<std::int64_t>;

/// A tensor that borrows its bytes: little-endian, row-major, without padding. An element of BYTES is a length of four
/// bytes and then that many bytes.
struct TensorView {
  std::string name;
  std::string datatype;  // BOOL, INT8 to INT64, UINT8 to UINT64, FP16, BF16, FP32, FP64 or BYTES
  Shape shape;
  std::string_view data;
};

/// A tensor that owns its bytes.
struct Tensor {
  std::string name;
  std::string datatype;
  Shape shape;
  std::string data;
};

/// Bytes of one element; 0 for BYTES. INVALID_ARGUMENT for a datatype that does not exist.
absl::StatusOr<std::size_t> ElementSize(std::string_view datatype);

/// The product of the dimensions; 1 for a scalar. INVALID_ARGUMENT for a negative dimension or more than 2^63-1.
absl::StatusOr<std::uint64_t> ElementCount(const Shape& shape);

/// The number of bytes fits datatype and shape, and the lengths inside BYTES add up. INVALID_ARGUMENT otherwise.
absl::Status CheckData(const TensorView& tensor);

/// The numbers of a tensor whose datatype has been checked to be T's.
template <class T>
std::vector<T> Values(const TensorView& tensor) {
  std::vector<T> values(tensor.data.size() / sizeof(T));
  // A copy, because bytes inside a message are aligned for nothing.
  if (!values.empty()) std::memcpy(values.data(), tensor.data.data(), values.size() * sizeof(T));
  return values;
}

/// The elements of a BYTES tensor that passed CheckData.
std::vector<std::string_view> Strings(const TensorView& tensor);

template <class T>
Tensor MakeTensor(std::string name, std::string datatype, Shape shape, std::span<const T> values) {
  Tensor tensor{std::move(name), std::move(datatype), std::move(shape), {}};
  if (!values.empty()) tensor.data.assign(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return tensor;
}

/// Appends one element of BYTES: its length and itself.
void AppendString(std::string_view element, std::string& data);

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_TENSOR_H_
