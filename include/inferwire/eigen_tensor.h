// SPDX-License-Identifier: Apache-2.0
//
// Eigen's unsupported Tensor, for more dimensions than a matrix has: inputs without a copy, outputs as
// Eigen::TensorMap.
#ifndef INFERWIRE_EIGEN_TENSOR_H_
#define INFERWIRE_EIGEN_TENSOR_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/eigen.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

template <class Tensor>
InferInput EigenTensorInput(std::string name, const Tensor& tensor, std::shared_ptr<const void> owner) {
  static_assert(int(Tensor::Layout) == int(Eigen::RowMajor),
                "inferwire: a column-major Eigen tensor does not lie in a tensor's order: declare it Eigen::RowMajor");
  std::array<std::int64_t, std::size_t(Tensor::NumDimensions)> shape;
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = tensor.dimensions()[i];
  return EigenInput(std::move(name), tensor, Shape(shape), std::move(owner));
}

}  // namespace detail

/// Lends the memory of a row-major tensor, which must stay until the call has completed.
template <class T, int Rank, int Options, class Index>
InferInput Lend(std::string name, const Eigen::Tensor<T, Rank, Options, Index>& tensor) {
  return detail::EigenTensorInput(std::move(name), tensor, nullptr);
}
/// What nobody holds cannot be lent: use Own.
template <class T, int Rank, int Options, class Index>
InferInput Lend(std::string name, Eigen::Tensor<T, Rank, Options, Index>&& tensor) = delete;
/// Lends the memory that a view is of.
template <class T, int Options>
InferInput Lend(std::string name, const Eigen::TensorMap<T, Options>& tensor) {
  return detail::EigenTensorInput(std::move(name), tensor, nullptr);
}

/// Owns a row-major tensor that is moved in.
template <class T, int Rank, int Options, class Index>
InferInput Own(std::string name, Eigen::Tensor<T, Rank, Options, Index>&& tensor) {
  const auto kept = std::make_shared<const Eigen::Tensor<T, Rank, Options, Index>>(std::move(tensor));
  return detail::EigenTensorInput(std::move(name), *kept, kept);
}

/// An output of Rank dimensions, row-major, as a view that lives as long as the result or a copy of it. NOT_FOUND or
/// INVALID_ARGUMENT, naming what there is.
template <class T, int Rank>
absl::StatusOr<Eigen::TensorMap<const Eigen::Tensor<T, Rank, Eigen::RowMajor>>> AsTensor(
    const InferResult& result ABSL_ATTRIBUTE_LIFETIME_BOUND, std::string_view name) {
  const absl::StatusOr<std::span<const T>> elements = detail::EigenElements<T>(result, name);
  if (!elements.ok()) return elements.status();
  const Shape& shape = (*result.Find(name))->shape();
  if (shape.rank() != static_cast<std::size_t>(Rank)) {
    return detail::InvalidArgumentError(
        detail::Cat("output '", name, "' has the shape ", shape.ToString(), "; expected ", Rank, " dimensions"));
  }
  std::array<Eigen::Index, static_cast<std::size_t>(Rank)> dimensions;
  std::copy(shape.begin(), shape.end(), dimensions.begin());
  return Eigen::TensorMap<const Eigen::Tensor<T, Rank, Eigen::RowMajor>>(elements->data(), dimensions);
}
/// Of a result that ends with the expression: keep it first.
template <class T, int Rank>
void AsTensor(const InferResult&& result, std::string_view name) = delete;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_EIGEN_TENSOR_H_
