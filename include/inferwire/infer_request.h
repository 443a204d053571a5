// SPDX-License-Identifier: Apache-2.0
//
// A request for inference, whatever the contract: named tensors, lent or owned.
#ifndef INFERWIRE_INFER_REQUEST_H_
#define INFERWIRE_INFER_REQUEST_H_

#include <absl/container/inlined_vector.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/detail/text.h"
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
      input.refusal_ = absl::InvalidArgumentError(
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
    input.refusal_ = absl::InvalidArgumentError(detail::ToAbsl(reason));
    return input;
  }

  const std::string& name() const { return name_; }
  DataType datatype() const { return datatype_; }
  const Shape& shape() const { return shape_; }
  /// How many elements were given; `shape` says how many there should be.
  std::size_t size() const { return size_; }
  /// The elements as they lie in memory: little-endian, row-major. Empty for BYTES.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// The elements of a BYTES tensor.
  std::span<const std::string> strings() const { return strings_; }

  /// INVALID_ARGUMENT naming the input, what was given and what was expected.
  absl::Status Validate() const {
    if (name_.empty()) return absl::InvalidArgumentError("an input has an empty name");
    if (!refusal_.ok()) {
      return absl::InvalidArgumentError(detail::Cat("input '", name_, "': ", detail::ToStd(refusal_.message())));
    }
    const absl::StatusOr<std::int64_t> count = ElementCount(shape_);
    if (!count.ok()) {
      return absl::InvalidArgumentError(detail::Cat("input '", name_, "': ", detail::ToStd(count.status().message())));
    }
    if (static_cast<std::uint64_t>(*count) != size_) {
      return absl::InvalidArgumentError(detail::Cat("input '", name_, "': shape ", shape_.ToString(), " holds ", *count,
                                                    " elements, but ", size_, " were given"));
    }
    return absl::OkStatus();
  }

 private:
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
  absl::Status refusal_;
};

/// What a model is asked: inputs, and whatever the contract carries beside them. A value; copies share the elements.
class InferRequest {
 public:
  InferRequest() = default;
  InferRequest(std::initializer_list<InferInput> inputs) : inputs_(inputs) {}  // NOLINT: meant to be implicit
  explicit InferRequest(std::vector<InferInput> inputs)
      : inputs_(std::make_move_iterator(inputs.begin()), std::make_move_iterator(inputs.end())) {}

  const std::string& model() const { return model_; }
  const std::string& version() const { return version_; }
  const std::string& id() const { return id_; }
  std::span<const InferInput> inputs() const { return inputs_; }
  /// The outputs asked for; none means all.
  const std::vector<std::string>& outputs() const { return outputs_; }
  const Parameters& parameters() const { return parameters_; }

  void set_model(std::string model) { model_ = std::move(model); }
  /// Empty: the server's choice.
  void set_version(std::string version) { version_ = std::move(version); }
  /// Echoed by servers.
  void set_id(std::string id) { id_ = std::move(id); }
  void set_outputs(std::vector<std::string> outputs) { outputs_ = std::move(outputs); }
  void set_parameter(std::string key, Parameter value) {
    parameters_.insert_or_assign(std::move(key), std::move(value));
  }
  void add_input(InferInput input) { inputs_.push_back(std::move(input)); }

  /// The elements of an input, for contracts that encode them. NOT_FOUND or INVALID_ARGUMENT, naming what there is. T
  /// is std::string for BYTES.
  template <TensorElement T>
    requires(!std::is_same_v<T, std::string_view>)
  absl::StatusOr<std::span<const T>> Get(std::string_view name) const {
    for (const InferInput& input : inputs_) {
      if (input.name() != name) continue;
      if (input.datatype() != DataTypeOf<T>) {
        return absl::InvalidArgumentError(detail::Cat("input '", name, "' is ", DataTypeName(input.datatype()),
                                                      "; expected ", DataTypeName(DataTypeOf<T>)));
      }
      if constexpr (std::is_same_v<T, std::string>) {
        return input.strings();
      } else {
        return std::span<const T>(reinterpret_cast<const T*>(input.bytes().data()), input.size());
      }
    }
    std::string names;
    for (const InferInput& input : inputs_) names += detail::Cat(names.empty() ? "'" : ", '", input.name(), "'");
    return absl::NotFoundError(detail::Cat("no input '", name, "'; there is ", names.empty() ? "none" : names));
  }

  /// INVALID_ARGUMENT for an input whose shape does not fit its elements, an empty name, or one given twice.
  absl::Status Validate() const {
    absl::InlinedVector<std::string_view, 8> names;
    for (const InferInput& input : inputs_) {
      if (absl::Status status = input.Validate(); !status.ok()) return status;
      names.push_back(input.name());
    }
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
      return absl::InvalidArgumentError(detail::Cat("input '", *twice, "' was given twice"));
    }
    return absl::OkStatus();
  }

 private:
  std::string model_;
  std::string version_;
  std::string id_;
  absl::InlinedVector<InferInput, 2> inputs_;  // most models take one or two
  std::vector<std::string> outputs_;
  Parameters parameters_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_INFER_REQUEST_H_
