// SPDX-License-Identifier: Apache-2.0
//
// The messages a server streams: a range to loop over, or one awaited after another.
#ifndef INFERWIRE_RESPONSE_STREAM_H_
#define INFERWIRE_RESPONSE_STREAM_H_

#include <absl/status/status.h>

#include <coroutine>
#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/stop.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/executor.h"
#include "inferwire/stats.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A stream's wait heeds the stop token of the coroutine that waits.
struct CancelStream {
  detail::engine::StreamHandle* call;
  void operator()() const { call->Cancel(detail::CancelledError("cancelled with the task that used it")); }
};

}  // namespace detail

/// The reading half of a stream: an input range, and Next for coroutines. One reader at a time.
template <class T>
class MessageRange {
 public:
  using value_type = T;

  class Iterator {
   public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    Iterator() = default;
    T& operator*() const { return *range_->current_; }
    T* operator->() const { return &*range_->current_; }
    Iterator& operator++() {
      range_->ReadInto(range_->current_);
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) { return it.AtEnd(); }

   private:
    friend MessageRange;
    explicit Iterator(MessageRange* range) : range_(range) {}
    bool AtEnd() const { return !range_->current_.has_value(); }
    MessageRange* range_ = nullptr;
  };

  /// Blocks for the next message; after a break, a second loop goes on behind it. Not of a stream that nobody keeps,
  /// which ends with the expression; a loop over one keeps it.
  Iterator begin() & {
    ReadInto(current_);
    return Iterator(this);
  }
  Iterator begin() && = delete;
  std::default_sentinel_t end() const { return std::default_sentinel; }

  /// Waits for the next message; none at the end.
  std::optional<T> Read() {
    std::optional<T> out;
    ReadInto(out);
    return out;
  }

  /// The next message as an awaitable; none at the end. Suspends only where no message is at hand; destroying the
  /// suspended coroutine takes the wait back.
  class Awaiter {
   public:
    explicit Awaiter(MessageRange& range) : range_(range) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    ~Awaiter() {
      if (suspended_) range_.call_->ForgetReader();
    }
    bool await_ready() const { return !range_.call_; }
    // Messages at hand do not keep a stopped coroutine going, hence the token comes first.
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) {
      on_stop_.Arm(handle, detail::CancelStream{range_.call_.get()});
      state_ = range_.call_->TryRead(&reply_);
      if (state_ != State::kWait) return false;
      suspended_ = true;  // before: afterwards the coroutine may run elsewhere already
      return range_.call_->OnReadable([handle] { handle.resume(); }, detail::WaiterOf(handle));
    }
    std::optional<T> await_resume() {
      on_stop_.Disarm();
      if (std::exchange(suspended_, false)) state_ = range_.call_->TryRead(&reply_);
      std::optional<T> out;
      if (state_ == State::kMessage) range_.Decode(std::move(reply_), out);
      return out;
    }

   private:
    using State = detail::engine::StreamHandle::ReadState;
    MessageRange& range_;
    detail::wire::Reply reply_;
    State state_ = State::kEnded;
    bool suspended_ = false;
    detail::OnStop<detail::CancelStream> on_stop_;
  };
  Awaiter Next() { return Awaiter(*this); }

  /// How many messages have arrived, when the first, and how far apart. From any thread while the stream lives.
  [[nodiscard]] StreamStats stats() const { return call_ ? call_->Stats() : StreamStats(); }
  /// What the server sent ahead of its messages; empty before the first one has come.
  [[nodiscard]] Metadata initial_metadata() const { return call_ ? call_->InitialMetadata() : Metadata(); }
  /// What it sent behind them; empty before it has ended the call, and where the call was ended here.
  [[nodiscard]] Metadata trailing_metadata() const { return call_ ? call_->TrailingMetadata() : Metadata(); }

 protected:
  MessageRange(detail::Ref<detail::engine::StreamHandle> call, detail::Decoder<T> decode)
      : call_(std::move(call)), decode_(decode) {}

  const detail::Ref<detail::engine::StreamHandle>& call() const { return call_; }
  /// Ends the call with CANCELLED unless it has ended.
  void CancelCall(const char* why) {
    if (call_) call_->Cancel(detail::CancelledError(why));
  }
  /// The same, when its owner goes: nothing of the owner's runs afterwards.
  void DropCall(const char* why) {
    if (call_) call_->Drop(why);
  }
  absl::Status CallStatus() const {
    return call_ ? call_->status() : detail::FailedPreconditionError("the stream was moved away");
  }

 private:
  // Into the message that was there, so that a loop makes one of them.
  void ReadInto(std::optional<T>& out) {
    detail::wire::Reply reply;
    if (call_ && call_->Read(&reply)) {
      Decode(std::move(reply), out);
    } else {
      out.reset();
    }
  }
  // What does not decode ends the call: the messages behind it would be taken for something they are not.
  void Decode(detail::wire::Reply&& reply, std::optional<T>& out) {
    if (!out.has_value()) out.emplace();
    if (absl::Status status = decode_(std::move(reply), *out); !status.ok()) {
      call_->Fail(std::move(status));
      out.reset();
    }
  }

  detail::Ref<detail::engine::StreamHandle> call_;
  detail::Decoder<T> decode_;
  std::optional<T> current_;
};

/// The responses of one server-streaming call, in order, read ahead within bounds: a slow reader holds the server back.
/// Ends exactly once, with one status. Move-only; one reader at a time. Dropping it cancels the call.
template <class T>
class [[nodiscard("dropping a stream cancels its call")]] ResponseStream : public MessageRange<T> {
 public:
  ResponseStream(detail::Ref<detail::engine::StreamHandle> call, detail::Decoder<T> decode)
      : MessageRange<T>(std::move(call), decode) {}
  ResponseStream(ResponseStream&&) noexcept = default;
  ResponseStream& operator=(ResponseStream&& other) noexcept {
    if (this != &other) {
      this->DropCall(kDropped);
      MessageRange<T>::operator=(std::move(other));
    }
    return *this;
  }
  ~ResponseStream() { this->DropCall(kDropped); }

  /// OK while the call runs; the final status once it ended.
  [[nodiscard]] absl::Status status() const { return this->CallStatus(); }
  /// Ends the call with CANCELLED unless it has ended; what was not read is dropped then.
  void Cancel() { this->CancelCall("cancelled by the caller"); }
  /// Cancels if the call still runs. The final status.
  absl::Status Finish() {
    Cancel();
    return status();
  }

 private:
  static constexpr const char* kDropped = "the stream was dropped";
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_RESPONSE_STREAM_H_
