// SPDX-License-Identifier: Apache-2.0
//
// A model's signature as a type: names, element types and shapes that are known when the program is compiled.
#ifndef INFERWIRE_SIGNATURE_H_
#define INFERWIRE_SIGNATURE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/fixed_string.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/model_metadata.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A tensor of a signature as a value. In the dimensions, -1 is any size.
struct TensorSignature {
  std::string_view name;
  DataType datatype;
  std::span<const std::int64_t> dimensions;

  std::string ToString() const { return Cat(DataTypeName(datatype), " ", Shape(dimensions).ToString()); }
};

}  // namespace detail

/// One input or output: Tensor<"image", float, -1, 64> is FP32 of the shape [-1,64], -1 being any size. Without
/// dimensions it is a scalar; T is std::string for BYTES.
template <detail::FixedString Name, class T, std::int64_t... Dimensions>
struct Tensor {
  static_assert(!Name.view().empty(), "inferwire: a tensor of a signature has a name");
  static_assert(TensorElement<T> && !std::is_same_v<T, std::string_view>,
                "inferwire: a signature's elements are bool, (u)int8 to 64, Float16, BFloat16, float, double or "
                "std::string");
  static_assert(((Dimensions >= -1) && ...), "inferwire: a signature's dimension is a size, or -1 for any size");

  using Element = T;
  static constexpr std::array<std::int64_t, sizeof...(Dimensions)> kDimensions{Dimensions...};
  static constexpr std::size_t kOpen = ((Dimensions == -1 ? 1U : 0U) + ... + 0U);
  static constexpr detail::TensorSignature kSignature{Name.view(), DataTypeOf<T>, kDimensions};
};

namespace detail {

template <class T>
inline constexpr bool kIsTensor = false;
template <FixedString Name, class T, std::int64_t... Dimensions>
inline constexpr bool kIsTensor<Tensor<Name, T, Dimensions...>> = true;

/// The tensors of one direction, whose names differ.
template <class... Tensors>
struct Signature {
  static_assert((kIsTensor<Tensors> && ...),
                "inferwire: a signature consists of Tensor<\"name\", type, dimensions...>");
  static constexpr std::array<TensorSignature, sizeof...(Tensors)> kTensors{Tensors::kSignature...};
  static_assert(
      [] {
        for (std::size_t i = 0; i < kTensors.size(); ++i) {
          for (std::size_t j = 0; j < i; ++j) {
            if (kTensors[i].name == kTensors[j].name) return false;
          }
        }
        return true;
      }(),
      "inferwire: two tensors of a signature have the same name");
};

}  // namespace detail

/// What a model gives, in the order in which its callers want it.
template <class... Tensors>
struct Outputs : detail::Signature<Tensors...> {};

/// What a model takes, in the order of the call's arguments.
template <class... Tensors>
struct Inputs : detail::Signature<Tensors...> {};

namespace detail {

inline std::string ToString(const TensorMetadata& tensor) {
  return Cat("'", tensor.name, "' ", DataTypeName(tensor.datatype), " ", tensor.shape.ToString());
}

/// Whether each dimension of `given` is one that `wanted` has; -1 in `wanted` is any.
inline bool FitsDimensions(std::span<const std::int64_t> given, std::span<const std::int64_t> wanted) {
  return std::equal(given.begin(), given.end(), wanted.begin(), wanted.end(),
                    [](std::int64_t g, std::int64_t w) { return w == -1 || g == w; });
}

/// The shape that `size` elements have: the one dimension that the signature leaves open follows from them.
/// INVALID_ARGUMENT where they do not fill it.
template <class Tensor>
absl::StatusOr<Shape> ShapeFor(std::size_t size) {
  static_assert(Tensor::kOpen <= 1);
  auto dimensions = Tensor::kDimensions;
  if constexpr (Tensor::kOpen == 1) {
    const auto open = std::find(dimensions.begin(), dimensions.end(), -1);
    *open = 1;
    const absl::StatusOr<std::int64_t> fixed = ElementCount(Shape(dimensions));
    if (!fixed.ok()) return fixed.status();
    if (*fixed == 0 || size % static_cast<std::uint64_t>(*fixed) != 0) {
      return detail::InvalidArgumentError(
          Cat(size, " elements do not fill ", Shape(Tensor::kDimensions).ToString(), " of the signature"));
    }
    *open = static_cast<std::int64_t>(size / static_cast<std::uint64_t>(*fixed));
  }
  return Shape(dimensions);
}

/// FAILED_PRECONDITION, naming what the model says and what the signature says, unless everything that the signature
/// promises to send is taken, and everything that it wants may be given. `also`, if given, is a contract's AlsoTakes.
inline absl::Status CheckSignature(const ModelMetadata& model, std::span<const TensorSignature> inputs,
                                   std::span<const TensorSignature> outputs, bool optional_inputs,
                                   bool (*also)(const ModelMetadata&, const TensorMetadata&, DataType,
                                                std::size_t) = nullptr) {
  const auto check = [&](std::string_view kind, std::span<const TensorMetadata> has,
                         std::span<const TensorSignature> says, auto fits) -> absl::Status {
    for (const TensorSignature& tensor : says) {
      const auto found = std::find_if(has.begin(), has.end(), [&](const auto& t) { return t.name == tensor.name; });
      if (found == has.end()) {
        std::string there;
        for (const TensorMetadata& other : has) there += Cat(there.empty() ? "" : ", ", ToString(other));
        return detail::FailedPreconditionError(Cat("model '", model.name, "' has no ", kind, " '", tensor.name,
                                                   "'; it has ", there.empty() ? "none" : there));
      }
      const std::span<const std::int64_t> dimensions(found->shape.begin(), found->shape.rank());
      const bool said = found->datatype == tensor.datatype && fits(tensor.dimensions, dimensions);
      if (!said && (also == nullptr || !also(model, *found, tensor.datatype, tensor.dimensions.size()))) {
        return detail::FailedPreconditionError(Cat("model '", model.name, "' has the ", kind, " ", ToString(*found),
                                                   ", but the signature says ", tensor.ToString()));
      }
    }
    return absl::OkStatus();
  };
  if (absl::Status status = check("input", model.inputs, inputs, FitsDimensions); !status.ok()) return status;
  // What the model leaves open may turn out as the signature says; each answer is checked.
  const auto may_be = [](std::span<const std::int64_t> wanted, std::span<const std::int64_t> given) {
    return std::equal(wanted.begin(), wanted.end(), given.begin(), given.end(),
                      [](std::int64_t w, std::int64_t g) { return w == -1 || g == -1 || w == g; });
  };
  if (absl::Status status = check("output", model.outputs, outputs, may_be); !status.ok()) return status;
  if (optional_inputs) return absl::OkStatus();
  for (const TensorMetadata& input : model.inputs) {
    if (std::none_of(inputs.begin(), inputs.end(), [&](const auto& t) { return t.name == input.name; })) {
      return detail::FailedPreconditionError(Cat("model '", model.name, "' takes the input ", ToString(input),
                                                 ", which the signature lacks; if it is optional, say "
                                                 "BindOptions::optional_inputs"));
    }
  }
  return absl::OkStatus();
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_SIGNATURE_H_
