// SPDX-License-Identifier: Apache-2.0
//
// The two windows of a stream, as state machines: what has come and is not read, and what is to be sent. Pure: no gRPC,
// no lock, no time of their own.
#ifndef INFERWIRE_DETAIL_ENGINE_MESSAGE_WINDOW_H_
#define INFERWIRE_DETAIL_ENGINE_MESSAGE_WINDOW_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include "inferwire/clock.h"
#include "inferwire/detail/policy/latency.h"
#include "inferwire/stats.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// Messages in order, within bounds: enough to keep a fast consumer busy while the next ones arrive, little enough to
/// hold a thousand streams. One message may be of any size.
template <class Message>
class MessageWindow {
 public:
  static constexpr std::size_t kMaxMessages = 16;
  static constexpr std::size_t kMaxBytes = std::size_t{4} << 20;

  bool empty() const { return messages_.empty(); }
  std::size_t bytes() const { return bytes_; }
  bool has_room() const { return empty() || (messages_.size() < kMaxMessages && bytes_ < kMaxBytes); }

  /// Also where there is no room: that is for the caller to ask.
  void Push(Message message) {
    bytes_ += message.size();
    messages_.push_back(std::move(message));
  }
  Message Pop() {
    Message message = std::move(messages_.front());
    messages_.pop_front();
    bytes_ -= message.size();
    return message;
  }
  void Clear() {
    messages_.clear();
    bytes_ = 0;
  }

 private:
  std::deque<Message> messages_;
  std::size_t bytes_ = 0;
};

/// What has come, and when.
template <class Message>
class Inbox : public MessageWindow<Message> {
 public:
  /// From now on nobody reads: what comes is counted and let go.
  void Discard() {
    discards_ = true;
    this->Clear();
  }
  /// Whether it is kept for a reader.
  bool Deliver(Message message, TimePoint now) {
    if (delivered_++ == 0) {
      first_ = now;
    } else {
      if (gaps_ == nullptr) gaps_ = std::make_unique<policy::LatencyHistogram>();
      gaps_->Add(Between(last_, now));
    }
    last_ = now;
    if (discards_) return false;
    this->Push(std::move(message));
    return true;
  }
  std::int64_t delivered() const { return delivered_; }

  StreamStats Stats(TimePoint started) const {
    StreamStats out;
    out.messages = delivered_;
    if (delivered_ > 0) out.first_message = Between(started, first_);
    if (gaps_ != nullptr) {
      out.gap_p50 = gaps_->Quantile(0.5, 1);
      out.gap_p99 = gaps_->Quantile(0.99, 1);
      const double seconds = absl::ToDoubleSeconds(Between(first_, last_));
      if (seconds > 0) out.messages_per_second = static_cast<double>(delivered_ - 1) / seconds;
    }
    return out;
  }

 private:
  bool discards_ = false;
  std::int64_t delivered_ = 0;
  TimePoint first_, last_;
  std::unique_ptr<policy::LatencyHistogram> gaps_;  // with the second message
};

/// What is to be sent, and the half-close behind it.
template <class Message>
class Outbox : public MessageWindow<Message> {
 public:
  enum class Act { kNothing, kWrite, kHalfClose };

  /// What was written before goes out; nothing more is taken.
  void CloseHalf() { half_closed_ = true; }
  bool half_closed() const { return half_closed_; }

  /// What comes next where nothing is under way; the half-close comes once.
  Act Next() {
    if (!this->empty()) return Act::kWrite;
    return half_closed_ && !std::exchange(half_close_sent_, true) ? Act::kHalfClose : Act::kNothing;
  }

 private:
  bool half_closed_ = false;
  bool half_close_sent_ = false;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_MESSAGE_WINDOW_H_
