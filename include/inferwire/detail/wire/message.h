// SPDX-License-Identifier: Apache-2.0
//
// What the engine sends and receives: serialised messages, whatever they hold.
#ifndef INFERWIRE_DETAIL_WIRE_MESSAGE_H_
#define INFERWIRE_DETAIL_WIRE_MESSAGE_H_

#include <absl/container/inlined_vector.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/detail/base/ref.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace wire {

/// Memory that is lent to the transport, which may hold it for long after a call has its answer: a peer that stopped
/// reading leaves it in a socket's queue. It is free again when the last slice over it has gone, on whatever thread.
class Loan final : public detail::RefCounted {
 public:
  /// A slice over memory that stays until OnReturn has said so.
  grpc::Slice Lend(std::span<const std::byte> bytes) {
    AddRef();
    out_.fetch_add(1, std::memory_order_relaxed);
    return grpc::Slice(
        const_cast<std::byte*>(bytes.data()), bytes.size(),  // gRPC only reads it
        [](void* loan) {
          Loan* const self = static_cast<Loan*>(loan);
          self->Returned();
          self->Release();
        },
        this);
  }
  /// Once, after the last Lend: has `done` called when all has been returned; false, and nothing kept, if it has been
  /// already.
  bool OnReturn(absl::AnyInvocable<void()> done) {
    done_ = std::move(done);
    if (out_.fetch_sub(1, std::memory_order_acq_rel) > 1) return true;
    done_ = nullptr;
    return false;
  }

 private:
  void Returned() {
    if (out_.fetch_sub(1, std::memory_order_acq_rel) == 1) std::exchange(done_, nullptr)();
  }

  std::atomic<int> out_{1};  // slices, and one until OnReturn
  absl::AnyInvocable<void()> done_;
};

/// A serialised request, in one piece or several. Copies share the bytes, so that every attempt sends the same ones.
class Payload {
 public:
  Payload() = default;
  explicit Payload(grpc::Slice bytes) { Append(std::move(bytes)); }

  void Append(grpc::Slice bytes) {
    size_ += bytes.size();
    slices_.push_back(std::move(bytes));
  }
  /// Appends memory of the caller's, which is free once loan() has been returned.
  void Lend(std::span<const std::byte> bytes) {
    if (!loan_) loan_ = detail::MakeRef<Loan>();
    Append(loan_->Lend(bytes));
  }

  std::size_t size() const { return size_; }
  std::span<const grpc::Slice> slices() const { return slices_; }
  /// Null where nothing is lent.
  const detail::Ref<Loan>& loan() const { return loan_; }

 private:
  absl::InlinedVector<grpc::Slice, 1> slices_;
  std::size_t size_ = 0;
  detail::Ref<Loan> loan_;
};

/// The same bytes with nothing lent: copied where it is.
inline Payload Owned(Payload payload) {
  if (!payload.loan()) return payload;
  grpc::Slice slice(payload.size());
  auto* to = const_cast<std::uint8_t*>(slice.begin());  // new, and nobody else's
  for (const grpc::Slice& piece : payload.slices()) {
    std::memcpy(to, piece.begin(), piece.size());
    to += piece.size();
  }
  return Payload(std::move(slice));
}

/// A reply as it came from the transport. gRPC ends a unary call with OK even where the server sent no message, so
/// whether one came is kept here.
class Reply {
 public:
  Reply() = default;
  /// gRPC's buffers know no moves: moving one copies it, with an allocation.
  Reply(Reply&& other) noexcept : received_(std::exchange(other.received_, false)), attempt_(other.attempt_) {
    buffer_.Swap(&other.buffer_);
  }
  Reply& operator=(Reply&& other) noexcept {
    Reply taken(std::move(other));
    buffer_.Swap(&taken.buffer_);
    received_ = taken.received_;
    attempt_ = taken.attempt_;
    return *this;
  }
  /// Shares the bytes.
  Reply Copy() const {
    Reply copy;
    copy.buffer_ = buffer_;
    copy.received_ = received_;
    copy.attempt_ = attempt_;
    return copy;
  }

  bool received() const { return received_; }
  std::size_t size() const { return buffer_.Length(); }
  grpc::ByteBuffer& buffer() { return buffer_; }
  /// Which attempt of a stream brought it.
  int attempt() const { return attempt_; }
  void set_attempt(int attempt) { attempt_ = attempt; }

 private:
  friend class grpc::SerializationTraits<Reply, void>;
  grpc::ByteBuffer buffer_;
  bool received_ = false;
  int attempt_ = 0;
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
}  // namespace detail
namespace detail {

/// Turns a received message into a T, whatever that held. A plain function, so that a stream of a contract's results is
/// like one of messages.
template <class T>
using Decoder = absl::Status (*)(wire::Reply&&, T&);

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

namespace grpc {

/// Never fails: gRPC aborts the process where serialisation does.
template <>
class SerializationTraits<inferwire::detail::wire::Payload, void> {
 public:
  static Status Serialize(const inferwire::detail::wire::Payload& payload, ByteBuffer* out, bool* own_buffer) {
    ByteBuffer buffer(payload.slices().data(), payload.slices().size());
    out->Swap(&buffer);
    *own_buffer = true;
    return Status();
  }
};

/// Takes the bytes over; parsing them is not gRPC's business, since it would lose the error.
template <>
class SerializationTraits<inferwire::detail::wire::Reply, void> {
 public:
  static Status Deserialize(ByteBuffer* in, inferwire::detail::wire::Reply* reply) {
    reply->buffer_.Clear();
    reply->buffer_.Swap(in);
    reply->received_ = true;
    return Status();
  }
};

}  // namespace grpc

#endif  // INFERWIRE_DETAIL_WIRE_MESSAGE_H_
