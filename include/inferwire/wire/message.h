// SPDX-License-Identifier: Apache-2.0
//
// What the engine sends and receives: serialised messages, whatever they hold.
#ifndef INFERWIRE_WIRE_MESSAGE_H_
#define INFERWIRE_WIRE_MESSAGE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace inferwire {
inline namespace v0 {
namespace wire {

/// A serialised request. Copies share the bytes, so that every attempt sends the same ones.
class Payload {
 public:
  Payload() = default;
  explicit Payload(grpc::Slice bytes) : bytes_(std::move(bytes)) {}

  std::size_t size() const { return bytes_.size(); }
  const grpc::Slice& slice() const { return bytes_; }

 private:
  grpc::Slice bytes_;
};

/// A reply as it came from the transport. gRPC ends a unary call with OK even where the server sent no message, so
/// whether one came is kept here.
class Reply {
 public:
  bool received() const { return received_; }
  std::size_t size() const { return buffer_.Length(); }
  grpc::ByteBuffer& buffer() { return buffer_; }

 private:
  friend class grpc::SerializationTraits<Reply, void>;
  grpc::ByteBuffer buffer_;
  bool received_ = false;
};

/// A copy of the bytes in one piece, for messages that are small.
inline std::string CopyBytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (buffer.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace wire
}  // namespace v0
}  // namespace inferwire

namespace grpc {

/// Never fails: gRPC aborts the process where serialisation does.
template <>
class SerializationTraits<inferwire::wire::Payload, void> {
 public:
  static Status Serialize(const inferwire::wire::Payload& payload, ByteBuffer* out, bool* own_buffer) {
    ByteBuffer buffer(&payload.slice(), 1);
    out->Swap(&buffer);
    *own_buffer = true;
    return Status();
  }
};

/// Takes the bytes over; parsing them is not gRPC's business, since it would lose the error.
template <>
class SerializationTraits<inferwire::wire::Reply, void> {
 public:
  static Status Deserialize(ByteBuffer* in, inferwire::wire::Reply* reply) {
    reply->buffer_.Clear();
    reply->buffer_.Swap(in);
    reply->received_ = true;
    return Status();
  }
};

}  // namespace grpc

#endif  // INFERWIRE_WIRE_MESSAGE_H_
