// SPDX-License-Identifier: Apache-2.0
//
// A strict reader of the protobuf wire format over contiguous bytes, for what is read without generated code.
#ifndef INFERWIRE_WIRE_READER_H_
#define INFERWIRE_WIRE_READER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace inferwire {
inline namespace v0 {
namespace wire {

/// Reads one message field by field; trusts nothing. (protobuf.dev, "Encoding".) Usage:
///
///   Reader reader(bytes);
///   while (reader.Next()) switch (reader.field()) { … }
///   if (!reader.ok()) malformed
class Reader {
 public:
  enum Type : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  /// Goes to the next field, of whatever type; false at the end or at the first malformed one. Groups, which no
  /// contract of ours has, count as malformed.
  bool Next() {
    if (rest_.empty() || !ok_) return false;
    std::uint64_t tag = 0;
    if (!Varint(&tag) || tag > 0xffffffffU || (tag >> 3) == 0) return Malformed();
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
        if (!Varint(&size) || size > rest_.size()) return Malformed();
        bytes_ = rest_.substr(0, static_cast<std::size_t>(size));
        rest_.remove_prefix(bytes_.size());
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
  std::string_view bytes() const { return bytes_; }
  /// Of any other field, zero-extended.
  std::uint64_t number() const { return number_; }

 private:
  bool Malformed() {
    ok_ = false;
    return false;
  }
  bool Varint(std::uint64_t* out) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < rest_.size() && i < 10; ++i) {
      const auto byte = static_cast<unsigned char>(rest_[i]);
      if (i == 9 && byte > 1) return false;  // beyond 64 bits
      value |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * i);
      if ((byte & 0x80) == 0) {
        rest_.remove_prefix(i + 1);
        *out = value;
        return true;
      }
    }
    return false;
  }
  bool Fixed(std::size_t size) {
    if (rest_.size() < size) return false;
    for (std::size_t i = 0; i < size; ++i) {
      number_ |= static_cast<std::uint64_t>(static_cast<unsigned char>(rest_[i])) << (8 * i);
    }
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
  std::string_view bytes_;
  std::uint64_t number_ = 0;
  std::uint32_t field_ = 0;
  Type type_ = kVarint;
  bool ok_ = true;
};

}  // namespace wire
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_WIRE_READER_H_
