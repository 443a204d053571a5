// SPDX-License-Identifier: Apache-2.0
//
// A strict reader of the protobuf wire format, for what is read without generated code: bytes in one piece or in many.
#ifndef INFERWIRE_DETAIL_WIRE_READER_H_
#define INFERWIRE_DETAIL_WIRE_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "inferwire/detail/base/pieces.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace wire {

/// Reads one message field by field; trusts nothing, and allocates nothing. (protobuf.dev, "Encoding".) Usage:
///
///   Reader reader(bytes);
///   while (reader.Next()) switch (reader.field()) { … }
///   if (!reader.ok()) malformed
///
/// `Bytes` is std::string_view, or Pieces.
template <class Bytes>
class BasicReader {
 public:
  enum Type : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  explicit BasicReader(Bytes bytes) : rest_(bytes) {}

  /// Goes to the next field, of whatever type; false at the end or at the first malformed one. Groups, which no
  /// contract of ours has, count as malformed.
  bool Next() {
    if (rest_.size() == 0 || !ok_) return false;
    std::uint64_t tag = 0;
    if (!Varint(&tag, kShort) || tag > 0xffffffffU || (tag >> 3) == 0) return Malformed();
    field_ = static_cast<std::uint32_t>(tag >> 3);
    type_ = static_cast<Type>(tag & 7);
    bytes_ = {};
    number_ = 0;
    switch (type_) {
      case kVarint:
        return Varint(&number_) || Malformed();
      case kFixed64:
        return Fixed(8) || Malformed();
      case kFixed32:
        return Fixed(4) || Malformed();
      case kBytes: {
        std::uint64_t size = 0;
        if (!Varint(&size, kShort) || size > rest_.size()) return Malformed();
        bytes_ = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return true;
      }
    }
    return Malformed();
  }

  /// Whether all was well formed so far.
  bool ok() const { return ok_; }
  std::uint32_t field() const { return field_; }
  Type type() const { return type_; }
  /// Of a field of type kBytes: strings, bytes, messages, packed numbers. Refers to the input.
  Bytes bytes() const { return bytes_; }
  /// Of any other field, zero-extended.
  std::uint64_t number() const { return number_; }
  /// One number of those packed into the bytes that this reader was made for, of any type but kBytes; false at their
  /// end, or where they are malformed.
  bool Packed(std::uint64_t* out, Type type = kVarint) {
    if (rest_.size() == 0 || !ok_) return false;
    number_ = 0;
    const bool read = type == kVarint ? Varint(&number_) : Fixed(type == kFixed32 ? 4 : 8);
    *out = number_;
    return read || Malformed();
  }

 private:
  bool Malformed() {
    ok_ = false;
    return false;
  }
  std::uint8_t Pop() {
    const auto byte = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return byte;
  }
  // Of tags and lengths, which have 32 bits: protobuf reads no more of them either.
  static constexpr unsigned kShort = 5;
  bool Varint(std::uint64_t* out, unsigned most = 10) {
    // Nearly all have one byte, and lie in one piece.
    if (const auto byte = static_cast<std::uint8_t>(rest_.size() > 0 ? rest_.front() : '\x80'); byte < 0x80) {
      rest_.remove_prefix(1);
      *out = byte;
      return true;
    }
    std::uint64_t value = 0;
    for (unsigned i = 0; i < most && rest_.size() > 0; ++i) {
      const std::uint8_t byte = Pop();
      if (i == 9 && byte > 1) return false;  // beyond 64 bits
      value |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * i);
      if ((byte & 0x80) == 0) {
        *out = value;
        return true;
      }
    }
    return false;
  }
  bool Fixed(unsigned size) {
    if (rest_.size() < size) return false;
    for (unsigned i = 0; i < size; ++i) number_ |= static_cast<std::uint64_t>(Pop()) << (8 * i);
    return true;
  }

  Bytes rest_;
  Bytes bytes_;
  std::uint64_t number_ = 0;
  std::uint32_t field_ = 0;
  Type type_ = kVarint;
  bool ok_ = true;
};

using Reader = BasicReader<std::string_view>;
using PieceReader = BasicReader<detail::Pieces>;

}  // namespace wire
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_WIRE_READER_H_
