// SPDX-License-Identifier: Apache-2.0
//
// Protobuf messages to and from the engine's payloads, without an intermediate copy.
#ifndef INFERWIRE_WIRE_PROTOBUF_H_
#define INFERWIRE_WIRE_PROTOBUF_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <google/protobuf/message_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "inferwire/detail/error.h"
#include "inferwire/detail/text.h"
#include "inferwire/wire/message.h"
#include "inferwire/wire/text_fields.h"

namespace inferwire {
inline namespace v0 {
namespace wire {

/// Serialises `message` straight into the slice that gRPC will send. INVALID_ARGUMENT where it lacks required fields
/// (proto2), exceeds the 2 GiB that protobuf can hold, or has text that is not UTF-8, naming the field. (Messages of
/// protobuf's lite runtime do not know their fields: their text is not looked at.)
template <std::derived_from<google::protobuf::MessageLite> Message>
absl::StatusOr<Payload> Encode(const Message& message) {
  if (!message.IsInitialized()) {
    return detail::InvalidArgumentError(
        detail::Cat(message.GetTypeName(), " lacks the required fields ", message.InitializationErrorString()));
  }
  const std::size_t size = message.ByteSizeLong();
  if (size > static_cast<std::size_t>((std::numeric_limits<std::int32_t>::max)())) {
    return detail::InvalidArgumentError(
        detail::Cat(message.GetTypeName(), " takes ", size, " bytes; protobuf allows at most 2147483647"));
  }
  grpc::Slice slice(size);
  // The slice is new and nobody else's: writing into it is what gRPC's own protobuf writer does.
  static_cast<void>(message.SerializeWithCachedSizesToArray(const_cast<std::uint8_t*>(slice.begin())));
  if constexpr (requires { Message::descriptor()->field_count(); }) {
    static const TextFields& text = TextFields::Of(*Message::descriptor());
    const std::string fault = text.FirstFault({reinterpret_cast<const char*>(slice.begin()), slice.size()});
    if (!fault.empty()) {
      return detail::InvalidArgumentError(detail::Cat(std::string(message.GetTypeName()), ": the text of '", fault,
                                                      "' is not UTF-8; other bytes travel in fields of type bytes"));
    }
  }
  return Payload(std::move(slice));
}

/// Parses the reply into `out`, whatever that held. INTERNAL where no message came or its bytes are none of this type.
template <class Message>
absl::Status DecodeInto(Reply&& reply, Message& out) {
  if (!reply.received()) return detail::InternalError("the server ended the call with OK but sent no message");
  const std::size_t size = reply.size();
  bool parsed = false;
  grpc::Slice single;
  if (reply.buffer().TrySingleSlice(&single).ok()) {
    parsed = size <= static_cast<std::size_t>((std::numeric_limits<int>::max)()) &&
             out.ParseFromArray(single.begin(), static_cast<int>(single.size()));
  } else {
    grpc::ProtoBufferReader reader(&reply.buffer());
    parsed = reader.status().ok() && out.ParseFromZeroCopyStream(&reader);
  }
  if (parsed) return absl::OkStatus();
  return detail::InternalError(
      detail::Cat("the reply of ", size, " bytes does not parse as ", Message().GetTypeName()));
}

}  // namespace wire
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_WIRE_PROTOBUF_H_
