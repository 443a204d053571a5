// SPDX-License-Identifier: Apache-2.0
//
// A model's answer, whatever the contract: named tensors, checked before anyone reads them.
#ifndef INFERWIRE_INFER_RESULT_H_
#define INFERWIRE_INFER_RESULT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
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

/// One output tensor. Immutable; copies share the elements.
class InferOutput {
 public:
  const std::string& name() const { return name_; }
  DataType datatype() const { return datatype_; }
  const Shape& shape() const { return shape_; }
  /// How many elements.
  std::size_t size() const { return size_; }
  /// The elements as they lie in memory: little-endian, row-major, aligned for their type. Empty for BYTES.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// The elements of a BYTES tensor.
  std::span<const std::string_view> strings() const { return strings_; }

 private:
  friend class InferResult;
  std::string name_;
  DataType datatype_ = DataType::kBytes;
  Shape shape_;
  std::size_t size_ = 0;
  std::span<const std::byte> bytes_;
  std::span<const std::string_view> strings_;
  std::shared_ptr<const void> owner_;
};

/// An output that came without elements, since the server has put them into shared memory. Servers need not say where:
/// it is where the request asked for it.
struct PlacedOutput {
  std::string name;
  DataType datatype = DataType::kBytes;
  Shape shape;
};

/// What a model answered. A value; copies share the elements. Reading is safe from several threads at once; what Get
/// returns lives as long as this result or a copy of it.
class InferResult {
 public:
  /// Adds an output. One that is not well formed (elements that do not fill the shape, a name given twice) is kept out
  /// and makes `status` an error, which becomes the call's.
  template <TensorElement T>
    requires(!std::is_same_v<T, std::string_view>)
  void Add(std::string name, std::vector<T> elements, Shape shape) {
    InferOutput output = Begin(std::move(name), DataTypeOf<T>, std::move(shape), elements.size());
    if constexpr (std::is_same_v<T, std::string>) {
      KeepStrings(output, std::move(elements));
    } else if constexpr (std::is_same_v<T, bool>) {
      const std::shared_ptr<bool[]> unpacked(new bool[elements.size()]);
      std::copy(elements.begin(), elements.end(), unpacked.get());
      output.bytes_ = std::as_bytes(std::span<const bool>(unpacked.get(), elements.size()));
      output.owner_ = unpacked;
    } else {
      const auto kept = std::make_shared<const std::vector<T>>(std::move(elements));
      output.bytes_ = std::as_bytes(std::span<const T>(*kept));
      output.owner_ = kept;
    }
    End(std::move(output));
  }

  /// Adds an output of any datatype but BYTES, as its elements lie in memory: little-endian, row-major.
  void AddBytes(std::string name, DataType datatype, std::string bytes, Shape shape) {
    const std::size_t width = ElementSize(datatype);
    InferOutput output = Begin(std::move(name), datatype, std::move(shape), width == 0 ? 0 : bytes.size() / width);
    if (width == 0 || bytes.size() % width != 0) {
      return Refuse(absl::InvalidArgumentError(detail::Cat("output '", output.name_, "': ", bytes.size(),
                                                           " bytes are no whole number of ", DataTypeName(datatype),
                                                           " elements")));
    }
    if (datatype == DataType::kBool &&
        std::any_of(bytes.begin(), bytes.end(), [](char c) { return c != 0 && c != 1; })) {
      return Refuse(
          absl::InvalidArgumentError(detail::Cat("output '", output.name_, "': a BOOL element is neither 0 nor 1")));
    }
    const auto kept = std::make_shared<const std::string>(std::move(bytes));
    output.bytes_ = std::as_bytes(std::span<const char>(*kept));
    output.owner_ = kept;
    if (reinterpret_cast<std::uintptr_t>(kept->data()) % width != 0) {
      // Strings need not be aligned for numbers: moved to where they are.
      const auto aligned = std::make_shared<std::vector<std::uint64_t>>((kept->size() + 7) / 8);
      std::memcpy(aligned->data(), kept->data(), kept->size());
      output.bytes_ = std::as_bytes(std::span<const std::uint64_t>(*aligned)).first(kept->size());
      output.owner_ = aligned;
    }
    End(std::move(output));
  }

  /// Adds an output that has no elements here.
  void AddPlaced(PlacedOutput output) {
    if (Has(output.name)) {
      return Refuse(absl::InvalidArgumentError(detail::Cat("output '", output.name, "' was given twice")));
    }
    placed_.push_back(std::move(output));
  }

  /// Whether all that was added is well formed.
  const absl::Status& status() const { return status_; }

  const std::vector<InferOutput>& outputs() const { return outputs_; }
  /// The outputs that are in shared memory; SharedTensor::Read gives their elements.
  const std::vector<PlacedOutput>& placed_outputs() const { return placed_; }
  /// NOT_FOUND naming the outputs there are.
  absl::StatusOr<const InferOutput*> Find(std::string_view name) const {
    std::string names;
    for (const InferOutput& output : outputs_) {
      if (output.name() == name) return &output;
      names += detail::Cat(names.empty() ? "'" : ", '", output.name(), "'");
    }
    for (const PlacedOutput& output : placed_) {
      if (output.name != name) continue;
      return absl::FailedPreconditionError(
          detail::Cat("output '", name, "' is in shared memory, where the request asked for it"));
    }
    return absl::NotFoundError(detail::Cat("no output '", name, "'; there is ", names.empty() ? "none" : names));
  }

  /// The elements of an output, row-major. T is std::string_view for BYTES. NOT_FOUND or INVALID_ARGUMENT, naming what
  /// there is.
  template <TensorElement T>
    requires(!std::is_same_v<T, std::string>)
  absl::StatusOr<std::span<const T>> Get(std::string_view name) const {
    const absl::StatusOr<const InferOutput*> output = Find(name);
    if (!output.ok()) return output.status();
    if ((*output)->datatype() != DataTypeOf<T>) {
      return absl::InvalidArgumentError(detail::Cat("output '", name, "' is ", DataTypeName((*output)->datatype()),
                                                    "; expected ", DataTypeName(DataTypeOf<T>)));
    }
    if constexpr (std::is_same_v<T, std::string_view>) {
      return (*output)->strings();
    } else {
      return std::span<const T>(reinterpret_cast<const T*>((*output)->bytes().data()), (*output)->size());
    }
  }

  /// Copies the elements of an output to `to`, which must be of their number.
  template <TensorElement T>
    requires(std::is_trivially_copyable_v<T> && !std::is_same_v<T, std::string_view>)
  absl::Status CopyTo(std::string_view name, std::span<T> to) const {
    const absl::StatusOr<std::span<const T>> from = Get<T>(name);
    if (!from.ok()) return from.status();
    if (from->size() != to.size()) {
      return absl::InvalidArgumentError(
          detail::Cat("output '", name, "' has ", from->size(), " elements, but there is room for ", to.size()));
    }
    std::copy(from->begin(), from->end(), to.begin());
    return absl::OkStatus();
  }

  const std::string& model() const { return model_; }
  const std::string& version() const { return version_; }
  const std::string& id() const { return id_; }
  const Parameters& parameters() const { return parameters_; }
  void set_model(std::string model) { model_ = std::move(model); }
  void set_version(std::string version) { version_ = std::move(version); }
  void set_id(std::string id) { id_ = std::move(id); }
  void set_parameter(std::string key, Parameter value) {
    parameters_.insert_or_assign(std::move(key), std::move(value));
  }

 private:
  struct Strings {
    std::vector<std::string> elements;
    std::vector<std::string_view> views;
  };

  static InferOutput Begin(std::string name, DataType datatype, Shape shape, std::size_t size) {
    InferOutput output;
    output.name_ = std::move(name);
    output.datatype_ = datatype;
    output.shape_ = std::move(shape);
    output.size_ = size;
    return output;
  }
  static void KeepStrings(InferOutput& output, std::vector<std::string> elements) {
    const auto kept = std::make_shared<Strings>();
    kept->elements = std::move(elements);
    kept->views.assign(kept->elements.begin(), kept->elements.end());
    output.strings_ = kept->views;
    output.owner_ = kept;
  }
  void End(InferOutput output) {
    const absl::StatusOr<std::int64_t> count = ElementCount(output.shape_);
    if (!count.ok()) {
      return Refuse(absl::InvalidArgumentError(
          detail::Cat("output '", output.name_, "': ", detail::ToStd(count.status().message()))));
    }
    if (static_cast<std::uint64_t>(*count) != output.size_) {
      return Refuse(
          absl::InvalidArgumentError(detail::Cat("output '", output.name_, "': shape ", output.shape_.ToString(),
                                                 " holds ", *count, " elements, but ", output.size_, " were given")));
    }
    if (Has(output.name_)) {
      return Refuse(absl::InvalidArgumentError(detail::Cat("output '", output.name_, "' was given twice")));
    }
    outputs_.push_back(std::move(output));
  }
  bool Has(std::string_view name) const {
    return std::any_of(outputs_.begin(), outputs_.end(), [&](const auto& output) { return output.name_ == name; }) ||
           std::any_of(placed_.begin(), placed_.end(), [&](const auto& output) { return output.name == name; });
  }
  void Refuse(absl::Status why) { status_.Update(std::move(why)); }

  std::string model_;
  std::string version_;
  std::string id_;
  std::vector<InferOutput> outputs_;
  std::vector<PlacedOutput> placed_;
  Parameters parameters_;
  absl::Status status_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_INFER_RESULT_H_
