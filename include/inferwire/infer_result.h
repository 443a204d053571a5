// SPDX-License-Identifier: Apache-2.0
//
// A model's answer, whatever the contract: named tensors, checked before anyone reads them.
#ifndef INFERWIRE_INFER_RESULT_H_
#define INFERWIRE_INFER_RESULT_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <forward_list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/pieces.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {

/// One output tensor. Immutable; copies share the elements. Reading is safe from several threads at once.
///
/// The elements stay in the pieces in which they came from the transport. They are put together, once, when bytes() or
/// strings() is asked for and they are not: in one piece, and aligned for their type.
class InferOutput {
 public:
  const std::string& name() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return name_; }
  DataType datatype() const { return datatype_; }
  const Shape& shape() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return shape_; }
  /// How many elements.
  std::size_t size() const { return size_; }
  /// The elements as they lie in memory: little-endian, row-major, aligned for their type. Empty for BYTES.
  std::span<const std::byte> bytes() const ABSL_ATTRIBUTE_LIFETIME_BOUND {
    if (apart_ == nullptr || datatype_ == DataType::kBytes) return bytes_;
    std::call_once(apart_->once, [this] {
      apart_->together.reset(new std::uint64_t[(apart_->pieces.size() + 7) / 8]);
      apart_->pieces.CopyTo(reinterpret_cast<std::byte*>(apart_->together.get()));
    });
    return {reinterpret_cast<const std::byte*>(apart_->together.get()), apart_->pieces.size()};
  }
  /// The elements of a BYTES tensor.
  std::span<const std::string_view> strings() const ABSL_ATTRIBUTE_LIFETIME_BOUND {
    if (apart_ == nullptr || datatype_ != DataType::kBytes) return strings_;
    std::call_once(apart_->once, [this] { apart_->Split(size_); });
    return apart_->strings;
  }
  /// The elements in the pieces in which they came, in order; an element may begin in one and end in the next. As
  /// bytes(), and for BYTES each element behind its length (4 bytes, little-endian).
  std::vector<std::span<const std::byte>> chunks() const ABSL_ATTRIBUTE_LIFETIME_BOUND {
    std::vector<std::span<const std::byte>> out;
    if (apart_ == nullptr) {
      if (!bytes_.empty()) out.push_back(bytes_);
    } else {
      apart_->pieces.ForEach([&](std::span<const std::byte> piece) { out.push_back(piece); });
    }
    return out;
  }

 private:
  friend class InferResult;

  // Elements in pieces, and what was made of them.
  struct Apart {
    explicit Apart(detail::Pieces from) : pieces(from) {}
    // BYTES: views of the elements, which were checked; those that are in two pieces are copied.
    void Split(std::size_t count) {
      strings.reserve(count);
      for (detail::Pieces rest = pieces; rest.size() > 0;) {
        std::uint32_t length = 0;
        rest.substr(0, 4).CopyTo(reinterpret_cast<std::byte*>(&length));
        rest.remove_prefix(4);
        const detail::Pieces element = rest.substr(0, length);
        if (const auto whole = element.Whole()) {
          strings.emplace_back(reinterpret_cast<const char*>(whole->data()), whole->size());
        } else {
          strings.emplace_back(copies.emplace_front(element.ToString()));
        }
        rest.remove_prefix(length);
      }
    }

    const detail::Pieces pieces;
    std::once_flag once;
    std::unique_ptr<std::uint64_t[]> together;  // aligned for any element
    std::vector<std::string_view> strings;
    std::forward_list<std::string> copies;  // stay where they are; none, as usual, takes no memory
  };

  std::string name_;
  DataType datatype_ = DataType::kBytes;
  Shape shape_;
  std::size_t size_ = 0;
  std::span<const std::byte> bytes_;
  std::span<const std::string_view> strings_;
  std::shared_ptr<Apart> apart_;  // in place of the spans
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
/// returns lives as long as this result or a copy of it. So a result that nobody keeps gives no views:
/// `(*model.Infer(…)).Get<float>("x")` does not compile, and `model.Infer(…)->Get<float>("x")`, which looks like that
/// of a result that is kept, not with clang where it is used beyond the expression (-Wdangling, on by default).
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
    } else if constexpr (std::is_same_v<T, bool>) {  // packed
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

  /// The same of elements that `owner` keeps.
  template <TensorElement T>
    requires(std::is_trivially_copyable_v<T> && !std::is_same_v<T, std::string_view>)
  void AddShared(std::string name, std::span<const T> elements, Shape shape, std::shared_ptr<const void> owner) {
    InferOutput output = Begin(std::move(name), DataTypeOf<T>, std::move(shape), elements.size());
    output.bytes_ = std::as_bytes(elements);
    output.owner_ = std::move(owner);
    End(std::move(output));
  }

  /// Adds an output of any datatype but BYTES, as its elements lie in memory: little-endian, row-major.
  void AddBytes(std::string name, DataType datatype, std::string bytes, Shape shape) {
    if (datatype == DataType::kBytes) {
      return Refuse(detail::InvalidArgumentError(
          detail::Cat("output '", name, "': ", bytes.size(), " bytes are no whole number of BYTES elements")));
    }
    AddRaw(std::move(name), datatype, std::move(bytes), std::move(shape));
  }

  /// Adds an output of any datatype in the layout of InferOutput::chunks(), and keeps the bytes.
  void AddRaw(std::string name, DataType datatype, std::string raw, Shape shape) {
    struct Kept {
      std::string bytes;
      detail::Pieces::Piece piece;
    };
    const auto kept = std::make_shared<Kept>(Kept{std::move(raw), {}});
    kept->piece = std::as_bytes(std::span<const char>(kept->bytes));
    const std::span<const detail::Pieces::Piece> pieces(&kept->piece, kept->bytes.empty() ? 0 : 1);
    AddPieces(std::move(name), datatype, detail::Pieces(pieces), std::move(shape), kept);
  }

  /// The same of bytes that `owner` keeps. They are checked first.
  void AddPieces(std::string name, DataType datatype, detail::Pieces raw, Shape shape,
                 std::shared_ptr<const void> owner) {
    const std::size_t width = ElementSize(datatype);
    const absl::StatusOr<std::size_t> size = width == 0 ? CountStrings(raw) : raw.size() / width;
    InferOutput output = Begin(std::move(name), datatype, std::move(shape), size.ok() ? *size : 0);
    if (!size.ok()) {
      return Refuse(detail::InvalidArgumentError(
          detail::Cat("output '", output.name_, "': ", detail::ToStd(size.status().message()))));
    }
    if (width != 0 && raw.size() % width != 0) {
      return Refuse(detail::InvalidArgumentError(detail::Cat("output '", output.name_, "': ", raw.size(),
                                                             " bytes are no whole number of ", DataTypeName(datatype),
                                                             " elements")));
    }
    if (datatype == DataType::kBool) {
      bool legal = true;
      raw.ForEach([&](std::span<const std::byte> piece) {
        legal = legal && std::all_of(piece.begin(), piece.end(), [](std::byte b) { return b <= std::byte{1}; });
      });
      if (!legal) {
        return Refuse(detail::InvalidArgumentError(
            detail::Cat("output '", output.name_, "': a BOOL element is neither 0 nor 1")));
      }
    }
    Keep(output, raw);
    output.owner_ = std::move(owner);
    End(std::move(output));
  }

  /// Adds a part of another result's output: `count` of its rows, which lie along its first dimension, from `first` on.
  /// There are as many. The elements are shared.
  void AddRows(const InferOutput& from, std::int64_t first, std::int64_t count) {
    const std::size_t row = from.size_ / static_cast<std::size_t>(from.shape_[0]);
    const std::size_t at = static_cast<std::size_t>(first) * row;
    InferOutput output =
        Begin(from.name_, from.datatype_, from.shape_.WithFirst(count), static_cast<std::size_t>(count) * row);
    if (from.datatype_ == DataType::kBytes) {
      const auto whole = std::make_shared<const InferOutput>(from);
      output.strings_ = whole->strings().subspan(at, output.size_);
      output.owner_ = whole;
    } else {
      const std::size_t width = ElementSize(from.datatype_);
      if (from.apart_ != nullptr) {
        Keep(output, from.apart_->pieces.substr(at * width, output.size_ * width));
      } else {
        output.bytes_ = from.bytes_.subspan(at * width, output.size_ * width);
      }
      output.owner_ = from.owner_;
    }
    End(std::move(output));
  }

  /// Copies an output to memory of the caller's, which the output then refers to. NOT_FOUND or INVALID_ARGUMENT, naming
  /// what there is.
  absl::Status Move(std::string_view name, DataType datatype, std::span<std::byte> to) {
    const absl::StatusOr<const InferOutput*> found = Find(name);
    if (!found.ok()) return found.status();
    if (absl::Status status = Copy(**found, datatype, to); !status.ok()) return status;
    InferOutput& output = outputs_[static_cast<std::size_t>(*found - outputs_.data())];
    output.apart_ = nullptr;
    output.bytes_ = to;
    output.owner_ = nullptr;
    return absl::OkStatus();
  }

  /// Makes room for so many outputs.
  void Reserve(std::size_t outputs) { outputs_.reserve(outputs); }

  /// Adds an output that has no elements here.
  void AddPlaced(PlacedOutput output) {
    if (Has(output.name)) {
      return Refuse(detail::InvalidArgumentError(detail::Cat("output '", output.name, "' was given twice")));
    }
    placed_.push_back(std::move(output));
  }

  /// Whether all that was added is well formed.
  const absl::Status& status() const { return status_; }

  const std::vector<InferOutput>& outputs() const& ABSL_ATTRIBUTE_LIFETIME_BOUND { return outputs_; }
  std::vector<InferOutput> outputs() && { return std::move(outputs_); }
  /// The outputs that are in shared memory; SharedTensor::Read gives their elements.
  const std::vector<PlacedOutput>& placed_outputs() const& ABSL_ATTRIBUTE_LIFETIME_BOUND { return placed_; }
  std::vector<PlacedOutput> placed_outputs() && { return std::move(placed_); }
  /// NOT_FOUND naming the outputs there are.
  absl::StatusOr<const InferOutput*> Find(std::string_view name) const& ABSL_ATTRIBUTE_LIFETIME_BOUND {
    for (const InferOutput& output : outputs_) {
      if (output.name() == name) return &output;
    }
    std::string names;
    for (const InferOutput& output : outputs_) {
      names += detail::Cat(names.empty() ? "'" : ", '", output.name(), "'");
    }
    for (const PlacedOutput& output : placed_) {
      if (output.name != name) continue;
      return detail::FailedPreconditionError(
          detail::Cat("output '", name, "' is in shared memory, where the request asked for it"));
    }
    return detail::NotFoundError(detail::Cat("no output '", name, "'; there is ", names.empty() ? "none" : names));
  }
  /// Of a result that ends with the expression: keep it first.
  absl::StatusOr<const InferOutput*> Find(std::string_view name) const&& = delete;

  /// The elements of an output, row-major. T is std::string_view for BYTES. NOT_FOUND or INVALID_ARGUMENT, naming what
  /// there is.
  template <TensorElement T>
    requires(!std::is_same_v<T, std::string>)
  absl::StatusOr<std::span<const T>> Get(std::string_view name) const& ABSL_ATTRIBUTE_LIFETIME_BOUND {
    const absl::StatusOr<const InferOutput*> output = Find(name);
    if (!output.ok()) return output.status();
    if (absl::Status status = Expect(**output, DataTypeOf<T>); !status.ok()) return status;
    if constexpr (std::is_same_v<T, std::string_view>) {
      return (*output)->strings();
    } else {
      return std::span<const T>(reinterpret_cast<const T*>((*output)->bytes().data()), (*output)->size());
    }
  }

  template <TensorElement T>
    requires(!std::is_same_v<T, std::string>)
  absl::StatusOr<std::span<const T>> Get(std::string_view /*name*/) const&& {
    static_assert(sizeof(T) == 0,
                  "inferwire: Get gives a view of the result, which ends with this expression: keep the result, as "
                  "`auto result = model.Infer(...)`, then result->Get, or CopyTo memory of yours");
    return detail::InternalError("");
  }

  /// Copies the elements of an output to `to`, which must be of their number.
  template <TensorElement T>
    requires(std::is_trivially_copyable_v<T> && !std::is_same_v<T, std::string_view>)
  absl::Status CopyTo(std::string_view name, std::span<T> to) const {
    const absl::StatusOr<const InferOutput*> output = Find(name);
    if (!output.ok()) return output.status();
    return Copy(**output, DataTypeOf<T>, std::as_writable_bytes(to));
  }

  const std::string& model() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return model_; }
  const std::string& version() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return version_; }
  const std::string& id() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return id_; }
  const Parameters& parameters() const& ABSL_ATTRIBUTE_LIFETIME_BOUND { return parameters_; }
  Parameters parameters() && { return std::move(parameters_); }
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

  static absl::Status Expect(const InferOutput& output, DataType datatype) {
    if (output.datatype() == datatype) return absl::OkStatus();
    return detail::InvalidArgumentError(detail::Cat("output '", output.name(), "' is ", DataTypeName(output.datatype()),
                                                    "; expected ", DataTypeName(datatype)));
  }
  static absl::Status Copy(const InferOutput& output, DataType datatype, std::span<std::byte> to) {
    if (absl::Status status = Expect(output, datatype); !status.ok()) return status;
    const std::size_t width = ElementSize(datatype);
    if (output.size() * width != to.size()) {
      return detail::InvalidArgumentError(detail::Cat("output '", output.name(), "' has ", output.size(),
                                                      " elements, but there is room for ", to.size() / width));
    }
    if (output.apart_ != nullptr) {
      output.apart_->pieces.CopyTo(to.data());
    } else if (!to.empty()) {
      std::memcpy(to.data(), output.bytes_.data(), to.size());
    }
    return absl::OkStatus();
  }
  // What lies in one piece, and aligned, is read where it is.
  static void Keep(InferOutput& output, detail::Pieces raw) {
    const auto whole = raw.Whole();
    const std::size_t width = ElementSize(output.datatype_);
    if (whole.has_value() && width != 0 && reinterpret_cast<std::uintptr_t>(whole->data()) % width == 0) {
      output.bytes_ = *whole;
    } else {
      output.apart_ = std::make_shared<InferOutput::Apart>(raw);
    }
  }
  // Each element is a length of 4 bytes and then that many.
  static absl::StatusOr<std::size_t> CountStrings(detail::Pieces raw) {
    std::size_t count = 0;
    for (; raw.size() > 0; ++count) {
      std::uint32_t length = 0;
      if (raw.size() < 4) return detail::InvalidArgumentError(detail::Cat(raw.size(), " bytes are left over"));
      raw.substr(0, 4).CopyTo(reinterpret_cast<std::byte*>(&length));
      raw.remove_prefix(4);
      if (length > raw.size()) {
        return detail::InvalidArgumentError(
            detail::Cat("an element claims ", length, " bytes where ", raw.size(), " are left"));
      }
      raw.remove_prefix(length);
    }
    return count;
  }
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
      return Refuse(detail::InvalidArgumentError(
          detail::Cat("output '", output.name_, "': ", detail::ToStd(count.status().message()))));
    }
    if (static_cast<std::uint64_t>(*count) != output.size_) {
      return Refuse(
          detail::InvalidArgumentError(detail::Cat("output '", output.name_, "': shape ", output.shape_.ToString(),
                                                   " holds ", *count, " elements, but ", output.size_, " were given")));
    }
    if (Has(output.name_)) {
      return Refuse(detail::InvalidArgumentError(detail::Cat("output '", output.name_, "' was given twice")));
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
