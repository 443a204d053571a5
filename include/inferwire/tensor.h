// SPDX-License-Identifier: Apache-2.0
//
// The words for tensors: datatypes, shapes, and the element types that C++ lacks. Knows nothing of gRPC.
#ifndef INFERWIRE_TENSOR_H_
#define INFERWIRE_TENSOR_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"

namespace inferwire {
inline namespace v0 {

static_assert(std::endian::native == std::endian::little,
              "inferwire: tensors travel in little-endian order and are sent as they lie in memory; a big-endian "
              "machine would have to swap them");

/// An element's type. Names are those of the Open Inference Protocol.
enum class DataType {
  kBool,  ///< one byte, 0 or 1
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kFp16,  ///< IEEE 754 binary16
  kBf16,  ///< the upper half of a binary32
  kFp32,
  kFp64,
  kBytes,  ///< strings of any bytes, each of its own length
};

namespace detail {

struct DataTypeRow {
  DataType type;
  std::string_view name;
  std::size_t size;
};
inline constexpr std::array<DataTypeRow, 14> kDataTypes = {{
    {DataType::kBool, "BOOL", 1},
    {DataType::kUint8, "UINT8", 1},
    {DataType::kUint16, "UINT16", 2},
    {DataType::kUint32, "UINT32", 4},
    {DataType::kUint64, "UINT64", 8},
    {DataType::kInt8, "INT8", 1},
    {DataType::kInt16, "INT16", 2},
    {DataType::kInt32, "INT32", 4},
    {DataType::kInt64, "INT64", 8},
    {DataType::kFp16, "FP16", 2},
    {DataType::kBf16, "BF16", 2},
    {DataType::kFp32, "FP32", 4},
    {DataType::kFp64, "FP64", 8},
    {DataType::kBytes, "BYTES", 0},
}};

}  // namespace detail

/// "FP32" and so on.
constexpr std::string_view DataTypeName(DataType type) {
  return detail::kDataTypes[static_cast<std::size_t>(type)].name;
}

/// Bytes an element takes; 0 for kBytes, whose elements differ.
constexpr std::size_t ElementSize(DataType type) { return detail::kDataTypes[static_cast<std::size_t>(type)].size; }

/// The datatype of that name. INVALID_ARGUMENT naming what was given and what there is.
inline absl::StatusOr<DataType> ParseDataType(std::string_view name) {
  for (const detail::DataTypeRow& row : detail::kDataTypes) {
    if (row.name == name) return row.type;
  }
  std::string known;
  for (const detail::DataTypeRow& row : detail::kDataTypes) known += detail::Cat(known.empty() ? "" : ", ", row.name);
  return detail::InvalidArgumentError(detail::Cat("unknown datatype '", name, "'; expected one of ", known));
}

/// IEEE 754 binary16: 5 bits of exponent, 10 of fraction. Holds and converts; computing is float's business.
class Float16 {
 public:
  constexpr Float16() = default;
  /// Rounds to nearest, ties to even; what is too large becomes infinite.
  constexpr explicit Float16(float value) : bits_(FromFloat(value)) {}
  constexpr explicit operator float() const { return ToFloat(bits_); }

  static constexpr Float16 FromBits(std::uint16_t bits) {
    Float16 out;
    out.bits_ = bits;
    return out;
  }
  constexpr std::uint16_t bits() const { return bits_; }

  /// As floats compare: NaN equals nothing, the zeros equal each other.
  friend constexpr bool operator==(Float16 a, Float16 b) { return float(a) == float(b); }
  friend constexpr auto operator<=>(Float16 a, Float16 b) { return float(a) <=> float(b); }

 private:
  static constexpr std::uint16_t FromFloat(float value) {
    const std::uint32_t f = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (f >> 16) & 0x8000U;
    const std::uint32_t magnitude = f & 0x7fffffffU;
    if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U | ((f >> 13) & 0x3ffU));  // NaN
    if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);  // rounds beyond 65504
    std::uint32_t half = 0;
    std::uint32_t rest = 0;  // what is cut off, with the bit that counts at `tie`
    std::uint32_t tie = 0;
    if (magnitude >= 0x38800000U) {  // normal: at least 2^-14
      half = (magnitude - 0x38000000U) >> 13;
      rest = magnitude & 0x1fffU;
      tie = 0x1000U;
    } else if (magnitude >= 0x33000000U) {  // subnormal: at least half of 2^-24
      const std::uint32_t shift = 126U - (magnitude >> 23);
      const std::uint32_t fraction = (magnitude & 0x7fffffU) | 0x800000U;
      half = fraction >> shift;
      rest = fraction & ((1U << shift) - 1U);
      tie = 1U << (shift - 1U);
    }
    if (rest > tie || (rest == tie && tie != 0 && (half & 1U) != 0)) ++half;
    return static_cast<std::uint16_t>(sign | half);
  }
  static constexpr float ToFloat(std::uint16_t bits) {
    const std::uint32_t sign = (bits & 0x8000U) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1fU;
    const std::uint32_t fraction = bits & 0x3ffU;
    if (exponent == 0x1fU) return std::bit_cast<float>(sign | 0x7f800000U | (fraction << 13));
    if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (fraction << 13));
    const float subnormal = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(subnormal));
  }

  std::uint16_t bits_ = 0;
};

/// bfloat16: a binary32 cut to 16 bits. Holds and converts; computing is float's business.
class BFloat16 {
 public:
  constexpr BFloat16() = default;
  /// Rounds to nearest, ties to even.
  constexpr explicit BFloat16(float value) : bits_(FromFloat(value)) {}
  constexpr explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits_} << 16); }

  static constexpr BFloat16 FromBits(std::uint16_t bits) {
    BFloat16 out;
    out.bits_ = bits;
    return out;
  }
  constexpr std::uint16_t bits() const { return bits_; }

  /// As floats compare: NaN equals nothing, the zeros equal each other.
  friend constexpr bool operator==(BFloat16 a, BFloat16 b) { return float(a) == float(b); }
  friend constexpr auto operator<=>(BFloat16 a, BFloat16 b) { return float(a) <=> float(b); }

 private:
  static constexpr std::uint16_t FromFloat(float value) {
    const std::uint32_t f = std::bit_cast<std::uint32_t>(value);
    if ((f & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((f >> 16) | 0x40U);  // NaN stays one
    return static_cast<std::uint16_t>((f + 0x7fffU + ((f >> 16) & 1U)) >> 16);
  }

  std::uint16_t bits_ = 0;
};

/// The datatype of a C++ element type: DataTypeOf<float> is kFp32. std::string and std::string_view are kBytes.
template <class T>
inline constexpr DataType DataTypeOf = [] {
  if constexpr (std::is_same_v<T, bool>) {
    return DataType::kBool;
  } else if constexpr (std::is_same_v<T, float>) {
    return DataType::kFp32;
  } else if constexpr (std::is_same_v<T, double>) {
    return DataType::kFp64;
  } else if constexpr (std::is_same_v<T, Float16>) {
    return DataType::kFp16;
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return DataType::kBf16;
  } else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>) {
    return DataType::kBytes;
  } else {
    // By size and sign, since `long` and `long long` are both 64 bits wide on some machines. std::byte counts as UINT8.
    constexpr bool is_signed = std::is_signed_v<T>;
    if constexpr (sizeof(T) == 1) return is_signed ? DataType::kInt8 : DataType::kUint8;
    if constexpr (sizeof(T) == 2) return is_signed ? DataType::kInt16 : DataType::kUint16;
    if constexpr (sizeof(T) == 4) return is_signed ? DataType::kInt32 : DataType::kUint32;
    return is_signed ? DataType::kInt64 : DataType::kUint64;
  }
}();

/// What a tensor in memory may consist of. Characters are left out: they are text, which is std::string, or numbers,
/// which are std::int8_t and std::uint8_t.
template <class T>
concept TensorElement = std::is_same_v<T, bool> || std::is_same_v<T, float> || std::is_same_v<T, double> ||
                        std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16> || std::is_same_v<T, std::string> ||
                        std::is_same_v<T, std::string_view> || std::is_same_v<T, std::byte> ||
                        (std::is_integral_v<T> && !std::is_same_v<T, char> && !std::is_same_v<T, wchar_t> &&
                         !std::is_same_v<T, char8_t> && !std::is_same_v<T, char16_t> && !std::is_same_v<T, char32_t>);

/// One dimension, of any integer type; what exceeds 63 bits is taken for 2^63 - 1, which no tensor has.
struct Dimension {
  template <std::integral T>
    requires(!std::is_same_v<T, bool>)
  constexpr Dimension(T given) : value(static_cast<std::int64_t>(given)) {  // NOLINT: meant to be implicit
    if constexpr (std::is_unsigned_v<T> && sizeof(T) >= sizeof value) {
      if (value < 0) value = (std::numeric_limits<std::int64_t>::max)();
    }
  }
  std::int64_t value;
};

/// A tensor's dimensions, outermost first; none is a scalar. Row-major throughout. In models' metadata -1 is any size.
/// Up to four dimensions take no memory of their own.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Dimension> dimensions) {
    if (dimensions.size() > few_.size()) many_.resize(dimensions.size());
    if (dimensions.size() <= few_.size()) few_rank_ = dimensions.size();
    std::int64_t* const to = many_.empty() ? few_.data() : many_.data();
    std::transform(dimensions.begin(), dimensions.end(), to, [](const Dimension& given) { return given.value; });
  }
  explicit Shape(std::span<const std::int64_t> dimensions) {
    if (dimensions.size() <= few_.size()) {
      std::copy(dimensions.begin(), dimensions.end(), few_.begin());
      few_rank_ = dimensions.size();
    } else {
      many_.assign(dimensions.begin(), dimensions.end());
    }
  }

  std::size_t rank() const { return many_.empty() ? few_rank_ : many_.size(); }
  std::int64_t operator[](std::size_t i) const { return begin()[i]; }
  const std::int64_t* begin() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return many_.empty() ? few_.data() : many_.data(); }
  const std::int64_t* end() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return begin() + rank(); }
  friend bool operator==(const Shape&, const Shape&) = default;

  /// The same with another first dimension; of a shape that has one.
  Shape WithFirst(std::int64_t dimension) const {
    Shape out = *this;
    (out.many_.empty() ? out.few_.front() : out.many_.front()) = dimension;
    return out;
  }

  /// "[1,64]"
  std::string ToString() const {
    std::string out = "[";
    for (const std::int64_t dimension : *this) out += detail::Cat(out.size() > 1 ? "," : "", dimension);
    out += ']';
    return out;
  }

 private:
  // One of the two is empty; no absl::InlinedVector, which g++ 12 takes for uninitialized memory once it optimises.
  std::array<std::int64_t, 4> few_{};
  std::size_t few_rank_ = 0;
  std::vector<std::int64_t> many_;
};

/// The product of the dimensions, 1 for a scalar. INVALID_ARGUMENT naming the shape if one is negative or the product
/// exceeds 2^63 - 1.
inline absl::StatusOr<std::int64_t> ElementCount(const Shape& shape) {
  std::int64_t count = 1;
  bool overflow = false;
  bool zero = false;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) {
      return detail::InvalidArgumentError(
          detail::Cat("shape ", shape.ToString(), " has the negative dimension ", dimension));
    }
    zero = zero || dimension == 0;
    if (dimension > 0 && count > (std::numeric_limits<std::int64_t>::max)() / dimension) {
      overflow = true;
    } else {
      count *= dimension > 0 ? dimension : 1;
    }
  }
  if (zero) return 0;
  if (overflow)
    return detail::InvalidArgumentError(detail::Cat("shape ", shape.ToString(), " has more than 2^63 - 1 elements"));
  return count;
}

/// Named values beside the tensors, of a request or a result.
using Parameter = std::variant<bool, std::int64_t, double, std::string>;
using Parameters = std::map<std::string, Parameter, std::less<>>;

/// Where a tensor lies in a shared-memory region that the server knows by name.
struct SharedMemoryPlacement {
  std::string region;
  std::uint64_t byte_size = 0;
  std::uint64_t offset = 0;  ///< bytes from the region's begin

  friend bool operator==(const SharedMemoryPlacement&, const SharedMemoryPlacement&) = default;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_TENSOR_H_
