// SPDX-License-Identifier: Apache-2.0
//
// The protobuf wire format of what is written without generated code. (protobuf.dev, "Encoding".)
#ifndef INFERWIRE_DETAIL_WIRE_WRITER_H_
#define INFERWIRE_DETAIL_WIRE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace wire {

/// Where fields go: once to count their bytes, then to memory of as many.
class Count {
 public:
  void Raw(std::string_view bytes) { size_ += bytes.size(); }
  void Varint(std::uint64_t value) {
    do ++size_;
    while ((value >>= 7) != 0);
  }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_ = 0;
};
class Write {
 public:
  explicit Write(std::uint8_t* to) : at_(to) {}
  void Raw(std::string_view bytes) {
    if (bytes.empty()) return;
    std::memcpy(at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }
  void Varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) *at_++ = static_cast<std::uint8_t>((value & 0x7f) | 0x80);
    *at_++ = static_cast<std::uint8_t>(value);
  }
  std::uint8_t* at() const { return at_; }

 private:
  std::uint8_t* at_;
};

/// The head of a field of strings, bytes, or a message, which is to follow.
template <class Out>
void PutHead(Out& out, std::uint32_t number, std::size_t size) {
  out.Varint(std::uint64_t{number} << 3 | 2);
  out.Varint(size);
}
template <class Out>
void PutBytes(Out& out, std::uint32_t number, std::string_view bytes) {
  PutHead(out, number, bytes.size());
  out.Raw(bytes);
}
template <class Out>
void PutNumber(Out& out, std::uint32_t number, std::uint64_t value) {
  out.Varint(std::uint64_t{number} << 3);
  out.Varint(value);
}
template <class Out>
void PutDouble(Out& out, std::uint32_t number, double value) {
  out.Varint(std::uint64_t{number} << 3 | 1);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.Raw({bytes, sizeof value});
}
/// A message whose fields `body` puts out.
template <class Out, class Body>
void PutMessage(Out& out, std::uint32_t number, const Body& body) {
  Count inner;
  body(inner);
  PutHead(out, number, inner.size());
  body(out);
}

/// What `body` puts out.
template <class Body>
std::string Written(const Body& body) {
  Count count;
  body(count);
  std::string out(count.size(), '\0');
  Write write(reinterpret_cast<std::uint8_t*>(out.data()));
  body(write);
  return out;
}
inline std::string Varint(std::uint64_t value) {
  return Written([&](auto& out) { out.Varint(value); });
}
/// A field of strings, bytes, or a message.
inline std::string Field(std::uint32_t number, std::string_view bytes) {
  return Written([&](auto& out) { PutBytes(out, number, bytes); });
}

}  // namespace wire
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_WIRE_WRITER_H_
