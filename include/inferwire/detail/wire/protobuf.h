// SPDX-License-Identifier: Apache-2.0
//
// Protobuf messages to and from the engine's payloads, without an intermediate copy.
#ifndef INFERWIRE_DETAIL_WIRE_PROTOBUF_H_
#define INFERWIRE_DETAIL_WIRE_PROTOBUF_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message_lite.h>

#include <atomic>
#include <concepts>
#include <utility>

#include "inferwire/detail/base/form.h"
#include "inferwire/detail/wire/message.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace wire {

class TextFields;

/// See Encode. `type`: null where it is not known; `text` has what is known of its text, once it was looked up.
INFERWIRE_DECL absl::StatusOr<Payload> EncodeMessage(const google::protobuf::MessageLite& message,
                                                     const google::protobuf::Descriptor* type,
                                                     std::atomic<const TextFields*>& text);

/// Serialises `message` straight into the slice that gRPC will send. INVALID_ARGUMENT where it lacks required fields
/// (proto2), exceeds the 2 GiB that protobuf can hold, or has text that is not UTF-8, naming the field. (Messages of
/// protobuf's lite runtime do not know their fields: their text is not looked at.)
template <std::derived_from<google::protobuf::MessageLite> Message>
absl::StatusOr<Payload> Encode(const Message& message) {
  if constexpr (requires { Message::descriptor()->field_count(); }) {
    static constinit std::atomic<const TextFields*> text{nullptr};
    return EncodeMessage(message, Message::descriptor(), text);
  } else {
    static constinit std::atomic<const TextFields*> none{nullptr};
    return EncodeMessage(message, nullptr, none);
  }
}

/// Parses the reply into `out`, whatever that held. INTERNAL where no message came or its bytes are none of this type.
INFERWIRE_DECL absl::Status DecodeMessage(Reply&& reply, google::protobuf::MessageLite& out);
template <class Message>
absl::Status DecodeInto(Reply&& reply, Message& out) {
  return DecodeMessage(std::move(reply), out);
}

}  // namespace wire
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/protobuf.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_DETAIL_WIRE_PROTOBUF_H_
