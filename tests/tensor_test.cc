// SPDX-License-Identifier: Apache-2.0
#include "inferwire/tensor.h"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.h"

using inferwire::BFloat16;
using inferwire::DataType;
using inferwire::DataTypeName;
using inferwire::DataTypeOf;
using inferwire::ElementCount;
using inferwire::ElementSize;
using inferwire::Float16;
using inferwire::ParseDataType;
using inferwire::Shape;

static_assert(DataTypeOf<float> == DataType::kFp32 && DataTypeOf<long> == DataTypeOf<std::int64_t>);
static_assert(DataTypeOf<long long> == DataType::kInt64 && DataTypeOf<unsigned char> == DataType::kUint8);
static_assert(DataTypeOf<std::byte> == DataType::kUint8 && DataTypeOf<std::string> == DataType::kBytes);
static_assert(!inferwire::TensorElement<char> && !inferwire::TensorElement<int*> &&
              !inferwire::TensorElement<long double>);

namespace {
// The value of a small float by definition: sign, exponent of `exponent_bits`, fraction of `fraction_bits`.
double Defined(std::uint32_t bits, int exponent_bits, int fraction_bits) {
  const std::uint32_t exponent = (bits >> fraction_bits) & ((1U << exponent_bits) - 1U);
  const double fraction = (bits & ((1U << fraction_bits) - 1U)) / std::ldexp(1.0, fraction_bits);
  const double sign = (bits >> (exponent_bits + fraction_bits)) != 0 ? -1.0 : 1.0;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  if (exponent == (1U << exponent_bits) - 1U) {
    return fraction != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  }
  return exponent == 0 ? sign * std::ldexp(fraction, 1 - bias)
                       : sign * std::ldexp(1 + fraction, static_cast<int>(exponent) - bias);
}

// Every pattern means what its definition says and comes back; what lies between two neighbours goes to the nearer, and
// half way to the even one.
template <class Small>
void CheckAll(int exponent_bits, int fraction_bits) {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto pattern = static_cast<std::uint16_t>(bits);
    const double defined = Defined(bits, exponent_bits, fraction_bits);
    const float value = static_cast<float>(Small::FromBits(pattern));
    if (std::isnan(defined)) {
      wrong += std::isnan(value) && std::isnan(static_cast<float>(Small(value))) ? 0 : 1;
      continue;
    }
    wrong += static_cast<double>(value) == defined && Small(value).bits() == pattern ? 0 : 1;
    const double next = Defined(bits + 1, exponent_bits, fraction_bits);
    if (!std::isfinite(defined) || !std::isfinite(next) || bits == 0x7fff || bits == 0xffff) continue;
    const auto middle = static_cast<float>((defined + next) / 2);
    const auto even = static_cast<std::uint16_t>(bits % 2 == 0 ? bits : bits + 1);
    wrong += Small(middle).bits() == even ? 0 : 1;
    wrong += Small(std::nextafter(middle, static_cast<float>(defined))).bits() == pattern ? 0 : 1;
    wrong +=
        Small(std::nextafter(middle, static_cast<float>(next))).bits() == static_cast<std::uint16_t>(bits + 1) ? 0 : 1;
  }
  CHECK(wrong == 0);
}
}  // namespace

TEST_CASE("every binary16 converts as IEEE 754 says, both ways", "[tensor]") {
  CheckAll<Float16>(5, 10);
  CHECK(Float16(65504.0f).bits() == 0x7bff);
  CHECK(Float16(65519.0f).bits() == 0x7bff);
  CHECK(Float16(65520.0f).bits() == 0x7c00);
  CHECK(Float16(-1e30f).bits() == 0xfc00);
  CHECK(Float16(1e-30f).bits() == 0);
  CHECK(Float16(-0.0f).bits() == 0x8000);
}

TEST_CASE("every bfloat16 converts by rounding to nearest even, both ways", "[tensor]") {
  CheckAll<BFloat16>(8, 7);
  CHECK(BFloat16(std::numeric_limits<float>::max()).bits() == 0x7f80);
  CHECK(std::isnan(static_cast<float>(BFloat16(std::bit_cast<float>(0x7f800001U)))));
}

TEST_CASE("small floats compare as floats do", "[tensor]") {
  CHECK(Float16(0.0f) == Float16(-0.0f));
  CHECK(Float16(1.0f) < Float16(2.0f));
  CHECK_FALSE(Float16(NAN) == Float16(NAN));
  CHECK(BFloat16(-1.0f) < BFloat16(1.0f));
}

TEST_CASE("datatypes go by their protocol names", "[tensor]") {
  for (const auto& row : inferwire::detail::kDataTypes) {
    CHECK(DataTypeName(row.type) == row.name);
    CHECK(ParseDataType(row.name).value() == row.type);
    CHECK(ElementSize(row.type) == row.size);
  }
  const absl::Status unknown = ParseDataType("FLOAT").status();
  CHECK(unknown.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(unknown.message()).find("unknown datatype 'FLOAT'; expected one of BOOL, UINT8") == 0);
}

TEST_CASE("a shape's elements are counted without overflow", "[tensor]") {
  CHECK(ElementCount({}).value() == 1);
  CHECK(ElementCount({1, 64}).value() == 64);
  CHECK(ElementCount({0}).value() == 0);
  CHECK(ElementCount({1LL << 62, 1LL << 62, 0}).value() == 0);
  CHECK(ElementCount({1LL << 62, 1}).value() == 1LL << 62);
  CHECK(std::string(ElementCount({1LL << 62, 2}).status().message()) ==
        "shape [4611686018427387904,2] has more than 2^63 - 1 elements");
  CHECK(std::string(ElementCount({2, -1}).status().message()) == "shape [2,-1] has the negative dimension -1");
  CHECK_FALSE(ElementCount({0, -1}).ok());
  CHECK(Shape().ToString() == "[]");
  CHECK(Shape{1, 2} == Shape{1, 2});
  CHECK_FALSE(Shape{1, 2} == Shape{2, 1});
  CHECK_FALSE(Shape{1, 2} == Shape{1, 2, 1});
}

TEST_CASE("a shape of any rank copies and moves as a value", "[tensor]") {
  const Shape small{1, 2};
  const Shape large{1, 2, 3, 4, 5, 6};
  Shape shape = small;
  shape = large;
  CHECK(shape == large);
  CHECK(shape.rank() == 6);
  CHECK(shape[5] == 6);
  shape = Shape(shape);
  Shape moved = std::move(shape);
  CHECK(moved == large);
  moved = small;
  CHECK(moved == small);
  CHECK(ElementCount(large).value() == 720);
}

TEST_CASE("a shape is made of integers of any type, in any mixture", "[tensor]") {
  const std::vector<float> values(6);
  const short few = 2;
  CHECK(Shape{1, values.size()} == Shape{1, 6});
  CHECK(Shape{few, 3U, 4L, std::uint8_t{5}, 6ULL} == Shape{2, 3, 4, 5, 6});
  CHECK(Shape({values.size()}).rank() == 1);
  CHECK(Shape{}.rank() == 0);
  CHECK(Shape{-1, values.size()}[0] == -1);
  // What wrapped below zero has no room in any tensor.
  const std::size_t wrapped = values.size() - 7;
  CHECK(Shape{wrapped}[0] == (std::numeric_limits<std::int64_t>::max)());
  CHECK_FALSE(inferwire::ElementCount(Shape{2, wrapped}).ok());
  static_assert(!std::is_constructible_v<Shape, std::initializer_list<bool>>);
  static_assert(!std::is_constructible_v<Shape, std::initializer_list<double>>);
}
