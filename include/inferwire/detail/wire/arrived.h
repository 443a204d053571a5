// SPDX-License-Identifier: Apache-2.0
//
// A received message, held in the pieces in which it came for those who refer to them.
#ifndef INFERWIRE_DETAIL_WIRE_ARRIVED_H_
#define INFERWIRE_DETAIL_WIRE_ARRIVED_H_

#include <absl/container/inlined_vector.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "inferwire/detail/base/pieces.h"
#include "inferwire/detail/wire/message.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace wire {

/// Shares the bytes of a reply, which may go. bytes() refers to it.
class ReceivedBytes {
 public:
  explicit ReceivedBytes(Reply& reply) {
    if (grpc::Slice single; reply.buffer().TrySingleSlice(&single).ok()) {
      Add(std::move(single));
    } else if (std::vector<grpc::Slice> slices; reply.buffer().Dump(&slices).ok()) {
      slices_.reserve(slices.size());
      pieces_.reserve(slices.size());
      for (grpc::Slice& slice : slices) Add(std::move(slice));
    }
    // Short slices hold their bytes themselves, and have come to rest now.
    for (const grpc::Slice& slice : slices_) {
      pieces_.push_back(std::as_bytes(std::span(slice.begin(), slice.size())));
    }
  }
  ReceivedBytes(const ReceivedBytes&) = delete;
  ReceivedBytes& operator=(const ReceivedBytes&) = delete;

  detail::Pieces bytes() const { return detail::Pieces(pieces_); }

  /// Lets go of what lies before `rest`, a part of bytes(), and will not be read any more; as far as nobody else shares
  /// it, its memory is free.
  void ReleaseBefore(const detail::Pieces& rest) {
    const std::size_t first = rest.size() > 0 ? static_cast<std::size_t>(rest.first() - pieces_.data()) : released_;
    for (; released_ < first; ++released_) slices_[released_] = grpc::Slice();
  }

 private:
  void Add(grpc::Slice slice) {
    if (slice.size() > 0) slices_.push_back(std::move(slice));
  }

  absl::InlinedVector<grpc::Slice, 1> slices_;
  absl::InlinedVector<detail::Pieces::Piece, 1> pieces_;
  std::size_t released_ = 0;
};

}  // namespace wire
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_WIRE_ARRIVED_H_
