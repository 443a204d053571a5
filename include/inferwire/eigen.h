// SPDX-License-Identifier: Apache-2.0
//
// Eigen's matrices, arrays and vectors as inputs without a copy, and outputs as Eigen::Map. Needs Eigen 3.4.
#ifndef INFERWIRE_EIGEN_H_
#define INFERWIRE_EIGEN_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <Eigen/Core>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// The element type that Eigen's scalar S is in a tensor: its 16-bit floats have other names here.
template <class S>
using EigenElement = std::conditional_t<std::is_same_v<S, Eigen::half>, Float16,
                                        std::conditional_t<std::is_same_v<S, Eigen::bfloat16>, BFloat16, S>>;

/// Anything dense of Eigen's: Matrix, Array, Map, Ref, Block, and expressions.
template <class M>
concept EigenDense = std::derived_from<std::remove_cvref_t<M>, Eigen::DenseBase<std::remove_cvref_t<M>>>;

template <class M>
inline constexpr bool kEigenPlain = std::derived_from<M, Eigen::PlainObjectBase<M>>;

/// In the order of a tensor: row-major, or a vector, where order does not matter.
template <class M>
inline constexpr bool kEigenRowMajor = bool(M::IsRowMajor) || bool(M::IsVectorAtCompileTime);

/// Eigen has no column vectors that are row-major.
template <int Rows, int Cols>
inline constexpr int kEigenOrder = Cols == 1 && Rows != 1 ? Eigen::ColMajor : Eigen::RowMajor;

template <class S>
consteval bool IsEigenElement() {
  return TensorElement<EigenElement<S>> && std::is_trivially_copyable_v<S> &&
         !std::is_same_v<EigenElement<S>, std::string_view>;
}

template <EigenDense M>
Shape EigenShape(const M& matrix) {
  if constexpr (M::IsVectorAtCompileTime) return Shape{matrix.size()};
  return Shape{matrix.rows(), matrix.cols()};
}

/// What lies in memory as a tensor does, matrix or other, as an input.
template <class M>
InferInput EigenInput(std::string name, const M& matrix, Shape shape, std::shared_ptr<const void> owner) {
  using S = typename M::Scalar;
  static_assert(
      IsEigenElement<S>(),
      "inferwire: a tensor's elements are bool, (u)int8 to 64, Eigen::half, Eigen::bfloat16, float or double");
  if constexpr (IsEigenElement<S>()) {
    static_assert(sizeof(S) == sizeof(EigenElement<S>));
    return InferInput::FromBytes(std::move(name), DataTypeOf<EigenElement<S>>,
                                 std::as_bytes(std::span(matrix.data(), static_cast<std::size_t>(matrix.size()))),
                                 std::move(shape), std::move(owner));
  } else {
    return InferInput::Refused(std::move(name), "");
  }
}

/// An output of elements T as Eigen's S sees them. Its size is for the caller to check.
template <class S>
absl::StatusOr<std::span<const S>> EigenElements(const InferResult& result ABSL_ATTRIBUTE_LIFETIME_BOUND,
                                                 std::string_view name) {
  static_assert(IsEigenElement<S>());
  const absl::StatusOr<std::span<const EigenElement<S>>> elements = result.Get<EigenElement<S>>(name);
  if (!elements.ok()) return elements.status();
  return std::span<const S>(reinterpret_cast<const S*>(elements->data()), elements->size());
}

}  // namespace detail

/// Lends the memory of a row-major matrix or array, or of a vector, which must stay until the call has completed: its
/// shape is {rows, cols}, or {size} for what is a vector at compile time, unless `shape` says another. Views (Map, Ref,
/// Block) whose elements do not lie one behind another make the call fail with INVALID_ARGUMENT.
template <detail::EigenDense M>
InferInput Lend(std::string name, M&& matrix, Shape shape) {
  using U = std::remove_cvref_t<M>;
  constexpr bool direct = (int(U::Flags) & int(Eigen::DirectAccessBit)) != 0;
  constexpr bool stays = std::is_lvalue_reference_v<M> || !detail::kEigenPlain<U>;
  static_assert(direct, "inferwire: an Eigen expression has no memory to lend: evaluate it with Own(name, expression)");
  static_assert(stays, "inferwire: a temporary Eigen matrix cannot be lent: use Own(name, matrix)");
  static_assert(
      detail::kEigenRowMajor<U>,
      "inferwire: a column-major Eigen matrix does not lie in a tensor's order: declare it Eigen::RowMajor, or "
      "send its transpose()");
  if constexpr (direct && stays && detail::kEigenRowMajor<U>) {
    constexpr auto kInner = int(U::InnerStrideAtCompileTime);
    static_assert(
        kInner == 1 || kInner == 0 || kInner == Eigen::Dynamic,
        "inferwire: the elements of this Eigen view do not lie side by side (its inner stride is not 1): copy "
        "it with Own(name, view)");
    const bool apart = matrix.size() > 1 && matrix.innerStride() != 1 && matrix.innerSize() > 1;
    const bool gaps = matrix.size() > 1 && matrix.outerSize() > 1 && matrix.outerStride() != matrix.innerSize();
    if (apart || gaps) {
      return InferInput::Refused(
          std::move(name),
          detail::Cat("the elements of this Eigen view do not lie one behind another: an inner stride of ",
                      matrix.innerStride(), ", an outer stride of ", matrix.outerStride(), ", but ", matrix.innerSize(),
                      " elements a row; copy it with Own(name, view)"));
    }
    return detail::EigenInput(std::move(name), matrix, std::move(shape), nullptr);
  } else {
    return InferInput::Refused(std::move(name), "");
  }
}
template <detail::EigenDense M>
InferInput Lend(std::string name, M&& matrix) {
  return Lend(std::move(name), std::forward<M>(matrix), detail::EigenShape(matrix));
}

/// Owns a matrix, array or vector that is moved in; it is not copied. Views and expressions are evaluated into memory
/// of the request's own, in row-major order. The shape is as for Lend.
template <detail::EigenDense M>
InferInput Own(std::string name, M&& matrix, Shape shape) {
  using U = std::remove_cvref_t<M>;
  if constexpr (detail::kEigenPlain<U>) {
    static_assert(!std::is_lvalue_reference_v<M> && !std::is_const_v<std::remove_reference_t<M>>,
                  "inferwire: an Eigen matrix that stays with you is not owned: move it, or use Lend(name, matrix)");
    static_assert(
        detail::kEigenRowMajor<U>,
        "inferwire: a column-major Eigen matrix does not lie in a tensor's order: declare it Eigen::RowMajor, "
        "or send its transpose()");
    if constexpr (!std::is_lvalue_reference_v<M> && detail::kEigenRowMajor<U>) {
      const auto kept = std::make_shared<const U>(std::forward<M>(matrix));
      return detail::EigenInput(std::move(name), *kept, std::move(shape), kept);
    } else {
      return InferInput::Refused(std::move(name), "");
    }
  } else {
    constexpr int kRows = U::RowsAtCompileTime;
    constexpr int kCols = U::ColsAtCompileTime;
    using Kept = Eigen::Matrix<typename U::Scalar, kRows, kCols, detail::kEigenOrder<kRows, kCols>>;
    const auto kept = std::make_shared<const Kept>(matrix.matrix());
    return detail::EigenInput(std::move(name), *kept, std::move(shape), kept);
  }
}
template <detail::EigenDense M>
InferInput Own(std::string name, M&& matrix) {
  Shape shape = detail::EigenShape(matrix);
  return Own(std::move(name), std::forward<M>(matrix), std::move(shape));
}

/// An output of two dimensions as a matrix, row-major, which lives as long as the result or a copy of it. Rows and Cols
/// are checked where they are given. NOT_FOUND or INVALID_ARGUMENT, naming what there is.
template <class T, int Rows = Eigen::Dynamic, int Cols = Eigen::Dynamic>
absl::StatusOr<Eigen::Map<const Eigen::Matrix<T, Rows, Cols, detail::kEigenOrder<Rows, Cols>>>> AsMatrix(
    const InferResult& result ABSL_ATTRIBUTE_LIFETIME_BOUND, std::string_view name) {
  const absl::StatusOr<std::span<const T>> elements = detail::EigenElements<T>(result, name);
  if (!elements.ok()) return elements.status();
  const Shape& shape = (*result.Find(name))->shape();
  if (shape.rank() != 2 || (Rows != Eigen::Dynamic && shape[0] != Rows) ||
      (Cols != Eigen::Dynamic && shape[1] != Cols)) {
    return detail::InvalidArgumentError(detail::Cat("output '", name, "' has the shape ", shape.ToString(),
                                                    "; expected a matrix of ", Shape{Rows, Cols}.ToString(),
                                                    ", -1 being any size"));
  }
  return Eigen::Map<const Eigen::Matrix<T, Rows, Cols, detail::kEigenOrder<Rows, Cols>>>(elements->data(), shape[0],
                                                                                         shape[1]);
}
/// Of a result that ends with the expression: keep it first.
template <class T, int Rows = Eigen::Dynamic, int Cols = Eigen::Dynamic>
void AsMatrix(const InferResult&& result, std::string_view name) = delete;

/// All elements of an output in a row, whatever its shape, as a vector. Otherwise as AsMatrix.
template <class T, int Size = Eigen::Dynamic>
absl::StatusOr<Eigen::Map<const Eigen::Matrix<T, Size, 1>>> AsVector(
    const InferResult& result ABSL_ATTRIBUTE_LIFETIME_BOUND, std::string_view name) {
  const absl::StatusOr<std::span<const T>> elements = detail::EigenElements<T>(result, name);
  if (!elements.ok()) return elements.status();
  if (Size != Eigen::Dynamic && elements->size() != static_cast<std::size_t>(Size)) {
    return detail::InvalidArgumentError(
        detail::Cat("output '", name, "' has ", elements->size(), " elements; expected ", Size));
  }
  return Eigen::Map<const Eigen::Matrix<T, Size, 1>>(elements->data(), static_cast<Eigen::Index>(elements->size()));
}
/// Of a result that ends with the expression: keep it first.
template <class T, int Size = Eigen::Dynamic>
void AsVector(const InferResult&& result, std::string_view name) = delete;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_EIGEN_H_
