// SPDX-License-Identifier: Apache-2.0
//
// One input of a request: a named tensor, lent or owned.
#ifndef INFERWIRE_INFER_INPUT_H_
#define INFERWIRE_INFER_INPUT_H_

#include <absl/base/attributes.h>
#include <absl/container/inlined_vector.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/escaping.h>
#include <absl/time/time.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/base/utf8.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {

namespace detail {

template <class T>
inline constexpr bool kIsSpan = false;
template <class T, std::size_t N>
inline constexpr bool kIsSpan<std::span<T, N>> = true;
template <class T>
inline constexpr bool kIsSharedPtr = false;
template <class T>
inline constexpr bool kIsSharedPtr<std::shared_ptr<T>> = true;

/// Elements that lie one behind another: std::vector, std::array and the like.
template <class C>
concept ContiguousContainer = std::ranges::contiguous_range<const C> && requires(const C& c) {
  { c.size() } -> std::convertible_to<std::size_t>;
  c.data();
  typename C::value_type;
};

/// INVALID_ARGUMENT for text that is not UTF-8, which no contract can carry. `what` has it.
inline absl::Status CheckText(std::string_view what, std::string_view text) {
  if (IsUtf8(text)) return absl::OkStatus();
  return detail::InvalidArgumentError(
      Cat(what, " '", absl::CHexEscape(ToAbsl(text)), "' is not UTF-8; other bytes travel as elements of BYTES"));
}
inline absl::Status CheckText(std::string_view what, const Parameters& parameters) {
  for (const auto& [key, value] : parameters) {
    const std::string whose = what.empty() ? std::string() : Cat(what, ": ");
    if (absl::Status status = CheckText(Cat(whose, "the parameter"), key); !status.ok()) return status;
    const auto* const text = std::get_if<std::string>(&value);
    if (text != nullptr && !IsUtf8(*text)) {
      return detail::InvalidArgumentError(
          Cat(whose, "the value of the parameter '", key, "' is not UTF-8; other bytes travel as elements of BYTES"));
    }
  }
  return absl::OkStatus();
}

/// INVALID_ARGUMENT for a placement that is nowhere, or beyond what contracts can say. `what` has it.
inline absl::Status CheckPlacement(std::string_view what, const SharedMemoryPlacement& placement) {
  constexpr auto kMost = static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)());
  if (placement.region.empty()) return detail::InvalidArgumentError(Cat(what, ": a shared-memory region has no name"));
  if (absl::Status status = CheckText(Cat(what, ": the shared-memory region"), placement.region); !status.ok()) {
    return status;
  }
  if (placement.offset <= kMost && placement.byte_size <= kMost - placement.offset) return absl::OkStatus();
  return detail::InvalidArgumentError(
      Cat(what, ": ", placement.byte_size, " bytes at ", placement.offset, " are beyond any shared-memory region"));
}

}  // namespace detail

/// One input tensor: a name, elements, a shape. The elements are lent by a std::span, whose memory must stay until the
/// call has completed, or owned: by an rvalue container, or shared by a std::shared_ptr to one. Copies share them.
class InferInput {
 public:
  /// `data` is a std::span (of a C array too: std::span(pixels)), an rvalue std::vector or std::array (or another
  /// contiguous container), or a std::shared_ptr to one, of TensorElement; std::string elements make a BYTES tensor.
  /// `shape` must have as many elements; {} is a scalar, which has one.
  template <class Data>
  InferInput(std::string name, Data&& data, Shape shape) : name_(std::move(name)), shape_(std::move(shape)) {
    using D = std::remove_cvref_t<Data>;
    if constexpr (detail::kIsSpan<D>) {
      Lend(std::span<const typename D::value_type>(data));
    } else if constexpr (detail::kIsSharedPtr<D>) {
      Share(std::shared_ptr<const typename D::element_type>(std::forward<Data>(data)));
    } else {
      static_assert(
          !std::is_lvalue_reference_v<Data>,
          "inferwire: a container that stays with you is neither lent nor owned: lend it as std::span or move it");
      static_assert(std::is_lvalue_reference_v<Data> || !std::is_array_v<D>,
                    "inferwire: a C array cannot be moved in: lend it as std::span(array), or use a std::array");
      if constexpr (!std::is_lvalue_reference_v<Data> && !std::is_array_v<D>) {
        Share(std::make_shared<const D>(std::forward<Data>(data)));
      }
    }
  }

  /// A tensor that lies in shared memory, as it would be sent: no element of it travels. `keep`, if given, stays alive
  /// as long as this input and its copies.
  InferInput(std::string name, SharedMemoryPlacement placement, DataType datatype, Shape shape,
             std::shared_ptr<const void> keep = nullptr)
      : name_(std::move(name)),
        shape_(std::move(shape)),
        datatype_(datatype),
        owner_(std::move(keep)),
        placement_(std::move(placement)) {}

  /// A tensor whose datatype is known only at run time, but not BYTES: its elements as they lie in memory,
  /// little-endian, row-major and aligned for their type. They are lent, or kept by `owner` if there is one.
  static InferInput FromBytes(std::string name, DataType datatype, std::span<const std::byte> bytes, Shape shape,
                              std::shared_ptr<const void> owner = nullptr) {
    InferInput input;
    input.name_ = std::move(name);
    input.shape_ = std::move(shape);
    input.datatype_ = datatype;
    const std::size_t width = ElementSize(datatype);
    if (width == 0 || bytes.size() % width != 0) {
      input.refusal_ = detail::InvalidArgumentError(
          detail::Cat(bytes.size(), " bytes are no whole number of ", DataTypeName(datatype), " elements"));
    } else {
      input.size_ = bytes.size() / width;
      input.bytes_ = bytes;
    }
    input.owner_ = std::move(owner);
    return input;
  }

  /// Stands in for a tensor that cannot be sent, so that what makes inputs of other libraries' tensors can say why
  /// where every other mistake is reported: Validate, and the call, fail with INVALID_ARGUMENT and this reason.
  static InferInput Refused(std::string name, std::string_view reason) {
    InferInput input;
    input.name_ = std::move(name);
    input.refusal_ = detail::InvalidArgumentError(detail::ToAbsl(reason));
    return input;
  }

  const std::string& name() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return name_; }
  DataType datatype() const { return datatype_; }
  const Shape& shape() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return shape_; }
  /// How many elements were given; `shape` says how many there should be. 0 for those in shared memory.
  std::size_t size() const { return size_; }
  /// The elements as they lie in memory: little-endian, row-major. Empty for BYTES.
  std::span<const std::byte> bytes() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return bytes_; }
  /// The elements of a BYTES tensor.
  std::span<const std::string> strings() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return strings_; }
  /// What keeps the elements; null where they are lent.
  const std::shared_ptr<const void>& owner() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return owner_; }
  /// Where the tensor lies, if it lies in shared memory.
  const std::optional<SharedMemoryPlacement>& placement() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return placement_; }
  const Parameters& parameters() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return parameters_; }

  /// What a server wants to know of this input beside its elements.
  InferInput& set_parameter(std::string key, Parameter value) {
    parameters_.insert_or_assign(std::move(key), std::move(value));
    return *this;
  }

  /// INVALID_ARGUMENT naming the input, what was given and what was expected.
  absl::Status Validate() const {
    if (name_.empty()) return detail::InvalidArgumentError("an input has an empty name");
    if (absl::Status status = detail::CheckText("the name of an input", name_); !status.ok()) return status;
    if (!parameters_.empty()) {
      absl::Status status = detail::CheckText(detail::Cat("input '", name_, "'"), parameters_);
      if (!status.ok()) return status;
    }
    if (!refusal_.ok()) {
      return detail::InvalidArgumentError(detail::Cat("input '", name_, "': ", detail::ToStd(refusal_.message())));
    }
    const absl::StatusOr<std::int64_t> count = ElementCount(shape_);
    if (!count.ok()) {
      return detail::InvalidArgumentError(
          detail::Cat("input '", name_, "': ", detail::ToStd(count.status().message())));
    }
    if (placement_.has_value()) return ValidatePlacement(static_cast<std::uint64_t>(*count));
    if (static_cast<std::uint64_t>(*count) != size_) {
      return detail::InvalidArgumentError(detail::Cat("input '", name_, "': shape ", shape_.ToString(), " holds ",
                                                      *count, " elements, but ", size_, " were given"));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ValidatePlacement(std::uint64_t count) const {
    const auto what = detail::Cat("input '", name_, "'");
    if (absl::Status status = detail::CheckPlacement(what, *placement_); !status.ok()) return status;
    // An element of BYTES takes at least the four bytes of its length.
    const std::uint64_t width = datatype_ == DataType::kBytes ? 4 : ElementSize(datatype_);
    const std::uint64_t fits = placement_->byte_size / width;
    if (datatype_ == DataType::kBytes ? fits >= count : fits == count && placement_->byte_size % width == 0) {
      return absl::OkStatus();
    }
    return detail::InvalidArgumentError(detail::Cat(what, ": ", DataTypeName(datatype_), " ", shape_.ToString(),
                                                    " does not take ", placement_->byte_size,
                                                    " bytes of shared memory"));
  }

  InferInput() = default;

  template <class T>
  void Lend(std::span<const T> elements) {
    static_assert(
        TensorElement<T>,
        "inferwire: a tensor's elements are bool, (u)int8 to 64, Float16, BFloat16, float, double or std::string");
    datatype_ = DataTypeOf<T>;
    size_ = elements.size();
    if constexpr (std::is_same_v<T, std::string>) {
      strings_ = elements;
    } else if constexpr (std::is_same_v<T, std::string_view>) {
      Share(std::make_shared<const std::vector<std::string>>(elements.begin(), elements.end()));
    } else {
      bytes_ = std::as_bytes(elements);
    }
  }
  template <class C>
  void Share(std::shared_ptr<const C> container) {
    if (container == nullptr) return;  // no elements, which Validate reports where some are expected
    if constexpr (std::is_same_v<C, std::vector<bool>>) {
      // Its bits are packed: BOOL tensors take a byte each.
      const std::shared_ptr<bool[]> unpacked(new bool[container->size()]);
      std::copy(container->begin(), container->end(), unpacked.get());
      owner_ = unpacked;
      Lend(std::span<const bool>(unpacked.get(), container->size()));
    } else {
      static_assert(
          detail::ContiguousContainer<C>,
          "inferwire: a tensor is a std::span, an rvalue std::vector or std::array, or a std::shared_ptr to one");
      if constexpr (detail::ContiguousContainer<C>) {
        owner_ = container;
        Lend(std::span<const typename C::value_type>(container->data(), container->size()));
      }
    }
  }

  std::string name_;
  Shape shape_;
  DataType datatype_ = DataType::kBytes;
  std::size_t size_ = 0;
  std::span<const std::byte> bytes_;
  std::span<const std::string> strings_;
  std::shared_ptr<const void> owner_;
  std::optional<SharedMemoryPlacement> placement_;
  Parameters parameters_;
  absl::Status refusal_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_INFER_INPUT_H_
