// SPDX-License-Identifier: Apache-2.0
//
// How messages of protobuf are written and read.
#ifndef INFERWIRE_DETAIL_IMPL_PROTOBUF_H_
#define INFERWIRE_DETAIL_IMPL_PROTOBUF_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/detail/wire/text_fields.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
namespace wire {

// A string in older versions, a view in newer ones.
INFERWIRE_DECL std::string NameOf(const google::protobuf::MessageLite& message) {
  std::string name{message.GetTypeName()};
  return name;
}

INFERWIRE_DECL absl::StatusOr<Payload> EncodeMessage(const google::protobuf::MessageLite& message,
                                                     const google::protobuf::Descriptor* type,
                                                     std::atomic<const TextFields*>& text) {
  if (!message.IsInitialized()) {
    return detail::InvalidArgumentError(
        detail::Cat(NameOf(message), " lacks the required fields ", message.InitializationErrorString()));
  }
  const std::size_t size = message.ByteSizeLong();
  if (size > static_cast<std::size_t>((std::numeric_limits<std::int32_t>::max)())) {
    return detail::InvalidArgumentError(
        detail::Cat(NameOf(message), " takes ", size, " bytes; protobuf allows at most 2147483647"));
  }
  grpc::Slice slice(size);
  // The slice is new and nobody else's: writing into it is what gRPC's own protobuf writer does.
  static_cast<void>(message.SerializeWithCachedSizesToArray(const_cast<std::uint8_t*>(slice.begin())));
  if (type != nullptr) {
    const TextFields* known = text.load(std::memory_order_acquire);
    if (known == nullptr) text.store(known = &TextFields::Of(*type), std::memory_order_release);
    const std::string fault = known->FirstFault({reinterpret_cast<const char*>(slice.begin()), slice.size()});
    if (!fault.empty()) {
      return detail::InvalidArgumentError(detail::Cat(NameOf(message), ": the text of '", fault,
                                                      "' is not UTF-8; other bytes travel in fields of type bytes"));
    }
  }
  return Payload(std::move(slice));
}

INFERWIRE_DECL absl::Status DecodeMessage(Reply&& reply, google::protobuf::MessageLite& out) {
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
  return detail::InternalError(detail::Cat("the reply of ", size, " bytes does not parse as ", NameOf(out)));
}

}  // namespace wire
}  // namespace detail

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_PROTOBUF_H_
