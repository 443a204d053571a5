// SPDX-License-Identifier: Apache-2.0
//
// The protobuf wire format of what is written without generated code. (protobuf.dev, "Encoding".)
#ifndef INFERWIRE_WIRE_WRITER_H_
#define INFERWIRE_WIRE_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace inferwire {
inline namespace v0 {
namespace wire {

inline std::string Varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  return out + static_cast<char>(value);
}

/// A field of strings, bytes, or a message.
inline std::string Field(std::uint32_t number, std::string_view bytes) {
  return Varint(std::uint64_t{number} << 3 | 2) + Varint(bytes.size()) + std::string(bytes);
}

}  // namespace wire
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_WIRE_WRITER_H_
