// SPDX-License-Identifier: Apache-2.0
//
// A view of bytes that lie in several pieces one behind another, as a message comes from the transport.
#ifndef INFERWIRE_DETAIL_BASE_PIECES_H_
#define INFERWIRE_DETAIL_BASE_PIECES_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Refers to an array of spans, as std::string_view does to characters; both must outlive it.
class Pieces {
 public:
  using Piece = std::span<const std::byte>;

  Pieces() = default;
  /// All of `pieces`, none of which is empty.
  explicit Pieces(std::span<const Piece> pieces) : first_(pieces.data()) {
    for (const Piece& piece : pieces) size_ += piece.size();
  }

  std::size_t size() const { return size_; }
  /// Of what is not empty.
  char front() const { return static_cast<char>((*first_)[offset_]); }
  /// As much of it as lies in one piece.
  Piece Head() const {
    if (size_ == 0) return Piece();
    return first_->subspan(offset_, (std::min)(size_, first_->size() - offset_));
  }
  /// Where it begins in the array; of what is not empty.
  const Piece* first() const { return first_; }
  /// `count` is at most size().
  void remove_prefix(std::size_t count) {
    size_ -= count;
    offset_ += count;
    if (size_ == 0) return;  // there may be no further piece
    while (offset_ >= first_->size()) {
      offset_ -= first_->size();
      ++first_;
    }
  }
  Pieces substr(std::size_t at, std::size_t count) const {
    Pieces out = *this;
    out.remove_prefix(at);
    out.size_ = count;
    return out;
  }

  /// Calls `fn` with each piece, in order.
  template <class Fn>
  void ForEach(Fn fn) const {
    std::size_t offset = offset_;
    const Piece* piece = first_;
    for (std::size_t left = size_; left > 0; ++piece, offset = 0) {
      const std::size_t count = (std::min)(left, piece->size() - offset);
      fn(piece->subspan(offset, count));
      left -= count;
    }
  }
  /// All of it, where it lies in one piece.
  std::optional<Piece> Whole() const {
    if (size_ == 0) return Piece();
    if (first_->size() - offset_ < size_) return std::nullopt;
    return first_->subspan(offset_, size_);
  }
  /// To memory of size() bytes.
  void CopyTo(std::byte* to) const {
    ForEach([&](Piece piece) {
      std::memcpy(to, piece.data(), piece.size());
      to += piece.size();
    });
  }
  std::string ToString() const {
    std::string out;
    out.resize(size_);
    CopyTo(reinterpret_cast<std::byte*>(out.data()));
    return out;
  }

 private:
  const Piece* first_ = nullptr;
  std::size_t offset_ = 0;  // in the first piece
  std::size_t size_ = 0;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_PIECES_H_
